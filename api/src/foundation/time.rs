//! Times on the wire.

use super::schema::{described, formatted};
use domain::Timestamp;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON};
use serde_json::Value;

/// A time as every contract writes it: RFC 3339 in UTC with milliseconds and `Z`. Any offset is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Timestamp);

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

/// A date, which is its midnight in UTC, or a [`Time`]: where a range begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DateOrTime(pub(crate) Timestamp);

described!(Time, "string_date-time", formatted("date-time"));
described!(
    DateOrTime,
    "string_date-or-date-time",
    MetaSchemaRef::Inline(Box::new(MetaSchema {
        any_of: vec![formatted("date"), formatted("date-time")],
        ..MetaSchema::ANY
    }))
);

impl ToJSON for Time {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.to_rfc3339().into())
    }
}

impl ParseFromJSON for Time {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value.unwrap_or_default() {
            Value::String(text) => Ok(Self(Timestamp::parse_rfc3339(&text).map_err(ParseError::custom)?)),
            other => Err(ParseError::expected_type(other)),
        }
    }
}

impl ParseFromParameter for DateOrTime {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        let midnight = (text.len() == 10).then(|| format!("{text}T00:00:00Z"));
        let whole = midnight.as_deref().unwrap_or(text);
        Ok(Self(Timestamp::parse_rfc3339(whole).map_err(ParseError::custom)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_its_midnight() {
        let read = |text: &str| DateOrTime::parse_from_parameter(text).ok().map(|at| at.0.to_rfc3339());
        assert_eq!(read("2025-10-01").as_deref(), Some("2025-10-01T00:00:00.000Z"));
        assert_eq!(read("2025-10-01T02:00:00+02:00").as_deref(), Some("2025-10-01T00:00:00.000Z"));
        for bad in ["", "yesterday!", "2025-13-01", "2025-10-01T02:00:00"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
