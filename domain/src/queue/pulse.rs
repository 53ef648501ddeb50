//! Whether something happened in the queue, told from a few ends of its indexes.
//!
//! It is asked several times a second while somebody looks at the queue, so it costs the same whatever is in the ledger:
//! the newest job, the last end, which jobs are at work, which come next, and how many of a few wait for a person.

use crate::db;
use sea_orm::{ConnectionTrait, DbErr};

/// How many jobs of a state are looked at.
const LOOKED_AT: u64 = 200;

/// What two looks compare. What it is made of has no meaning by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse(Vec<i64>);

/// Feels it. Two that differ: something happened in between. Two that are the same: nothing did, but what is far from the
/// ends, such as another time of a job that waits behind the first 200 of its state.
///
/// # Errors
/// The database's.
pub async fn pulse(conn: &impl ConnectionTrait) -> Result<Pulse, DbErr> {
    let some = |state: &str, column: &str, order: &str| {
        format!(
            "(SELECT CAST(count(*) + coalesce(sum({column}), 0) AS BIGINT) FROM (
                SELECT {column} FROM jobs WHERE state = '{state}'{order} LIMIT {LOOKED_AT}) AS {state})"
        )
    };
    let parts = [
        "(SELECT coalesce(max(id), 0) FROM jobs)".to_owned(),
        "(SELECT coalesce(max(finished_at), 0) FROM jobs WHERE finished_at IS NOT NULL)".to_owned(),
        some("running", "id", ""),
        some("ready", "run_at", " ORDER BY run_at"),
        some("dead", "id", " ORDER BY id DESC"),
        some("paused", "id", " ORDER BY id DESC"),
        some("parked", "id", ""),
        "(SELECT CAST(coalesce(max(updated_at), 0) AS BIGINT) FROM senders)".to_owned(),
        "(SELECT CAST(coalesce(sum(circuit_until), 0) AS BIGINT) FROM senders WHERE circuit_until IS NOT NULL)"
            .to_owned(),
        "(SELECT count(*) FROM workers)".to_owned(),
        "(SELECT CAST(coalesce(sum(version + id), 0) AS BIGINT) FROM examinations)".to_owned(),
    ];
    let columns: Vec<String> = parts.iter().enumerate().map(|(at, part)| format!("{part} AS part{at}")).collect();
    let row = db::one(conn, format!("SELECT {}", columns.join(", ")), []).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("the queue's pulse".into()))?;
    (0..parts.len()).map(|at| row.try_get("", &format!("part{at}"))).collect::<Result<Vec<i64>, _>>().map(Pulse)
}
