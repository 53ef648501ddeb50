//! What an act on all the jobs that match would do.

use super::steer::{self, Unfit};
use crate::db;
use crate::jobs::list::{self, Filter, Job};
use crate::model::{JobState, OperationAct};
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr};
use std::collections::BTreeMap;

/// Among how many jobs a forecast counts.
pub const COUNTED: usize = 10_000;

/// How many jobs a forecast shows.
const SAMPLES: usize = 5;

/// What an operation would do.
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

/// Tells what an operation would do. `filter` is [`filter_of`](super::operations::filter_of)'s.
///
/// # Errors
/// The database's.
pub async fn forecast(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    act: OperationAct,
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
        match steer::unfit_group(&kind, filter.state.unwrap_or(JobState::Dead), due, super::operations::act_of(act)) {
            None => forecast.fit += n,
            Some(unfit) => *forecast.left_out.entry(unfit).or_default() += n,
        }
    }
    forecast.at_least = usize::try_from(seen).is_ok_and(|seen| seen >= COUNTED);
    forecast.samples = list::page(conn, filter, None, SAMPLES).await?.rows;
    Ok(forecast)
}
