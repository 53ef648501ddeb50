//! What batches did, day by day.

use super::read::Filter;
use crate::db;
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use std::io;

const DAY_MS: i64 = 24 * 3_600 * 1_000;

/// The batches that were accepted on one day of UTC, and what became of their items since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// Its beginning.
    pub at: Timestamp,
    /// How many batches.
    pub batches: i64,
    /// Items that succeeded.
    pub succeeded: i64,
    /// Items that failed.
    pub failed: i64,
    /// Items that were skipped.
    pub skipped: i64,
}

impl Day {
    /// Its date, as 2026-11-30.
    #[must_use]
    pub fn date(&self) -> String {
        self.at.to_rfc3339().chars().take(10).collect()
    }
}

/// The last `days` days up to `now`, the oldest first, those without a batch among them; at most a year.
///
/// # Errors
/// The database's.
pub async fn days(conn: &impl ConnectionTrait, now: Timestamp, filter: &Filter, days: u16) -> Result<Vec<Day>, DbErr> {
    let days = i64::from(days.clamp(1, 366));
    let last = now.0.div_euclid(DAY_MS);
    let first = last - days + 1;
    let mut found: Vec<Day> = (first..=last).map(|day| Day { at: Timestamp(day * DAY_MS), ..Day::default() }).collect();
    let filter = Filter { created_after: Some(Timestamp(first * DAY_MS)), created_before: None, ..filter.clone() };
    let (condition, values) = filter.condition();
    let sql = format!(
        "SELECT created_at / {DAY_MS} AS day, count(*) AS batches, CAST(sum(succeeded) AS BIGINT) AS succeeded,
                CAST(sum(failed) AS BIGINT) AS failed, CAST(sum(skipped) AS BIGINT) AS skipped
         FROM batches WHERE {condition} GROUP BY created_at / {DAY_MS}"
    );
    for row in db::all_as::<Row>(conn, sql, values).await? {
        let place = usize::try_from(row.day - first);
        let Some(day) = place.ok().and_then(|place| found.get_mut(place)) else { continue };
        (day.batches, day.succeeded, day.failed, day.skipped) = (row.batches, row.succeeded, row.failed, row.skipped);
    }
    Ok(found)
}

#[derive(FromQueryResult)]
struct Row {
    day: i64,
    batches: i64,
    succeeded: i64,
    failed: i64,
    skipped: i64,
}

/// Days as a CSV file.
///
/// # Errors
/// None but the writer's own.
pub fn write_days(days: &[Day]) -> io::Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["date", "batches", "succeeded", "failed", "skipped"])?;
    for day in days {
        let numbers = [day.batches, day.succeeded, day.failed, day.skipped].map(|number| number.to_string());
        csv.write_record(std::iter::once(day.date()).chain(numbers))?;
    }
    csv.into_inner().map_err(|error| io::Error::other(error.to_string()))
}
