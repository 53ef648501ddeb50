//! When sends end: of one that is not made yet, of one that goes, and of one that would go at another pace. One rule for all three.

use super::approvals;
use super::dry_run::{SendPlan, Warning};
use super::pace::LimitedBy;
use super::row::Batch;
use crate::db;
use crate::pacing::Pace;
use crate::senders::Allowance;
use crate::time::Timestamp;
use entities::SenderId;
use sea_orm::{ConnectionTrait, DbErr, Value};

/// The sender that a batch leaves from.
#[derive(Default)]
pub(super) struct Sender {
    rate: Option<i64>,
    next_slot_us: i64,
    circuit_open: bool,
    /// Batches that write through it now.
    batches: i64,
    allowance: Allowance,
}

/// What is to be sent.
pub(super) struct Wanted {
    /// How many messages.
    pub(super) items: i64,
    /// The batch's own pace.
    pub(super) rate: Option<i64>,
    /// The random extra delay of each is uniform in `[0, jitter_ms]`.
    pub(super) jitter_ms: i64,
    /// Before when it does not start.
    pub(super) from: Timestamp,
}

/// When it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Course {
    pub(super) starts_at: Timestamp,
    /// `None`: nothing of ours limits its pace.
    pub(super) ends_at: Option<Timestamp>,
    pub(super) ends_at_latest: Option<Timestamp>,
    pub(super) limited_by: LimitedBy,
}

impl Sender {
    /// The sender of a name; `None`: there is none. `configured` is the limit of one whose row has none.
    pub(super) async fn named(
        conn: &impl ConnectionTrait,
        name: &str,
        configured: Option<i64>,
    ) -> Result<Option<Self>, DbErr> {
        Self::find(conn, "name", name.into(), configured).await
    }

    async fn find(
        conn: &impl ConnectionTrait,
        column: &str,
        value: Value,
        configured: Option<i64>,
    ) -> Result<Option<Self>, DbErr> {
        let sql = format!(
            "SELECT s.rate_per_minute AS rate, s.next_slot_us AS next_slot_us, s.circuit_opened AS opened,
                    s.paused AS paused, s.daily_cap AS daily_cap, s.used_day AS used_day, s.used AS used,
                    (SELECT count(*) FROM batches b
                     WHERE b.sender_id = s.id AND b.status = 'PROCESSING' AND NOT b.paused) AS batches
             FROM senders s WHERE s.{column} = $1"
        );
        let Some(row) = db::one(conn, sql, [value]).await? else { return Ok(None) };
        Ok(Some(Self {
            rate: row.try_get::<Option<i64>>("", "rate")?.or(configured).filter(|rate| *rate > 0),
            next_slot_us: row.try_get("", "next_slot_us")?,
            circuit_open: row.try_get::<i64>("", "opened")? > 0,
            batches: row.try_get("", "batches")?,
            allowance: Allowance::read(&row)?,
        }))
    }

    /// When so many messages leave, if nothing else takes the sender's pace.
    pub(super) fn course(&self, now: Timestamp, wanted: &Wanted) -> Course {
        let rates = [(LimitedBy::Batch, wanted.rate), (LimitedBy::Sender, self.rate)];
        let paces = rates.into_iter().filter_map(|(by, rate)| Some((by, Pace::per_minute(rate, 0)?.interval_us)));
        // Of two that are equal, the batch's own is the one that its writer can change.
        let slowest = paces.rev().max_by_key(|(_, interval)| *interval);
        let starts_at = wanted.from.max(now).max(Timestamp(self.next_slot_us / 1_000));
        let after_the_first = (wanted.items - 1).max(0);
        let ends_at = slowest.map(|(_, interval)| {
            Timestamp(starts_at.0.saturating_add(interval.saturating_mul(after_the_first) / 1_000))
        });
        Course {
            starts_at,
            ends_at,
            ends_at_latest: ends_at.map(|ends| Timestamp(ends.0.saturating_add(wanted.jitter_ms))),
            limited_by: slowest.map_or(LimitedBy::Gateway, |(by, _)| by),
        }
    }

    pub(super) fn warnings(&self, now: Timestamp, batch_rate: Option<i64>) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if let (Some(batch), Some(sender)) = (batch_rate, self.rate)
            && batch > sender
        {
            let message = format!("the sender takes {sender} a minute: ratePerMinute {batch} is more than that");
            warnings.push(Warning { code: "rate_above_sender", message });
        }
        if let Some(hold) = self.allowance.hold(now) {
            warnings.push(Warning { code: hold.code(), message: hold.message().into() });
        }
        if self.circuit_open {
            let message = "the sender's gateway fails at the moment: nothing leaves until it works again";
            warnings.push(Warning { code: "sender_circuit", message: message.into() });
        } else if self.next_slot_us / 1_000 > now.0 + 1_000 {
            let message = "the sender's next free place is later than now";
            warnings.push(Warning { code: "sender_busy", message: message.into() });
        }
        if self.batches > 0 {
            let message = format!("{} other batches write through the same sender and share its pace", self.batches);
            warnings.push(Warning { code: "others_at_work", message });
        }
        warnings
    }
}

/// Tells what is left of a send, and when it ends: as it goes or, with `what_if`, at that pace. What is left out is decided when
/// each recipient's turn comes, so nobody is told as excluded here. `configured` is the limit of a sender whose row has none.
///
/// # Errors
/// The database's. `None`: the batch sends nothing.
pub async fn forecast(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: &Batch,
    what_if: Option<u32>,
    configured: Option<i64>,
) -> Result<Option<SendPlan>, DbErr> {
    let Some(SenderId(sender)) = batch.sender else { return Ok(None) };
    let mut sender = Sender::find(conn, "id", sender.into(), configured).await?.unwrap_or_default();
    // It is not in its own way.
    let goes = batch.summary.started_at.is_some() && !batch.paused && !batch.summary.status.is_terminal();
    sender.batches -= i64::from(goes);
    let summary = &batch.summary;
    let ended = summary.status.is_terminal();
    let rate = what_if.map(i64::from).or(batch.rate_per_minute);
    let wanted = Wanted {
        items: if ended { 0 } else { (summary.total - summary.processed()).max(0) },
        rate,
        jitter_ms: batch.jitter_ms,
        from: batch.schedule_at.filter(|_| summary.started_at.is_none()).unwrap_or(now).max(own_slot(now, batch, rate)),
    };
    let course = sender.course(now, &wanted);
    Ok(Some(SendPlan {
        recipients: wanted.items,
        excluded: Vec::new(),
        starts_at: course.starts_at,
        ends_at: course.ends_at.filter(|_| wanted.items > 0),
        ends_at_latest: course.ends_at_latest.filter(|_| wanted.items > 0),
        limited_by: course.limited_by,
        samples: Vec::new(),
        warnings: if ended { Vec::new() } else { held(batch).into_iter().chain(sender.warnings(now, rate)).collect() },
    }))
}

/// The next slot of the batch's own pace; at another pace no later than a new one would give it.
fn own_slot(now: Timestamp, batch: &Batch, rate: Option<i64>) -> Timestamp {
    let interval_us = Pace::per_minute(rate, 0).map_or(0, |pace| pace.interval_us);
    let next = Timestamp(batch.next_slot_us / 1_000);
    if rate == batch.rate_per_minute { next } else { next.min(Timestamp(now.0.saturating_add(interval_us / 1_000))) }
}

/// What of the batch itself keeps it from going on, so that the forecast is one for the moment at which that ends.
fn held(batch: &Batch) -> Option<Warning> {
    if batch.awaits_approval() {
        return Some(approvals::warning(batch.summary.total));
    }
    let message = "the batch is paused: it is told what happens if it is resumed now".into();
    batch.paused.then_some(Warning { code: "batch_paused", message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_two_paces_says_when_it_ends() {
        let now = Timestamp(1_000_000);
        let wanted = |rate| Wanted { items: 61, rate, jitter_ms: 500, from: now };
        let sender = |rate| Sender { rate, ..Sender::default() };
        for (own, senders, by, ends_secs) in [
            (Some(60), None, LimitedBy::Batch, Some(60)),
            (Some(60), Some(30), LimitedBy::Sender, Some(120)),
            (Some(30), Some(30), LimitedBy::Batch, Some(120)),
            (None, Some(60), LimitedBy::Sender, Some(60)),
            (None, None, LimitedBy::Gateway, None),
        ] {
            let course = sender(senders).course(now, &wanted(own));
            let ends = ends_secs.map(|secs: i64| Timestamp(now.0 + secs * 1_000));
            assert_eq!((course.limited_by, course.ends_at), (by, ends), "{own:?} {senders:?}");
            assert_eq!(course.ends_at_latest, ends.map(|ends| Timestamp(ends.0 + 500)));
        }
        let later = Sender { next_slot_us: 2_000_000_000, ..Sender::default() }.course(now, &wanted(None));
        assert_eq!(later.starts_at, Timestamp(2_000_000));
    }
}
