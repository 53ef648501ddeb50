//! Jobs that only another release knows: of a kind or in a lane that it brought, or in a version of the payload that this
//! one cannot read. A release that was rolled back leaves them.

use super::enqueue::ring_of;
use super::{IS_READY, SWEEP_GRACE};
use crate::db::{self, Dialect};
use crate::ring::{JobKind, Lane, Ring};
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};

/// How many jobs are parked at once: a transaction that others do not wait long for.
const PARKED_AT_ONCE: u64 = 2_000;

fn list(names: impl Iterator<Item = &'static str>) -> String {
    names.map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}

/// The condition that this release knows a job.
pub(super) fn is_known() -> String {
    let kinds = list(JobKind::ALL.iter().copied().map(JobKind::as_str));
    let lanes = list(Lane::ALL.into_iter().map(Lane::as_str));
    format!("kind IN ({kinds}) AND lane IN ({lanes}) AND payload_version <= {}", version())
}

/// The version of a job's kind, by the column `kind`.
pub(super) fn version() -> String {
    let later = JobKind::ALL.iter().filter(|kind| kind.version() > 1);
    let cases: String = later.map(|kind| format!("WHEN '{kind}' THEN {} ", kind.version())).collect();
    format!("(CASE kind {cases}ELSE 1 END)")
}

/// Parks jobs that are due and that this release does not know; returns how many. Not before [`SWEEP_GRACE`] after they
/// were rung: in the middle of an upgrade there are processes that know them.
pub(super) async fn park(conn: &impl ConnectionTrait, now: Timestamp) -> Result<usize, DbErr> {
    let skip = Dialect::of(conn).for_update_skip_locked();
    let sql = format!(
        "UPDATE jobs SET state = 'parked', rung_at = NULL WHERE {IS_READY} AND id IN (
            SELECT id FROM jobs WHERE state = 'ready' AND run_at <= $1 AND (rung_at IS NULL OR rung_at <= $2)
               AND run_at <= $2 AND NOT ({}) ORDER BY run_at LIMIT {PARKED_AT_ONCE}{skip})",
        is_known()
    );
    let parked = db::execute(conn, sql, [now.0.into(), now.minus(SWEEP_GRACE).0.into()]).await?;
    Ok(usize::try_from(parked).unwrap_or(usize::MAX))
}

/// Whether [`unpark`] would find anything: nearly always not, and this takes no lock.
///
/// # Errors
/// The database's.
pub async fn any_known(conn: &impl ConnectionTrait) -> Result<bool, DbErr> {
    let sql = format!("SELECT id FROM jobs WHERE state = 'parked' AND {} LIMIT 1", is_known());
    Ok(db::one(conn, sql, []).await?.is_some())
}

/// Lets parked jobs go on that this release knows, up to `limit` of them.
///
/// # Errors
/// The database's.
pub async fn unpark(conn: &impl ConnectionTrait, now: Timestamp, limit: u64) -> Result<Vec<Ring>, DbErr> {
    let skip = Dialect::of(conn).for_update_skip_locked();
    let sql = format!(
        "UPDATE jobs SET state = 'ready', rung_at = $1 WHERE state = 'parked' AND id IN (
            SELECT id FROM jobs WHERE state = 'parked' AND {} LIMIT {limit}{skip})
         RETURNING id, kind, lane",
        is_known()
    );
    db::all(conn, sql, [now.0.into()]).await?.iter().map(ring_of).collect()
}

/// Jobs that this release does not know, of one kind, lane and version.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Unknown {
    /// The kind's name.
    pub kind: String,
    /// The lane's name.
    pub lane: String,
    /// The version that their payloads were written in.
    #[sea_orm(alias = "payload_version")]
    pub version: i64,
    /// How many.
    pub jobs: i64,
    /// Since when the oldest of them could have run.
    pub since: Timestamp,
}

/// How many jobs of each state [`unknown_among`] looks at.
pub const LOOKED_AT: u64 = 10_000;

/// The jobs that this release does not know and that are not over, parked or not yet; at most `limit` kinds of them. Reads
/// every job that is not over.
///
/// # Errors
/// The database's.
pub async fn unknown(conn: &impl ConnectionTrait, limit: u64) -> Result<Vec<Unknown>, DbErr> {
    let open = "jobs WHERE state IN ('ready', 'running', 'paused', 'parked')".to_owned();
    grouped(conn, &open, limit).await
}

/// The same of the first [`LOOKED_AT`] jobs in each state: for pages, which cost the same whatever is in the ledger. Those
/// that are due are parked within seconds, so what it leaves out is due later.
///
/// # Errors
/// The database's.
pub async fn unknown_among(conn: &impl ConnectionTrait, limit: u64) -> Result<Vec<Unknown>, DbErr> {
    let some = |(state, order): (&str, &str)| {
        format!(
            "SELECT * FROM (SELECT kind, lane, payload_version, run_at FROM jobs WHERE state = '{state}' ORDER BY {order}
                            LIMIT {LOOKED_AT}) AS {state}"
        )
    };
    let states =
        [("ready", "run_at"), ("running", "lease_until"), ("paused", "id"), ("parked", "kind, payload_version")];
    let some = states.map(some).join(" UNION ALL ");
    grouped(conn, &format!("({some}) AS looked_at WHERE TRUE"), limit).await
}

async fn grouped(conn: &impl ConnectionTrait, among: &str, limit: u64) -> Result<Vec<Unknown>, DbErr> {
    let sql = format!(
        "SELECT kind, lane, payload_version, count(*) AS jobs, min(run_at) AS since FROM {among} AND NOT ({})
         GROUP BY kind, lane, payload_version ORDER BY kind, lane, payload_version LIMIT {limit}",
        is_known()
    );
    db::all_as(conn, sql, []).await
}
