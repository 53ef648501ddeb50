//! What the gateway reports of the messages that it took, as it is kept.
//!
//! A report may come before its message's outcome was written (outcomes are written in groups), and an ack before the
//! map that tells whose it is: both are kept (`early`). Whoever writes a message takes what was kept for it and applies
//! it; see [`delivery`](crate::delivery).

mod early;

pub use early::prune;
pub(crate) use early::{EarlyReceipts, forget, take_acks, take_early, take_found};

use crate::ack::AckLevel;
use crate::time::Timestamp;
use entities::MessageId;
use uuid::Uuid;

/// Which message a report is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum About {
    /// The one with this id at the gateway.
    Uuid(Uuid),
    /// The one with this number.
    Number(MessageId),
    /// The one with this id in the network.
    Network(String),
}

/// What a report says of its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiptKind {
    /// The network gave it an id.
    Mapped {
        /// The network's id.
        whatsapp_id: String,
        /// The account that the network resolved the number to, where that is not the number as it was written: digits.
        wa_id: Option<String>,
    },
    /// It came further.
    Ack {
        /// How far: [`ACK_SENT`](crate::ack::ACK_SENT) to [`ACK_PLAYED`](crate::ack::ACK_PLAYED).
        level: AckLevel,
        /// The network's id, where it was told along.
        whatsapp_id: Option<String>,
    },
    /// It was read.
    Seen {
        /// The network's id, where it was told along.
        whatsapp_id: Option<String>,
        /// How long after it was sent, in milliseconds.
        delay_ms: Option<i64>,
    },
    /// It was taken and cannot be delivered, or nobody knows whether it was.
    Failed {
        /// A stable word for the reason.
        code: String,
        /// The reason for people.
        detail: String,
    },
}

/// A report about a message of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which message.
    pub about: About,
    /// What it says.
    pub kind: ReceiptKind,
    /// When it came.
    pub at: Timestamp,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportOutcome {
    /// The ledger says it now, or said it before.
    Applied,
    /// It came before what it is about, and is kept for it.
    Kept,
    /// It names a message that is not there.
    NoMessage,
    /// It gives a message a network id that another message has.
    Contradicts,
}
