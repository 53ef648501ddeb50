//! The messages of a batch: the steps of a `send_chunk` job.
//!
//! [`claim_and_begin`] once, which claims the job and its first items, or [`begin`] for a job that was claimed by itself; then
//! [`settle`] and [`claim_items`] in turns, any number of times; at the end [`rest`], or [`settle_and_rest`] with the last
//! outcomes. Each is one transaction that checks the job's fence before it writes. A claim is committed before any of its
//! messages is sent; outcomes may be settled in groups.

mod begin;
mod claim;
mod decide;
mod outcome;
mod reserve;
mod rows;
mod sender;
mod settled;

pub use begin::{Work, begin, claim_and_begin};
pub use claim::{ClaimRequest, ClaimedItems, claim_items};
pub use outcome::{ItemResult, Rest, Resting, Settled, rest, settle, settle_and_rest};
pub use sender::{OpenCircuit, open_circuits};

use crate::delivery::attempt::AttemptOutcome;
use crate::jobs::Claimed;
use crate::time::Timestamp;
use entities::{BatchId, GatewayId, JobId};

/// What [`begin`] found.
#[derive(Debug)]
pub enum ChunkStart {
    /// There is work: its first items are claimed with it.
    Go(Box<Work>, Box<ClaimedItems>),
    /// The batch is paused; the job waits for its resume.
    Parked,
    /// There was nothing left to do; the chunk is closed.
    Over,
    /// The claim no longer stands.
    Stale,
}

/// An item that was claimed: to be sent once, at its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// The item.
    pub seq: i64,
    /// The message's id: the idempotency key at the gateway, the same over all attempts.
    pub message_id: uuid::Uuid,
    /// The recipient.
    pub contact: entities::ContactId,
    /// The recipient's number, digits without `+`.
    pub phone: String,
    /// The recipient's name.
    pub name: Option<String>,
    /// The recipient's attributes: a JSON object.
    pub attributes: serde_json::Value,
    /// Which attempt this is, the first being 1.
    pub attempt: i64,
    /// Whether an earlier attempt may have reached the gateway.
    pub doubtful: bool,
    /// When it may leave, in microseconds since the epoch.
    pub send_at_us: i64,
    /// The gateway that it was claimed for; `None`: that was not known, and it does not leave.
    pub gateway: Option<GatewayId>,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// Whether it has a row; if not, its outcome makes one.
    pub has_row: bool,
}

impl Outgoing {
    /// An attempt at it that ended at once: it never left.
    #[must_use]
    pub fn returned(&self, at: Timestamp) -> ItemResult {
        ItemResult {
            seq: self.seq,
            message_id: self.message_id,
            contact: self.contact,
            attempt: self.attempt,
            doubtful: self.doubtful,
            has_row: self.has_row,
            claimed_at: self.claimed_at,
            slot_us: self.send_at_us,
            gateway: None,
            text: None,
            at,
            outcome: AttemptOutcome::Returned,
        }
    }
}

/// What the claims and outcomes of one job need to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The job.
    pub job: JobId,
    /// The number of its claim.
    pub fence: i64,
    /// Its batch.
    pub batch: BatchId,
    /// Its chunk.
    pub chunk: i64,
}

impl Held {
    /// Of a claimed job; `None`: it is about no chunk, as no `send_chunk` job is that we wrote.
    #[must_use]
    pub fn of(job: &Claimed) -> Option<Self> {
        Some(Self { job: job.id, fence: job.fence, batch: job.batch?, chunk: job.chunk? })
    }
}
