//! What a gateway reports of the messages it took.

/// One report. Those about one message come in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The network gave the message an id.
    Mapped {
        /// Our id.
        message_id: String,
        /// The network's.
        whatsapp_id: String,
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
    Inbound {
        /// The customer's number: digits without `+`.
        from: String,
        /// The text.
        text: String,
        /// The network's id of it.
        whatsapp_id: String,
    },
}
