//! Operations on batches: which acts are for which, what one would do, and how it is done to some. Each batch is steered by
//! the same function as one that is steered alone, under its lock, and the record says who asked.

use super::{CHANGED, DONE, Operation, Taken};
use crate::audit_log::{self, Action, Actor, Origin};
use crate::batches::{self, ControlError, Filter};
use crate::db;
use crate::model::BatchAct;
use crate::time::Timestamp;
use crate::{Event, Ring};
use entities::BatchId;
use sea_orm::{ConnectionTrait, DbErr, Value};

/// How many batches a transaction takes.
const STEP: i64 = 20;

/// How far those that match are counted.
const COUNTED: i64 = 50_000;

/// How many of those that match are shown.
const SAMPLES: u64 = 5;

/// Which batches the act is for at all.
const fn condition(act: BatchAct) -> &'static str {
    match act {
        BatchAct::Pause => "status IN ('PENDING', 'PROCESSING') AND NOT paused",
        BatchAct::Resume => {
            "status IN ('PENDING', 'PROCESSING') AND paused AND (approval IS NULL OR approval <> 'pending')"
        }
        BatchAct::Cancel => "status IN ('PENDING', 'PROCESSING')",
    }
}

/// What is recorded of each.
const fn action(act: BatchAct) -> Action {
    match act {
        BatchAct::Pause => Action::BatchPause,
        BatchAct::Resume => Action::BatchResume,
        BatchAct::Cancel => Action::BatchCancel,
    }
}

/// What an operation on batches would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// How many batches match and can be steered so.
    pub matched: i64,
    /// Whether there may be more.
    pub at_least: bool,
    /// Some of them, the newest first.
    pub samples: Vec<BatchId>,
}

/// Those that match and can be steered so, up to `upto` and behind `after`: the condition and its values.
fn matching(act: BatchAct, filter: &Filter, after: i64, upto: i64) -> (String, Vec<Value>) {
    let (filtered, mut values) = filter.condition();
    values.extend([Value::from(after), Value::from(upto)]);
    let at = values.len();
    (format!("{filtered} AND {} AND id > ${} AND id <= ${at}", condition(act), at - 1), values)
}

/// Tells what an operation on batches would do.
///
/// # Errors
/// The database's.
pub async fn forecast(conn: &impl ConnectionTrait, act: BatchAct, filter: &Filter) -> Result<Forecast, DbErr> {
    let (condition, values) = matching(act, filter, 0, i64::MAX);
    let sql = format!("SELECT count(*) FROM (SELECT id FROM batches WHERE {condition} LIMIT {}) AS those", COUNTED + 1);
    let found: i64 = db::value(conn, sql, values.clone()).await?.unwrap_or(0);
    let sql = format!("SELECT id FROM batches WHERE {condition} ORDER BY id DESC LIMIT {SAMPLES}");
    let samples = db::values(conn, sql, values).await?;
    Ok(Forecast { matched: found.min(COUNTED), at_least: found > COUNTED, samples })
}

/// The number of the newest batch; 0 where there is none.
pub(super) async fn newest(conn: &impl ConnectionTrait) -> Result<i64, DbErr> {
    Ok(db::value(conn, "SELECT coalesce(max(id), 0) FROM batches", []).await?.unwrap_or(0))
}

/// A filter as its row keeps it.
pub(super) fn written(filter: &Filter) -> Result<String, DbErr> {
    serde_json::to_string(filter).map_err(|error| DbErr::Json(error.to_string()))
}

pub(super) fn read_filter(text: &str) -> Result<Filter, DbErr> {
    serde_json::from_str(text).map_err(|error| DbErr::Json(error.to_string()))
}

/// Does the act to the next batches that match, at most `most`.
pub(super) async fn take(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    operation: &Operation,
    act: BatchAct,
    filter: &Filter,
    most: i64,
) -> Result<Taken, DbErr> {
    let most = most.min(STEP);
    let (condition, values) = matching(act, filter, operation.next_id, operation.upto);
    let sql = format!("SELECT id FROM batches WHERE {condition} ORDER BY id LIMIT {most}");
    let found: Vec<BatchId> = db::values(conn, sql, values).await?;
    let more = i64::try_from(found.len()).unwrap_or(i64::MAX) >= most;
    let next = found.last().filter(|_| more).map(|last| last.0);
    let mut taken = Taken { results: Vec::with_capacity(found.len()), next, rings: Vec::new(), events: Vec::new() };
    for batch in found {
        let result = match steer(conn, now, operation, act, batch).await? {
            Some((rings, events)) => {
                taken.rings.extend(rings);
                taken.events.extend(events);
                DONE
            }
            None => CHANGED,
        };
        taken.results.push((batch.0, result));
    }
    Ok(taken)
}

/// Steers one batch, as if it were steered alone; `None`: it has changed, or is gone.
async fn steer(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    operation: &Operation,
    act: BatchAct,
    id: BatchId,
) -> Result<Option<(Vec<Ring>, Vec<Event>)>, DbErr> {
    let steered = match act {
        BatchAct::Pause => batches::pause(conn, id).await,
        BatchAct::Resume => batches::resume(conn, now, id).await,
        BatchAct::Cancel => batches::cancel(conn, now, id).await,
    };
    let step = match steered {
        Ok(step) => step,
        Err(ControlError::NotFound | ControlError::Conflict(_) | ControlError::OwnBatch) => return Ok(None),
        Err(ControlError::Database(error)) => return Err(error),
    };
    // Where it was asked for is in the record of the asking.
    let by = Origin::new(Actor::User(operation.created_by), None, Some("operation job"));
    audit_log::record(conn, now, &by, action(act), Some(id)).await?;
    Ok(Some((step.rings, step.events)))
}
