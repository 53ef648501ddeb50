//! Countries on the wire.

use super::schema::described;
use domain::contacts::phone::Country;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON};
use serde_json::Value;

/// A country by its two letters of ISO 3166-1; small letters are read too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CountryCode(pub(crate) Country);

fn schema() -> MetaSchemaRef {
    let enum_items = Country::all().map(|country| country.as_str().to_owned().into()).collect();
    MetaSchemaRef::Inline(Box::new(MetaSchema { enum_items, ..MetaSchema::new("string") }))
}

described!(CountryCode, "string_country", schema());

impl ToJSON for CountryCode {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.as_str().into())
    }
}

impl ParseFromJSON for CountryCode {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value.unwrap_or_default() {
            Value::String(text) => Self::parse_from_parameter(&text),
            other => Err(ParseError::expected_type(other)),
        }
    }
}

impl ParseFromParameter for CountryCode {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        text.parse().map(Self).map_err(ParseError::custom)
    }
}
