//! Why an item is not done yet.
//!
//! It is decided by what a claim decides by, and nothing besides: whether the batch goes on ([`RunState`]), whether messages may
//! leave from its sender ([`SenderState::barrier`](crate::senders::State::barrier)), and what becomes of a recipient
//! ([`Fate`](super::lookup::Fate)); and by where its chunk and that one's job are.

use super::items::Item;
use super::lookup::{Fate, resolve};
use super::pace::SenderPace;
use super::recipients::ContactRef;
use super::row::{Batch, RunState};
use crate::db;
use crate::model::{BatchType, ItemStatus};
use crate::senders::{self, Barrier};
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use std::time::Duration;

/// For how long a job may be due with nobody at work in its lane before it is said that no worker is there.
const NOBODY_AFTER: Duration = Duration::from_secs(15);

/// Something that an item waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Its attempt is under way.
    UnderWay,
    /// Nobody knows what became of its attempt: it is asked for again under the same id then.
    AskedAgain(Timestamp),
    /// Nobody knows what became of its attempt, and the batch leaves that to a person.
    InDoubt,
    /// The batch waits for a second person to approve it.
    Approval,
    /// Somebody paused the batch.
    Paused,
    /// The batch is to start at this time.
    Scheduled(Timestamp),
    /// An attempt failed; the next is at this time.
    Retried(Timestamp),
    /// Its sender was stopped, or has reached its cap.
    Sender(senders::Hold),
    /// The gateway does not work; it is tried again then.
    GatewayAway(Timestamp),
    /// The gateway asked the sender to wait until then.
    Throttled(Timestamp),
    /// It will be skipped: the contact has opted out.
    Suppressed,
    /// It will fail: the contact has no number.
    NoNumber,
    /// It will fail: there is no such contact.
    NoContact,
    /// A worker has its part of the batch, since then.
    AtWork {
        /// The worker, by the name in its jobs' leases.
        worker: String,
        /// Since when.
        since: Timestamp,
    },
    /// Its part of the batch is due since then, and no worker takes it.
    NoWorker(Timestamp),
    /// The job of its part of the batch failed, and is tried again then.
    JobRetried(Timestamp),
    /// Only another release can do its part of the batch.
    OtherRelease,
    /// Those before it come first, at so many a minute.
    Pace(i64),
    /// Those before it come first.
    Turn,
}

impl Hold {
    /// A stable word.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnderWay => "under_way",
            Self::AskedAgain(_) => "asked_again",
            Self::InDoubt => "in_doubt",
            Self::Approval => "approval",
            Self::Paused => "batch_paused",
            Self::Scheduled(_) => "scheduled",
            Self::Retried(_) => "retry",
            Self::Sender(hold) => hold.code(),
            Self::GatewayAway(_) => "gateway_away",
            Self::Throttled(_) => "throttled",
            Self::Suppressed => "suppressed",
            Self::NoNumber => "contact_has_no_number",
            Self::NoContact => "contact_not_found",
            Self::AtWork { .. } => "worker",
            Self::NoWorker(_) => "no_worker",
            Self::JobRetried(_) => "job_retry",
            Self::OtherRelease => "other_release",
            Self::Pace(_) => "pace",
            Self::Turn => "turn",
        }
    }

    /// For people.
    #[must_use]
    pub const fn message(&self) -> &'static str {
        match self {
            Self::UnderWay => "its attempt is under way: the gateway has not answered yet",
            Self::AskedAgain(_) => "nobody knows what became of its attempt: it is asked for again under the same id",
            Self::InDoubt => "nobody knows what became of its attempt, and the batch leaves that to a person",
            Self::Approval => "the batch waits for a second person: POST /batch/{id}/approve lets it go",
            Self::Paused => "the batch is paused: POST /batch/{id}/resume lets it go on",
            Self::Scheduled(_) => "the batch has not started",
            Self::Retried(_) => "an attempt failed, and it is tried again",
            Self::Sender(hold) => hold.message(),
            Self::GatewayAway(_) => "the gateway of its sender does not work; it is tried again by itself",
            Self::Throttled(_) => "the gateway asked the sender to wait",
            Self::Suppressed => "the contact has opted out: it will be skipped",
            Self::NoNumber => "the contact has no phone number: it will fail",
            Self::NoContact => "there is no such contact: it will fail",
            Self::AtWork { .. } => "a worker has its part of the batch",
            Self::NoWorker(_) => "its part of the batch is due, and no worker takes it",
            Self::JobRetried(_) => "the job of its part of the batch failed, and is tried again",
            Self::OtherRelease => "only another release can do its part of the batch",
            Self::Pace(_) => "those before it come first, at the pace of the batch",
            Self::Turn => "those before it come first",
        }
    }

    /// When it ends by itself or, of a worker, since when it is so; `None`: nothing can be said.
    #[must_use]
    pub const fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Scheduled(at)
            | Self::AskedAgain(at)
            | Self::Retried(at)
            | Self::GatewayAway(at)
            | Self::Throttled(at)
            | Self::NoWorker(at)
            | Self::JobRetried(at)
            | Self::Sender(senders::Hold::Capped { until: at })
            | Self::AtWork { since: at, .. } => Some(*at),
            Self::UnderWay
            | Self::InDoubt
            | Self::Approval
            | Self::Paused
            | Self::Sender(senders::Hold::Stopped)
            | Self::Suppressed
            | Self::NoNumber
            | Self::NoContact
            | Self::OtherRelease
            | Self::Pace(_)
            | Self::Turn => None,
        }
    }
}

/// The job of an item's chunk, as far as there is one that is not over.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
struct ChunkJob {
    state: String,
    lane: String,
    worker: Option<String>,
    started_at: Option<Timestamp>,
    run_at: Timestamp,
    failures: i64,
}

/// What stands around an item in the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Around {
    fate: Option<Fate>,
    job: Option<ChunkJob>,
    /// Whether anybody is at work in the job's lane.
    lane_at_work: bool,
}

/// What an item of a batch waits for, what holds it longest first; nothing for one that is decided.
///
/// # Errors
/// The database's.
pub async fn holds(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: &Batch,
    sender: &SenderPace,
    item: &Item,
) -> Result<Vec<Hold>, DbErr> {
    let around = if item.waits() { around(conn, batch, item).await? } else { Around::default() };
    Ok(batch.holds(now, sender, item, &around))
}

impl Item {
    /// Whether something is still to be done about it.
    const fn waits(&self) -> bool {
        matches!(self.status, ItemStatus::Pending | ItemStatus::Sending | ItemStatus::Unknown)
            && self.finished_at.is_none()
    }
}

async fn around(conn: &impl ConnectionTrait, batch: &Batch, item: &Item) -> Result<Around, DbErr> {
    let mut around = Around::default();
    let sql = "SELECT j.state AS state, j.lane AS lane, j.lease_owner AS worker, j.started_at AS started_at,
                      j.run_at AS run_at, j.failures AS failures
               FROM batch_chunks c JOIN jobs j ON j.batch_id = c.batch_id AND j.chunk_no = c.no
               WHERE c.batch_id = $1 AND c.first_seq <= $2 AND c.first_seq + c.item_count > $2 AND c.state = 'open'
                 AND j.finished_at IS NULL ORDER BY j.id DESC LIMIT 1";
    let job: Option<ChunkJob> = db::one_as(conn, sql, [batch.summary.id.into(), item.seq.into()]).await?;
    if let Some(job) = job {
        let busy = "SELECT id FROM jobs WHERE state = 'running' AND lane = $1 LIMIT 1";
        around.lane_at_work = db::one(conn, busy, [job.lane.as_str().into()]).await?.is_some();
        around.job = Some(job);
    }
    if batch.summary.batch_type == BatchType::Send && item.status != ItemStatus::Sending {
        let named = match (&item.contact, &item.input) {
            (Some(contact), _) => Some(ContactRef::Number(contact.0)),
            (None, Some(text)) => Some(ContactRef::Text(text.as_str().into())),
            (None, None) => None,
        };
        if let Some(named) = named {
            let found = resolve(conn, std::iter::once(&named)).await?;
            around.fate = Some(Fate::of(found.get(&named), item.status == ItemStatus::Unknown));
        }
    }
    Ok(around)
}

impl Batch {
    /// What an item of the batch waits for, of what is known of it.
    fn holds(&self, now: Timestamp, sender: &SenderPace, item: &Item, around: &Around) -> Vec<Hold> {
        if item.status == ItemStatus::Unknown && item.finished_at.is_some() {
            return vec![Hold::InDoubt];
        }
        let run_state = RunState::of(self);
        if !item.waits() || run_state == RunState::Ended {
            return Vec::new();
        }
        let later = |at: Option<Timestamp>| at.filter(|at| *at > now);
        let mut holds = Vec::new();
        let stopped = if self.awaits_approval() { Hold::Approval } else { Hold::Paused };
        holds.extend((run_state == RunState::Paused).then_some(stopped));
        holds.extend(later(self.schedule_at).filter(|_| self.summary.started_at.is_none()).map(Hold::Scheduled));
        let again = later(item.next_attempt_at).filter(|_| item.attempts > 0);
        holds.extend(again.map(if item.status == ItemStatus::Unknown { Hold::AskedAgain } else { Hold::Retried }));
        if self.summary.batch_type == BatchType::Send {
            holds.extend(sender.state.barrier(now).map(|barrier| match barrier {
                Barrier::Held(hold) => Hold::Sender(hold),
                Barrier::GatewayAway { until } => Hold::GatewayAway(until),
            }));
            holds.extend(later(sender.throttled_until).map(Hold::Throttled));
        }
        holds.extend(around.fate.and_then(|fate| match fate {
            Fate::Write => None,
            Fate::Suppressed => Some(Hold::Suppressed),
            Fate::NoNumber => Some(Hold::NoNumber),
            Fate::NoContact => Some(Hold::NoContact),
        }));
        if item.status == ItemStatus::Sending && again.is_none() {
            holds.push(Hold::UnderWay);
        }
        holds.extend(around.job.as_ref().and_then(|job| job.hold(now, around.lane_at_work)));
        if item.status == ItemStatus::Pending && item.attempts == 0 {
            holds.push(self.effective_pace(now, sender).rate_per_minute.map_or(Hold::Turn, Hold::Pace));
        }
        holds
    }
}

impl ChunkJob {
    fn hold(&self, now: Timestamp, lane_at_work: bool) -> Option<Hold> {
        match self.state.as_str() {
            "running" => {
                let worker = self.worker.clone()?;
                Some(Hold::AtWork { worker, since: self.started_at.unwrap_or(self.run_at) })
            }
            "parked" => Some(Hold::OtherRelease),
            "ready" if self.run_at > now && self.failures > 0 => Some(Hold::JobRetried(self.run_at)),
            "ready" if self.run_at.plus(NOBODY_AFTER) <= now && !lane_at_work => Some(Hold::NoWorker(self.run_at)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: &str, run_at: i64, failures: i64) -> ChunkJob {
        let worker = (state == "running").then(|| "worker-1".to_owned());
        let (state, lane, started_at) = (state.into(), "bulk".into(), Some(Timestamp(5)));
        ChunkJob { state, lane, worker, started_at, run_at: Timestamp(run_at), failures }
    }

    #[test]
    fn what_a_chunks_job_says_of_its_items() {
        let now = Timestamp(100_000);
        let at_work = Hold::AtWork { worker: "worker-1".into(), since: Timestamp(5) };
        for (job, lane_at_work, hold) in [
            (job("running", 0, 0), true, Some(at_work)),
            (job("parked", 0, 0), false, Some(Hold::OtherRelease)),
            (job("ready", 110_000, 1), true, Some(Hold::JobRetried(Timestamp(110_000)))),
            (job("ready", 110_000, 0), false, None),
            (job("ready", 84_999, 0), false, Some(Hold::NoWorker(Timestamp(84_999)))),
            (job("ready", 84_999, 0), true, None),
            (job("ready", 99_000, 0), false, None),
            (job("paused", 0, 0), false, None),
        ] {
            assert_eq!(job.hold(now, lane_at_work), hold, "{job:?}");
        }
    }
}
