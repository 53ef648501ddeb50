//! What happens to jobs that nobody looks after: all of it idempotent, by any number of processes at once.

use super::enqueue::ring_of;
use super::{IS_READY, IS_RUNNING, MAX_CRASHES, SWEEP_GRACE};
use crate::Step;
use crate::batches::chunks;
use crate::db::{self, Dialect};
use crate::messages::deliver;
use crate::ring::{JobRef, Lane, Ring};
use crate::time::Timestamp;
use entities::{BatchId, JobId};
use sea_orm::{ConnectionTrait, DbErr};

/// Whether a [`sweep`] would find anything.
///
/// # Errors
/// The database's.
pub async fn any_due(conn: &impl ConnectionTrait, now: Timestamp) -> Result<bool, DbErr> {
    let sql =
        "SELECT id FROM jobs WHERE state = 'ready' AND run_at <= $1 AND (rung_at IS NULL OR rung_at <= $2) LIMIT 1";
    Ok(db::one(conn, sql, [now.0.into(), now.minus(SWEEP_GRACE).0.into()]).await?.is_some())
}

/// Jobs whose time has come and whose ring was never promised, or was promised over [`SWEEP_GRACE`] ago and did not
/// lead to a claim. Marks them as rung. The second number is how many had been promised: rings lost, or late because
/// all workers of the lane are busy.
///
/// # Errors
/// The database's.
pub async fn sweep(conn: &impl ConnectionTrait, now: Timestamp, limit: u64) -> Result<(Vec<Ring>, usize), DbErr> {
    let skip = Dialect::of(conn).for_update_skip_locked();
    let grace = now.minus(SWEEP_GRACE).0;
    let rows = db::all(
        conn,
        format!(
            "SELECT id, kind, lane, rung_at FROM jobs
             WHERE state = 'ready' AND run_at <= $1 AND (rung_at IS NULL OR rung_at <= $2)
             ORDER BY run_at LIMIT {limit}{skip}"
        ),
        [now.0.into(), grace.into()],
    )
    .await?;
    if rows.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let mut rings = Vec::with_capacity(rows.len());
    let mut promised = 0;
    for row in &rows {
        // A job of a kind that a later build brought is not ours to ring.
        if let Ok(ring) = ring_of(row) {
            promised += usize::from(row.try_get::<Option<i64>>("", "rung_at")?.is_some());
            rings.push(ring);
        }
    }
    let ids: Vec<i64> = rings.iter().map(|r| r.job.id.0).collect();
    let source = Dialect::of(conn).one_of(1, "bigint");
    db::execute(
        conn,
        format!("UPDATE jobs SET rung_at = $2 WHERE {IS_READY} AND id {source}"),
        [serde_json::json!(ids).to_string().into(), now.0.into()],
    )
    .await?;
    Ok((rings, promised))
}

/// The jobs of a lane that could be claimed now, the oldest first: how a worker finds work while the queue is away.
///
/// # Errors
/// The database's.
pub async fn due(conn: &impl ConnectionTrait, now: Timestamp, lane: Lane, limit: u64) -> Result<Vec<JobRef>, DbErr> {
    let rows = db::all(
        conn,
        format!(
            "SELECT id, kind, lane FROM jobs WHERE state = 'ready' AND run_at <= $1 AND lane = $2 ORDER BY run_at LIMIT {limit}"
        ),
        [now.0.into(), lane.as_str().into()],
    )
    .await?;
    Ok(rows.iter().filter_map(|row| ring_of(row).ok()).map(|ring| ring.job).collect())
}

/// What a rescue did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rescued {
    /// Jobs that are ready again.
    pub ready: usize,
    /// Jobs that took their process down too often and are dead now.
    pub dead: usize,
    /// There may be others: a transaction gives up one job at most, since that writes what was left of its chunk.
    pub more: bool,
}

/// Takes back the jobs whose lease ran out: their worker died, hangs or lost the database. Each is ready again. One whose
/// worker is not there any more was perhaps what killed it: after [`MAX_CRASHES`] times in a row it is dead with its
/// reason, and what was left of its chunk has failed.
///
/// # Errors
/// The database's.
pub async fn rescue(conn: &impl ConnectionTrait, now: Timestamp, limit: u64) -> Result<Step<Rescued>, DbErr> {
    let skip = Dialect::of(conn).for_update_skip_locked();
    let rows = db::all(
        conn,
        format!(
            "SELECT id, kind, lane, batch_id, chunk_no, crashes, payload,
                    EXISTS (SELECT 1 FROM workers WHERE owner = jobs.lease_owner) AS worker_is_there FROM jobs
             WHERE state = 'running' AND lease_until < $1 ORDER BY lease_until LIMIT {limit}{skip}"
        ),
        [now.0.into()],
    )
    .await?;
    let mut step: Step<Rescued> = Step::quiet(Rescued::default());
    for row in rows {
        let id = JobId(row.try_get("", "id")?);
        let crashed = !row.try_get::<bool>("", "worker_is_there")?;
        let crashes = row.try_get::<i64>("", "crashes")? + i64::from(crashed);
        let dead = crashed && crashes >= MAX_CRASHES;
        let error = match crashed {
            true => format!("its worker died while it ran, {crashes} times in a row"),
            false => "its lease ended: the worker could not write a result".into(),
        };
        let written = db::execute(
            conn,
            format!(
                "UPDATE jobs SET state = $2, crashes = $3, run_at = $4, rung_at = $4, error = $5, lease_owner = NULL,
                        lease_until = NULL, finished_at = $6
                 WHERE id = $1 AND {IS_RUNNING} AND lease_until < $4"
            ),
            [
                id.into(),
                (if dead { "dead" } else { "ready" }).into(),
                crashes.into(),
                now.0.into(),
                error.clone().into(),
                dead.then_some(now.0).into(),
            ],
        )
        .await?;
        if written == 0 {
            continue;
        }
        if !dead {
            step.value.ready += 1;
            step.rings.extend(ring_of(&row).ok());
            continue;
        }
        step.value.dead += 1;
        deliver::bury_row(conn, &row, &error).await?;
        let batch = row.try_get::<Option<i64>>("", "batch_id")?.map(BatchId);
        let chunk = row.try_get::<Option<i64>>("", "chunk_no")?;
        if let Some(batch) = batch {
            let buried = chunks::bury(conn, now, batch, chunk, &error).await?;
            step.rings.extend(buried.rings);
            step.events.extend(buried.events);
        }
        step.value.more = true;
        break;
    }
    Ok(step)
}

/// Deletes up to `limit` jobs that ended before `before`; returns how many. Dead ones stay until a person has seen to
/// them.
///
/// # Errors
/// The database's.
pub async fn prune(conn: &impl ConnectionTrait, before: Timestamp, limit: u64) -> Result<u64, DbErr> {
    let which = "finished_at IS NOT NULL AND finished_at < $1 AND state <> 'dead'";
    let some = Dialect::of(conn).some_of("jobs", "id", which, limit);
    db::execute(conn, format!("DELETE FROM jobs WHERE {some}"), [before.0.into()]).await
}
