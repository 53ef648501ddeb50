//! What a gateway reports of the messages it took.

use crate::transport::Inbound;
use serde::{Deserialize, Serialize};

/// One report. Those about one message come in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The network gave the message an id.
    Mapped {
        /// Our id.
        message_id: String,
        /// The network's.
        whatsapp_id: String,
        /// The account that the network resolved the number to, where that is not the number as it was written: digits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wa_id: Option<String>,
    },
    /// The message came further: 1 sent, 2 delivered, 3 read, 4 played.
    Ack {
        /// Our id.
        message_id: String,
        /// The network's.
        whatsapp_id: String,
        /// How far.
        level: u8,
    },
    /// The message was read.
    Seen {
        /// Our id.
        message_id: String,
        /// The network's.
        whatsapp_id: String,
        /// How long after it was sent, in milliseconds.
        delay_ms: u64,
        /// Who read it: digits without `+`.
        to: String,
    },
    /// The message was taken and could not be delivered.
    Failed {
        /// Our id.
        message_id: String,
        /// A stable word for the reason.
        code: String,
        /// The reason for people.
        detail: String,
    },
    /// A customer wrote.
    Inbound(Inbound),
}

/// A report as it waits for the backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// What is told.
    pub report: Report,
    /// The backend named the message by a number: it is told of it by a number.
    pub numeric: bool,
}
