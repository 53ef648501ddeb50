//! Making a job, in the transaction of the business rows it belongs to.

use crate::db::{self, Dialect};
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

/// Writes the jobs and returns the rings of those that may run now. The others are rung by the scheduler at their time.
///
/// # Errors
/// The database's.
pub async fn enqueue(conn: &impl ConnectionTrait, now: Timestamp, jobs: &[NewJob]) -> Result<Vec<Ring>, DbErr> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<_> = jobs
        .iter()
        .map(|job| {
            json!({
                "kind": job.kind, "version": job.kind.version(), "lane": job.lane, "batch_id": job.batch, "chunk_no": job.chunk,
                "payload": job.payload.to_string(), "run_at": job.run_at,
                "rung_at": (job.run_at <= now).then_some(now),
            })
        })
        .collect();
    let source = Dialect::of(conn).rows(
        1,
        &[
            ("kind", "text"),
            ("version", "bigint"),
            ("lane", "text"),
            ("batch_id", "bigint"),
            ("chunk_no", "bigint"),
            ("payload", "text"),
            ("run_at", "bigint"),
            ("rung_at", "bigint"),
        ],
    );
    let sql = format!(
        "INSERT INTO jobs (kind, lane, state, batch_id, chunk_no, payload_version, payload, run_at, rung_at, created_at)
         SELECT kind, lane, 'ready', batch_id, chunk_no, version, payload, run_at, rung_at, $2 FROM {source} WHERE TRUE
         RETURNING id, kind, lane, run_at"
    );
    let inserted = db::all(conn, sql, [serde_json::Value::from(rows).to_string().into(), now.0.into()]).await?;
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
