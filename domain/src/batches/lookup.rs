//! Looking contacts up as requests name them: by number, by identifier, or as one that was merged into another.

use super::recipients::{ContactRef, ContactRefs};
use crate::contacts::customers::Attributes;
use crate::contacts::merge;
use crate::db::{self, Dialect};
use crate::time::Timestamp;
use entities::ContactId;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, QueryResult};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// How many names one statement looks up.
const LOOKED_UP: usize = 1_000;

/// Which contacts are found, and what becomes of their rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup {
    /// What is read of each, `id` among it.
    pub(super) columns: &'static str,
    /// Whether those who were deleted are found too.
    pub(super) deleted: bool,
    /// Whether one that was merged into another is that one. Its own row is a deleted one: not to be asked for along with those.
    pub(super) merged: bool,
    /// Whether the rows are locked.
    pub(super) locked: bool,
}

impl Lookup {
    /// Looks contacts up, and reads what is found. Those who are not in the answer do not exist.
    pub(super) async fn find_as<'a, T: Clone + FromQueryResult>(
        self,
        conn: &impl ConnectionTrait,
        refs: impl Iterator<Item = &'a ContactRef> + Clone,
    ) -> Result<HashMap<ContactRef, T>, DbErr> {
        self.find(conn, refs, |row| T::from_query_result(row, "")).await
    }

    /// The same, read by a function.
    pub(super) async fn find<'a, T: Clone>(
        self,
        conn: &impl ConnectionTrait,
        refs: impl Iterator<Item = &'a ContactRef> + Clone,
        read: impl Fn(&QueryResult) -> Result<T, DbErr>,
    ) -> Result<HashMap<ContactRef, T>, DbErr> {
        let (numbers, identifiers) = names(refs.clone());
        let mut found = HashMap::with_capacity(numbers.len() + identifiers.len());
        for row in self.numbered(conn, &numbers).await? {
            found.insert(ContactRef::Number(Numbered::from_query_result(&row, "")?.id), read(&row)?);
        }
        for row in self.identified(conn, &identifiers).await? {
            let Identified { identifier } = Identified::from_query_result(&row, "")?;
            found.insert(ContactRef::Text(identifier.into()), read(&row)?);
        }
        if !self.merged {
            return Ok(found);
        }
        let missing = refs.filter(|contact| !found.contains_key(*contact));
        let moved = where_they_went(conn, missing).await?;
        let ids: Vec<i64> = moved.iter().map(|(_, kept)| *kept).collect();
        let rows = self.numbered(conn, &ids).await?;
        let kept = rows.iter().map(|row| Ok((Numbered::from_query_result(row, "")?.id, read(row)?)));
        let kept = kept.collect::<Result<HashMap<_, _>, DbErr>>()?;
        found.extend(moved.into_iter().filter_map(|(contact, id)| Some((contact, kept.get(&id)?.clone()))));
        Ok(found)
    }

    /// Those with one of these numbers.
    async fn numbered(self, conn: &impl ConnectionTrait, numbers: &[i64]) -> Result<Vec<QueryResult>, DbErr> {
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let dialect = Dialect::of(conn);
        let (these, values) = dialect.one_of_numbers(1, numbers);
        db::all(conn, self.select(dialect, "", &format!("id {these}")), [values]).await
    }

    /// Those with one of these identifiers, each with its own.
    async fn identified(self, conn: &impl ConnectionTrait, identifiers: &[&str]) -> Result<Vec<QueryResult>, DbErr> {
        if identifiers.is_empty() {
            return Ok(Vec::new());
        }
        let dialect = Dialect::of(conn);
        let (told, these) = (", CAST(identifier AS TEXT) AS identifier", dialect.one_of(1, "uuid"));
        let sql = self.select(dialect, told, &format!("identifier {these}"));
        db::all(conn, sql, [json!(identifiers).to_string().into()]).await
    }

    fn select(self, dialect: Dialect, told: &str, condition: &str) -> String {
        let there = if self.deleted { "" } else { "deleted_at IS NULL AND " };
        // Locked in the order of their numbers, so that two chunks over the same contacts cannot wait for each other.
        let tail = if self.locked { format!(" ORDER BY id{}", dialect.for_update()) } else { String::new() };
        format!("SELECT {}{told} FROM contacts WHERE {there}{condition}{tail}", self.columns)
    }
}

/// A contact by its number.
#[derive(Clone, FromQueryResult)]
pub(super) struct Numbered {
    pub(super) id: i64,
}

/// A contact by its identifier.
#[derive(FromQueryResult)]
struct Identified {
    identifier: String,
}

/// The numbers and the identifiers among names. What is neither names nobody.
fn names<'a>(refs: impl Iterator<Item = &'a ContactRef>) -> (Vec<i64>, Vec<&'a str>) {
    let (mut numbers, mut identifiers) = (Vec::new(), Vec::new());
    for contact in refs {
        match contact {
            ContactRef::Number(id) => numbers.push(*id),
            ContactRef::Text(text) if Uuid::try_parse(text).is_ok() => identifiers.push(&**text),
            ContactRef::Text(_) => {}
        }
    }
    (numbers, identifiers)
}

/// Where contacts went that were merged into others: the others' numbers.
async fn where_they_went<'a>(
    conn: &impl ConnectionTrait,
    missing: impl Iterator<Item = &'a ContactRef>,
) -> Result<Vec<(ContactRef, i64)>, DbErr> {
    let (numbers, identifiers) = names(missing);
    let moved = merge::moved(conn, &numbers, &identifiers).await?;
    let by_number = moved.numbers.into_iter().map(|(from, into)| (ContactRef::Number(from), into));
    let by_identifier = moved.identifiers.into_iter().map(|(from, into)| (ContactRef::Text(from.into()), into));
    Ok(by_number.chain(by_identifier).collect())
}

/// A contact that a batch writes to.
#[derive(Clone, Debug)]
pub(crate) struct Recipient {
    pub(crate) id: ContactId,
    /// Empty: it has none.
    pub(crate) phone: String,
    pub(crate) name: Option<String>,
    pub(crate) attributes: Value,
    /// Wants no bulk messages.
    pub(crate) suppressed: bool,
}

/// The same as a row.
#[derive(Clone, FromQueryResult)]
pub(crate) struct RecipientRow {
    id: ContactId,
    phone: Option<String>,
    name: Option<String>,
    attributes: Attributes,
    suppressed_at: Option<Timestamp>,
}

impl From<RecipientRow> for Recipient {
    fn from(row: RecipientRow) -> Self {
        Self {
            id: row.id,
            phone: row.phone.unwrap_or_default(),
            name: row.name,
            attributes: row.attributes.0,
            suppressed: row.suppressed_at.is_some(),
        }
    }
}

/// The code and the reason of an item whose recipient is there and has no number.
pub(crate) const NO_NUMBER: (&str, &str) = ("contact_has_no_number", "the contact has no phone number");

/// The code and the reason of an item whose recipient has another item of the batch: they were two contacts when it was made.
pub(crate) const TWICE: (&str, &str) = ("duplicate", "the contact is in the batch already: two contacts were merged");

/// The code and the reason of an item whose recipient wants no bulk messages.
pub(crate) const SUPPRESSED: (&str, &str) = ("suppressed", "the recipient has opted out");

/// What a claim makes of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is written to.
    Write,
    /// It is skipped: the contact has opted out.
    Suppressed,
    /// It fails: the contact has no number.
    NoNumber,
    /// It fails: there is no such contact.
    NoContact,
}

impl Fate {
    /// What becomes of one that was looked up. Of one whose message may have left (`in_doubt`) it is asked once more, under the
    /// same id, whatever the contact wants by now: that tells.
    pub(crate) fn of(found: Option<&Recipient>, in_doubt: bool) -> Self {
        match found {
            None => Self::NoContact,
            Some(recipient) if recipient.suppressed && !in_doubt => Self::Suppressed,
            Some(recipient) if recipient.phone.is_empty() => Self::NoNumber,
            Some(_) => Self::Write,
        }
    }
}

/// Reads a contact's row as a recipient.
pub(crate) fn recipient(row: &QueryResult) -> Result<Recipient, DbErr> {
    RecipientRow::from_query_result(row, "").map(Recipient::from)
}

/// Looks up those whom a batch writes to. One that was merged into another is that one.
pub(crate) async fn resolve<'a>(
    conn: &impl ConnectionTrait,
    refs: impl Iterator<Item = &'a ContactRef> + Clone,
) -> Result<HashMap<ContactRef, Recipient>, DbErr> {
    let columns = "id, phone, name, attributes, suppressed_at";
    let lookup = Lookup { columns, deleted: false, merged: true, locked: false };
    let found = lookup.find_as::<RecipientRow>(conn, refs).await?;
    Ok(found.into_iter().map(|(name, row)| (name, row.into())).collect())
}

impl ContactRefs {
    /// Leaves out who is named by identifier and by number: each counts once.
    ///
    /// # Errors
    /// The database's.
    pub async fn each_once(&mut self, conn: &impl ConnectionTrait) -> Result<(), DbErr> {
        if !self.is_mixed() {
            return Ok(());
        }
        let texts: Vec<&ContactRef> =
            self.as_slice().iter().filter(|contact| matches!(contact, ContactRef::Text(_))).collect();
        let lookup = Lookup { columns: "id", deleted: true, merged: false, locked: false };
        let mut twice = HashSet::new();
        for some in texts.chunks(LOOKED_UP) {
            let found = lookup.find_as::<Numbered>(conn, some.iter().copied()).await?;
            twice.extend(found.into_iter().filter(|(_, found)| self.has_number(found.id)).map(|(name, _)| name));
        }
        self.leave_out(&twice);
        Ok(())
    }
}
