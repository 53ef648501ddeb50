//! Operations on jobs: which acts fit which states, what one would do, and how it is done to some.

use super::{CHANGED, DONE, Operation, Taken};
use crate::db;
use crate::jobs::list::{self, Filter, Job, SEARCHED};
use crate::model::{JobAct, JobState};
use crate::queue::steer::{self, Act, Unfit};
use crate::time::Timestamp;
use entities::JobId;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};

/// How many jobs a transaction takes.
const STEP: i64 = 200;

/// Among how many jobs a forecast counts.
pub const COUNTED: usize = 10_000;

/// How many jobs a forecast shows.
const SAMPLES: usize = 5;

/// Why a filter is none of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongState;

const fn act_of(act: JobAct) -> Act {
    match act {
        JobAct::Retry => Act::Retry,
        JobAct::Cancel => Act::Cancel,
        JobAct::Run => Act::RunNow,
    }
}

/// The filter with the state that the act is about: an act never means jobs in all states. Dead jobs are retried, those
/// that wait are run, and either are cancelled, the dead ones where nothing else is said.
///
/// # Errors
/// When the filter is about jobs in a state that the act is not for.
pub fn filter_of(act: JobAct, filter: &Filter) -> Result<Filter, WrongState> {
    let states: &[JobState] = match act {
        JobAct::Retry => &[JobState::Dead],
        JobAct::Run => &[JobState::Ready],
        JobAct::Cancel => &[JobState::Dead, JobState::Ready],
    };
    let state = filter.state.unwrap_or(states[0]);
    if states.contains(&state) { Ok(Filter { state: Some(state), ..filter.clone() }) } else { Err(WrongState) }
}

/// What an operation on jobs would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// How many jobs match.
    pub matched: i64,
    /// Whether there may be more: [`COUNTED`] jobs were looked at, and not all.
    pub at_least: bool,
    /// How many of them the act fits.
    pub fit: i64,
    /// How many it does not, and why.
    pub left_out: BTreeMap<Unfit, i64>,
    /// Some of them.
    pub samples: Vec<Job>,
}

/// Tells what an operation on jobs would do. `filter` is [`filter_of`]'s.
///
/// # Errors
/// The database's.
pub async fn forecast(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    act: JobAct,
    filter: &Filter,
) -> Result<Forecast, DbErr> {
    let mut values = vec![now.0.into()];
    let (by_index, among) = list::conditions(filter, &mut values);
    // In the order of the index that finds them: which of many are counted does not matter, that no more are read does.
    let order = match filter.state {
        Some(JobState::Ready) if filter.batch.is_none() => "run_at",
        _ => "id",
    };
    let looked_at = format!(
        "(SELECT kind, lane, state, run_at, error FROM jobs WHERE TRUE{by_index} ORDER BY {order} LIMIT {COUNTED}) AS looked_at"
    );
    let sql = format!(
        "SELECT kind, run_at <= $1 AS due, (TRUE{among}) AS matches, count(*) AS n
         FROM {looked_at} GROUP BY kind, due, matches"
    );
    let mut forecast = Forecast { matched: 0, at_least: false, fit: 0, left_out: BTreeMap::new(), samples: Vec::new() };
    let mut seen = 0;
    for (kind, due, matches, n) in db::values::<(String, bool, Option<bool>, i64)>(conn, sql, values).await? {
        seen += n;
        // Absent: it has no error to match.
        if matches != Some(true) {
            continue;
        }
        forecast.matched += n;
        match steer::unfit_group(&kind, filter.state.unwrap_or(JobState::Dead), due, act_of(act)) {
            None => forecast.fit += n,
            Some(unfit) => *forecast.left_out.entry(unfit).or_default() += n,
        }
    }
    forecast.at_least = usize::try_from(seen).is_ok_and(|seen| seen >= COUNTED);
    forecast.samples = list::page(conn, filter, None, SAMPLES).await?.rows;
    Ok(forecast)
}

/// A filter as its row keeps it.
pub(super) fn written(filter: &Filter) -> String {
    json!({
        "lane": filter.lane, "kind": filter.kind, "state": filter.state, "batch": filter.batch, "error": filter.error,
        "ids": filter.ids,
    })
    .to_string()
}

pub(super) fn read_filter(text: &str) -> Result<Filter, DbErr> {
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

/// Does the act to the next jobs that match, at most `most`.
pub(super) async fn take(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    operation: &Operation,
    act: JobAct,
    filter: &Filter,
    most: i64,
) -> Result<Taken, DbErr> {
    let (found, next) = next(conn, operation, filter, most.min(STEP)).await?;
    let act = act_of(act);
    let unfit = |job: &Job| steer::unfit(now, job, act);
    let fit: Vec<&(Job, Value)> = found.iter().filter(|(job, _)| unfit(job).is_none()).collect();
    let step = steer::write(conn, now, &fit, act, Some(operation.created_by)).await?;
    let written: HashSet<JobId> = step.value.iter().copied().collect();
    let result = |job: &Job| match unfit(job) {
        _ if written.contains(&job.id) => DONE,
        Some(unfit) => unfit.code(),
        None => CHANGED,
    };
    let results = found.iter().map(|(job, _)| (job.id.0, result(job))).collect();
    Ok(Taken { results, next, rings: step.rings, events: step.events })
}

/// The next jobs that match, at most `most`, and where it goes on behind them; `None`: there are no more.
async fn next(
    conn: &impl ConnectionTrait,
    operation: &Operation,
    filter: &Filter,
    most: i64,
) -> Result<(Vec<(Job, Value)>, Option<i64>), DbErr> {
    let place = || vec![operation.next_id.into(), operation.upto.into()];
    let mut values = place();
    let (by_index, among) = list::conditions(filter, &mut values);
    let found = list::matching(conn, &by_index, &among, values, most).await?;
    if i64::try_from(found.len()).unwrap_or(i64::MAX) >= most {
        let last = found.last().map(|(job, _)| job.id.0);
        return Ok((found, last));
    }
    let mut values = place();
    let indexed = Filter { lane: None, kind: None, error: None, ..filter.clone() };
    let (by_index, _) = list::conditions(&indexed, &mut values);
    let sql =
        format!("SELECT id FROM jobs WHERE id > $1 AND id <= $2{by_index} ORDER BY id LIMIT 1 OFFSET {}", SEARCHED - 1);
    let looked_at = db::value(conn, sql, values).await?;
    Ok((found, looked_at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::JobKind;

    #[test]
    fn an_act_is_about_jobs_in_its_own_states() {
        let with = |state| Filter { state, ..Filter::default() };
        let state = |act: JobAct, given| filter_of(act, &with(given)).map(|filter| filter.state);
        assert_eq!(state(JobAct::Retry, None), Ok(Some(JobState::Dead)));
        assert_eq!(state(JobAct::Run, None), Ok(Some(JobState::Ready)));
        assert_eq!(state(JobAct::Cancel, Some(JobState::Ready)), Ok(Some(JobState::Ready)));
        for (act, given) in
            [(JobAct::Retry, JobState::Ready), (JobAct::Run, JobState::Dead), (JobAct::Cancel, JobState::Done)]
        {
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
