//! What the queue looks like: for gauges and the operators' eyes.

use crate::db;
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr};
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

/// A worker's jobs at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtWork {
    /// The worker, by the name in its jobs' leases.
    pub owner: String,
    /// How many jobs it works on.
    pub jobs: i64,
    /// When its last sign of life was; `None`: it shares its database with no other and says nothing.
    pub seen_at: Option<Timestamp>,
}

/// The workers that have said lately that they are there, or that work on something: by name, at most `limit`.
///
/// # Errors
/// The database's.
pub async fn at_work(conn: &impl ConnectionTrait, limit: u64) -> Result<Vec<AtWork>, DbErr> {
    let sql = format!(
        "SELECT o.owner AS owner, w.seen_at AS seen_at,
                (SELECT count(*) FROM jobs j WHERE j.state = 'running' AND j.lease_owner = o.owner) AS jobs
         FROM (SELECT owner FROM workers
               UNION SELECT lease_owner AS owner FROM jobs WHERE state = 'running' AND lease_owner IS NOT NULL) AS o
         LEFT JOIN workers w ON w.owner = o.owner ORDER BY o.owner LIMIT {limit}"
    );
    let rows = db::all(conn, sql, []).await?;
    rows.iter()
        .map(|row| {
            Ok(AtWork {
                owner: row.try_get("", "owner")?,
                jobs: row.try_get("", "jobs")?,
                seen_at: row.try_get::<Option<i64>>("", "seen_at")?.map(Timestamp),
            })
        })
        .collect()
}

/// Counts the jobs that are not over.
///
/// # Errors
/// The database's.
pub async fn depths(conn: &impl ConnectionTrait, now: Timestamp) -> Result<Vec<Depth>, DbErr> {
    let rows = db::all(
        conn,
        "SELECT lane, kind, state, count(*) AS jobs, min(run_at) AS oldest FROM jobs
         WHERE state = 'ready' OR state = 'running' OR state = 'parked' OR state = 'dead' GROUP BY lane, kind, state",
        [],
    )
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Depth {
                lane: row.try_get("", "lane")?,
                kind: row.try_get("", "kind")?,
                state: row.try_get("", "state")?,
                jobs: row.try_get("", "jobs")?,
                oldest: now.since(Timestamp(row.try_get("", "oldest")?)),
            })
        })
        .collect()
}
