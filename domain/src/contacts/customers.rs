//! Contacts as the CRM knows them: customers, with what was last said and how much is unread.

use crate::db::{self, Dialect, Json};
use crate::time::Timestamp;
use entities::ContactId;
use rand::Rng;
use sea_orm::{ColIdx, ConnectionTrait, DbErr, FromQueryResult, QueryResult, SqlErr, TryGetError, TryGetable, Value};
use serde_json::json;
use uuid::Uuid;

use super::find::Search;
use super::phone::Phone;
use super::{addresses, merge, spelling};

/// The status of a customer that nobody has given one.
pub const NEW: &str = "new";

/// What a contact has beside its own fields: a JSON object, empty where nothing was ever set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes(pub serde_json::Value);

impl TryGetable for Attributes {
    fn try_get_by<I: ColIdx>(row: &QueryResult, column: I) -> Result<Self, TryGetError> {
        let said = Option::<Json<serde_json::Value>>::try_get_by(row, column)?;
        Ok(Self(said.map_or_else(|| json!({}), |Json(value)| value)))
    }
}

/// A customer.
#[derive(Clone, Debug, PartialEq, FromQueryResult)]
pub struct Customer {
    /// Its number.
    pub id: ContactId,
    /// The name.
    pub name: Option<String>,
    /// The phone number, digits without `+`; `None` for one who is known by another address alone.
    pub phone: Option<String>,
    /// What users make of it; [`NEW`] at first.
    pub status: String,
    /// A note.
    pub remark: Option<String>,
    /// The attributes.
    pub attributes: Attributes,
    /// Where the photo is.
    pub photo_url: Option<String>,
    /// Messages from the customer that nobody has read.
    pub unread: i64,
    /// Since when it gets no bulk messages.
    pub suppressed_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A customer in a list.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Summary {
    /// Its number.
    pub id: ContactId,
    /// The name.
    pub name: Option<String>,
    /// The phone number, digits without `+`.
    pub phone: Option<String>,
    /// Where the photo is.
    pub photo_url: Option<String>,
    /// What users make of it.
    pub status: String,
    /// The text of the last message, whoever wrote it.
    pub last_message: Option<String>,
    /// When that was.
    pub last_at: Option<Timestamp>,
    /// Messages from the customer that nobody has read.
    pub unread: i64,
}

/// An address of a customer.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Identity {
    /// `phone`, `bsuid`, `lid`, `jid`, or `wa_id`: the network's own id of a number's account.
    pub kind: String,
    /// The address.
    pub value: String,
}

/// Where a list of summaries goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// Behind this customer, whose last message was at that time.
    Active(Timestamp, ContactId),
    /// Behind this customer, who has no message: they come last, the newest first.
    Quiet(ContactId),
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C> {
    /// The page.
    pub rows: Vec<T>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<C>,
}

const UNREAD: &str =
    "CAST(coalesce((SELECT sum(v.unread) FROM conversations v WHERE v.contact_id = c.id), 0) AS BIGINT) AS unread";

const COLUMNS: &str = "c.id AS id, c.name AS name, c.phone AS phone, c.status AS status, c.remark AS remark,
    c.attributes AS attributes, c.photo_url AS photo_url, c.suppressed_at AS suppressed_at, c.created_at AS created_at,
    c.updated_at AS updated_at";

/// Lists customers by their numbers, from behind `after`, at most `limit`; only those who are looked for.
///
/// # Errors
/// The database's.
pub async fn list(
    conn: &impl ConnectionTrait,
    search: &Search,
    after: Option<ContactId>,
    limit: usize,
) -> Result<Page<Customer, ContactId>, DbErr> {
    let (condition, mut values) = search.ask(conn).await?.condition(2);
    values.insert(0, after.map_or(0, |id| id.0).into());
    let sql = format!(
        "SELECT {COLUMNS}, {UNREAD} FROM contacts c WHERE c.id > $1 AND {condition} ORDER BY c.id LIMIT {}",
        limit + 1
    );
    let rows: Vec<Customer> = db::all_as(conn, sql, values).await?;
    Ok(page(rows, limit, |last| last.id))
}

fn page<T, C>(mut rows: Vec<T>, limit: usize, cursor: impl FnOnce(&T) -> C) -> Page<T, C> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(cursor);
    Page { rows, next }
}

/// Reads a customer, or the one that it was merged into.
///
/// # Errors
/// The database's.
pub async fn get(conn: &impl ConnectionTrait, id: ContactId) -> Result<Option<Customer>, DbErr> {
    let sql = format!("SELECT {COLUMNS}, {UNREAD} FROM contacts c WHERE c.id = $1 AND c.deleted_at IS NULL");
    let found = db::one_as(conn, sql.clone(), [id.into()]).await?;
    if found.is_none()
        && let Some(kept) = merge::survivor(conn, id).await?
    {
        return db::one_as(conn, sql, [kept.into()]).await;
    }
    Ok(found)
}

/// Reads customers by their numbers, in no order; those that are not there are left out.
///
/// # Errors
/// The database's.
pub async fn by_ids(conn: &impl ConnectionTrait, ids: &[ContactId]) -> Result<Vec<Customer>, DbErr> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let (these, numbers) = Dialect::of(conn).one_of_numbers(1, &numbers);
    let sql = format!("SELECT {COLUMNS}, {UNREAD} FROM contacts c WHERE c.id {these} AND c.deleted_at IS NULL");
    db::all_as(conn, sql, [numbers]).await
}

/// The addresses of customers: the phone first, the others as they came.
///
/// # Errors
/// The database's.
pub async fn identities(conn: &impl ConnectionTrait, of: &Customer) -> Result<Vec<Identity>, DbErr> {
    let phone = of.phone.clone().map(|value| Identity { kind: "phone".into(), value });
    let sql =
        "SELECT kind, value FROM contact_identities WHERE contact_id = $1 ORDER BY created_at, kind, value LIMIT 100";
    let others = db::all_as(conn, sql, [of.id.into()]).await?;
    Ok(phone.into_iter().chain(others).collect())
}

/// What a list of summaries shows of a customer `c`, with `last_at` beside it.
const SUMMARY: &str = "c.id AS id, c.name AS name, c.phone AS phone, c.photo_url AS photo_url, c.status AS status,
    (SELECT m.content FROM messages m WHERE m.contact_id = c.id AND m.direction IS NOT NULL ORDER BY m.created_at DESC, m.id DESC
     LIMIT 1) AS last_message";

/// Lists customers by when they last wrote or were written to, the latest first; those without a message come last, the
/// newest first.
///
/// # Errors
/// The database's.
pub async fn summaries(
    conn: &impl ConnectionTrait,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Summary, Cursor>, DbErr> {
    let wanted = limit + 1;
    let mut rows: Vec<Summary> = Vec::new();
    if let None | Some(Cursor::Active(..)) = after {
        let (at, id) = match after {
            Some(Cursor::Active(at, id)) => (at.0, id.0),
            Some(Cursor::Quiet(_)) | None => (i64::MAX, i64::MAX),
        };
        // The page is cut before anything is looked up for its rows.
        let sql = format!(
            "SELECT {SUMMARY}, {UNREAD}, a.last_message_at AS last_at
             FROM (SELECT contact_id, last_message_at FROM contact_activity
                   WHERE (last_message_at, contact_id) < ($1, $2)
                   ORDER BY last_message_at DESC, contact_id DESC LIMIT {wanted}) AS a
             JOIN contacts c ON c.id = a.contact_id
             ORDER BY a.last_message_at DESC, a.contact_id DESC"
        );
        rows = db::all_as(conn, sql, [at.into(), id.into()]).await?;
    }
    if rows.len() < wanted {
        let before = if let Some(Cursor::Quiet(id)) = after { id.0 } else { i64::MAX };
        let sql = format!(
            "SELECT {SUMMARY}, {UNREAD}, CAST(NULL AS BIGINT) AS last_at FROM contacts c
             WHERE c.id < $1 AND c.deleted_at IS NULL
               AND NOT EXISTS (SELECT 1 FROM contact_activity a WHERE a.contact_id = c.id)
             ORDER BY c.id DESC LIMIT {}",
            wanted - rows.len()
        );
        rows.extend(db::all_as::<Summary>(conn, sql, [before.into()]).await?);
    }
    Ok(page(rows, limit, |last| match last.last_at {
        Some(at) => Cursor::Active(at, last.id),
        None => Cursor::Quiet(last.id),
    }))
}

/// A customer to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCustomer<'a> {
    /// The phone number.
    pub phone: Option<&'a Phone>,
    /// The name.
    pub name: Option<&'a str>,
    /// The status.
    pub status: &'a str,
    /// Where it comes from.
    pub source: &'a str,
}

/// Why a customer was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Another has the number.
    #[error("a customer with this phone exists")]
    PhoneTaken,
    /// The database's.
    #[error(transparent)]
    Database(DbErr),
}

impl From<DbErr> for CreateError {
    fn from(error: DbErr) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => Self::PhoneTaken,
            _ => Self::Database(error),
        }
    }
}

/// Makes a customer. A number that is suppressed stays so.
///
/// # Errors
/// See [`CreateError`].
pub async fn create(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    new: &NewCustomer<'_>,
    rng: &mut impl Rng,
) -> Result<Customer, CreateError> {
    let (phone, key) = number_of(new);
    if let Some(key) = &key
        && !addresses::known_by(conn, &[key]).await?.is_empty()
    {
        return Err(CreateError::PhoneTaken);
    }
    let sql = format!(
        "{} RETURNING id, name, phone, status, remark, attributes, photo_url, suppressed_at, created_at, updated_at,
                   CAST(0 AS BIGINT) AS unread",
        insert(conn)
    );
    let values = values(now, new, phone, key, rng);
    Ok(db::one_as(conn, sql, values).await?.ok_or(DbErr::RecordNotInserted)?)
}

/// The same, where another may make it at the same moment: `None`: one with this number is there by now. The transaction goes
/// on either way.
pub(crate) async fn create_unless_there(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    new: &NewCustomer<'_>,
    rng: &mut impl Rng,
) -> Result<Option<ContactId>, DbErr> {
    let (phone, key) = number_of(new);
    let sql = format!("{} ON CONFLICT DO NOTHING RETURNING id", insert(conn));
    db::value(conn, sql, values(now, new, phone, key, rng)).await
}

/// A new customer's number, and its key.
fn number_of(new: &NewCustomer<'_>) -> (Option<String>, Option<String>) {
    let phone = new.phone.map(|phone| phone.as_digits().to_owned());
    let key = phone.as_deref().map(|digits| spelling::key(digits).into_owned());
    (phone, key)
}

fn insert(conn: &impl ConnectionTrait) -> String {
    format!(
        "INSERT INTO contacts (identifier, phone, name, source, status, suppressed_at, created_at, updated_at)
         VALUES ({}, $2, $3, $4, $5,
                 (SELECT created_at FROM suppressions WHERE phone_key = $7 AND ended_at IS NULL), $6, $6)",
        Dialect::of(conn).uuid(1)
    )
}

/// The values of [`insert`].
fn values(
    now: Timestamp,
    new: &NewCustomer<'_>,
    phone: Option<String>,
    key: Option<String>,
    rng: &mut impl Rng,
) -> [Value; 7] {
    [
        identifier(now, rng).to_string().into(),
        phone.into(),
        new.name.map(str::to_owned).into(),
        new.source.into(),
        new.status.into(),
        now.0.into(),
        key.into(),
    ]
}

/// A new identifier: UUIDv7, so that indexes grow at one end.
pub(crate) fn identifier(now: Timestamp, rng: &mut impl Rng) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(u64::try_from(now.0).unwrap_or(0), &rng.random()).into_uuid()
}

/// Sets where a customer's photo is; `false`: nobody has the number.
///
/// # Errors
/// The database's.
pub async fn set_photo(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    phone: &str,
    photo_url: Option<&str>,
) -> Result<Option<ContactId>, DbErr> {
    let sql =
        "UPDATE contacts SET photo_url = $2, updated_at = $3 WHERE phone_key = $1 AND deleted_at IS NULL RETURNING id";
    let values = [spelling::key(phone).into_owned().into(), photo_url.map(str::to_owned).into(), now.0.into()];
    db::value(conn, sql, values).await
}

/// How many customers wrote or were written to since then.
///
/// # Errors
/// The database's.
pub async fn active_since(conn: &impl ConnectionTrait, since: Timestamp) -> Result<i64, DbErr> {
    let sql = "SELECT count(*) FROM contact_activity WHERE last_message_at >= $1";
    Ok(db::value(conn, sql, [since.0.into()]).await?.unwrap_or(0))
}
