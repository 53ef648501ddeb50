//! What the queue looks like: for gauges and the operators' eyes.

use crate::db;
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use std::time::Duration;

/// The jobs of one lane and kind in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depth {
    /// The lane's name.
    pub lane: String,
    /// The kind's name; a later build may know more kinds than this one.
    pub kind: String,
    /// `ready`, `running`, `parked` or `dead`.
    pub state: String,
    /// How many.
    pub jobs: i64,
    /// How long the oldest of them could have been claimed already; zero where none could.
    pub oldest: Duration,
}

/// Counts the jobs that are not over.
///
/// # Errors
/// The database's.
pub async fn depths(conn: &impl ConnectionTrait, now: Timestamp) -> Result<Vec<Depth>, DbErr> {
    let sql = "SELECT lane, kind, state, count(*) AS jobs, min(run_at) AS since FROM jobs
               WHERE state = 'ready' OR state = 'running' OR state = 'parked' OR state = 'dead'
               GROUP BY lane, kind, state";
    let depth = |Group { lane, kind, state, jobs, since }| Depth { lane, kind, state, jobs, oldest: now.since(since) };
    Ok(db::all_as(conn, sql, []).await?.into_iter().map(depth).collect())
}

#[derive(FromQueryResult)]
struct Group {
    lane: String,
    kind: String,
    state: String,
    jobs: i64,
    since: Timestamp,
}
