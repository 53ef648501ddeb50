//! A contact's row, before and after its check.

use crate::contacts::phone::{self, Country, Phone, Unmarked, Warning};
use crate::contacts::tags;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The most characters of a name or a source.
const MAX_NAME: usize = 200;
/// The most tags of one row.
const MAX_TAGS: usize = 50;
/// The most attributes of one row,
const MAX_ATTRIBUTES: usize = 50;
/// and the most characters of one's value.
const MAX_ATTRIBUTE: usize = 1_000;

/// The most bytes of a failed row's cells that are kept to be given back.
const MAX_KEPT: usize = 32 * 1024;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanRow {
    /// Its line in the file, or its place in the list, from 1.
    #[serde(rename = "l")]
    pub line: u32,
    /// The normalised number.
    #[serde(rename = "p")]
    pub phone: Phone,
    /// The number as it was written; not kept.
    #[serde(skip)]
    pub input: String,
    /// The country that the number was read as; not kept.
    #[serde(skip)]
    pub country: Option<Country>,
    /// What is odd about the number.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<Warning>,
    /// The name: 1 to 200 characters.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its own tags: at most 50, normalised.
    #[serde(rename = "t", default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Where it comes from.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Further values.
    #[serde(rename = "a", default, skip_serializing_if = "BTreeMap::is_empty")]
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
    /// A stable word for the reason.
    #[serde(rename = "r", default)]
    pub reason: Cow<'static, str>,
    /// What the text names beside, in the order in which it does: for whoever says it in another language.
    #[serde(rename = "v", default, skip_serializing_if = "<[String]>::is_empty")]
    pub values: Box<[String]>,
    /// The number as it was written.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The row's cells as they came, so that it can be mended.
    #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<String>,
}

impl RowError {
    /// A line's reason: a stable word, and a text for people.
    #[must_use]
    pub fn new(line: u32, reason: &'static str, message: impl Into<String>) -> Self {
        let (message, reason) = (message.into(), reason.into());
        Self { line, message, reason, values: Box::default(), input: None, cells: Vec::new() }
    }

    /// With what the text names.
    #[must_use]
    pub fn naming<T: ToString>(mut self, values: impl IntoIterator<Item = T>) -> Self {
        self.values = values.into_iter().map(|value| value.to_string()).collect();
        self
    }

    /// With the row's cells, unless they are too many to be kept.
    #[must_use]
    pub fn with_cells(mut self, cells: Vec<String>) -> Self {
        if cells.iter().map(String::len).sum::<usize>() <= MAX_KEPT {
            self.cells = cells;
        }
        self
    }
}

/// A row of a file with its cells, or why it is none.
pub type FileRow = Result<(ImportRow, Vec<String>), RowError>;

/// Checks a row, keeping its cells where it fails.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check_row(row: FileRow, home: Option<Country>) -> Result<CleanRow, RowError> {
    let (row, cells) = row?;
    validate_row(row, home).map_err(|error| error.with_cells(cells))
}

/// Checks a row and normalises its number; `home` is where a number without a country's code is at home.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn validate_row(row: ImportRow, home: Option<Country>) -> Result<CleanRow, RowError> {
    let line = row.line;
    let input = row.phone;
    let bad = |reason: &'static str, message: String| {
        let input = Some(input.chars().take(64).collect());
        RowError { input, ..RowError::new(line, reason, message) }
    };
    let read = phone::read(&input, Unmarked::ByPeople(home)).map_err(|e| bad(e.code(), e.to_string()))?;
    let text = |what: &str, text: Option<String>| match text.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()) {
        Some(t) if t.chars().count() > MAX_NAME => {
            let error = bad("too_long", format!("the {what} is longer than {MAX_NAME} characters"));
            Err(error.naming([what.to_owned(), MAX_NAME.to_string()]))
        }
        Some(t) if t.contains('\0') => {
            Err(bad("nul_character", format!("the {what} has a NUL character")).naming([what]))
        }
        other => Ok(other),
    };
    let name = text("name", row.name)?;
    let source = text("source", row.source)?;
    let tags = tags::normalise_all(&row.tags);
    if tags.iter().any(|tag| !tags::is_fine(tag)) {
        let most = tags::MAX_TAG;
        let message = format!("a tag is longer than {most} characters or has a NUL character");
        return Err(bad("bad_tag", message).naming([most]));
    }
    if tags.len() > MAX_TAGS {
        return Err(bad("too_many_tags", format!("more than {MAX_TAGS} tags")).naming([MAX_TAGS]));
    }
    if row.attributes.len() > MAX_ATTRIBUTES {
        let message = format!("more than {MAX_ATTRIBUTES} attributes");
        return Err(bad("too_many_attributes", message).naming([MAX_ATTRIBUTES]));
    }
    if row.attributes.values().any(|value| value.chars().count() > MAX_ATTRIBUTE || value.contains('\0')) {
        let message = format!("an attribute is longer than {MAX_ATTRIBUTE} characters or has a NUL character");
        return Err(bad("bad_attribute", message).naming([MAX_ATTRIBUTE]));
    }
    let phone::Reading { phone, country, warning } = read;
    Ok(CleanRow { line, phone, country, warning, name, tags, source, attributes: row.attributes, input })
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
            tags: vec!["VIP".into(), " vip ".into(), "".into(), "new".into()],
            source: Some(" ".into()),
            ..ImportRow::default()
        };
        let clean = validate_row(row, None).expect("clean");
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
            assert_eq!(validate_row(bad, None).expect_err("bad").line, 7);
        }
    }
}
