//! Finding a person: by the number in any spelling, by the name, by a tag.
//!
//! A whole number is looked up by its key. What is no whole number, or nobody's, is looked for as a part of the numbers: people
//! write numbers as they call them at home, without the country's code. A name is looked for as a part of the names, however
//! its letters are written; the databases differ in which letters' cases they know, so four ways of writing it are tried.
//!
//! Attributes have no index: an import would pay for one with each value. They are looked for among the next [`WINDOW`] contacts of
//! whom the rest holds, and a page that found fewer than it may says so and where to go on.

use super::{phone, spelling};
use crate::db::{self, Dialect};
use crate::time::Timestamp;
use entities::ContactId;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Value};
use serde_json::json;
use std::collections::HashMap;
use uuid::Uuid;

use super::customers::Attributes;

/// How few digits are a part of a number: fewer are in nearly all of them.
pub const MIN_DIGITS: usize = 4;

/// What to look for. All that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// A number in any spelling, or a part of one; or a part of a name.
    pub text: Option<String>,
    /// A number in any spelling, or a part of one.
    pub phone: Option<String>,
    /// A tag's name.
    pub tag: Option<String>,
    /// Attributes, each with its value; in small or capital letters of English.
    pub attributes: Vec<(String, String)>,
}

/// Among how many contacts attributes are looked for at once.
pub const WINDOW: u64 = 5_000;

/// The most attributes that are looked for.
pub const MAX_ATTRIBUTES: usize = 5;

impl Search {
    /// Whether it looks for nothing: everybody is found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The digits of what may be a number or a part of one; `None`: it is something else.
#[must_use]
pub fn digits_of(text: &str) -> Option<String> {
    let around = |c: char| c.is_whitespace() || "+-()./\u{2010}\u{2011}\u{2012}\u{2013}".contains(c);
    if !text.chars().all(|c| c.is_ascii_digit() || around(c)) {
        return None;
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    (digits.len() >= MIN_DIGITS).then_some(digits)
}

/// How a number is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Number {
    /// It is this one.
    Whole(String),
    /// These digits are in it.
    Part(String),
}

/// A search that is ready to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PreparedSearch {
    numbers: Vec<Number>,
    name: Option<String>,
    tag: Option<String>,
}

impl Search {
    /// Finds out what is meant. A whole number that somebody has means them; otherwise its digits are a part of one.
    pub(crate) async fn ask(&self, conn: &impl ConnectionTrait) -> Result<PreparedSearch, DbErr> {
        let mut asked = PreparedSearch { tag: self.tag.clone(), ..PreparedSearch::default() };
        for text in [&self.phone, &self.text].into_iter().flatten() {
            match digits_of(text) {
                Some(digits) => asked.numbers.push(number(conn, text, digits).await?),
                None => asked.name = Some(text.clone()),
            }
        }
        Ok(asked)
    }
}

async fn number(conn: &impl ConnectionTrait, text: &str, digits: String) -> Result<Number, DbErr> {
    let whole = phone::normalise(text).map(|phone| spelling::key(phone.as_digits()).into_owned());
    let written = spelling::key(&digits).into_owned();
    for key in whole.into_iter().chain([written]) {
        if db::one(conn, format!("SELECT 1 AS one FROM ({HAS_KEY}) AS h LIMIT 1"), [key.as_str().into()])
            .await?
            .is_some()
        {
            return Ok(Number::Whole(key));
        }
    }
    // A zero before a national number is not in the international one.
    let part = digits.trim_start_matches('0');
    Ok(Number::Part(if part.len() < MIN_DIGITS { digits } else { part.to_owned() }))
}

/// The contacts that have the number with the key `$1`.
const HAS_KEY: &str = "SELECT id FROM contacts WHERE phone_key = $1
    UNION ALL SELECT contact_id AS id FROM contact_identities WHERE phone_key = $1";

/// Ways in which the letters of a name may be written.
fn ways_of_writing(name: &str) -> Vec<String> {
    let mut title = String::with_capacity(name.len());
    let mut begins = true;
    for c in name.chars() {
        if begins {
            title.extend(c.to_uppercase())
        } else {
            title.extend(c.to_lowercase())
        }
        begins = !c.is_alphanumeric();
    }
    let mut ways = vec![name.to_owned(), name.to_lowercase(), name.to_uppercase(), title];
    ways.dedup();
    ways
}

impl PreparedSearch {
    /// The condition on `contacts c` and its parameters, numbered from `first`.
    pub(crate) fn condition(&self, first: usize) -> (String, Vec<Value>) {
        let mut sql = String::from("c.deleted_at IS NULL");
        let mut values: Vec<Value> = Vec::new();
        let mut bind = |value: String| {
            values.push(value.into());
            format!("${}", first + values.len() - 1)
        };
        for number in &self.numbers {
            match number {
                Number::Whole(key) => {
                    let has_key = HAS_KEY.replace("$1", &bind(key.clone()));
                    sql.push_str(&format!(" AND c.id IN ({has_key})"));
                }
                Number::Part(digits) => {
                    let like = bind(db::part(digits));
                    sql.push_str(&format!(" AND (c.phone LIKE {like} OR c.phone_key LIKE {like})"));
                }
            }
        }
        if let Some(name) = &self.name {
            let lower = bind(db::part(&name.to_lowercase()));
            let mut ways = vec![format!("lower(c.name) LIKE {lower} ESCAPE '\\'")];
            ways.extend(
                ways_of_writing(name).iter().map(|way| format!("c.name LIKE {} ESCAPE '\\'", bind(db::part(way)))),
            );
            sql.push_str(&format!(" AND ({})", ways.join(" OR ")));
        }
        if let Some(tag) = &self.tag {
            let tag = bind(tag.trim().to_owned());
            sql.push_str(&format!(
                " AND c.id IN (SELECT contact_id FROM contact_tags WHERE tag_id IN (
                    SELECT id FROM tags WHERE name = {tag} OR lower(name) = lower({tag})))"
            ));
        }
        (sql, values)
    }
}

/// A contact, as it is found.
#[derive(Clone, Debug, PartialEq, FromQueryResult)]
pub struct Contact {
    /// Its number.
    pub id: ContactId,
    /// Its identifier.
    pub identifier: String,
    /// The name.
    pub name: Option<String>,
    /// The phone number: digits without `+`.
    pub phone: Option<String>,
    /// Where it comes from.
    pub source: Option<String>,
    /// The attributes.
    pub attributes: Attributes,
    /// The tags, in their order.
    #[sea_orm(skip)]
    pub tags: Vec<String>,
    /// Since when it gets no bulk messages.
    pub suppressed_at: Option<Timestamp>,
    /// When it last wrote or was written to.
    pub last_message_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

const COLUMNS: &str = "c.id AS id, CAST(c.identifier AS TEXT) AS identifier, c.name AS name, c.phone AS phone,
    c.source AS source, c.attributes AS attributes, c.suppressed_at AS suppressed_at, c.created_at AS created_at,
    c.updated_at AS updated_at,
    (SELECT a.last_message_at FROM contact_activity a WHERE a.contact_id = c.id) AS last_message_at";

/// Contacts that were found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// They.
    pub rows: Vec<Contact>,
    /// Where to go on; `None`: there are no more.
    pub next: Option<ContactId>,
    /// Whether there may be fewer than could be shown, because no more contacts were looked at: going on finds the others.
    pub partial: bool,
}

/// Finds contacts, by their numbers from behind `after`, at most `limit`. With attributes, at most [`WINDOW`] are looked at.
///
/// # Errors
/// The database's.
pub async fn find(conn: &impl ConnectionTrait, search: &Search, after: i64, limit: usize) -> Result<Found, DbErr> {
    let (condition, mut values) = search.ask(conn).await?.condition(2);
    values.insert(0, after.into());
    let mut window_end: Option<ContactId> = None;
    let sql = match attributes(Dialect::of(conn), search, &mut values) {
        None => {
            format!(
                "SELECT {COLUMNS} FROM contacts c WHERE c.id > $1 AND {condition} ORDER BY c.id LIMIT {}",
                limit + 1
            )
        }
        Some(of_attributes) => {
            let bound = values.len() - 2 * search.attributes.len();
            let these = format!("SELECT c.id FROM contacts c WHERE c.id > $1 AND {condition} ORDER BY c.id");
            let sql = format!("{these} LIMIT 1 OFFSET {}", WINDOW - 1);
            window_end = db::value(conn, sql, values[..bound].to_vec()).await?;
            format!(
                "SELECT {COLUMNS} FROM (SELECT * FROM contacts WHERE id IN ({these} LIMIT {WINDOW})) c WHERE {of_attributes}
                 ORDER BY c.id LIMIT {}",
                limit + 1
            )
        }
    };
    let mut rows: Vec<Contact> = db::all_as(conn, sql, values).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    tagged(conn, &mut rows).await?;
    let last = rows.last().filter(|_| more).map(|last| last.id);
    Ok(Found { partial: !more && window_end.is_some(), next: last.or(window_end), rows })
}

/// The condition on the attributes of `c`, and its parameters behind those that there are; `None`: none is looked for.
fn attributes(dialect: Dialect, search: &Search, values: &mut Vec<Value>) -> Option<String> {
    let each = match dialect {
        Dialect::Postgres => "json_each_text(CAST(c.attributes AS json)) AS a(key, value)",
        Dialect::Sqlite => "json_each(c.attributes) AS a",
    };
    let mut parts = Vec::new();
    for (name, value) in &search.attributes {
        values.extend([Value::from(name.to_lowercase()), Value::from(value.to_lowercase())]);
        let at = values.len();
        parts.push(format!(
            "EXISTS (SELECT 1 FROM {each} WHERE lower(a.key) = ${} AND lower(CAST(a.value AS TEXT)) = ${at})",
            at - 1
        ));
    }
    let has = (!parts.is_empty()).then(|| parts.join(" AND "))?;
    Some(format!("c.attributes IS NOT NULL AND {has}"))
}

/// The number of a contact that is named by its number or its identifier, or of the one that it was merged into. `None`: there is
/// none.
///
/// # Errors
/// The database's.
pub async fn resolve(conn: &impl ConnectionTrait, named: &str) -> Result<Option<ContactId>, DbErr> {
    let (condition, value): (String, Value) = match (named.parse::<ContactId>(), Uuid::try_parse(named)) {
        (Ok(id), _) => ("c.id = $1".into(), id.into()),
        (Err(_), Ok(uuid)) => {
            (format!("c.identifier = {}", Dialect::of(conn).uuid(1)), uuid.hyphenated().to_string().into())
        }
        (Err(_), Err(_)) => return Ok(None),
    };
    let sql = format!(
        "SELECT k.id AS id FROM contacts c LEFT JOIN contact_merges m ON m.from_id = c.id
         JOIN contacts k ON k.id = coalesce(m.into_id, c.id) AND k.deleted_at IS NULL WHERE {condition}"
    );
    db::value(conn, sql, [value]).await
}

/// Reads a contact.
///
/// # Errors
/// The database's.
pub async fn get(conn: &impl ConnectionTrait, id: ContactId) -> Result<Option<Contact>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM contacts c WHERE c.id = $1 AND c.deleted_at IS NULL");
    let mut found: Option<Contact> = db::one_as(conn, sql, [id.into()]).await?;
    tagged(conn, found.as_mut_slice()).await?;
    Ok(found)
}

async fn tagged(conn: &impl ConnectionTrait, contacts: &mut [Contact]) -> Result<(), DbErr> {
    if contacts.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = contacts.iter().map(|contact| contact.id.0).collect();
    let sql = format!(
        "SELECT ct.contact_id AS contact_id, t.name AS name FROM contact_tags ct JOIN tags t ON t.id = ct.tag_id
         WHERE ct.contact_id {} ORDER BY t.name",
        Dialect::of(conn).one_of(1, "bigint")
    );
    let mut tags: HashMap<i64, Vec<String>> = HashMap::new();
    for (contact, tag) in db::values(conn, sql, [json!(ids).to_string().into()]).await? {
        tags.entry(contact).or_default().push(tag);
    }
    for contact in contacts {
        contact.tags = tags.remove(&contact.id.0).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_a_number_and_anything_else_a_name() {
        for (text, digits) in [
            ("+60 12-345 6789", Some("60123456789")),
            ("012 345", Some("012345")),
            ("(11) 98765\u{2011}4321", Some("11987654321")),
            ("123", None),
            ("Ann", None),
            ("Ann 2345678", None),
            ("", None),
        ] {
            assert_eq!(digits_of(text).as_deref(), digits, "{text}");
        }
    }

    #[test]
    fn a_part_is_looked_for_as_it_is() {
        assert_eq!(db::part("100%_\\"), "%100\\%\\_\\\\%");
        assert_eq!(ways_of_writing("zoë LEE"), ["zoë LEE", "zoë lee", "ZOË LEE", "Zoë Lee"]);
    }
}
