//! Finding records, and writing them as a file.

use super::Record;
use crate::cells::harmless;
use crate::db;
use crate::time::Timestamp;
use entities::UserId;
use sea_orm::{ConnectionTrait, DbErr, Value};
use std::io;

/// What to look for; all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// What was done: `batch:pause`, or all of one kind of thing, `batch`.
    pub action: Option<String>,
    /// Who did it.
    pub user: Option<UserId>,
    /// With what, by its id: those of one kind only together with `action`.
    pub resource: Option<String>,
    /// From this time on.
    pub after: Option<Timestamp>,
    /// Before this time.
    pub before: Option<Timestamp>,
}

impl Search {
    fn condition(&self, below: i64) -> (String, Vec<Value>) {
        let (mut sql, mut values) = (String::from("id < $1"), vec![Value::from(below)]);
        let mut add = |condition: &str, value: Value| {
            values.push(value);
            sql.push_str(&format!(" AND {condition} ${}", values.len()));
        };
        if let Some(action) = &self.action {
            match action.contains(':') {
                true => add("action =", action.as_str().into()),
                // A name of a kind has no sign that `LIKE` knows.
                false => add("action LIKE", format!("{action}:%").into()),
            }
        }
        if let Some(user) = self.user {
            add("user_id =", user.0.into());
        }
        if let Some(resource) = &self.resource {
            add("resource_id =", resource.as_str().into());
        }
        if let Some(after) = self.after {
            add("created_at >=", after.0.into());
        }
        if let Some(before) = self.before {
            add("created_at <", before.0.into());
        }
        (sql, values)
    }
}

/// The records that match, the newest first: those before the record `below`, at most `limit`.
///
/// # Errors
/// The database's.
pub async fn search(
    conn: &impl ConnectionTrait,
    search: &Search,
    below: Option<i64>,
    limit: usize,
) -> Result<Vec<Record>, DbErr> {
    let (condition, values) = search.condition(below.unwrap_or(i64::MAX));
    let sql = format!("SELECT * FROM audit_logs WHERE {condition} ORDER BY id DESC LIMIT {limit}");
    db::all(conn, sql, values).await?.iter().map(Record::read).collect()
}

/// A page of the records that match, the newest first: `limit` behind the first `offset`.
///
/// # Errors
/// The database's.
pub async fn page(conn: &impl ConnectionTrait, search: &Search, limit: i64, offset: i64) -> Result<Vec<Record>, DbErr> {
    let (condition, values) = search.condition(i64::MAX);
    let sql = format!("SELECT * FROM audit_logs WHERE {condition} ORDER BY id DESC LIMIT {limit} OFFSET {offset}");
    db::all(conn, sql, values).await?.iter().map(Record::read).collect()
}

/// How many records match; counts to `at_most` and no further.
///
/// # Errors
/// The database's.
pub async fn count(conn: &impl ConnectionTrait, search: &Search, at_most: i64) -> Result<i64, DbErr> {
    let (condition, values) = search.condition(i64::MAX);
    let sql = format!(
        "SELECT count(*) AS n FROM (SELECT id FROM audit_logs WHERE {condition} ORDER BY id DESC LIMIT {at_most}) AS those"
    );
    db::one(conn, sql, values).await?.map_or(Ok(0), |row| row.try_get("", "n"))
}

const HEADER: [&str; 9] =
    ["id", "timestamp", "actor", "user_id", "action", "resource_id", "ip_address", "user_agent", "reason"];

/// Records as a part of a CSV file; with the `header`, its beginning.
///
/// # Errors
/// None but the writer's own.
pub fn write_csv(header: bool, records: Vec<Record>) -> io::Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    if header {
        csv.write_record(HEADER)?;
    }
    for record in records {
        csv.write_record([
            record.id.to_string(),
            record.at.to_rfc3339(),
            record.actor,
            record.user.map(|user| user.to_string()).unwrap_or_default(),
            record.action,
            harmless(record.resource_id.unwrap_or_default()),
            harmless(record.ip_address.unwrap_or_default()),
            harmless(record.user_agent.unwrap_or_default()),
            harmless(record.reason.unwrap_or_default()),
        ])?;
    }
    csv.into_inner().map_err(|error| io::Error::other(error.to_string()))
}
