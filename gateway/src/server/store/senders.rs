//! A sender's row: its rate, its daily cap and its health.

use super::ledger::{Db, Sql};
use super::{AttemptResult, beside};
use crate::server::rules::{Next, SenderNext};
use crate::sqlite::OpenError;
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::collections::{HashMap, HashSet};
use std::path::Path;

pub(super) const DAY_MS: i64 = 24 * 3600 * 1000;

/// A sender's row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sender {
    /// Its name.
    pub name: String,
    /// Messages a minute; 0: no limit of its own.
    pub rate_per_minute: i64,
    /// Messages a day of UTC; 0: no limit.
    pub daily_cap: i64,
    /// The network's reason why it is stopped, if it is.
    pub stopped_code: Option<String>,
    /// The same for people.
    pub stopped_detail: Option<String>,
    /// How often in a row it was told to wait.
    pub waits: i64,
    /// Until when it waits, in milliseconds since the epoch.
    pub wait_until: i64,
    /// The next moment at which a message may leave, in microseconds since the epoch.
    pub next_slot_us: i64,
    /// The day that is counted, in days since the epoch.
    pub day: i64,
    /// Messages that day.
    pub used: i64,
}

impl Sender {
    pub(super) fn read(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            name: row.try_get("name")?,
            rate_per_minute: row.try_get("rate_per_minute")?,
            daily_cap: row.try_get("daily_cap")?,
            stopped_code: row.try_get("stopped_code")?,
            stopped_detail: row.try_get("stopped_detail")?,
            waits: row.try_get("waits")?,
            wait_until: row.try_get("wait_until")?,
            next_slot_us: row.try_get("next_slot_us")?,
            day: row.try_get("day")?,
            used: row.try_get("used")?,
        })
    }

    /// `ok`, `waiting` or `stopped`.
    #[must_use]
    pub fn health(&self, now_ms: i64) -> &'static str {
        match (&self.stopped_code, self.wait_until > now_ms) {
            (Some(_), _) => "stopped",
            (None, true) => "waiting",
            (None, false) => "ok",
        }
    }

    /// How many messages it may still send today.
    pub(super) fn left_today(&mut self, now_ms: i64) -> i64 {
        let today = now_ms.div_euclid(DAY_MS);
        if self.day != today {
            (self.day, self.used) = (today, 0);
        }
        if self.daily_cap > 0 { (self.daily_cap - self.used).max(0) } else { i64::MAX }
    }
}

pub(super) fn midnight_after(now_ms: i64) -> i64 {
    (now_ms.div_euclid(DAY_MS) + 1) * DAY_MS
}

pub(super) async fn sender(conn: &mut Db, name: &str) -> Sql<Sender> {
    let row = sqlx::query("SELECT * FROM senders WHERE name = ?1").bind(name).fetch_optional(conn).await?;
    row.as_ref().map_or_else(|| Ok(Sender { name: name.to_owned(), ..Sender::default() }), Sender::read)
}

/// What came of the attempts for their senders.
pub(super) async fn settle_senders(
    conn: &mut Db,
    now: i64,
    outcomes: &[AttemptResult],
    judged: &[(Next, SenderNext)],
    settled: &HashSet<i64>,
) -> Sql<()> {
    let mut changes: HashMap<&str, Sender> = HashMap::new();
    for (outcome, (next, sender_next)) in outcomes.iter().zip(judged) {
        let given_back = matches!(next, Next::Again { .. } | Next::Failed { .. }) && settled.contains(&outcome.seq);
        let waited = outcome.standing.waits > 0 && matches!(next, Next::Sent { .. });
        if *sender_next == SenderNext::Fine && !given_back && !waited {
            continue;
        }
        let name = outcome.sender.as_str();
        if !changes.contains_key(name) {
            changes.insert(name, sender(conn, name).await?);
        }
        let Some(row) = changes.get_mut(name) else { continue };
        if given_back {
            row.used = (row.used - 1).max(0);
        }
        match sender_next {
            SenderNext::Fine if waited => row.waits = 0,
            SenderNext::Fine => {}
            SenderNext::Waits(wait) => {
                let until = now.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
                // Those that were on their way together are one warning.
                if row.wait_until <= now {
                    row.waits += 1;
                }
                row.wait_until = row.wait_until.max(until);
            }
            SenderNext::Stops { code, detail } => stop(row, code, detail),
        }
    }
    for row in changes.values() {
        write_sender(conn, row).await?;
    }
    Ok(())
}

pub(super) fn stop(row: &mut Sender, code: &str, detail: &str) {
    if row.stopped_code.is_none() {
        tracing::error!(
            sender = row.name,
            code,
            detail,
            "the network stopped the sender; see to it, then `paceline sender resume`"
        );
        metrics::counter!("paceline_gateway_sender_stops_total").increment(1);
    }
    (row.stopped_code, row.stopped_detail) = (Some(code.to_owned()), Some(detail.to_owned()));
}

pub(super) async fn write_sender(conn: &mut Db, row: &Sender) -> Sql<()> {
    sqlx::query(
        "UPDATE senders SET stopped_code = ?2, stopped_detail = ?3, waits = ?4, wait_until = ?5, used = ?6 WHERE name = ?1",
    )
    .bind(&row.name)
    .bind(&row.stopped_code)
    .bind(&row.stopped_detail)
    .bind(row.waits)
    .bind(row.wait_until)
    .bind(row.used)
    .execute(conn)
    .await?;
    Ok(())
}

/// What was stopped may send again, at once.
pub(super) const RESUME: &str =
    "UPDATE senders SET stopped_code = NULL, stopped_detail = NULL, waits = 0, wait_until = 0 WHERE name = ?1";

pub(crate) async fn senders_in(dir: &Path) -> Result<Vec<Sender>, OpenError> {
    let file = beside(dir)?;
    let failed = |error| OpenError::Sqlite(file.path.clone(), error);
    let mut conn = file.connect().await.map_err(failed)?;
    let rows = sqlx::query("SELECT * FROM senders ORDER BY name").fetch_all(&mut conn).await.map_err(failed)?;
    let senders = rows.iter().map(Sender::read).collect::<Sql<Vec<_>>>().map_err(failed)?;
    sqlx::Connection::close(conn).await.map_err(failed)?;
    Ok(senders)
}

pub(crate) async fn resume_in(dir: &Path, name: &str) -> Result<bool, OpenError> {
    let file = beside(dir)?;
    let failed = |error| OpenError::Sqlite(file.path.clone(), error);
    let mut conn = file.connect().await.map_err(failed)?;
    let changed = sqlx::query(RESUME).bind(name).execute(&mut conn).await.map_err(failed)?.rows_affected();
    sqlx::Connection::close(conn).await.map_err(failed)?;
    Ok(changed > 0)
}
