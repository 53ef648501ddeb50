//! Making a job, in the transaction of the business rows it belongs to.

use crate::db::{self, Dialect, Set};
use crate::ring::{JobKind, JobRef, Lane, Ring};
use crate::time::Timestamp;
use entities::{BatchId, JobId};
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::json;

/// A job to be made: what [`of`](Self::of) makes, with what is to be otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// What it does.
    pub kind: JobKind,
    /// Where it waits.
    pub lane: Lane,
    /// The batch it belongs to.
    pub batch: Option<BatchId>,
    /// The chunk of that batch.
    pub chunk: Option<i64>,
    /// What else it needs to know: a JSON object.
    pub payload: serde_json::Value,
    /// From when on it may run.
    pub run_at: Timestamp,
}

impl NewJob {
    /// A job of this kind, in its lane, that belongs to nothing and need know nothing else.
    #[must_use]
    pub fn of(kind: JobKind, run_at: Timestamp) -> Self {
        Self { kind, lane: kind.lane(), batch: None, chunk: None, payload: json!({}), run_at }
    }
}

/// Writes the jobs, at most some hundreds, and returns the rings of those that may run now. The others are rung by the scheduler
/// at their time.
///
/// # Errors
/// The database's.
pub async fn enqueue(conn: &impl ConnectionTrait, now: Timestamp, jobs: &[NewJob]) -> Result<Vec<Ring>, DbErr> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let rung = |job: &NewJob| (job.run_at <= now).then_some(now.0);
    let (source, mut values) = Set::default()
        .texts("kind", jobs.iter().map(|job| Some(job.kind.as_str())))
        .ints("version", jobs.iter().map(|job| Some(job.kind.version())))
        .texts("lane", jobs.iter().map(|job| Some(job.lane.as_str())))
        .ints("batch_id", jobs.iter().map(|job| job.batch.map(|batch| batch.0)))
        .ints("chunk_no", jobs.iter().map(|job| job.chunk))
        .texts("payload", jobs.iter().map(|job| Some(job.payload.to_string())))
        .ints("run_at", jobs.iter().map(|job| Some(job.run_at.0)))
        .ints("rung_at", jobs.iter().map(rung))
        .into_source(Dialect::of(conn));
    let at = values.len() + 1;
    values.push(now.0.into());
    let sql = format!(
        "INSERT INTO jobs (kind, lane, state, batch_id, chunk_no, payload_version, payload, run_at, rung_at, created_at)
         SELECT kind, lane, 'ready', batch_id, chunk_no, version, payload, run_at, rung_at, ${at} FROM {source} WHERE TRUE
         RETURNING id, kind, lane, run_at"
    );
    let inserted = db::all(conn, sql, values).await?;
    let mut rings = Vec::with_capacity(inserted.len());
    for row in inserted {
        if row.try_get::<i64>("", "run_at")? <= now.0 {
            rings.push(ring_of(&row)?);
        }
    }
    Ok(rings)
}

/// Reads the columns `id`, `kind` and `lane` of a job's row as its ring.
pub(crate) fn ring_of(row: &sea_orm::QueryResult) -> Result<Ring, DbErr> {
    let name = |column: &str| row.try_get::<String>("", column);
    let unknown = |e: crate::ring::UnknownName| DbErr::Type(e.to_string());
    Ok(Ring {
        lane: name("lane")?.parse().map_err(unknown)?,
        job: JobRef { kind: name("kind")?.parse().map_err(unknown)?, id: JobId(row.try_get("", "id")?) },
    })
}
