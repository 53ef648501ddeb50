//! Finding records, and writing them as a file.

use super::{Record, latest};
use crate::cells::harmless;
use crate::time::Timestamp;
use entities::{UserId, audit_logs};
use sea_orm::sea_query::{Expr, Query};
use sea_orm::{ColumnTrait, Condition, ConnectionTrait, DbErr, QueryFilter, QuerySelect, QueryTrait};
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
    fn condition(&self) -> Condition {
        use audit_logs::Column;
        let action = self.action.as_deref().map(|action| match action.contains(':') {
            true => Column::Action.eq(action),
            // A name of a kind has no sign that `LIKE` knows.
            false => Column::Action.like(format!("{action}:%")),
        });
        Condition::all()
            .add_option(action)
            .add_option(self.user.map(|user| Column::UserId.eq(user)))
            .add_option(self.resource.as_deref().map(|resource| Column::ResourceId.eq(resource)))
            .add_option(self.after.map(|after| Column::CreatedAt.gte(after)))
            .add_option(self.before.map(|before| Column::CreatedAt.lt(before)))
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
    latest(below).filter(search.condition()).limit(limit as u64).into_partial_model().all(conn).await
}

/// A page of the records that match, the newest first: `limit` behind the first `offset`.
///
/// # Errors
/// The database's.
pub async fn page(conn: &impl ConnectionTrait, search: &Search, limit: i64, offset: i64) -> Result<Vec<Record>, DbErr> {
    let [limit, offset] = [limit, offset].map(|n| u64::try_from(n).unwrap_or(0));
    latest(None).filter(search.condition()).limit(limit).offset(offset).into_partial_model().all(conn).await
}

/// How many records match; counts to `at_most` and no further.
///
/// # Errors
/// The database's.
pub async fn count(conn: &impl ConnectionTrait, search: &Search, at_most: i64) -> Result<i64, DbErr> {
    let those = latest(None).filter(search.condition()).limit(u64::try_from(at_most).unwrap_or(0));
    let those = those.select_only().column(audit_logs::Column::Id).into_query();
    let count = Query::select().expr(Expr::cust("count(*)")).from_subquery(those, "those").to_owned();
    let row = conn.query_one(&count).await?;
    row.map_or(Ok(0), |row| row.try_get_by_index(0))
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
