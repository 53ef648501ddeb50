//! Parameters of a query that are read together, so that all bad ones are named at once.

use super::refusal::FieldError;
use super::schema::{described, patterned};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromParameter, ParseResult, Type};
use std::borrow::Cow;
use std::ops::Deref;

/// A parameter as the document describes it, kept as it came until [`Params`] reads it.
#[derive(Clone, Debug)]
pub(crate) struct Lenient<T> {
    /// `None`: it came empty, which is as if it had not come.
    parsed: Result<Option<T>, String>,
}

/// Whether a parameter may come empty, as a form's unfilled field does: what is not a number or a yes or no.
fn may_be_empty(schema: &MetaSchemaRef) -> bool {
    match schema {
        MetaSchemaRef::Inline(schema) => !matches!(schema.ty, "integer" | "boolean"),
        MetaSchemaRef::Reference(_) => true,
    }
}

/// Whether the schema has room for an empty text as it is; validators say how long it may be.
fn is_any_text(schema: &MetaSchemaRef) -> bool {
    matches!(schema, MetaSchemaRef::Inline(schema) if schema.ty == "string" && schema.format.is_none())
}

impl<T: Type> Type for Lenient<T> {
    const IS_REQUIRED: bool = true;
    // For the validators: they describe the parameter in the document; `Params` checks it.
    type RawValueType = T::RawValueType;
    type RawElementValueType = T::RawElementValueType;

    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        let schema = T::schema_ref();
        if !may_be_empty(&schema) || is_any_text(&schema) {
            return schema;
        }
        let empty = MetaSchema { enum_items: vec!["".into()], ..MetaSchema::new("string") };
        let any_of = vec![schema, MetaSchemaRef::Inline(Box::new(empty))];
        MetaSchemaRef::Inline(Box::new(MetaSchema { any_of, ..MetaSchema::ANY }))
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn as_raw_value(&self) -> Option<&Self::RawValueType> {
        None
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self::RawElementValueType> + 'a> {
        Box::new(std::iter::empty())
    }
}

impl<T: ParseFromParameter> ParseFromParameter for Lenient<T> {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        if value.is_empty() && may_be_empty(&T::schema_ref()) {
            return Ok(Self { parsed: Ok(None) });
        }
        Ok(Self { parsed: T::parse_from_parameter(value).map(Some).map_err(|error| error.into_message()) })
    }
}

/// A row's number in a path. What is no number names no row, which is for the route to say.
#[derive(Clone, Debug)]
pub(crate) struct PathId(String);

impl Deref for PathId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

described!(PathId, "string_id", patterned("^[1-9][0-9]{0,18}$"));

impl ParseFromParameter for PathId {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        Ok(Self(value.to_owned()))
    }
}

/// What names a form, in a path. What is no such name names nothing, which is for the route to say.
#[derive(Clone, Debug)]
pub(crate) struct FormKey(String);

impl Deref for FormKey {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

described!(FormKey, "string_form_key", patterned("^[0-9a-f]{32}$"));

impl ParseFromParameter for FormKey {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        Ok(Self(value.to_owned()))
    }
}

/// A place in a list, from 0, in a path. What is no number is no place, which is for the route to say.
#[derive(Clone, Debug)]
pub(crate) struct Seq(String);

impl Deref for Seq {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

described!(Seq, "string_seq", patterned("^(0|[1-9][0-9]{0,17})$"));

impl ParseFromParameter for Seq {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        Ok(Self(value.to_owned()))
    }
}

/// Reads parameters, collecting every error.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pub(crate) errors: Vec<FieldError>,
}

impl Params {
    /// A parameter's value, if it came and could be read.
    pub(crate) fn read<T>(&mut self, name: &str, param: Option<Lenient<T>>, expected: &str) -> Option<T> {
        match param?.parsed {
            Ok(value) => value,
            Err(_) => {
                self.bad(name, format!("must be {expected}"));
                None
            }
        }
    }

    /// A number in a range, or its default.
    pub(crate) fn number(&mut self, name: &str, param: Option<Lenient<i64>>, from: i64, to: i64, default: i64) -> i64 {
        self.number_if_given(name, param, from, to).unwrap_or(default)
    }

    /// A number in a range, if it came.
    pub(crate) fn number_if_given(
        &mut self,
        name: &str,
        param: Option<Lenient<i64>>,
        from: i64,
        to: i64,
    ) -> Option<i64> {
        let expected = format!("a whole number from {from} to {to}");
        let number = self.read(name, param, &expected)?;
        if (from..=to).contains(&number) {
            return Some(number);
        }
        self.bad(name, format!("must be {expected}"));
        None
    }

    pub(crate) fn bad(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push(FieldError { field: name.to_owned(), message: message.into() });
    }
}
