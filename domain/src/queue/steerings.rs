//! An act on all the batches that match a filter, in the way of [`operations`](super::operations) on jobs: a row, and a job of its
//! own. Its filter ends at the newest batch that there was; for [`UNDO_FOR`] it waits and is taken back by its row alone; then
//! it goes through the batches by their numbers, a few in each transaction. Each is steered by the same function as one that
//! is steered alone, under its lock, so what changed meanwhile is skipped, and the record says who asked.

use super::operations::{Halt, HaltError, Turn, UNDO_FOR};
use crate::audit_log::{self, Action, Actor, Origin};
use crate::batches::{self, ControlError, Filter};
use crate::db::{self, Dialect};
use crate::jobs::{self, Claimed, Ending, Finished, NewJob};
use crate::model::{OperationStatus, SteeringAct, named};
use crate::ring::JobKind;
use crate::time::Timestamp;
use crate::{Event, Ring, Step};
use entities::{BatchId, JobId, SteeringId, UserId};
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};
use serde_json::json;

/// How many batches a transaction takes.
const STEP: u64 = 20;

/// How far those that match are counted.
const COUNTED: u64 = 50_000;

/// How many of those that match are shown.
const SAMPLES: u64 = 5;

/// The word of a batch to which it was done, and of one that was no longer as the filter says.
pub const DONE: &str = "done";
/// The word of a batch that was no longer as the filter says.
pub const CHANGED: &str = "changed";

/// What an act means for batches.
trait OnBatches {
    /// Which batches the act is for at all.
    fn condition(self) -> &'static str;

    /// What is recorded of each.
    fn action(self) -> Action;
}

impl OnBatches for SteeringAct {
    fn condition(self) -> &'static str {
        match self {
            Self::Pause => "status IN ('PENDING', 'PROCESSING') AND NOT paused",
            Self::Resume => {
                "status IN ('PENDING', 'PROCESSING') AND paused AND (approval IS NULL OR approval <> 'pending')"
            }
            Self::Cancel => "status IN ('PENDING', 'PROCESSING')",
        }
    }

    fn action(self) -> Action {
        match self {
            Self::Pause => Action::BatchPause,
            Self::Resume => Action::BatchResume,
            Self::Cancel => Action::BatchCancel,
        }
    }
}

/// An act on all the batches that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steering {
    /// Its number.
    pub id: SteeringId,
    /// What it does.
    pub act: SteeringAct,
    /// Where it stands.
    pub status: OperationStatus,
    /// To which batches.
    pub filter: Filter,
    /// The newest batch that it means.
    pub upto: BatchId,
    /// How many batches matched when it was made; of many, at least so many.
    pub matched: i64,
    /// To how many it was done.
    pub done: i64,
    /// How many had changed.
    pub skipped: i64,
    /// The batch up to which it has come.
    next_id: i64,
    /// Its own job.
    pub job: Option<JobId>,
    /// Who asked for it.
    pub created_by: UserId,
    /// When.
    pub created_at: Timestamp,
    /// When it begins, and can no longer be taken back.
    pub starts_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

const COLUMNS: &str = "id, act, status, filter, upto, matched, done, skipped, next_id, job_id, created_by, created_at,
    starts_at, ended_at";

impl Steering {
    fn read(row: &QueryResult) -> Result<Self, DbErr> {
        let filter: String = row.try_get("", "filter")?;
        Ok(Self {
            id: SteeringId(row.try_get("", "id")?),
            act: named(row, "act")?,
            status: named(row, "status")?,
            filter: serde_json::from_str(&filter).map_err(|error| DbErr::Json(error.to_string()))?,
            upto: BatchId(row.try_get("", "upto")?),
            matched: row.try_get("", "matched")?,
            done: row.try_get("", "done")?,
            skipped: row.try_get("", "skipped")?,
            next_id: row.try_get("", "next_id")?,
            job: row.try_get::<Option<i64>>("", "job_id")?.map(JobId),
            created_by: UserId(row.try_get("", "created_by")?),
            created_at: Timestamp(row.try_get("", "created_at")?),
            starts_at: Timestamp(row.try_get("", "starts_at")?),
            ended_at: row.try_get::<Option<i64>>("", "ended_at")?.map(Timestamp),
        })
    }

    /// Whether it may still be taken back.
    #[must_use]
    pub fn can_be_undone(&self) -> bool {
        self.status == OperationStatus::Waiting
    }

    /// Whether it is not over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.status, OperationStatus::Waiting | OperationStatus::Running)
    }
}

/// What an act would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteeringForecast {
    /// How many batches match and can be steered so.
    pub matched: i64,
    /// Whether there may be more.
    pub at_least: bool,
    /// Some of them, the newest first.
    pub samples: Vec<BatchId>,
}

/// Those that match and can be steered so, up to `upto` and behind `after`: the condition and its values.
fn matching(act: SteeringAct, filter: &Filter, after: i64, upto: i64) -> (String, Vec<Value>) {
    let (condition, mut values) = filter.condition();
    values.extend([Value::from(after), Value::from(upto)]);
    let at = values.len();
    (format!("{condition} AND {} AND id > ${} AND id <= ${at}", act.condition(), at - 1), values)
}

/// Tells what an act on all the batches that match would do.
///
/// # Errors
/// The database's.
pub async fn forecast(
    conn: &impl ConnectionTrait,
    act: SteeringAct,
    filter: &Filter,
) -> Result<SteeringForecast, DbErr> {
    let (condition, values) = matching(act, filter, 0, i64::MAX);
    let sql =
        format!("SELECT count(*) AS n FROM (SELECT id FROM batches WHERE {condition} LIMIT {}) AS those", COUNTED + 1);
    let found: i64 = db::one(conn, sql, values.clone()).await?.map_or(Ok(0), |row| row.try_get("", "n"))?;
    let sql = format!("SELECT id FROM batches WHERE {condition} ORDER BY id DESC LIMIT {SAMPLES}");
    let rows = db::all(conn, sql, values).await?;
    let samples = rows.iter().map(|row| Ok(BatchId(row.try_get("", "id")?))).collect::<Result<_, DbErr>>()?;
    let counted = i64::try_from(COUNTED).unwrap_or(i64::MAX);
    Ok(SteeringForecast { matched: found.min(counted), at_least: found > counted, samples })
}

/// Makes an act on all the batches that match by now; it begins after [`UNDO_FOR`].
///
/// # Errors
/// The database's.
pub async fn create(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    (act, filter): (SteeringAct, &Filter),
    matched: i64,
    user: UserId,
) -> Result<Step<Steering>, DbErr> {
    let starts_at = now.plus(UNDO_FOR);
    let written = serde_json::to_string(filter).map_err(|error| DbErr::Json(error.to_string()))?;
    let sql = "INSERT INTO steerings (act, status, filter, upto, matched, created_by, created_at, starts_at)
               VALUES ($1, 'waiting', $2, (SELECT coalesce(max(id), 0) FROM batches), $3, $4, $5, $6) RETURNING id";
    let values = [act.as_str().into(), written.into(), matched.into(), user.into(), now.0.into(), starts_at.0.into()];
    let row = db::one(conn, sql, values).await?.ok_or(DbErr::RecordNotInserted)?;
    let id = SteeringId(row.try_get("", "id")?);
    let newest = db::one(conn, "SELECT coalesce(max(id), 0) AS id FROM jobs", []).await?;
    let newest: i64 = newest.map_or(Ok(0), |row| row.try_get("", "id"))?;
    let payload = json!({ "steering": id });
    let job = NewJob { payload: payload.clone(), ..NewJob::of(JobKind::Steering, starts_at) };
    // It is not due yet, so that there is nothing to ring.
    let rings = jobs::enqueue(conn, now, &[job]).await?;
    let sql = format!(
        "UPDATE steerings SET job_id =
            (SELECT max(j.id) FROM jobs j WHERE j.id > $3 AND j.kind = '{}' AND j.payload = $2)
         WHERE id = $1 RETURNING {COLUMNS}",
        JobKind::Steering.as_str()
    );
    let row = db::one(conn, sql, [id.into(), payload.to_string().into(), newest.into()]).await?;
    Ok(Step { value: Steering::read(&row.ok_or(DbErr::RecordNotUpdated)?)?, rings, events: Vec::new() })
}

/// An act by its number.
///
/// # Errors
/// The database's.
pub async fn get(conn: &impl ConnectionTrait, id: SteeringId) -> Result<Option<Steering>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM steerings WHERE id = $1");
    db::one(conn, sql, [id.into()]).await?.as_ref().map(Steering::read).transpose()
}

/// Acts, the newest first, from the one before `before` on; at most `limit`.
///
/// # Errors
/// The database's.
pub async fn steerings(
    conn: &impl ConnectionTrait,
    before: Option<SteeringId>,
    limit: usize,
) -> Result<Vec<Steering>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM steerings WHERE id < $1 ORDER BY id DESC LIMIT {limit}");
    let before = before.map_or(i64::MAX, |before| before.0);
    db::all(conn, sql, [before.into()]).await?.iter().map(Steering::read).collect()
}

/// What an act did with a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteeringItem {
    /// The batch.
    pub batch: BatchId,
    /// [`DONE`] or [`CHANGED`].
    pub result: String,
    /// When.
    pub at: Timestamp,
}

/// What an act did, batch by batch in the order of their numbers, behind `after`; at most `limit`.
///
/// # Errors
/// The database's.
pub async fn steering_items(
    conn: &impl ConnectionTrait,
    id: SteeringId,
    after: i64,
    limit: usize,
) -> Result<Vec<SteeringItem>, DbErr> {
    let sql = format!(
        "SELECT batch_id, result, at FROM steering_items WHERE steering_id = $1 AND batch_id > $2 ORDER BY batch_id
         LIMIT {limit}"
    );
    let read = |row: &QueryResult| {
        Ok(SteeringItem {
            batch: BatchId(row.try_get("", "batch_id")?),
            result: row.try_get("", "result")?,
            at: Timestamp(row.try_get("", "at")?),
        })
    };
    db::all(conn, sql, [id.into(), after.into()]).await?.iter().map(read).collect()
}

async fn lock(conn: &impl ConnectionTrait, id: SteeringId) -> Result<Option<Steering>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM steerings WHERE id = $1{}", Dialect::of(conn).for_update());
    db::one(conn, sql, [id.into()]).await?.as_ref().map(Steering::read).transpose()
}

/// Takes an act back, or stops it.
///
/// # Errors
/// See [`HaltError`].
pub async fn halt(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: SteeringId,
    how: Halt,
) -> Result<Steering, HaltError> {
    let steering = lock(conn, id).await?.ok_or(HaltError::NotFound)?;
    let status = how.of(steering.status)?;
    let sql = format!("UPDATE steerings SET status = $2, ended_at = $3 WHERE id = $1 RETURNING {COLUMNS}");
    let row = db::one(conn, sql, [id.into(), status.as_str().into(), now.0.into()]).await?;
    // Its job, if nobody has it yet; one that runs finds its act ended.
    if let Some(job) = steering.job {
        let sql = "UPDATE jobs SET state = 'cancelled', finished_at = $2 WHERE id = $1 AND state IN ('ready', 'dead')";
        db::execute(conn, sql, [job.into(), now.0.into()]).await?;
    }
    Ok(Steering::read(&row.ok_or(HaltError::NotFound)?)?)
}

/// A step of an act's job.
///
/// # Errors
/// The database's, or a payload that cannot be read.
pub async fn step(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    rng: &mut impl Rng,
) -> Result<Step<Turn>, DbErr> {
    if !jobs::renew_with_progress(conn, now, job.id, job.fence).await? {
        return Ok(Step::quiet(Turn::Stale));
    }
    let id = job.payload["steering"].as_i64().map(SteeringId);
    let id = id.ok_or_else(|| DbErr::Json("a steering job's payload names none".into()))?;
    let Some(steering) = lock(conn, id).await?.filter(Steering::is_open) else {
        return over(conn, now, job, rng).await.map(Step::quiet);
    };
    let (condition, values) = matching(steering.act, &steering.filter, steering.next_id, steering.upto.0);
    let sql = format!("SELECT id FROM batches WHERE {condition} ORDER BY id LIMIT {STEP}");
    let rows = db::all(conn, sql, values).await?;
    let found = rows.iter().map(|row| Ok(BatchId(row.try_get("", "id")?))).collect::<Result<Vec<_>, DbErr>>()?;
    let (mut rings, mut events, mut done) = (Vec::new(), Vec::new(), 0_i64);
    for batch in &found {
        let result = match steer(conn, now, &steering, *batch).await? {
            Some((mut more, mut told)) => {
                rings.append(&mut more);
                events.append(&mut told);
                done += 1;
                DONE
            }
            None => CHANGED,
        };
        let sql = "INSERT INTO steering_items (steering_id, batch_id, result, at) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (steering_id, batch_id) DO UPDATE SET result = excluded.result, at = excluded.at";
        db::execute(conn, sql, [id.into(), (*batch).into(), result.into(), now.0.into()]).await?;
    }
    let ended = u64::try_from(found.len()).unwrap_or(u64::MAX) < STEP;
    let skipped = i64::try_from(found.len()).unwrap_or(i64::MAX) - done;
    let status = if ended { OperationStatus::Done } else { OperationStatus::Running };
    // What matched and was not found any more has changed: it is over when all are counted.
    let sql = "UPDATE steerings SET status = $2, done = done + $3, next_id = $5, ended_at = CAST($6 AS BIGINT),
                      skipped = CASE WHEN $7 AND matched - done - $3 > skipped + $4 THEN matched - done - $3
                                     ELSE skipped + $4 END
               WHERE id = $1";
    let values = [
        id.into(),
        status.as_str().into(),
        done.into(),
        skipped.into(),
        found.last().map_or(steering.next_id, |last| last.0).into(),
        ended.then_some(now.0).into(),
        ended.into(),
    ];
    db::execute(conn, sql, values).await?;
    let turn = if ended { over(conn, now, job, rng).await? } else { Turn::More };
    Ok(Step { value: turn, rings, events })
}

/// Steers one batch, as if it were steered alone; `None`: it has changed, or is gone.
async fn steer(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    steering: &Steering,
    id: BatchId,
) -> Result<Option<(Vec<Ring>, Vec<Event>)>, DbErr> {
    let steered = match steering.act {
        SteeringAct::Pause => batches::pause(conn, id).await,
        SteeringAct::Resume => batches::resume(conn, now, id).await,
        SteeringAct::Cancel => batches::cancel(conn, now, id).await,
    };
    let step = match steered {
        Ok(step) => step,
        Err(ControlError::NotFound | ControlError::Conflict(_) | ControlError::OwnBatch) => return Ok(None),
        Err(ControlError::Database(error)) => return Err(error),
    };
    // Where it was asked for is in the record of the asking.
    let by = Origin::new(Actor::User(steering.created_by), None, Some("steering job"));
    audit_log::record(conn, now, &by, steering.act.action(), Some(id)).await?;
    Ok(Some((step.rings, step.events)))
}

async fn over(conn: &impl ConnectionTrait, now: Timestamp, job: &Claimed, rng: &mut impl Rng) -> Result<Turn, DbErr> {
    Ok(match jobs::finish(conn, now, job.id, job.fence, &Ending::Done, rng).await? {
        Finished::Stale => Turn::Stale,
        Finished::Done | Finished::ReadyAt(_) | Finished::Paused | Finished::Dead => Turn::Over,
    })
}

/// Throws away what acts did that ended before `before`, and then themselves; whether there is more.
///
/// # Errors
/// The database's.
pub async fn prune(conn: &impl ConnectionTrait, before: Timestamp, limit: u64) -> Result<bool, DbErr> {
    let old = "SELECT id FROM steerings WHERE ended_at IS NOT NULL AND ended_at < $1 ORDER BY id LIMIT 1";
    let Some(row) = db::one(conn, old, [before.0.into()]).await? else { return Ok(false) };
    let id: i64 = row.try_get("", "id")?;
    let some = Dialect::of(conn).some_of("steering_items", "steering_id, batch_id", "steering_id = $1", limit);
    if db::execute(conn, format!("DELETE FROM steering_items WHERE {some}"), [id.into()]).await? < limit {
        db::execute(conn, "DELETE FROM steerings WHERE id = $1", [id.into()]).await?;
    }
    Ok(true)
}
