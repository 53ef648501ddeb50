//! Whom a batch is for, as it came.

use crate::contacts::tags;
use crate::db::{self, Dialect};
use sea_orm::{ConnectionTrait, DbErr, Value};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use uuid::Uuid;

/// A contact as a request names it. Written into a chunk's data as a JSON number or string.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ContactRef {
    /// A contact's number.
    Number(i64),
    /// A contact's identifier (a UUID, in lower case), or something that names nobody: it becomes a failed item.
    Text(Box<str>),
}

impl ContactRef {
    /// Reads a contact id: the decimal number or the UUID of a contact. Anything else is kept as it came.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if let Ok(id) = text.parse::<entities::ContactId>() {
            return Self::Number(id.0);
        }
        match Uuid::try_parse(text) {
            Ok(uuid) => Self::Text(uuid.hyphenated().to_string().into()),
            // It names nobody: enough of it is kept for a person to recognise it, and nothing that a text column refuses.
            Err(_) => Self::Text(text.chars().take(64).map(|c| if c == '\0' { '\u{fffd}' } else { c }).collect()),
        }
    }
}

impl std::fmt::Display for ContactRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(id) => id.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// The lowest and the highest number among contacts; `None`: some are named by identifier, so it may be anybody.
pub(super) fn between(refs: &[ContactRef]) -> Option<(i64, i64)> {
    let mut between: Option<(i64, i64)> = None;
    for contact in refs {
        match contact {
            ContactRef::Number(id) => {
                let (low, high) = between.unwrap_or((*id, *id));
                between = Some((low.min(*id), high.max(*id)));
            }
            ContactRef::Text(text) if Uuid::try_parse(text).is_ok() => return None,
            // It names nobody.
            ContactRef::Text(_) => {}
        }
    }
    between
}

/// A list of contacts in the order they came, each once. A million take some 40 MiB while it is built.
#[derive(Debug, Default)]
pub struct ContactRefs {
    refs: Vec<ContactRef>,
    numbers: HashSet<i64>,
    texts: HashSet<Box<str>>,
}

impl ContactRefs {
    /// Adds a contact, unless it is there already.
    pub fn push(&mut self, id: &str) {
        self.add(ContactRef::parse(id));
    }

    /// As [`push`](Self::push), of one that was read before.
    pub(super) fn add(&mut self, contact: ContactRef) {
        let new = match &contact {
            ContactRef::Number(n) => self.numbers.insert(*n),
            ContactRef::Text(t) => self.texts.insert(t.clone()),
        };
        if new {
            self.refs.push(contact);
        }
    }

    /// Whether contacts are named by number and by something else: only then may one be in it twice.
    pub(super) fn is_mixed(&self) -> bool {
        !self.numbers.is_empty() && !self.texts.is_empty()
    }

    /// Whether a contact is named by its number.
    pub(super) fn has_number(&self, id: i64) -> bool {
        self.numbers.contains(&id)
    }

    /// Leaves these out.
    pub(super) fn leave_out(&mut self, names: &HashSet<ContactRef>) {
        self.refs.retain(|contact| !names.contains(contact));
        self.texts.retain(|text| !names.contains(&ContactRef::Text(text.clone())));
    }

    /// How many there are, each counted once.
    #[must_use]
    pub fn len(&self) -> usize {
        self.refs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.refs.is_empty()
    }

    /// The contacts in order.
    #[must_use]
    pub fn as_slice(&self) -> &[ContactRef] {
        &self.refs
    }
}

/// Contacts chosen by their tags. All conditions that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Audience {
    /// Everyone; needed when no other condition is given, so that nobody writes to all by leaving something out.
    pub all: bool,
    /// Has at least one of these tags.
    pub tags_any: Vec<String>,
    /// Has every one of these tags.
    pub tags_all: Vec<String>,
    /// Has none of these tags.
    pub tags_none: Vec<String>,
}

impl Audience {
    /// Whether it names no condition at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && self.tags_any.is_empty() && self.tags_all.is_empty() && self.tags_none.is_empty()
    }

    /// The condition on `contacts c` and its parameters, numbered from `first`.
    fn condition(&self, dialect: Dialect, first: usize) -> (String, Vec<Value>) {
        let mut sql = String::from("c.deleted_at IS NULL AND c.phone IS NOT NULL");
        let mut values: Vec<Value> = Vec::new();
        let mut having = |sql: &mut String, word: &str, names: &[String]| {
            let source = dialect.one_of(first + values.len(), "text");
            sql.push_str(&format!(
                " AND {word} (SELECT 1 FROM contact_tags ct JOIN tags t ON t.id = ct.tag_id
                   WHERE ct.contact_id = c.id AND t.name {source})"
            ));
            let names: Vec<String> = names.iter().map(|name| tags::normalise(name)).collect();
            values.push(serde_json::json!(names).to_string().into());
        };
        if !self.tags_any.is_empty() {
            having(&mut sql, "EXISTS", &self.tags_any);
        }
        for tag in &self.tags_all {
            having(&mut sql, "EXISTS", std::slice::from_ref(tag));
        }
        if !self.tags_none.is_empty() {
            having(&mut sql, "NOT EXISTS", &self.tags_none);
        }
        (sql, values)
    }

    /// How many contacts it matches now.
    ///
    /// # Errors
    /// The database's.
    pub async fn count(&self, conn: &impl ConnectionTrait) -> Result<i64, DbErr> {
        let (condition, values) = self.condition(Dialect::of(conn), 1);
        let count = db::value(conn, format!("SELECT count(*) FROM contacts c WHERE {condition}"), values).await?;
        Ok(count.unwrap_or(0))
    }

    /// The next `limit` contacts that it matches, by number from above `after`.
    ///
    /// # Errors
    /// The database's.
    pub async fn page(&self, conn: &impl ConnectionTrait, after: i64, limit: u64) -> Result<Vec<i64>, DbErr> {
        let (condition, mut values) = self.condition(Dialect::of(conn), 2);
        values.insert(0, after.into());
        let sql =
            format!("SELECT c.id AS id FROM contacts c WHERE c.id > $1 AND {condition} ORDER BY c.id LIMIT {limit}");
        db::values(conn, sql, values).await
    }

    /// All contacts that it matches now, at most `most`: for what is done with a list alone.
    ///
    /// # Errors
    /// The database's.
    pub async fn contacts(&self, conn: &impl ConnectionTrait, most: usize) -> Result<ContactRefs, DbErr> {
        let (mut refs, mut after) = (ContactRefs::default(), 0);
        loop {
            let page = self.page(conn, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(refs) };
            after = *last;
            for id in page {
                if refs.len() >= most {
                    return Ok(refs);
                }
                refs.push(&id.to_string());
            }
        }
    }
}

/// How many contacts of an audience are read at once.
const PAGE: u64 = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_count_once_however_they_are_spelt() {
        let mut refs = ContactRefs::default();
        for id in
            ["7", "7", "007", "A2F3E5C0-0000-4000-8000-000000000001", "a2f3e5c0000040008000000000000001", "x", "x"]
        {
            refs.push(id);
        }
        let got: Vec<_> = refs.as_slice().iter().map(ToString::to_string).collect();
        assert_eq!(got, ["7", "007", "a2f3e5c0-0000-4000-8000-000000000001", "x"]);
    }

    #[test]
    fn a_list_says_between_which_numbers_it_is() {
        let refs = |ids: &[&str]| ids.iter().map(|id| ContactRef::parse(id)).collect::<Vec<_>>();
        assert_eq!(between(&refs(&["7", "3", "nobody", "9"])), Some((3, 9)));
        assert_eq!(between(&refs(&["7", "a2f3e5c0-0000-4000-8000-000000000001"])), None);
        assert_eq!(between(&refs(&["nobody"])), None);
    }

    #[test]
    fn a_reference_reads_back_as_it_was_written() {
        let refs = vec![ContactRef::parse("12"), ContactRef::parse("nobody")];
        let text = serde_json::to_string(&refs).expect("json");
        assert_eq!(text, r#"[12,"nobody"]"#);
        assert_eq!(serde_json::from_str::<Vec<ContactRef>>(&text).expect("json"), refs);
    }
}
