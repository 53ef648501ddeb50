//! What the paths are asked, read from bodies and queries: every bad field is named.

use super::refusal::{Issue, Refusal};
use poem::Request;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The longest message, in characters: WhatsApp's.
pub(super) const MAX_MESSAGE: usize = 4_096;

/// The longest name of a message.
pub(super) const MAX_ID: usize = 255;

/// How many messages a page shows, at most and when nobody says.
pub(super) const PAGE_MAX: i64 = 1_000;

pub(super) const PAGE: i64 = 100;

/// An object's fields as they came. One is known by being taken; what is left nobody reads.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnObject;
        impl<'de> Visitor<'de> for AnObject {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    fields.push((name, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(AnObject)
    }
}

/// A field's name, borrowed where it has no escapes.
#[derive(Deserialize, PartialEq, Eq)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// How a backend may name a message.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Named {
    Number(i64),
    Text(String),
}

/// What `/send` was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SendAsk {
    pub(super) to: String,
    pub(super) message: String,
    pub(super) id: String,
    pub(super) numeric: bool,
    /// The sender's name; `None`: the default one.
    pub(super) sender: Option<String>,
}

/// Reads a send; every bad field is named.
pub(super) fn read_send(body: &[u8]) -> Result<SendAsk, Refusal> {
    let Ok(Fields(mut fields)) = serde_json::from_slice::<Fields<'_>>(body) else {
        return Err(Refusal::Invalid(vec![Issue::new(&["body"], "must be a JSON object", "json_invalid")]));
    };
    let (mut issues, mut known) = (Vec::new(), Vec::new());
    let mut take = |name: &'static str, required: bool, msg: &'static str, read: &dyn Fn(&str) -> Option<String>| {
        known.push(name);
        let mut raw = fields.extract_if(.., |(field, _)| field == name).map(|(_, raw)| raw);
        let (first, twice) = (raw.next(), raw.next().is_some());
        drop(raw);
        let issue = |msg, kind| Issue::new(&["body", name], msg, kind);
        match first.filter(|raw| raw.get() != "null") {
            // Parsers differ in which of the two they take.
            _ if twice => issues.push(issue("is there twice", "value_error")),
            None if required => issues.push(issue("is required", "missing")),
            None => {}
            Some(raw) => match read(raw.get()) {
                Some(value) => return Some(value),
                None => issues.push(issue(msg, "value_error")),
            },
        }
        None
    };
    let text = |raw: &str| serde_json::from_str::<String>(raw).ok();
    let to = take("to", true, "must be 7 to 15 digits without +", &|raw| text(raw).filter(|to| is_number(to)));
    let message = take("message", true, "must be a text of 1 to 4096 characters", &|raw| {
        text(raw).filter(|message| is_message(message))
    });
    let named = "must be an integer or a text of 1 to 255 visible ASCII characters";
    let numeric = std::cell::Cell::new(false);
    let id = take("backend_message_id", true, named, &|raw| match serde_json::from_str(raw) {
        Ok(Named::Number(number)) => {
            numeric.set(true);
            Some(number.to_string())
        }
        Ok(Named::Text(id)) => Some(id).filter(|id| is_id(id)),
        Err(_) => None,
    });
    let of_sender = "must be a sender's name: 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'";
    let sender = take("sender", false, of_sender, &|raw| text(raw).filter(|name| is_sender(name)));
    issues.extend(fields.iter().take(MAX_UNKNOWN).map(|(name, _)| Issue::unknown("body", name, &known)));
    match (to, message, id) {
        (Some(to), Some(message), Some(id)) if issues.is_empty() => {
            Ok(SendAsk { to, message, id, numeric: numeric.get(), sender })
        }
        _ => Err(Refusal::Invalid(issues)),
    }
}

/// Whether a text can be a sender's name.
pub(crate) fn is_sender(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

pub(crate) fn is_number(to: &str) -> bool {
    (7..=15).contains(&to.len()) && to.bytes().all(|b| b.is_ascii_digit())
}

pub(crate) fn is_message(message: &str) -> bool {
    !message.is_empty() && message.chars().count() <= MAX_MESSAGE && !message.contains('\0')
}

pub(crate) fn is_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

/// The most unknown names that a refusal names.
const MAX_UNKNOWN: usize = 20;

/// The names of [`PageFields`].
pub(super) const PAGE_FIELDS: &[&str] = &["limit", "cursor"];

/// Refuses parameters that nothing reads.
pub(super) fn only(query: &str, known: &[&str]) -> Result<(), Refusal> {
    let names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
    let unknown = names.filter(|name| !known.contains(&name.as_ref())).take(MAX_UNKNOWN);
    let issues: Vec<Issue> = unknown.map(|name| Issue::unknown("query", &name, known)).collect();
    if issues.is_empty() { Ok(()) } else { Err(Refusal::Invalid(issues)) }
}

/// Refuses what a body says where none is read.
pub(super) fn nothing(body: &[u8]) -> Result<(), Refusal> {
    let body = body.trim_ascii();
    if body.is_empty() || body == b"null" {
        return Ok(());
    }
    let issues: Vec<Issue> = match serde_json::from_slice::<Fields<'_>>(body) {
        Ok(Fields(fields)) => {
            fields.iter().take(MAX_UNKNOWN).map(|(name, _)| Issue::unknown("body", name, &[])).collect()
        }
        Err(_) => vec![Issue::new(&["body"], "is not read here", "extra_forbidden")],
    };
    if issues.is_empty() { Ok(()) } else { Err(Refusal::Invalid(issues)) }
}

/// A page's place and size, as they came.
#[derive(Deserialize)]
pub(super) struct PageFields {
    limit: Option<String>,
    cursor: Option<String>,
}

/// What page is asked for: after which place, and how many; every bad field is named.
pub(super) fn read_page(request: &Request) -> Result<(i64, i64), Refusal> {
    let issue = |loc: &[&'static str], msg| Issue::new(loc, msg, "value_error");
    let fields: PageFields = request
        .params()
        .map_err(|_| Refusal::Invalid(vec![issue(&["query"], "must have limit and cursor once at most")]))?;
    let number = |field: Option<String>, usual| field.map_or(Some(usual), |text| text.parse::<i64>().ok());
    let cursor = number(fields.cursor, 0);
    let limit = number(fields.limit, PAGE).filter(|limit| (1..=PAGE_MAX).contains(limit));
    let bad_limit = limit.is_none().then(|| issue(&["query", "limit"], "must be an integer from 1 to 1000"));
    let bad_cursor = cursor.is_none().then(|| issue(&["query", "cursor"], "must be an integer"));
    match (cursor, limit) {
        (Some(cursor), Some(limit)) => Ok((cursor, limit)),
        _ => Err(Refusal::Invalid(bad_limit.into_iter().chain(bad_cursor).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(body: &str) -> Vec<String> {
        match read_send(body.as_bytes()) {
            Err(Refusal::Invalid(issues)) => {
                issues.iter().filter_map(|issue| issue.loc.last()).map(ToString::to_string).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_bad_field_of_a_send_is_named() {
        assert_eq!(bad("{}"), ["to", "message", "backend_message_id"]);
        assert_eq!(bad("[]"), ["body"]);
        assert_eq!(bad("nothing"), ["body"]);
        assert_eq!(bad("[\"60123456789\", \"Hi\", 1]"), ["body"]);
        let long = "x".repeat(4_097);
        for (to, message, id) in [
            ("\"+60123456789\"", "\"\"", "\"\""),
            ("\"123456\"", "7", "1.5"),
            ("\"1234567890123456\"", "null", "\"a b\""),
            ("60123456789", &format!("\"{long}\""), "[1]"),
            ("\"6012345678\\u0000\"", "\"a\\u0000\"", "\"\u{e9}\""),
        ] {
            let body = format!("{{\"to\": {to}, \"message\": {message}, \"backend_message_id\": {id}}}");
            assert_eq!(bad(&body), ["to", "message", "backend_message_id"], "{body}");
        }
    }

    #[test]
    fn what_nothing_reads_is_refused_with_the_known_name() {
        let body =
            r#"{"to": "60123456789", "massage": "Hi", "message": "Hi", "backend_message_id": 1, "to": "x", "zz": 1}"#;
        let Err(Refusal::Invalid(issues)) = read_send(body.as_bytes()) else { panic!("taken") };
        let said: Vec<_> = issues.iter().map(|issue| (issue.loc.join("."), issue.msg.as_ref(), issue.kind)).collect();
        let of = |loc: &str, msg, kind| (loc.to_owned(), msg, kind);
        assert_eq!(
            said,
            [
                of("body.to", "is there twice", "value_error"),
                of("body.massage", "is not known here; did you mean message?", "extra_forbidden"),
                of(
                    "body.zz",
                    "is not known here; known are to, message, backend_message_id, sender",
                    "extra_forbidden"
                ),
            ]
        );
        assert!(only("limit=1&cursor=2", PAGE_FIELDS).is_ok() && only("", &[]).is_ok());
        let Err(Refusal::Invalid(issues)) = only("limits=1&x=2", PAGE_FIELDS) else { panic!("taken") };
        let places: Vec<_> = issues.iter().map(|issue| issue.loc.join(".")).collect();
        assert_eq!(places, ["query.limits", "query.x"]);
        assert!(nothing(b"").is_ok() && nothing(b" {} ").is_ok() && nothing(b"null").is_ok());
        assert!(nothing(b"{\"x\": 1}").is_err() && nothing(b"[]").is_err() && nothing(b"x=1").is_err());
    }

    #[test]
    fn a_message_is_named_by_a_number_or_a_text() {
        let read = |id: &str| {
            let body =
                format!("{{\"to\": \"60123456789\", \"message\": \"Hi \u{1f600}\", \"backend_message_id\": {id}}}");
            read_send(body.as_bytes()).map(|ask| (ask.id, ask.numeric)).expect("taken")
        };
        assert_eq!(read("17"), ("17".into(), true));
        assert_eq!(read("\"17\""), ("17".into(), false));
    }

    #[test]
    fn every_bad_field_of_a_page_is_named() {
        let read = |query: &str| {
            let uri = format!("/sim/messages{query}").parse().expect("an address");
            read_page(&Request::builder().uri(uri).finish())
        };
        let bad = |query: &str| match read(query) {
            Err(Refusal::Invalid(issues)) => issues.into_iter().map(|issue| issue.loc).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(read("").expect("a page"), (0, 100));
        assert_eq!(read("?limit=1000&cursor=-7").expect("a page"), (-7, 1_000));
        assert_eq!(bad("?limit=1001"), [["query", "limit"]]);
        assert_eq!(bad("?limit=&cursor=x"), [["query", "limit"], ["query", "cursor"]]);
        assert_eq!(bad("?cursor=9223372036854775808"), [["query", "cursor"]]);
        assert_eq!(bad("?limit=1&limit=2"), [["query"]]);
    }
}
