//! Reading a JSON object field by field, collecting every error.

use super::known::{self, MAX_UNKNOWN};
use super::refusal::{FieldError, Kind, Refusal};
use domain::Timestamp;
use domain::batches::ContactRefs;
use poem_openapi::registry::Registry;
use poem_openapi::types::Type;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The most errors that are named for one list.
const MAX_LIST_ERRORS: usize = 20;

/// The most fields of an object, and the most entries of a list that is kept: memory is not measured by a client.
const MAX_FIELDS: usize = 1_000;

/// A JSON object whose fields are read one after the other. An absent field and `null` are the same.
///
/// A field is known by being read, whatever it is read as: there is no other list of names. What was not asked for until
/// [`finish`](Self::finish) is refused.
pub(crate) struct Fields<'a> {
    values: HashMap<Cow<'a, str>, &'a RawValue>,
    errors: Vec<FieldError>,
    known: RefCell<Vec<String>>,
}

impl<'a> Fields<'a> {
    /// Reads the object's outline; values stay as they came.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(body).map_err(|_| Refusal::new(Kind::Validation, "the body is not UTF-8"))?;
        let outline: Outline<'a> = serde_json::from_str(text).map_err(|error| {
            let what = match error.is_eof() {
                true => "ends too early",
                false if error.to_string().starts_with(TOO_MANY) => TOO_MANY,
                false => "is not a JSON object",
            };
            let message = format!("the body {what} (line {}, column {})", error.line(), error.column());
            Refusal::new(Kind::Validation, message)
        })?;
        let twice = outline.twice.into_iter();
        let errors = twice.map(|field| FieldError { field: field.into_owned(), message: "is there twice".into() });
        Ok(Self { values: outline.values, errors: errors.collect(), known: RefCell::default() })
    }

    /// Adds an error.
    pub(crate) fn bad(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldError { field: field.into(), message: message.into() });
    }

    /// What came of it: all errors at once, those of fields that nobody read among them, or none.
    pub(crate) fn finish(mut self) -> Result<(), Refusal> {
        self.errors.extend(self.unknown());
        if self.errors.is_empty() { Ok(()) } else { Err(Refusal::invalid(self.errors)) }
    }

    /// The fields that nobody read, in the order in which they came.
    fn unknown(&self) -> Vec<FieldError> {
        let known = self.known.borrow();
        let stray = self.values.iter().filter(|(name, _)| !known.iter().any(|known| *known == **name));
        // All are parts of one text.
        let mut stray: Vec<_> = stray.map(|(name, value)| (value.get().as_ptr(), name)).collect();
        stray.sort_unstable_by_key(|(place, _)| *place);
        let known = || known.iter().map(String::as_str);
        stray.into_iter().take(MAX_UNKNOWN).map(|(_, name)| known::unknown(name, known())).collect()
    }

    /// Says that a field is known which is not read: one that has no meaning beside the others, or that the original
    /// clients of a surface send beside.
    pub(crate) fn knows(&self, name: &str) {
        let mut known = self.known.borrow_mut();
        if !known.iter().any(|known| known == name) {
            known.push(name.to_owned());
        }
    }

    /// Says that all fields are known which the document has of a type: for objects that are read otherwise.
    pub(crate) fn knows_all_of<T: Type>(&self) {
        let mut registry = Registry::new();
        T::register(&mut registry);
        let schema = registry.schemas.get(T::name().as_ref());
        schema.into_iter().flat_map(|schema| &schema.properties).for_each(|(name, _)| self.knows(name));
    }

    /// The names of all fields, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(AsRef::as_ref)
    }

    /// A value as it came; `None` when absent or null.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.knows(name);
        self.values.get(name).copied().filter(|raw| raw.get() != "null")
    }

    /// A whole number in a range, or null; `None`: it is not there.
    pub(crate) fn integer_or_null(&mut self, name: &str, range: RangeInclusive<u32>) -> Option<Option<u32>> {
        self.knows(name);
        match self.values.get(name)?.get() {
            "null" => Some(None),
            _ => self.integer(name, range).map(Some),
        }
    }

    /// A text of so many characters, or null; `None`: it is not there.
    pub(crate) fn text_or_null(&mut self, name: &str, length: RangeInclusive<usize>) -> Option<Option<String>> {
        self.knows(name);
        match self.values.get(name)?.get() {
            "null" => Some(None),
            _ => self.text(name, length).map(Some),
        }
    }

    /// An object in the object, for `read` to read: what it finds wrong is this one's too, under its own name.
    pub(crate) fn object<T>(&mut self, name: &str, read: impl FnOnce(&mut Fields<'a>) -> T) -> Option<T> {
        let raw = self.raw(name)?;
        self.nested(name, raw, read)
    }

    /// The objects of a list, each for `read` to read, at most so many of them.
    pub(crate) fn objects<T>(
        &mut self,
        name: &str,
        most: usize,
        mut read: impl FnMut(&mut Fields<'a>) -> T,
    ) -> Option<Vec<T>> {
        let raw = self.raw(name)?;
        let list = match serde_json::from_str::<Vec<&'a RawValue>>(raw.get()) {
            Ok(list) if list.len() <= most => list,
            _ => {
                self.bad(name, format!("must be a list of at most {most} objects"));
                return None;
            }
        };
        let read = |(at, raw): (usize, &&'a RawValue)| self.nested(&format!("{name}[{at}]"), raw, &mut read);
        // All are read, so that all that is wrong is named.
        let objects: Vec<Option<T>> = list.iter().enumerate().map(read).collect();
        objects.into_iter().collect()
    }

    fn nested<T>(&mut self, name: &str, raw: &'a RawValue, read: impl FnOnce(&mut Fields<'a>) -> T) -> Option<T> {
        let Ok(mut inner) = Fields::parse(raw.get().as_bytes()) else {
            self.bad(name, "must be an object");
            return None;
        };
        let value = read(&mut inner);
        match inner.finish() {
            Ok(()) => Some(value),
            Err(refusal) => {
                for detail in refusal.details {
                    self.bad(format!("{name}.{}", detail.field), detail.message);
                }
                None
            }
        }
    }

    fn read<T: serde::Deserialize<'a>>(&mut self, name: &str, expected: &str) -> Option<T> {
        let raw = self.raw(name)?;
        match serde_json::from_str(raw.get()) {
            Ok(value) => Some(value),
            Err(_) => {
                self.bad(name, format!("must be {expected}"));
                None
            }
        }
    }

    /// A text of so many characters.
    pub(crate) fn text(&mut self, name: &str, length: RangeInclusive<usize>) -> Option<String> {
        let text: Cow<'_, str> = self.read::<Text<'_>>(name, "a string")?.0;
        match text_error(&text, &length) {
            None => Some(text.into_owned()),
            Some(message) => {
                self.bad(name, message);
                None
            }
        }
    }

    /// A text of any length and content: of somebody who cannot be told that it is too long.
    pub(crate) fn told(&mut self, name: &str) -> Option<String> {
        self.read::<Text<'_>>(name, "a string").map(|text| text.0.into_owned())
    }

    /// The same, that must be there and not be empty.
    pub(crate) fn required_told(&mut self, name: &str) -> String {
        let told = self.told(name).unwrap_or_default();
        if told.is_empty() && !self.errors.iter().any(|error| error.field == name) {
            self.bad(name, "is required");
        }
        told
    }

    /// A text that must be there.
    pub(crate) fn required_text(&mut self, name: &str, length: RangeInclusive<usize>) -> String {
        if self.raw(name).is_none() {
            self.bad(name, "is required");
            return String::new();
        }
        self.text(name, length).unwrap_or_default()
    }

    /// A whole number in a range.
    pub(crate) fn integer(&mut self, name: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let raw = self.raw(name)?;
        let (from, to) = (*range.start(), *range.end());
        match serde_json::from_str::<u32>(raw.get()).ok().filter(|n| range.contains(n)) {
            Some(n) => Some(n),
            None => {
                self.bad(name, format!("must be a whole number from {from} to {to}"));
                None
            }
        }
    }

    /// Yes or no.
    pub(crate) fn boolean(&mut self, name: &str) -> Option<bool> {
        self.read(name, "true or false")
    }

    /// One of some words.
    pub(crate) fn one_of<T: FromStr + Copy>(
        &mut self,
        name: &str,
        all: &[T],
        word: fn(T) -> &'static str,
    ) -> Option<T> {
        let expected = all.iter().map(|v| word(*v)).collect::<Vec<_>>().join(", ");
        let text: Cow<'_, str> = self.read::<Text<'_>>(name, &format!("one of {expected}"))?.0;
        match text.parse() {
            Ok(value) => Some(value),
            Err(_) => {
                self.bad(name, format!("must be one of {expected}"));
                None
            }
        }
    }

    /// An RFC 3339 time.
    pub(crate) fn time(&mut self, name: &str) -> Option<Timestamp> {
        let text: Cow<'_, str> = self.read::<Text<'_>>(name, "an RFC 3339 time")?.0;
        match Timestamp::parse_rfc3339(&text) {
            Ok(time) => Some(time),
            Err(_) => {
                self.bad(name, "must be an RFC 3339 time, as 2026-01-31T15:00:00Z");
                None
            }
        }
    }

    /// A list of texts.
    pub(crate) fn texts(
        &mut self,
        name: &str,
        count: RangeInclusive<usize>,
        length: RangeInclusive<usize>,
    ) -> Option<Vec<String>> {
        let Texts(list) = self.read(name, "a list of strings")?;
        if !count.contains(&list.len()) {
            self.bad(name, format!("must have {} to {} entries", count.start(), count.end()));
            return None;
        }
        for (i, text) in list.iter().enumerate().take(MAX_LIST_ERRORS) {
            if let Some(message) = text_error(text, &length) {
                self.bad(format!("{name}[{i}]"), message);
            }
        }
        Some(list)
    }

    /// A long list of contact ids, read without building it.
    pub(crate) fn contact_ids(&mut self, name: &str, max: usize) -> Option<ContactRefs> {
        let raw = self.raw(name)?;
        let mut seed = Ids { refs: ContactRefs::default(), seen: 0, max, bad: Vec::new() };
        let mut json = serde_json::Deserializer::from_str(raw.get());
        match (&mut seed).deserialize(&mut json) {
            Ok(()) => {}
            Err(_) if seed.seen > max => {
                self.bad(name, format!("must have 1 to {max} entries"));
                return None;
            }
            Err(_) => {
                self.bad(name, "must be a list of strings");
                return None;
            }
        }
        let Ids { refs, seen, bad, .. } = seed;
        if seen == 0 {
            self.bad(name, format!("must have 1 to {max} entries"));
        }
        for at in &bad {
            self.bad(format!("{name}[{at}]"), "must be a string that is not empty");
        }
        (seen > 0 && bad.is_empty()).then_some(refs)
    }
}

fn text_error(text: &str, length: &RangeInclusive<usize>) -> Option<String> {
    // Bytes bound characters: most texts need no counting.
    let chars = if text.len() <= *length.end() && text.len() >= *length.start() * 4 {
        text.len()
    } else {
        text.chars().count()
    };
    if !length.contains(&chars) {
        return Some(format!("must have {} to {} characters", length.start(), length.end()));
    }
    text.contains('\0').then(|| "must not have a NUL character".to_owned())
}

/// An object's fields as they came, and the names that came more than once: parsers differ in which of the two they take.
struct Outline<'a> {
    values: HashMap<Cow<'a, str>, &'a RawValue>,
    twice: Vec<Cow<'a, str>>,
}

impl<'de> serde::Deserialize<'de> for Outline<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnObject;
        impl<'de> Visitor<'de> for AnObject {
            type Value = Outline<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut outline = Outline { values: HashMap::new(), twice: Vec::new() };
                while let Some(Text(name)) = map.next_key()? {
                    if outline.values.len() >= MAX_FIELDS {
                        return Err(A::Error::custom(TOO_MANY));
                    }
                    if outline.values.insert(name.clone(), map.next_value()?).is_some()
                        && outline.twice.len() < MAX_LIST_ERRORS
                    {
                        outline.twice.push(name);
                    }
                }
                Ok(outline)
            }
        }
        deserializer.deserialize_map(AnObject)
    }
}

/// What is said of an object with more than [`MAX_FIELDS`] fields.
const TOO_MANY: &str = "has too many fields";

/// A list of strings; of one that is longer than [`MAX_FIELDS`], one more than that is kept to tell it by.
pub(crate) struct Texts(pub(crate) Vec<String>);

impl Texts {
    /// Whether there were more than are kept.
    pub(crate) fn too_many(&self) -> bool {
        self.0.len() > MAX_FIELDS
    }
}

impl<'de> serde::Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AList;
        impl<'de> Visitor<'de> for AList {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of strings")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Texts, A::Error> {
                let mut texts = Texts(Vec::new());
                while !texts.too_many()
                    && let Some(text) = seq.next_element()?
                {
                    texts.0.push(text);
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(texts)
            }
        }
        deserializer.deserialize_seq(AList)
    }
}

/// A string, borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Element::deserialize(deserializer)? {
            Element::Text(text) => Ok(Self(text)),
            Element::Other => Err(D::Error::custom("not a string")),
        }
    }
}

/// An element of a list of strings, or something else.
enum Element<'a> {
    Text(Cow<'a, str>),
    Other,
}

impl<'de> serde::Deserialize<'de> for Element<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyElement;
        impl<'de> Visitor<'de> for AnyElement {
            type Value = Element<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Element::Text(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Element::Text(Cow::Owned(v.to_owned())))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Element::Other)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Element::Other)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Element::Other)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Element::Other)
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Element::Other)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Element::Other)
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Element::Other)
            }
        }
        deserializer.deserialize_any(AnyElement)
    }
}

struct Ids {
    refs: ContactRefs,
    seen: usize,
    max: usize,
    bad: Vec<usize>,
}

impl<'de> DeserializeSeed<'de> for &mut Ids {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut Ids {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(element) = seq.next_element::<Element<'de>>()? {
            match element {
                Element::Text(id) if !id.is_empty() => self.refs.push(&id),
                Element::Text(_) | Element::Other if self.bad.len() < MAX_LIST_ERRORS => self.bad.push(self.seen),
                Element::Text(_) | Element::Other => {}
            }
            self.seen += 1;
            if self.seen > self.max {
                return Err(A::Error::custom("too many"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_field_is_named_at_once() {
        let body =
            br#"{"content": 5, "rate": 0, "when": "soon", "tags": ["a", ""], "ids": ["1", 2, ""], "flag": "yes"}"#;
        let mut fields = Fields::parse(body).expect("an object");
        fields.text("content", 1..=10);
        fields.integer("rate", 1..=10);
        fields.time("when");
        fields.texts("tags", 1..=5, 1..=5);
        fields.contact_ids("ids", 10);
        fields.boolean("flag");
        fields.required_text("missing", 1..=5);
        let refusal = fields.finish().expect_err("refused");
        let named: Vec<_> = refusal.details.iter().map(|d| d.field.as_str()).collect();
        assert_eq!(named, ["content", "rate", "when", "tags[1]", "ids[1]", "ids[2]", "flag", "missing"]);
    }

    #[test]
    fn a_field_is_known_by_being_read() {
        let body = br#"{"scheduledAt": "x", "rate": 5, "dryRun": true, "audience": {"tagAny": ["a"], "all": true},
            "note": null, "ids": [{"kind": "a"}, {"kin": "b"}, 5]}"#;
        let mut fields = Fields::parse(body).expect("an object");
        fields.integer("ratePerMinute", 1..=10);
        fields.time("scheduleAt");
        fields.knows("note");
        assert_eq!(fields.boolean("dryRun"), Some(true));
        let audience = fields.object("audience", |inner| {
            inner.texts("tagsAny", 0..=5, 1..=5);
            inner.boolean("all")
        });
        assert_eq!(audience, None, "what is wrong within it is wrong");
        assert_eq!(fields.objects("ids", 3, |inner| inner.text("kind", 1..=5)), None);
        let refusal = fields.finish().expect_err("refused");
        let named: Vec<_> = refusal.details.iter().map(|d| (d.field.as_str(), d.message.as_str())).collect();
        assert_eq!(
            named,
            [
                ("audience.tagAny", "is not known here; did you mean tagsAny?"),
                ("ids[1].kin", "is not known here; did you mean kind?"),
                ("ids[2]", "must be an object"),
                ("scheduledAt", "is not known here; did you mean scheduleAt?"),
                ("rate", "is not known here; did you mean ratePerMinute?"),
            ]
        );
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_place() {
        for body in [&b""[..], b"[]", b"{", b"{\"a\": 1", b"nonsense", b"\xff", b"{\"a\": \"\\ud800\"}x"] {
            assert!(Fields::parse(body).is_err(), "{body:?}");
        }
        let mut fields = Fields::parse(b"{\"a\": \"\\ud800\", \"b\": \"x\\u0000\"}").expect("an object");
        assert_eq!((fields.text("a", 1..=9), fields.text("b", 1..=9)), (None, None));
        assert_eq!(fields.errors.len(), 2);
    }

    #[test]
    fn a_field_that_is_there_twice_is_refused() {
        let fields = Fields::parse(br#"{"a": 1, "b": 2, "\u0061": 3}"#).expect("an object");
        ["a", "b"].into_iter().for_each(|name| fields.knows(name));
        let refusal = fields.finish().expect_err("refused");
        assert_eq!(refusal.details.iter().map(|d| d.field.as_str()).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn an_object_and_a_list_keep_no_more_than_they_may_have() {
        let body = |n: usize| format!("{{{}\"x\": 1}}", (0..n).map(|i| format!("\"f{i}\": 0, ")).collect::<String>());
        assert!(Fields::parse(body(MAX_FIELDS - 1).as_bytes()).is_ok());
        let refusal = Fields::parse(body(MAX_FIELDS).as_bytes()).err().expect("refused");
        assert!(refusal.message.contains(TOO_MANY), "{refusal}");
        let list = format!("[{}\"\"]", "\"\", ".repeat(1_000_000));
        let texts: Texts = serde_json::from_str(&list).expect("a list");
        assert!(texts.too_many() && texts.0.capacity() <= 2 * MAX_FIELDS);
    }

    #[test]
    fn nesting_costs_no_stack() {
        let deep = |n: usize| format!("{{\"x\": {}1{}}}", "[".repeat(n), "]".repeat(n));
        let body = deep(200_000);
        let mut fields = Fields::parse(body.as_bytes()).expect("an object");
        assert!(fields.contact_ids("x", 10).is_none() && fields.texts("x", 1..=2, 1..=2).is_none());
        assert_eq!(fields.text("x", 1..=2), None);
        assert!(fields.finish().is_err());
    }

    #[test]
    fn a_list_has_its_limit() {
        let mut fields = Fields::parse(br#"{"ids": ["1","2","3"], "none": [], "text": "x"}"#).expect("an object");
        assert!(fields.contact_ids("ids", 2).is_none());
        assert!(fields.contact_ids("none", 2).is_none());
        assert!(fields.contact_ids("text", 2).is_none());
        assert_eq!(fields.errors.len(), 3);
    }
}
