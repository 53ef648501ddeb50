//! An act on all the jobs that match a filter.
//!
//! It is a row, and a job of its own. Its filter ends at the newest job that there was: what comes later is not meant. For
//! [`UNDO_FOR`] it waits, and is taken back by its row alone: a page that is closed changes nothing. Then it goes through
//! the jobs in the order of their numbers, a few in each transaction, and writes what it did with each. Whether a job is
//! still as the filter says is asked in the write, so what changed meanwhile is skipped and counted.

use super::operation_items::CHANGED;
use super::steer::{self, Act};
use crate::Step;
use crate::db::{self, Dialect, Set as RowSet};
use crate::jobs::list::{self, Filter, Job, SEARCHED};
use crate::jobs::{self, Claimed, Ending, Finished, NewJob};
use crate::model::{JobState, OperationAct, OperationStatus};
use crate::ring::JobKind;
use crate::time::Timestamp;
use entities::{JobId, OperationId, UserId, operations as rows};
use rand::Rng;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;

/// For how long an operation can be taken back before it begins.
pub const UNDO_FOR: Duration = Duration::from_secs(10);

/// The highest pace, in jobs a minute.
pub const MAX_RATE: u32 = 600_000;

/// How many jobs a transaction takes.
const STEP: i64 = 200;

/// Why a filter is none of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongState;

pub(super) const fn act_of(act: OperationAct) -> Act {
    match act {
        OperationAct::Retry => Act::Retry,
        OperationAct::Cancel => Act::Cancel,
        OperationAct::Run => Act::RunNow,
    }
}

/// The filter with the state that the act is about: an act never means jobs in all states. Dead jobs are retried, those
/// that wait are run, and either are cancelled, the dead ones where nothing else is said.
///
/// # Errors
/// When the filter is about jobs in a state that the act is not for.
pub fn filter_of(act: OperationAct, filter: &Filter) -> Result<Filter, WrongState> {
    let states: &[JobState] = match act {
        OperationAct::Retry => &[JobState::Dead],
        OperationAct::Run => &[JobState::Ready],
        OperationAct::Cancel => &[JobState::Dead, JobState::Ready],
    };
    let state = filter.state.unwrap_or(states[0]);
    if states.contains(&state) { Ok(Filter { state: Some(state), ..filter.clone() }) } else { Err(WrongState) }
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its number.
    pub id: OperationId,
    /// What it does.
    pub act: OperationAct,
    /// Where it stands.
    pub status: OperationStatus,
    /// To which jobs.
    pub filter: Filter,
    /// The newest job that it means.
    pub upto: i64,
    /// How many jobs a minute at most; `None`: as many as it can.
    pub rate_per_minute: Option<i64>,
    /// How many jobs matched when it was made; of many, at least so many.
    pub matched: i64,
    /// To how many it was done.
    pub done: i64,
    /// How many were left out or had changed.
    pub skipped: i64,
    /// The job up to which it has come.
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

/// A filter as its row keeps it.
fn written(filter: &Filter) -> String {
    json!({
        "lane": filter.lane, "kind": filter.kind, "state": filter.state, "batch": filter.batch, "error": filter.error,
        "ids": filter.ids,
    })
    .to_string()
}

fn read_filter(text: &str) -> Result<Filter, DbErr> {
    let value: Value = serde_json::from_str(text).map_err(|e| DbErr::Json(e.to_string()))?;
    fn part<T: serde::de::DeserializeOwned>(value: &Value, name: &str) -> Result<Option<T>, DbErr> {
        serde_json::from_value(value[name].clone()).map_err(|e| DbErr::Json(format!("{name}: {e}")))
    }
    Ok(Filter {
        lane: part(&value, "lane")?,
        kind: part(&value, "kind")?,
        state: part(&value, "state")?,
        batch: part(&value, "batch")?,
        error: part(&value, "error")?,
        ids: part(&value, "ids")?,
    })
}

impl TryFrom<rows::Model> for Operation {
    type Error = DbErr;

    fn try_from(row: rows::Model) -> Result<Self, DbErr> {
        Ok(Self {
            id: row.id,
            act: row.act,
            status: row.status,
            filter: read_filter(&row.filter)?,
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
}

/// An operation to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOperation {
    /// What it does.
    pub act: OperationAct,
    /// To which jobs: [`filter_of`]'s.
    pub filter: Filter,
    /// How many jobs a minute at most.
    pub rate_per_minute: Option<u32>,
    /// How many jobs its forecast found.
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
        act: Set(new.act),
        status: Set(OperationStatus::Waiting),
        filter: Set(written(&new.filter)),
        upto: Set(list::newest(conn).await?),
        rate_per_minute: Set(new.rate_per_minute.map(i64::from)),
        matched: Set(new.matched),
        created_by: Set(user),
        created_at: Set(now),
        starts_at: Set(starts_at),
        ..Default::default()
    };
    let id = rows::Entity::insert(row).exec(conn).await?.last_insert_id;
    let payload = json!({ "operation": id });
    let job = NewJob { payload: payload.clone(), ..NewJob::of(JobKind::Operation, starts_at) };
    // It is not due yet, so that there is nothing to ring.
    let rings = jobs::enqueue(conn, now, &[job]).await?;
    let sql = format!(
        "UPDATE operations SET job_id =
            (SELECT max(j.id) FROM jobs j WHERE j.id > operations.upto AND j.kind = '{}' AND j.payload = $2)
         WHERE id = $1 RETURNING *",
        JobKind::Operation.as_str()
    );
    let row: Option<rows::Model> = db::one_as(conn, sql, [id.into(), payload.to_string().into()]).await?;
    let value = row.ok_or(DbErr::RecordNotUpdated)?.try_into()?;
    Ok(Step { value, rings, events: Vec::new() })
}

/// An operation by its number.
///
/// # Errors
/// The database's.
pub async fn get(conn: &impl ConnectionTrait, id: OperationId) -> Result<Option<Operation>, DbErr> {
    rows::Entity::find_by_id(id).one(conn).await?.map(Operation::try_from).transpose()
}

/// Operations, the newest first, from the one before `before` on; at most `limit`.
///
/// # Errors
/// The database's.
pub async fn operations(
    conn: &impl ConnectionTrait,
    before: Option<OperationId>,
    limit: usize,
) -> Result<Vec<Operation>, DbErr> {
    let found = rows::Entity::find()
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
    /// What becomes of an act in this status.
    pub(super) const fn of(self, status: OperationStatus) -> Result<OperationStatus, HaltError> {
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

/// Ends an operation.
///
/// # Errors
/// See [`HaltError`].
pub async fn halt(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: OperationId,
    how: Halt,
) -> Result<Operation, HaltError> {
    let operation = lock(conn, id).await?.ok_or(HaltError::NotFound)?;
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
    let most = operation.rate_per_minute.map_or(STEP, |rate| (rate / 60).clamp(1, STEP));
    let (found, next_id) = next(conn, &operation, most).await?;
    let Step { value: (done, skipped), rings, events } = act_on(conn, now, &operation, &found).await?;
    let over = next_id.is_none();
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
        skipped.into(),
        next_id.unwrap_or(operation.upto).into(),
        over.then_some(now.0).into(),
        over.into(),
    ];
    db::execute(conn, sql, values).await?;
    let taken = i64::try_from(found.len()).unwrap_or(i64::MAX);
    let turn = match operation.rate_per_minute {
        _ if over => rest(conn, now, job, &Ending::Done, Turn::Over, rng).await?,
        Some(rate) if taken > 0 => {
            let wait = u64::try_from(taken.saturating_mul(60_000) / rate.max(1)).unwrap_or(u64::MAX);
            let until = now.plus(Duration::from_millis(wait));
            rest(conn, now, job, &Ending::Asleep { until }, Turn::Asleep(until), rng).await?
        }
        _ => Turn::More,
    };
    Ok(Step { value: turn, rings, events })
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

/// The next jobs that match, at most `most`, and where it goes on behind them; `None`: there are no more.
async fn next(
    conn: &impl ConnectionTrait,
    operation: &Operation,
    most: i64,
) -> Result<(Vec<(Job, Value)>, Option<i64>), DbErr> {
    let place = || vec![operation.next_id.into(), operation.upto.into()];
    let mut values = place();
    let (by_index, among) = list::conditions(&operation.filter, &mut values);
    let found = list::matching(conn, &by_index, &among, values, most).await?;
    if i64::try_from(found.len()).unwrap_or(i64::MAX) >= most {
        let last = found.last().map(|(job, _)| job.id.0);
        return Ok((found, last));
    }
    let mut values = place();
    let indexed = Filter { lane: None, kind: None, error: None, ..operation.filter.clone() };
    let (by_index, _) = list::conditions(&indexed, &mut values);
    let sql =
        format!("SELECT id FROM jobs WHERE id > $1 AND id <= $2{by_index} ORDER BY id LIMIT 1 OFFSET {}", SEARCHED - 1);
    let looked_at = db::value(conn, sql, values).await?;
    Ok((found, looked_at))
}

/// Does the act to jobs, and writes what it did with each: to how many, and how many were left out.
async fn act_on(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    operation: &Operation,
    found: &[(Job, Value)],
) -> Result<Step<(i64, i64)>, DbErr> {
    if found.is_empty() {
        return Ok(Step::quiet((0, 0)));
    }
    let act = act_of(operation.act);
    let unfit = |job: &Job| steer::unfit(now, job, act);
    let fit: Vec<&(Job, Value)> = found.iter().filter(|(job, _)| unfit(job).is_none()).collect();
    let step = steer::write(conn, now, &fit, act, Some(operation.created_by)).await?;
    let written: HashSet<JobId> = step.value.iter().copied().collect();
    let result = |job: &Job| match unfit(job) {
        _ if written.contains(&job.id) => "done",
        Some(unfit) => unfit.code(),
        None => CHANGED,
    };
    let set = RowSet::default()
        .ints("job_id", found.iter().map(|(job, _)| Some(job.id.0)))
        .texts("result", found.iter().map(|(job, _)| Some(result(job))));
    let (source, mut values) = set.into_source(Dialect::of(conn));
    let (operation_at, now_at) = (values.len() + 1, values.len() + 2);
    let sql = format!(
        "INSERT INTO operation_items (operation_id, job_id, result, at)
         SELECT ${operation_at}, r.job_id, r.result, ${now_at} FROM {source} WHERE TRUE
         ON CONFLICT (operation_id, job_id) DO UPDATE SET result = excluded.result, at = excluded.at"
    );
    values.extend([operation.id.into(), now.0.into()]);
    db::execute(conn, sql, values).await?;
    let (all, done) = (found.len(), written.len());
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    Ok(step.map(|_| (count(done), count(all - done))))
}

/// Throws away what operations did that ended before `before`, and then themselves; whether there is more.
///
/// # Errors
/// The database's.
pub async fn prune(conn: &impl ConnectionTrait, before: Timestamp, limit: u64) -> Result<bool, DbErr> {
    let old = "SELECT id FROM operations WHERE ended_at IS NOT NULL AND ended_at < $1 ORDER BY id LIMIT 1";
    let Some(id) = db::value::<i64>(conn, old, [before.0.into()]).await? else { return Ok(false) };
    let some = Dialect::of(conn).some_of("operation_items", "operation_id, job_id", "operation_id = $1", limit);
    if db::execute(conn, format!("DELETE FROM operation_items WHERE {some}"), [id.into()]).await? < limit {
        db::execute(conn, "DELETE FROM operations WHERE id = $1", [id.into()]).await?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_is_about_jobs_in_its_own_states() {
        let with = |state| Filter { state, ..Filter::default() };
        let state = |act: OperationAct, given| filter_of(act, &with(given)).map(|filter| filter.state);
        assert_eq!(state(OperationAct::Retry, None), Ok(Some(JobState::Dead)));
        assert_eq!(state(OperationAct::Run, None), Ok(Some(JobState::Ready)));
        assert_eq!(state(OperationAct::Cancel, Some(JobState::Ready)), Ok(Some(JobState::Ready)));
        for (act, given) in [
            (OperationAct::Retry, JobState::Ready),
            (OperationAct::Run, JobState::Dead),
            (OperationAct::Cancel, JobState::Done),
        ] {
            assert_eq!(state(act, Some(given)), Err(WrongState));
        }
    }

    #[test]
    fn a_filter_reads_back_as_it_was_written() {
        let filter = Filter {
            lane: Some(crate::ring::Lane::Bulk),
            kind: Some(JobKind::SendChunk),
            state: Some(JobState::Dead),
            batch: Some(entities::BatchId(7)),
            error: Some("100% \"down\"".into()),
            ids: Some(vec![JobId(3), JobId(9)]),
        };
        assert_eq!(read_filter(&written(&filter)), Ok(filter));
        assert_eq!(read_filter(&written(&Filter::default())), Ok(Filter::default()));
    }
}
