//! Taking a job, and keeping it.

use super::{IS_READY, IS_RUNNING, LEASE, parked};
use crate::db::{self, Dialect};
use crate::ring::{JobKind, Lane};
use crate::time::Timestamp;
use entities::{BatchId, JobId};
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use serde_json::json;

/// A job in the hands of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The row.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// Where it waited.
    pub lane: Lane,
    /// The batch it belongs to.
    pub batch: Option<BatchId>,
    /// The chunk of that batch.
    pub chunk: Option<i64>,
    /// What else it needs to know.
    pub payload: serde_json::Value,
    /// The number of this claim: goes with every write of a result.
    pub fence: i64,
    /// Which claim of this job it is, the first one being 1.
    pub attempts: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it could be claimed.
    pub run_at: Timestamp,
}

/// What became of an attempt to claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is yours until the lease ends.
    Taken(Box<Claimed>),
    /// It is not ready: another worker has it, it is over, or there is no such job. The ring was one too many.
    NotReady,
    /// It sleeps until then. Whoever rang may have a clock that is a little ahead: the ring is due again at that time.
    Early {
        /// When it may be claimed.
        run_at: Timestamp,
    },
    /// Only another release knows it; it waits for one.
    Unknown {
        /// What it does, by that release.
        kind: String,
        /// The version it was written in.
        version: i64,
    },
}

/// Claims a job for `owner`: one conditional update, committed before any effect of the job.
///
/// # Errors
/// The database's; or, once it is claimed, that its row cannot be read: then [`reject`](super::reject) it.
pub async fn claim(conn: &impl ConnectionTrait, now: Timestamp, id: JobId, owner: &str) -> Result<Claim, DbErr> {
    let row = db::one(
        conn,
        format!(
            "UPDATE jobs SET state = 'running', fence = fence + 1, attempts = attempts + 1, lease_owner = $2,
                    lease_until = $3, claimed_at = $4, started_at = coalesce(started_at, $4), payload_version = {}
             WHERE id = $1 AND {IS_READY} AND run_at <= $4 AND {}
             RETURNING id, kind, lane, batch_id, chunk_no, payload, fence, attempts, created_at, run_at",
            // Left as this release leaves it: one that does not read that must not go on with it.
            parked::version(),
            parked::is_known()
        ),
        [id.into(), owner.into(), now.plus(LEASE).0.into(), now.0.into()],
    )
    .await?;
    if let Some(row) = row {
        return Ok(Claim::Taken(Box::new(claimed(&row)?)));
    }
    let sleeping = format!(
        "SELECT kind, payload_version, run_at, ({}) AS known FROM jobs WHERE id = $1 AND {IS_READY}",
        parked::is_known()
    );
    let Some(row) = db::one(conn, sleeping, [id.into()]).await? else { return Ok(Claim::NotReady) };
    if row.try_get::<bool>("", "known")? {
        return Ok(Claim::Early { run_at: Timestamp(row.try_get("", "run_at")?) });
    }
    Ok(Claim::Unknown { kind: row.try_get("", "kind")?, version: row.try_get("", "payload_version")? })
}

fn claimed(row: &QueryResult) -> Result<Claimed, DbErr> {
    let ring = super::enqueue::ring_of(row)?;
    let payload: String = row.try_get("", "payload")?;
    Ok(Claimed {
        id: ring.job.id,
        kind: ring.job.kind,
        lane: ring.lane,
        batch: row.try_get::<Option<i64>>("", "batch_id")?.map(BatchId),
        chunk: row.try_get("", "chunk_no")?,
        payload: serde_json::from_str(&payload).map_err(|e| DbErr::Json(e.to_string()))?,
        fence: row.try_get("", "fence")?,
        attempts: row.try_get("", "attempts")?,
        created_at: Timestamp(row.try_get("", "created_at")?),
        run_at: Timestamp(row.try_get("", "run_at")?),
    })
}

/// Renews the lease of a claimed job and tells whether the claim still stands. The first statement of every
/// transaction that writes a job's results: `false` means that another worker has the job, and nothing may be written.
///
/// # Errors
/// The database's.
pub async fn renew(conn: &impl ConnectionTrait, now: Timestamp, id: JobId, fence: i64) -> Result<bool, DbErr> {
    let sql = format!("UPDATE jobs SET lease_until = $3 WHERE id = $1 AND fence = $2 AND {IS_RUNNING}");
    Ok(db::execute(conn, sql, [id.into(), fence.into(), now.plus(LEASE).0.into()]).await? == 1)
}

/// As [`renew`], for results that bring the job further: that it did is no way of one that kills its process, so
/// crashes and failures are counted anew.
///
/// # Errors
/// The database's.
pub async fn renew_with_progress(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: JobId,
    fence: i64,
) -> Result<bool, DbErr> {
    let sql = format!(
        "UPDATE jobs SET lease_until = $3, crashes = 0, failures = 0, timeouts = 0
         WHERE id = $1 AND fence = $2 AND {IS_RUNNING}"
    );
    Ok(db::execute(conn, sql, [id.into(), fence.into(), now.plus(LEASE).0.into()]).await? == 1)
}

/// Locks a claimed job and tells whether the claim still stands: as [`renew`], the first statement of a transaction whose last
/// one lets the job go, so that its lease need not be written.
///
/// # Errors
/// The database's.
pub async fn hold(conn: &impl ConnectionTrait, id: JobId, fence: i64) -> Result<bool, DbErr> {
    let lock = Dialect::of(conn).for_update();
    let sql = format!("SELECT 1 AS held FROM jobs WHERE id = $1 AND fence = $2 AND {IS_RUNNING}{lock}");
    Ok(db::one(conn, sql, [id.into(), fence.into()]).await?.is_some())
}

/// Renews the leases of all the jobs that a worker is running; returns how many of its claims still stand. Waits for
/// nobody: on PostgreSQL a row that a transaction holds is passed over. It is most likely the worker's own step, which
/// renews the lease itself and before whose end nobody can take the job: [`rescue`](super::rescue) passes it over too.
///
/// # Errors
/// The database's.
pub async fn heartbeat(conn: &impl ConnectionTrait, now: Timestamp, held: &[(JobId, i64)]) -> Result<u64, DbErr> {
    if held.is_empty() {
        return Ok(0);
    }
    let rows: Vec<_> = held.iter().map(|(id, fence)| json!({ "id": id, "fence": fence })).collect();
    let rows = serde_json::Value::from(rows).to_string();
    let dialect = Dialect::of(conn);
    let source = dialect.rows(1, &[("id", "bigint"), ("fence", "bigint")]);
    let among = dialect.among("jobs.id", 1, "id", "bigint");
    let ours = format!("jobs.id = r.id AND jobs.fence = r.fence AND {IS_RUNNING}{among}");
    let sql = match dialect {
        Dialect::Postgres => format!(
            "UPDATE jobs SET lease_until = $2 WHERE id = ANY(ARRAY(
                SELECT jobs.id FROM jobs, {source} WHERE {ours} FOR UPDATE OF jobs SKIP LOCKED))"
        ),
        Dialect::Sqlite => format!("UPDATE jobs SET lease_until = $2 FROM {source} WHERE {ours}"),
    };
    let renewed = db::execute(conn, sql, [rows.clone().into(), now.plus(LEASE).0.into()]).await?;
    if renewed == held.len() as u64 {
        return Ok(renewed);
    }
    let row = db::one(conn, format!("SELECT count(*) AS n FROM jobs, {source} WHERE {ours}"), [rows.into()]).await?;
    row.map_or(Ok(0), |row| row.try_get::<i64>("", "n")).map(|n| u64::try_from(n).unwrap_or(0))
}
