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

/// Tells what an operation would do. `filter` is [`OperationAct::of`]'s.
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
        "SELECT kind, CASE WHEN run_at <= $1 THEN 1 ELSE 0 END AS due, CASE WHEN TRUE{among} THEN 1 ELSE 0 END AS matches,
                count(*) AS n
         FROM {looked_at} GROUP BY kind, due, matches"
    );
    let mut forecast = Forecast { matched: 0, at_least: false, fit: 0, left_out: BTreeMap::new(), samples: Vec::new() };
    let mut seen = 0;
    for row in db::all(conn, sql, values).await? {
        let (kind, n): (String, i64) = (row.try_get("", "kind")?, row.try_get("", "n")?);
        seen += n;
        if row.try_get::<i32>("", "matches")? == 0 {
            continue;
        }
        let due = row.try_get::<i32>("", "due")? == 1;
        forecast.matched += n;
        match steer::unfit_group(&kind, filter.state.unwrap_or(JobState::Dead), due, act.act()) {
            None => forecast.fit += n,
            Some(unfit) => *forecast.left_out.entry(unfit).or_default() += n,
        }
    }
    forecast.at_least = usize::try_from(seen).is_ok_and(|seen| seen >= COUNTED);
    forecast.samples = list::page(conn, filter, None, SAMPLES).await?.rows;
    Ok(forecast)
}
