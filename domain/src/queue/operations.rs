//! Operations: an act on all the jobs, or all the batches, that match a filter.
//!
//! An operation is a row, and a job of its own. Its filter ends at the newest job or batch that there was: what comes later
//! is not meant. For [`UNDO_FOR`] it waits, and is taken back by its row alone: a page that is closed changes nothing. Then
//! it goes through what matches in the order of the numbers, a few in each transaction, and writes what it did with each.
//! Whether each is still as the filter says is asked in the write, so what changed meanwhile is skipped and counted.
//!
//! What differs between the two targets is in [`of_jobs`] and [`of_batches`]: what an act fits, and how it is done to some.

mod items;
pub mod of_batches;
pub mod of_jobs;

pub use items::{CHANGED, DONE, OperationItem, operation_items};

use crate::batches;
use crate::db::{self, Dialect, Set as RowSet};
use crate::jobs::{self, Claimed, Ending, Finished, NewJob, list};
use crate::model::{BatchAct, JobAct, OperationStatus, OperationTarget, UnknownName};
use crate::ring::JobKind;
use crate::time::Timestamp;
use crate::{Event, Ring, Step};
use entities::{JobId, OperationId, UserId, operations as rows};
use rand::Rng;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde_json::json;
use std::time::Duration;

/// For how long an operation can be taken back before it begins.
pub const UNDO_FOR: Duration = Duration::from_secs(10);

/// The highest pace, in jobs or batches a minute.
pub const MAX_RATE: u32 = 600_000;

/// What is done, and to which: an act of its target, with a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aim {
    /// To jobs; the filter is [`of_jobs::filter_of`]'s.
    Jobs(JobAct, list::Filter),
    /// To batches.
    Batches(BatchAct, batches::Filter),
}

impl Aim {
    /// What it is done to.
    #[must_use]
    pub const fn target(&self) -> OperationTarget {
        match self {
            Self::Jobs(..) => OperationTarget::Jobs,
            Self::Batches(..) => OperationTarget::Batches,
        }
    }

    /// The word of the act.
    #[must_use]
    pub const fn act(&self) -> &'static str {
        match self {
            Self::Jobs(act, _) => act.as_str(),
            Self::Batches(act, _) => act.as_str(),
        }
    }

    /// The filter as its row keeps it.
    fn written(&self) -> Result<String, DbErr> {
        match self {
            Self::Jobs(_, filter) => Ok(of_jobs::written(filter)),
            Self::Batches(_, filter) => of_batches::written(filter),
        }
    }

    fn read(row: &rows::Model) -> Result<Self, DbErr> {
        let unknown = |error: UnknownName| DbErr::Type(format!("operations.act: {error}"));
        Ok(match row.target {
            OperationTarget::Jobs => Self::Jobs(row.act.parse().map_err(unknown)?, of_jobs::read_filter(&row.filter)?),
            OperationTarget::Batches => {
                Self::Batches(row.act.parse().map_err(unknown)?, of_batches::read_filter(&row.filter)?)
            }
        })
    }

    /// The number of the newest that there is of what it is done to.
    async fn newest(&self, conn: &impl ConnectionTrait) -> Result<i64, DbErr> {
        match self {
            Self::Jobs(..) => list::newest(conn).await,
            Self::Batches(..) => of_batches::newest(conn).await,
        }
    }
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its number.
    pub id: OperationId,
    /// What it does, and to which.
    pub aim: Aim,
    /// Where it stands.
    pub status: OperationStatus,
    /// The newest job or batch that it means.
    pub upto: i64,
    /// How many a minute at most; `None`: as many as it can.
    pub rate_per_minute: Option<i64>,
    /// How many matched when it was made; of many, at least so many.
    pub matched: i64,
    /// To how many it was done.
    pub done: i64,
    /// How many were left out or had changed.
    pub skipped: i64,
    /// The job or batch up to which it has come.
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

impl TryFrom<rows::Model> for Operation {
    type Error = DbErr;

    fn try_from(row: rows::Model) -> Result<Self, DbErr> {
        Ok(Self {
            id: row.id,
            aim: Aim::read(&row)?,
            status: row.status,
            upto: row.upto,
            rate_per_minute: row.rate_per_minute,
            matched: row.matched,
            done: row.done,
            skipped: row.skipped,
            next_id: row.next_id,
            job: row.job_id,
            created_by: row.created_by,
            created_at: row.created_at,
            starts_at: row.starts_at,
            ended_at: row.ended_at,
        })
    }
}

impl Operation {
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

    /// How far it has come, in percent of what matched; 100 once it is over.
    #[must_use]
    pub fn progress(&self) -> i64 {
        let come = (self.done + self.skipped) * 100 / self.matched.max(1);
        if self.is_open() { come.clamp(0, 100) } else { 100 }
    }
}

/// An operation to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOperation {
    /// What it does, and to which.
    pub aim: Aim,
    /// How many a minute at most, from 1 to [`MAX_RATE`].
    pub rate_per_minute: Option<u32>,
    /// How many its forecast found.
    pub matched: i64,
}

/// Makes an operation, which begins after [`UNDO_FOR`].
///
/// # Errors
/// The database's.
pub async fn create(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    new: &NewOperation,
    user: UserId,
) -> Result<Step<Operation>, DbErr> {
    let starts_at = now.plus(UNDO_FOR);
    let row = rows::ActiveModel {
        target: Set(new.aim.target()),
        act: Set(new.aim.act().to_owned()),
        status: Set(OperationStatus::Waiting),
        filter: Set(new.aim.written()?),
        upto: Set(new.aim.newest(conn).await?),
        rate_per_minute: Set(new.rate_per_minute.map(i64::from)),
        matched: Set(new.matched),
        created_by: Set(user),
        created_at: Set(now),
        starts_at: Set(starts_at),
        ..Default::default()
    };
    let id = rows::Entity::insert(row).exec(conn).await?.last_insert_id;
    let newest_job = list::newest(conn).await?;
    let payload = json!({ "operation": id });
    let job = NewJob { payload: payload.clone(), ..NewJob::of(JobKind::Operation, starts_at) };
    // It is not due yet, so that there is nothing to ring.
    let rings = jobs::enqueue(conn, now, &[job]).await?;
    let sql = format!(
        "UPDATE operations SET job_id =
            (SELECT max(j.id) FROM jobs j WHERE j.id > $3 AND j.kind = '{}' AND j.payload = $2)
         WHERE id = $1 RETURNING *",
        JobKind::Operation.as_str()
    );
    let values = [id.into(), payload.to_string().into(), newest_job.into()];
    let row: Option<rows::Model> = db::one_as(conn, sql, values).await?;
    let value = row.ok_or(DbErr::RecordNotUpdated)?.try_into()?;
    Ok(Step { value, rings, events: Vec::new() })
}

/// An operation on this target by its number. Whoever may read those on jobs may not read those on batches by it.
///
/// # Errors
/// The database's.
pub async fn get(
    conn: &impl ConnectionTrait,
    target: OperationTarget,
    id: OperationId,
) -> Result<Option<Operation>, DbErr> {
    let found = rows::Entity::find_by_id(id).filter(rows::Column::Target.eq(target)).one(conn).await?;
    found.map(Operation::try_from).transpose()
}

/// Operations on these targets, the newest first, from the one before `before` on; at most `limit`.
///
/// # Errors
/// The database's.
pub async fn operations(
    conn: &impl ConnectionTrait,
    targets: &[OperationTarget],
    before: Option<OperationId>,
    limit: usize,
) -> Result<Vec<Operation>, DbErr> {
    let found = rows::Entity::find()
        .filter(rows::Column::Target.is_in(targets.iter().copied()))
        .filter(rows::Column::Id.lt(before.unwrap_or(OperationId(i64::MAX))))
        .order_by_desc(rows::Column::Id)
        .limit(limit as u64)
        .all(conn)
        .await?;
    found.into_iter().map(Operation::try_from).collect()
}

/// How an operation is ended by a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// It is taken back before it began.
    Undo,
    /// It goes no further; what it did stays.
    Stop,
}

impl Halt {
    /// What becomes of an operation in this status.
    const fn of(self, status: OperationStatus) -> Result<OperationStatus, HaltError> {
        match (self, status) {
            (_, OperationStatus::Waiting) => Ok(OperationStatus::Undone),
            (Self::Stop, OperationStatus::Running) => Ok(OperationStatus::Stopped),
            (Self::Undo, OperationStatus::Running) => Err(HaltError::Conflict("the operation has begun: stop it")),
            (_, OperationStatus::Undone | OperationStatus::Stopped | OperationStatus::Done) => {
                Err(HaltError::Conflict("the operation is over"))
            }
        }
    }
}

/// Why an operation was not ended.
#[derive(Debug, thiserror::Error)]
pub enum HaltError {
    /// There is no such operation.
    #[error("no such operation")]
    NotFound,
    /// It has begun, or is over.
    #[error("{0}")]
    Conflict(&'static str),
    /// The database's.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// Ends an operation on this target.
///
/// # Errors
/// See [`HaltError`].
pub async fn halt(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    target: OperationTarget,
    id: OperationId,
    how: Halt,
) -> Result<Operation, HaltError> {
    let operation = lock(conn, id).await?.filter(|found| found.aim.target() == target).ok_or(HaltError::NotFound)?;
    let status = how.of(operation.status)?;
    let change = rows::ActiveModel { status: Set(status), ended_at: Set(Some(now)), ..Default::default() };
    rows::Entity::update_many().set(change).filter(rows::Column::Id.eq(id)).exec(conn).await?;
    // Its job, if nobody has it yet; one that runs finds its operation ended.
    if let Some(job) = operation.job {
        let sql = "UPDATE jobs SET state = 'cancelled', finished_at = $2 WHERE id = $1 AND state IN ('ready', 'dead')";
        db::execute(conn, sql, [job.into(), now.0.into()]).await?;
    }
    Ok(Operation { status, ended_at: Some(now), ..operation })
}

async fn lock(conn: &impl ConnectionTrait, id: OperationId) -> Result<Option<Operation>, DbErr> {
    rows::Entity::find_by_id(id).lock_exclusive().one(conn).await?.map(Operation::try_from).transpose()
}

/// What comes after a step of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is more to do now.
    More,
    /// Its job sleeps until then: its pace says so.
    Asleep(Timestamp),
    /// It is over.
    Over,
    /// The claim no longer stood; nothing was written.
    Stale,
}

/// What was done to some of those that match.
struct Taken {
    /// The number of each that was found, with what was done to it: [`DONE`], [`CHANGED`], or why the act did not fit it.
    results: Vec<(i64, &'static str)>,
    /// The number behind which it goes on; `None`: there are no more.
    next: Option<i64>,
    rings: Vec<Ring>,
    events: Vec<Event>,
}

/// A step of an operation's job.
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
    let id = job.payload["operation"].as_i64().map(OperationId);
    let id = id.ok_or_else(|| DbErr::Json("an operation job's payload names none".into()))?;
    let Some(operation) = lock(conn, id).await?.filter(Operation::is_open) else {
        return rest(conn, now, job, &Ending::Done, Turn::Over, rng).await.map(Step::quiet);
    };
    // With a pace, no more at once than a second's worth.
    let most = operation.rate_per_minute.map_or(i64::MAX, |rate| (rate / 60).max(1));
    let taken = match &operation.aim {
        Aim::Jobs(act, filter) => of_jobs::take(conn, now, &operation, *act, filter, most).await?,
        Aim::Batches(act, filter) => of_batches::take(conn, now, &operation, *act, filter, most).await?,
    };
    write_items(conn, now, id, &taken.results).await?;
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let found = count(taken.results.len());
    let done = count(taken.results.iter().filter(|(_, result)| *result == DONE).count());
    let over = taken.next.is_none();
    let status = if over { OperationStatus::Done } else { OperationStatus::Running };
    // What matched and was not found any more has changed: it is over when all are counted.
    let sql = "UPDATE operations SET status = $2, done = done + $3, next_id = $5, ended_at = CAST($6 AS BIGINT),
                      skipped = CASE WHEN $7 AND matched - done - $3 > skipped + $4 THEN matched - done - $3
                                     ELSE skipped + $4 END
               WHERE id = $1";
    let values = [
        id.into(),
        status.as_str().into(),
        done.into(),
        (found - done).into(),
        taken.next.unwrap_or(operation.upto).into(),
        over.then_some(now.0).into(),
        over.into(),
    ];
    db::execute(conn, sql, values).await?;
    let turn = match operation.rate_per_minute {
        _ if over => rest(conn, now, job, &Ending::Done, Turn::Over, rng).await?,
        Some(rate) if found > 0 => {
            let wait = u64::try_from(found.saturating_mul(60_000) / rate.max(1)).unwrap_or(u64::MAX);
            let until = now.plus(Duration::from_millis(wait));
            rest(conn, now, job, &Ending::Asleep { until }, Turn::Asleep(until), rng).await?
        }
        _ => Turn::More,
    };
    Ok(Step { value: turn, rings: taken.rings, events: taken.events })
}

async fn rest(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    ending: &Ending,
    turn: Turn,
    rng: &mut impl Rng,
) -> Result<Turn, DbErr> {
    Ok(match jobs::finish(conn, now, job.id, job.fence, ending, rng).await? {
        Finished::Stale => Turn::Stale,
        Finished::Done | Finished::ReadyAt(_) | Finished::Paused | Finished::Dead => turn,
    })
}

/// Writes what was done with each; what was done again counts as it was the last time.
async fn write_items(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: OperationId,
    results: &[(i64, &'static str)],
) -> Result<(), DbErr> {
    if results.is_empty() {
        return Ok(());
    }
    let set = RowSet::default()
        .ints("target_id", results.iter().map(|(target, _)| Some(*target)))
        .texts("result", results.iter().map(|(_, result)| Some(*result)));
    let (source, mut values) = set.into_source(Dialect::of(conn));
    let (operation_at, now_at) = (values.len() + 1, values.len() + 2);
    let sql = format!(
        "INSERT INTO operation_items (operation_id, target_id, result, at)
         SELECT ${operation_at}, r.target_id, r.result, ${now_at} FROM {source} WHERE TRUE
         ON CONFLICT (operation_id, target_id) DO UPDATE SET result = excluded.result, at = excluded.at"
    );
    values.extend([id.into(), now.0.into()]);
    db::execute(conn, sql, values).await.map(drop)
}

/// Throws away what operations did that ended before `before`, and then themselves; whether there is more.
///
/// # Errors
/// The database's.
pub async fn prune(conn: &impl ConnectionTrait, before: Timestamp, limit: u64) -> Result<bool, DbErr> {
    let old = "SELECT id FROM operations WHERE ended_at IS NOT NULL AND ended_at < $1 ORDER BY id LIMIT 1";
    let Some(id) = db::value::<i64>(conn, old, [before.0.into()]).await? else { return Ok(false) };
    let some = Dialect::of(conn).some_of("operation_items", "operation_id, target_id", "operation_id = $1", limit);
    if db::execute(conn, format!("DELETE FROM operation_items WHERE {some}"), [id.into()]).await? < limit {
        db::execute(conn, "DELETE FROM operations WHERE id = $1", [id.into()]).await?;
    }
    Ok(true)
}
