//! Why an item is not done yet.

use super::items::Item;
use super::pace::SenderPace;
use super::row::Batch;
use crate::model::{BatchType, ItemStatus};
use crate::senders;
use crate::time::Timestamp;

/// Something that an item waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Its attempt is under way.
    UnderWay,
    /// Somebody paused the batch.
    Paused,
    /// The batch is to start at this time.
    Scheduled(Timestamp),
    /// An attempt failed; the next is at this time.
    Retried(Timestamp),
    /// Its sender was stopped, or has reached its cap.
    Sender(senders::Hold),
    /// The gateway does not work.
    GatewayAway,
    /// The gateway asked the sender to wait until then.
    Throttled(Timestamp),
    /// Those before it come first, at so many a minute.
    Pace(i64),
    /// Those before it come first.
    Turn,
}

impl Batch {
    /// What an item of the batch waits for, what holds it longest first; nothing for one that is decided.
    #[must_use]
    pub fn holds(&self, now: Timestamp, sender: &SenderPace, item: &Item) -> Vec<Hold> {
        let waits = matches!(item.status, ItemStatus::Pending | ItemStatus::Sending);
        if !waits || self.summary.status.is_terminal() {
            return Vec::new();
        }
        let mut holds = Vec::new();
        holds.extend(self.paused.then_some(Hold::Paused));
        let scheduled = self.schedule_at.filter(|at| *at > now && self.summary.started_at.is_none());
        holds.extend(scheduled.map(Hold::Scheduled));
        let retried = item.next_attempt_at.filter(|at| *at > now);
        holds.extend(retried.map(Hold::Retried));
        if self.summary.batch_type == BatchType::Send {
            holds.extend(self.held_by_sender(now, sender).map(Hold::Sender));
            holds.extend(sender.gateway_away.then_some(Hold::GatewayAway));
            holds.extend(sender.throttled_until.filter(|until| *until > now).map(Hold::Throttled));
        }
        if item.status == ItemStatus::Sending && retried.is_none() {
            holds.push(Hold::UnderWay);
        } else if item.status == ItemStatus::Pending && item.attempts == 0 {
            holds.push(self.effective_pace(now, sender).rate_per_minute.map_or(Hold::Turn, Hold::Pace));
        }
        holds
    }
}
