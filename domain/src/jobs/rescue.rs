//! What happens to jobs that nobody looks after: all of it idempotent, by any number of processes at once.

use super::bury::{self, Bury, Dead};
use super::enqueue::ring_of;
use super::history::{self, Trouble};
use super::{IS_READY, IS_RUNNING, MAX_CRASHES, SWEEP_GRACE, parked};
use crate::Step;
use crate::db::{self, Dialect};
use crate::ring::{JobRef, Lane, Ring};
use crate::time::Timestamp;
use entities::JobId;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};

/// Whether a [`sweep`] would find anything.
///
/// # Errors
/// The database's.
pub async fn any_due(conn: &impl ConnectionTrait, now: Timestamp) -> Result<bool, DbErr> {
    let sql =
        "SELECT id FROM jobs WHERE state = 'ready' AND run_at <= $1 AND (rung_at IS NULL OR rung_at <= $2) LIMIT 1";
    Ok(db::one(conn, sql, [now.0.into(), now.minus(SWEEP_GRACE).0.into()]).await?.is_some())
}

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// To be rung.
    pub rings: Vec<Ring>,
    /// How many of them had been promised: rings lost, or late because all workers of the lane are busy.
    pub again: usize,
    /// How many jobs were parked, since only another release knows them.
    pub parked: usize,
}

/// Jobs whose time has come and whose ring was never promised, or was promised over [`SWEEP_GRACE`] ago and did not
/// lead to a claim. Marks them as rung. Those that only another release knows are parked, and in nobody's way.
///
/// # Errors
/// The database's.
pub async fn sweep(conn: &impl ConnectionTrait, now: Timestamp, limit: u64) -> Result<Swept, DbErr> {
    let mut swept = Swept { parked: parked::park(conn, now).await?, ..Swept::default() };
    let skip = Dialect::of(conn).for_update_skip_locked();
    let rows = db::all(
        conn,
        format!(
            "SELECT id, kind, lane, rung_at FROM jobs
             WHERE state = 'ready' AND run_at <= $1 AND (rung_at IS NULL OR rung_at <= $2) AND {}
             ORDER BY run_at LIMIT {limit}{skip}",
            parked::is_known()
        ),
        [now.0.into(), now.minus(SWEEP_GRACE).0.into()],
    )
    .await?;
    if rows.is_empty() {
        return Ok(swept);
    }
    for row in &rows {
        swept.rings.push(ring_of(row)?);
        swept.again += usize::from(Promised::from_query_result(row, "")?.rung_at.is_some());
    }
    let ids: Vec<i64> = swept.rings.iter().map(|r| r.job.id.0).collect();
    let source = Dialect::of(conn).one_of(1, "bigint");
    db::execute(
        conn,
        format!("UPDATE jobs SET rung_at = $2 WHERE {IS_READY} AND id {source}"),
        [serde_json::json!(ids).to_string().into(), now.0.into()],
    )
    .await?;
    Ok(swept)
}

/// When a ring of the job was promised.
#[derive(FromQueryResult)]
struct Promised {
    rung_at: Option<Timestamp>,
}

/// The jobs of a lane that could be claimed now, the oldest first: how a worker finds work while the queue is away.
///
/// # Errors
/// The database's.
pub async fn due(conn: &impl ConnectionTrait, now: Timestamp, lane: Lane, limit: u64) -> Result<Vec<JobRef>, DbErr> {
    let rows = db::all(
        conn,
        format!(
            "SELECT id, kind, lane FROM jobs WHERE state = 'ready' AND run_at <= $1 AND lane = $2 AND {}
             ORDER BY run_at LIMIT {limit}",
            parked::is_known()
        ),
        [now.0.into(), lane.as_str().into()],
    )
    .await?;
    rows.iter().map(|row| ring_of(row).map(|ring| ring.job)).collect()
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
pub async fn rescue(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    limit: u64,
    kinds: &impl Bury,
) -> Result<Step<Rescued>, DbErr> {
    let skip = Dialect::of(conn).for_update_skip_locked();
    let rows = db::all(
        conn,
        format!(
            "SELECT {}, lane, crashes,
                    EXISTS (SELECT 1 FROM workers WHERE owner = jobs.lease_owner) AS worker_is_there, ({}) AS known FROM jobs
             WHERE state = 'running' AND lease_until < $1 ORDER BY lease_until LIMIT {limit}{skip}",
            bury::COLUMNS,
            parked::is_known()
        ),
        [now.0.into()],
    )
    .await?;
    let mut step: Step<Rescued> = Step::quiet(Rescued::default());
    for row in rows {
        let Lost { id, crashes, worker_is_there, known } = Lost::from_query_result(&row, "")?;
        let crashed = !worker_is_there;
        let crashes = crashes + i64::from(crashed);
        // What burying one means is known to the release that knows the job.
        let dead = crashed && crashes >= MAX_CRASHES && known;
        let error = match crashed {
            true => format!("its worker died while it ran, {crashes} times in a row"),
            false => "its lease ended: the worker could not write a result".into(),
        };
        let what = if crashed { Trouble::Crashed } else { Trouble::LeaseEnded };
        history::record_trouble(conn, now, id, None, what, &error, (!dead).then_some(now)).await?;
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
        let buried = kinds.bury(conn, now, &Dead::of(&row, &error)?).await?;
        step.rings.extend(buried.rings);
        step.events.extend(buried.events);
        step.value.more = true;
        break;
    }
    Ok(step)
}

/// A job whose lease ended, beside what is read of it to bury it or to ring it.
#[derive(FromQueryResult)]
struct Lost {
    id: JobId,
    crashes: i64,
    worker_is_there: bool,
    /// Whether this release knows the job.
    known: bool,
}

/// Deletes up to `limit` jobs that ended before `before`, with their histories; returns how many. Dead ones stay until a
/// person has seen to them. In a transaction: a history without its job would stay for ever.
///
/// # Errors
/// The database's.
pub async fn prune(conn: &impl ConnectionTrait, before: Timestamp, limit: u64) -> Result<u64, DbErr> {
    let which = "finished_at IS NOT NULL AND finished_at < $1 AND state <> 'dead'";
    let some = Dialect::of(conn).some_of("jobs", "id", which, limit);
    let sql = format!("DELETE FROM jobs WHERE {some} RETURNING id");
    let ids: Vec<i64> = db::values(conn, sql, [before.0.into()]).await?;
    let gone = ids.len() as u64;
    if gone > 0 {
        let (among, ids) = Dialect::of(conn).one_of_numbers(1, &ids);
        db::execute(conn, format!("DELETE FROM job_events WHERE job_id {among}"), [ids]).await?;
    }
    Ok(gone)
}
