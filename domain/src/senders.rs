//! Senders: the numbers that messages leave from. Each has a pace, a cap a day and a stop of its own.
//!
//! All of that is in the sender's row, and a claim of messages reads it: so it holds over all processes, and a change holds
//! with the next claim. What was claimed before, at most [`HORIZON_US`](crate::pacing::HORIZON_US) ahead of its slot, still
//! leaves.
//!
//! A day's messages are counted in the row where it has a limit, of any kind: one without is not locked by claims, and so
//! not counted. A cap that such a sender gets counts from then on.

use crate::circuit::{Circuit, CircuitPermit};
use crate::db::{self, Dialect};
use crate::jobs;
use crate::pacing::Pace;
use crate::time::Timestamp;
use crate::{Ring, Step};
use entities::{SenderId, senders};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult, QueryFilter,
    QueryOrder, QueryResult, QuerySelect, SqlErr,
};
use std::time::Duration;

/// The sender of whatever names none. It is there from the first day, and the gateway's own where a request names none.
pub const DEFAULT: &str = "default";

/// The longest name.
pub const MAX_NAME: usize = 64;

/// The highest rate a minute.
pub const MAX_RATE: u32 = 6_000_000;

/// The highest cap a day.
pub const MAX_CAP: u32 = 1_000_000_000;

/// How soon what waits for a stopped sender looks again, should nobody have rung it.
const RECHECK: Duration = Duration::from_secs(10);

/// How soon what waits for another day does: a message that was counted and did not leave gives its place back.
const CAP_RECHECK: Duration = Duration::from_secs(30);

const DAY_MS: i64 = 24 * 3_600 * 1_000;

/// Whether a text can be a sender's name: 1 to 64 of `[A-Za-z0-9._-]`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// A sender as the gateway is told of it: the default one is not named, so that a gateway which knows of no others takes its
/// messages too.
#[must_use]
pub fn on_the_wire(name: &str) -> Option<&str> {
    (name != DEFAULT).then_some(name)
}

/// Why nothing leaves from a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// A user stopped it.
    Stopped,
    /// It took as many messages as it may in a day.
    Capped {
        /// The end of that day, in UTC.
        until: Timestamp,
    },
}

impl Hold {
    /// A stable word.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Stopped => "sender_stopped",
            Self::Capped { .. } => "sender_cap",
        }
    }

    /// For people.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Stopped => "the sender is stopped: PATCH /senders/{id} with {\"paused\": false} lets it go on",
            Self::Capped { .. } => "the sender has taken as many messages as its dailyCap lets leave in a day of UTC",
        }
    }

    /// When to look again.
    #[must_use]
    pub fn look_again(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Stopped => now.plus(RECHECK),
            Self::Capped { until } => until.min(now.plus(CAP_RECHECK)),
        }
    }
}

/// What a sender's row lets leave, its pace aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromQueryResult)]
pub struct Allowance {
    /// Whether a user stopped it.
    pub paused: bool,
    /// The most messages in a day of UTC; `None`: no cap.
    pub daily_cap: Option<i64>,
    /// The day that is counted, in days since the epoch.
    pub used_day: i64,
    /// Messages that day.
    pub used: i64,
}

impl Allowance {
    /// Reads it from the columns of its names.
    pub(crate) fn read(row: &QueryResult) -> Result<Self, DbErr> {
        Self::from_query_result(row, "")
    }

    /// How many messages were counted today.
    #[must_use]
    pub fn used_today(&self, now: Timestamp) -> i64 {
        if self.used_day == day(now) { self.used } else { 0 }
    }

    /// How many more may leave now; `usize::MAX` without a cap.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> usize {
        match self.daily_cap {
            _ if self.paused => 0,
            Some(cap) => usize::try_from((cap - self.used_today(now)).max(0)).unwrap_or(usize::MAX),
            None => usize::MAX,
        }
    }

    /// What holds everything of this sender, if anything does.
    #[must_use]
    pub fn hold(&self, now: Timestamp) -> Option<Hold> {
        match self.left(now) {
            _ if self.paused => Some(Hold::Stopped),
            0 => Some(Hold::Capped { until: Timestamp((day(now) + 1) * DAY_MS) }),
            _ => None,
        }
    }
}

/// The day of UTC, in days since the epoch.
pub(crate) fn day(now: Timestamp) -> i64 {
    now.0.div_euclid(DAY_MS)
}

/// What a sender's row says of whether its messages may leave: what a claim asks, and who explains why nothing was claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromQueryResult)]
pub struct SenderState {
    /// Its stop and its cap.
    #[sea_orm(nested)]
    pub allowance: Allowance,
    /// Whether its gateway works.
    #[sea_orm(nested)]
    pub circuit: Circuit,
}

/// What keeps all messages of a sender from leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// It was stopped, or has reached its cap.
    Held(Hold),
    /// Its gateway does not work; it is tried again then.
    GatewayAway {
        /// When.
        until: Timestamp,
    },
}

impl SenderState {
    /// What keeps everything from leaving now, if anything does.
    #[must_use]
    pub fn barrier(&self, now: Timestamp) -> Option<Barrier> {
        if let Some(hold) = self.allowance.hold(now) {
            return Some(Barrier::Held(hold));
        }
        match self.circuit.permit(now) {
            CircuitPermit::NoneUntil(until) => Some(Barrier::GatewayAway { until }),
            CircuitPermit::All | CircuitPermit::One => None,
        }
    }

    /// What a claim may take now. How many a cap still lets is [`Allowance::left`].
    #[must_use]
    pub fn permit(&self, now: Timestamp) -> CircuitPermit {
        match self.barrier(now) {
            Some(Barrier::Held(hold)) => CircuitPermit::NoneUntil(hold.look_again(now)),
            Some(Barrier::GatewayAway { until }) => CircuitPermit::NoneUntil(until),
            None => self.circuit.permit(now),
        }
    }
}

/// A sender as users see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its number.
    pub id: SenderId,
    /// Its name; never changes.
    pub name: String,
    /// Its own limit a minute; `None`: the configured one.
    pub rate_per_minute: Option<i64>,
    /// Stop, cap and count.
    pub allowance: Allowance,
    /// Up to when its slots are handed out; in the past where it has more than it uses, or no limit.
    pub booked_until: Timestamp,
    /// Until when its gateway asked it to wait, the last time.
    pub throttled_until: Option<Timestamp>,
    /// Until when it is not sent from because its gateway does not work, and what that did.
    pub circuit: Option<(Timestamp, String)>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a user last changed it.
    pub updated_at: Timestamp,
}

impl From<senders::Model> for Sender {
    fn from(row: senders::Model) -> Self {
        Self {
            id: row.id,
            name: row.name,
            rate_per_minute: row.rate_per_minute,
            allowance: Allowance {
                paused: row.paused,
                daily_cap: row.daily_cap,
                used_day: row.used_day,
                used: row.used,
            },
            booked_until: Timestamp(row.next_slot_us / 1_000),
            throttled_until: row.throttled_until,
            circuit: row.circuit_until.map(|until| (until, row.circuit_reason.unwrap_or_default())),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// What a sender does at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Messages leave.
    Active,
    /// A user stopped it, or it took as many messages as it may in a day.
    Held(Hold),
    /// Its gateway does not work, for this reason; it is tried again at that time.
    Failing {
        /// When.
        until: Timestamp,
        /// What its gateway did.
        reason: String,
    },
    /// Its gateway asked it to wait until then.
    Waiting(Timestamp),
}

impl Sender {
    /// What it does at present.
    #[must_use]
    pub fn health(&self, now: Timestamp) -> Health {
        if let Some(hold) = self.allowance.hold(now) {
            return Health::Held(hold);
        }
        if let Some((until, reason)) = &self.circuit {
            return Health::Failing { until: *until, reason: reason.clone() };
        }
        self.throttled_until.filter(|until| *until > now).map_or(Health::Active, Health::Waiting)
    }
}

/// Why a sender was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// Another one has the name.
    #[error("another sender has this name")]
    NameTaken,
    /// There is no such sender.
    #[error("no such sender")]
    NotFound,
    /// The database's.
    #[error(transparent)]
    Database(DbErr),
}

impl From<DbErr> for SenderError {
    fn from(error: DbErr) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => Self::NameTaken,
            _ => Self::Database(error),
        }
    }
}

/// The most that are listed.
const MOST: u64 = 1_000;

/// The senders in the order in which they were made, a thousand at most.
///
/// # Errors
/// The database's.
pub async fn list(conn: &impl ConnectionTrait) -> Result<Vec<Sender>, DbErr> {
    let rows = senders::Entity::find().order_by_asc(senders::Column::Id).limit(MOST).all(conn).await?;
    Ok(rows.into_iter().map(Sender::from).collect())
}

/// A sender by its name, as users see it.
///
/// # Errors
/// The database's.
pub async fn by_name(conn: &impl ConnectionTrait, name: &str) -> Result<Option<Sender>, DbErr> {
    // What is no name may have signs that a database does not take.
    if !is_name(name) {
        return Ok(None);
    }
    let row = senders::Entity::find().filter(senders::Column::Name.eq(name)).one(conn).await?;
    Ok(row.map(Sender::from))
}

/// The sender of this name.
///
/// # Errors
/// The database's.
pub async fn find(conn: &impl ConnectionTrait, name: &str) -> Result<Option<SenderId>, DbErr> {
    if !is_name(name) {
        return Ok(None);
    }
    let named = senders::Entity::find().filter(senders::Column::Name.eq(name));
    named.select_only().column(senders::Column::Id).into_tuple().one(conn).await
}

/// What a sender is called; `None`: there is none of this number.
///
/// # Errors
/// The database's.
pub async fn name(conn: &impl ConnectionTrait, id: SenderId) -> Result<Option<String>, DbErr> {
    senders::Entity::find_by_id(id).select_only().column(senders::Column::Name).into_tuple().one(conn).await
}

/// A sender to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSender {
    /// Its name, see [`is_name`].
    pub name: String,
    /// Its own limit a minute; `None`: the configured one.
    pub rate_per_minute: Option<u32>,
    /// The most messages in a day of UTC; `None`: no cap.
    pub daily_cap: Option<u32>,
    /// Whether it begins stopped.
    pub paused: bool,
}

/// Makes a sender.
///
/// # Errors
/// See [`SenderError`].
pub async fn create(conn: &impl ConnectionTrait, now: Timestamp, new: &NewSender) -> Result<Sender, SenderError> {
    let row = senders::ActiveModel {
        name: Set(new.name.clone()),
        rate_per_minute: Set(new.rate_per_minute.map(i64::from)),
        daily_cap: Set(new.daily_cap.map(i64::from)),
        paused: Set(new.paused),
        created_at: Set(now),
        updated_at: Set(now),
        ..Default::default()
    };
    Ok(row.insert(conn).await?.into())
}

/// What a user changes of a sender. The outer `None` leaves a value as it is, the inner one is the configured default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// A new limit a minute.
    pub rate_per_minute: Option<Option<u32>>,
    /// A new cap a day.
    pub daily_cap: Option<Option<u32>>,
    /// Stops it, or lets it go on.
    pub paused: Option<bool>,
}

/// Changes a sender, and wakes what waits for it. `configured` is the limit of one whose row has none.
///
/// # Errors
/// See [`SenderError`].
pub async fn patch(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: SenderId,
    patch: Patch,
    configured: Option<i64>,
) -> Result<Step<Sender>, SenderError> {
    let row = senders::Entity::find_by_id(id).lock_exclusive().one(conn).await?;
    let before = Sender::from(row.ok_or(SenderError::NotFound)?);
    let rate = patch.rate_per_minute.map_or(before.rate_per_minute, |rate| rate.map(i64::from));
    let cap = patch.daily_cap.map_or(before.allowance.daily_cap, |cap| cap.map(i64::from));
    // The next slot is at most one new interval away, unless the gateway asked for a wait: that stands.
    let interval_us = Pace::per_minute(rate.or(configured), 0).map_or(0, |pace| pace.interval_us);
    let waits_us = before.throttled_until.map_or(0, |until| until.0.saturating_mul(1_000));
    let latest = now.0.saturating_mul(1_000).saturating_add(interval_us).max(waits_us);
    let sql = "UPDATE senders SET rate_per_minute = $2, daily_cap = $3, paused = $4, updated_at = $5,
                      next_slot_us = CASE WHEN next_slot_us > $6 THEN $6 ELSE next_slot_us END,
                      urgent_slot_us = CASE WHEN urgent_slot_us > $6 THEN $6 ELSE urgent_slot_us END
               WHERE id = $1 RETURNING *";
    let values = [
        id.into(),
        rate.into(),
        cap.into(),
        patch.paused.unwrap_or(before.allowance.paused).into(),
        now.0.into(),
        latest.into(),
    ];
    let row: senders::Model = db::one_as(conn, sql, values).await?.ok_or(SenderError::NotFound)?;
    let value = Sender::from(row);
    let rings = if value.allowance.hold(now).is_some() { Vec::new() } else { wake(conn, now, id).await? };
    Ok(Step { value, rings, events: Vec::new() })
}

/// Makes ready what sleeps for the sender: chunks of its batches that wait for a slot, a day or its stop, and single
/// messages that one of its kind holds. One that waits for something else finds that out and sleeps again.
async fn wake(conn: &impl ConnectionTrait, now: Timestamp, id: SenderId) -> Result<Vec<Ring>, DbErr> {
    let mut rings = Vec::new();
    for waiting in [
        "kind = 'send_chunk' AND batch_id IN
            (SELECT b.id FROM batches b WHERE b.sender_id = $1 AND b.status = 'PROCESSING' AND NOT b.paused)",
        "kind = 'deliver' AND error IN ('sender_stopped', 'sender_cap') AND $1 > 0",
    ] {
        // One that is being claimed has its row locked, and will lock the sender's: it is not waited for.
        let sql = format!(
            "UPDATE jobs SET run_at = $2, rung_at = $2 WHERE id IN (
                SELECT id FROM jobs WHERE state = 'ready' AND run_at > $2 AND {waiting}{})
             RETURNING id, kind, lane",
            Dialect::of(conn).for_update_skip_locked()
        );
        let rows = db::all(conn, sql, [id.into(), now.0.into()]).await?;
        // One that only another release knows is ready too, and the sweep parks it.
        rings.extend(rows.iter().filter_map(|row| jobs::ring_of(row).ok()));
    }
    Ok(rings)
}

/// Counts messages back that were counted as they were claimed and did not leave.
pub(crate) async fn give_back(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: SenderId,
    messages: i64,
) -> Result<(), DbErr> {
    let sql = "UPDATE senders SET used = CASE WHEN used > $2 THEN used - $2 ELSE 0 END
               WHERE id = $1 AND used_day = $3 AND daily_cap IS NOT NULL";
    db::execute(conn, sql, [id.into(), messages.into(), day(now).into()]).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp(20_000 * DAY_MS + DAY_MS / 2);

    fn allowance(paused: bool, daily_cap: Option<i64>, used: i64) -> Allowance {
        Allowance { paused, daily_cap, used_day: 20_000, used }
    }

    #[test]
    fn a_cap_is_a_days() {
        let midnight = Timestamp(20_001 * DAY_MS);
        assert_eq!(allowance(false, None, 9).left(NOON), usize::MAX);
        assert_eq!(allowance(false, Some(10), 9).left(NOON), 1);
        assert_eq!(allowance(false, Some(10), 9).hold(NOON), None);
        for used in [10, 11] {
            let full = allowance(false, Some(10), used);
            assert_eq!((full.left(NOON), full.hold(NOON)), (0, Some(Hold::Capped { until: midnight })));
            assert_eq!((full.left(midnight), full.hold(midnight)), (10, None), "a new day");
        }
    }

    #[test]
    fn a_stop_counts_more_than_a_cap() {
        let stopped = allowance(true, Some(10), 10);
        assert_eq!((stopped.left(NOON), stopped.hold(NOON)), (0, Some(Hold::Stopped)));
        assert!(Hold::Stopped.look_again(NOON) > NOON);
        let soon = NOON.plus(Duration::from_secs(1));
        assert_eq!(Hold::Capped { until: soon }.look_again(NOON), soon);
        assert!(Hold::Capped { until: NOON.plus(Duration::from_secs(3_600)) }.look_again(NOON) > soon);
    }

    #[test]
    fn names_are_short_and_plain() {
        for name in ["default", "Shop-2", "a", "x.y_z", &"n".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", " ", "a b", "é", "a/b", "a\n", &"n".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
