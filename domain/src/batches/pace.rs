//! How fast a batch goes, and what holds it: its own pace, its sender's, or the gateway.

use super::row::Batch;
use crate::db;
use crate::model::BatchType;
use crate::senders::{Hold, SenderState};
use crate::time::Timestamp;
use entities::SenderId;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use std::collections::HashMap;
use std::time::Duration;

/// For how long after its wait a gateway that asked for one is what holds a batch: one that is asked too fast asks again.
const GATEWAY_HOLDS: Duration = Duration::from_secs(10);

/// What a sender may do at present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SenderPace {
    /// What it is called.
    pub name: String,
    /// Its stop, its cap, and whether its gateway works.
    pub state: SenderState,
    /// Its limit a minute; `None`: none.
    pub rate_per_minute: Option<i64>,
    /// Until when its gateway asked it to wait, the last time.
    pub throttled_until: Option<Timestamp>,
}

impl SenderPace {
    /// Whether its gateway does not work, or was not seen to work again.
    #[must_use]
    pub const fn gateway_away(&self) -> bool {
        self.state.circuit.until.is_some()
    }
}

/// The senders' paces.
#[derive(Clone, Debug, Default)]
pub struct SenderPaces {
    by_id: HashMap<SenderId, SenderPace>,
}

impl SenderPaces {
    /// That of a batch's sender.
    #[must_use]
    pub fn of(&self, batch: &Batch) -> SenderPace {
        batch.sender.and_then(|id| self.by_id.get(&id)).cloned().unwrap_or_default()
    }
}

/// Reads the senders' paces; `configured` is the limit of one whose row has none.
///
/// # Errors
/// The database's.
pub async fn sender_paces(conn: &impl ConnectionTrait, configured: Option<i64>) -> Result<SenderPaces, DbErr> {
    let sql = "SELECT id, name, rate_per_minute, throttled_until, circuit_failures, circuit_opened, circuit_until,
                      circuit_probing, paused, daily_cap, used_day, used FROM senders";
    let mut by_id = HashMap::new();
    for row in db::all_as::<Row>(conn, sql, []).await? {
        let pace = SenderPace {
            name: row.name,
            state: row.state,
            rate_per_minute: row.rate_per_minute.or(configured),
            throttled_until: row.throttled_until,
        };
        by_id.insert(row.id, pace);
    }
    Ok(SenderPaces { by_id })
}

#[derive(FromQueryResult)]
struct Row {
    id: SenderId,
    name: String,
    rate_per_minute: Option<i64>,
    throttled_until: Option<Timestamp>,
    #[sea_orm(nested)]
    state: SenderState,
}

/// What holds a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedBy {
    /// Its own pace.
    Batch,
    /// Its sender's, which all batches share.
    Sender,
    /// The gateway: nothing of ours limits it, or the gateway asks the sender to wait, or does not work.
    Gateway,
}

/// How fast a batch goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EffectivePace {
    /// Messages a minute: the limit that holds or, where the gateway holds it, how fast it went so far. `None`: nothing
    /// limits it, or nothing can be said yet.
    pub rate_per_minute: Option<i64>,
    /// What holds it; `None`: nothing does.
    pub limited_by: Option<LimitedBy>,
}

impl Batch {
    /// How fast it goes, and what holds it; nothing for a batch that sends nothing.
    #[must_use]
    pub fn effective_pace(&self, now: Timestamp, sender: &SenderPace) -> EffectivePace {
        let s = &self.summary;
        if s.batch_type != BatchType::Send {
            return EffectivePace::default();
        }
        if self.held_by_sender(now, sender).is_some() {
            return EffectivePace { rate_per_minute: Some(0), limited_by: Some(LimitedBy::Sender) };
        }
        let throttled = sender.throttled_until.is_some_and(|until| until.plus(GATEWAY_HOLDS) > now);
        if let Some(started) = s.started_at.filter(|_| !s.status.is_terminal() && !self.paused)
            && (throttled || sender.gateway_away())
        {
            let elapsed = now.0 - started.0;
            let rate = (s.processed() > 0 && elapsed > 0).then(|| s.processed().saturating_mul(60_000) / elapsed);
            return EffectivePace { rate_per_minute: rate, limited_by: Some(LimitedBy::Gateway) };
        }
        match (self.rate_per_minute, sender.rate_per_minute) {
            (Some(own), sender) if sender.is_none_or(|sender| own <= sender) => {
                EffectivePace { rate_per_minute: Some(own), limited_by: Some(LimitedBy::Batch) }
            }
            (_, Some(sender)) => EffectivePace { rate_per_minute: Some(sender), limited_by: Some(LimitedBy::Sender) },
            (Some(_) | None, None) => EffectivePace::default(),
        }
    }

    /// What of its sender holds a batch that would go on: a stop, or a cap.
    #[must_use]
    pub fn held_by_sender(&self, now: Timestamp, sender: &SenderPace) -> Option<Hold> {
        let goes_on = self.summary.batch_type == BatchType::Send && !self.summary.status.is_terminal() && !self.paused;
        sender.state.allowance.hold(now).filter(|_| goes_on)
    }

    /// The sender's limit, where the batch's own pace is above it and so never reached.
    #[must_use]
    pub fn pace_above_senders(&self, sender: &SenderPace) -> Option<i64> {
        sender.rate_per_minute.filter(|limit| self.rate_per_minute.is_some_and(|own| own > *limit))
    }

    /// How a user goes on with a cancelled batch: what is left of it, and what does it. `None`: it was not cancelled, or
    /// nothing is left.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let s = &self.summary;
        let left = s.total - s.processed();
        if s.status != super::BatchStatus::Cancelled || left <= 0 {
            return None;
        }
        let list = format!("GET /batch/{}/items?status=cancelled lists", s.id);
        Some(match s.batch_type {
            BatchType::Send => format!(
                "{left} recipients were never written to: POST /batch/send with {{\"remainderOf\": \"{}\"}} makes a batch of \
                 them, with the same message and pace unless others are given; {list} them",
                s.id
            ),
            BatchType::Import => format!("{left} rows were not imported: {list} them; import those anew"),
            BatchType::Tag | BatchType::Delete => {
                format!("{left} contacts were left as they are: {list} them; make another batch of those")
            }
        })
    }
}
