//! A contact's row, before and after its check.

use crate::contacts::phone::{self, Phone};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most characters of a name or a source.
const MAX_NAME: usize = 200;
/// The most tags of one row,
const MAX_TAGS: usize = 50;
/// and the most characters of one.
const MAX_TAG: usize = 64;
/// The most attributes of one row,
const MAX_ATTRIBUTES: usize = 50;
/// and the most characters of one's value.
const MAX_ATTRIBUTE: usize = 1_000;

/// A row as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRow {
    /// Its line in the file, or its place in the list, from 1.
    #[serde(rename = "l")]
    pub line: u32,
    /// The number as it was written.
    #[serde(rename = "p")]
    pub phone: String,
    /// The name.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its own tags.
    #[serde(rename = "t", default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Where it comes from.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Further values, for templates.
    #[serde(rename = "a", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// A row that may become a contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanRow {
    /// Its line in the file, or its place in the list, from 1.
    pub line: u32,
    /// The normalised number.
    pub phone: Phone,
    /// The name: 1 to 200 characters.
    pub name: Option<String>,
    /// Its own tags: at most 50, each 1 to 64 characters.
    pub tags: Vec<String>,
    /// Where it comes from.
    pub source: Option<String>,
    /// Further values.
    pub attributes: BTreeMap<String, String>,
}

/// Why a line became no contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct RowError {
    /// The line.
    #[serde(rename = "l")]
    pub line: u32,
    /// The reason for people.
    #[serde(rename = "m")]
    pub message: String,
}

/// Checks a row and normalises its number.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn validate_row(row: ImportRow) -> Result<CleanRow, RowError> {
    let line = row.line;
    let bad = |message: String| RowError { line, message };
    let phone = phone::normalise(&row.phone).map_err(|e| bad(e.to_string()))?;
    let text = |what: &str, text: Option<String>| match text.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()) {
        Some(t) if t.chars().count() > MAX_NAME => Err(bad(format!("the {what} is longer than {MAX_NAME} characters"))),
        Some(t) if t.contains('\0') => Err(bad(format!("the {what} has a NUL character"))),
        other => Ok(other),
    };
    let name = text("name", row.name)?;
    let source = text("source", row.source)?;
    let mut tags: Vec<String> = Vec::with_capacity(row.tags.len());
    for tag in row.tags.iter().map(|tag| tag.trim()).filter(|tag| !tag.is_empty()) {
        if tag.chars().count() > MAX_TAG || tag.contains('\0') {
            return Err(bad(format!("a tag is longer than {MAX_TAG} characters or has a NUL character")));
        }
        if !tags.iter().any(|known| known == tag) {
            tags.push(tag.to_owned());
        }
    }
    if tags.len() > MAX_TAGS {
        return Err(bad(format!("more than {MAX_TAGS} tags")));
    }
    if row.attributes.len() > MAX_ATTRIBUTES {
        return Err(bad(format!("more than {MAX_ATTRIBUTES} attributes")));
    }
    if row.attributes.values().any(|value| value.chars().count() > MAX_ATTRIBUTE || value.contains('\0')) {
        return Err(bad(format!("an attribute is longer than {MAX_ATTRIBUTE} characters or has a NUL character")));
    }
    Ok(CleanRow { line, phone, name, tags, source, attributes: row.attributes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_cleaned() {
        let row = ImportRow {
            line: 3,
            phone: "+60 12-345 6789".into(),
            name: Some("  Ann ".into()),
            tags: vec!["vip".into(), " vip ".into(), "".into(), "new".into()],
            source: Some(" ".into()),
            ..ImportRow::default()
        };
        let clean = validate_row(row).expect("clean");
        assert_eq!(clean.phone.as_digits(), "60123456789");
        assert_eq!(clean.name.as_deref(), Some("Ann"));
        assert_eq!(clean.tags, ["vip", "new"]);
        assert_eq!(clean.source, None);
    }

    #[test]
    fn a_bad_row_names_its_line() {
        let row = |phone: &str, name: &str| ImportRow {
            line: 7,
            phone: phone.into(),
            name: Some(name.into()),
            ..ImportRow::default()
        };
        for bad in [row("123", "a"), row("+60123456789", &"x".repeat(201)), row("+60123456789", "a\0b")] {
            assert_eq!(validate_row(bad).expect_err("bad").line, 7);
        }
    }
}
