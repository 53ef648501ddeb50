//! One message's way, as reports tell it. Pure.

use crate::ack::{ACK_DELIVERED, ACK_READ, ACK_SENT, AckLevel};
use crate::batches::ItemFate;
use crate::delivery::OUTCOME_UNKNOWN;
use crate::messages::receipts::ReceiptKind;
use crate::model::MessageStatus;
use crate::time::Timestamp;
use entities::{BatchId, ContactId, MessageId, RowUuid};
use sea_orm::FromQueryResult;
use serde_json::{Value, json};
use uuid::Uuid;

/// A step that a message came further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It came so far.
    Acked(AckLevel),
    /// It was seen.
    Seen,
}

/// A message as a report finds it and leaves it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ReportedMessage {
    pub(super) id: MessageId,
    pub(super) uuid: Uuid,
    pub(super) contact: ContactId,
    pub(super) item: Option<(BatchId, i64)>,
    pub(super) whatsapp_id: Option<String>,
    ack: AckLevel,
    status: MessageStatus,
    error: Option<(String, String)>,
    /// When the gateway took it.
    sent_at: Option<Timestamp>,
    delivered_at: Option<Timestamp>,
    read_at: Option<Timestamp>,
    seen_delay_ms: Option<i64>,
    /// Whether it is to be written.
    pub(super) changed: bool,
    /// The steps that it came further, in order.
    pub(super) progress: Vec<Progress>,
    /// Whether it was failed or in doubt when the reports came.
    troubled: bool,
    failed: bool,
}

pub(super) const COLUMNS: &str = "id, uuid, contact_id, batch_id, seq, ack, status, whatsapp_id, error_code,
    error_message, sent_at, delivered_at, read_at, seen_delay_ms";

/// A message's [`COLUMNS`].
#[derive(FromQueryResult)]
pub(super) struct Row {
    id: MessageId,
    uuid: RowUuid,
    contact_id: ContactId,
    batch_id: Option<BatchId>,
    seq: Option<i64>,
    ack: AckLevel,
    status: MessageStatus,
    whatsapp_id: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    sent_at: Option<Timestamp>,
    delivered_at: Option<Timestamp>,
    read_at: Option<Timestamp>,
    seen_delay_ms: Option<i64>,
}

impl From<Row> for ReportedMessage {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            uuid: row.uuid.0,
            contact: row.contact_id,
            item: row.batch_id.zip(row.seq),
            whatsapp_id: row.whatsapp_id,
            ack: row.ack,
            troubled: row.status.is_troubled(),
            status: row.status,
            error: row.error_code.map(|code| (code, row.error_message.unwrap_or_default())),
            sent_at: row.sent_at,
            delivered_at: row.delivered_at,
            read_at: row.read_at,
            seen_delay_ms: row.seen_delay_ms,
            changed: false,
            progress: Vec::new(),
            failed: false,
        }
    }
}

impl ReportedMessage {
    /// Gives it the network's id; `false`: it has another.
    pub(super) fn map(&mut self, whatsapp_id: &str) -> bool {
        match &self.whatsapp_id {
            Some(known) => known == whatsapp_id,
            None => {
                self.whatsapp_id = Some(whatsapp_id.to_owned());
                self.changed = true;
                true
            }
        }
    }

    /// Takes what a report says.
    pub(super) fn take(&mut self, kind: &ReceiptKind, at: Timestamp) {
        // Only what was taken is reported on, also where the answer to the send never came.
        self.sent_at.get_or_insert(at);
        match kind {
            // Only the network gives ids, so it has the message.
            ReceiptKind::Mapped { .. } => self.raise(ACK_SENT, at),
            ReceiptKind::Ack { level, .. } => self.raise(*level, at),
            ReceiptKind::Seen { delay_ms, .. } => {
                self.raise(ACK_READ, at);
                // Told once, also where an ack said before that it was read.
                if self.seen_delay_ms.is_none() {
                    self.seen_delay_ms = Some(delay_ms.unwrap_or(0));
                    self.changed = true;
                    self.progress.push(Progress::Seen);
                }
            }
            ReceiptKind::Failed { code, detail } => self.fail(code, detail),
        }
    }

    fn raise(&mut self, level: AckLevel, at: Timestamp) {
        // A network that has failed a message does not take that back by saying that it once had it.
        if self.status == MessageStatus::Failed && level < ACK_DELIVERED {
            return;
        }
        let status = match level {
            ..=ACK_SENT => MessageStatus::Sent,
            ACK_DELIVERED => MessageStatus::Delivered,
            ACK_READ.. => MessageStatus::Read,
        };
        if level > self.ack {
            self.ack = level;
            self.progress.push(Progress::Acked(level));
            self.changed = true;
        } else if self.status != MessageStatus::Queued && !self.status.is_troubled() {
            return;
        }
        if self.status != status {
            self.status = status;
            self.changed = true;
        }
        if self.error.take().is_some() {
            self.changed = true;
        }
        self.failed = false;
        if level >= ACK_DELIVERED {
            self.delivered_at.get_or_insert(at);
        }
        if level >= ACK_READ {
            self.read_at.get_or_insert(at);
        }
    }

    fn fail(&mut self, code: &str, detail: &str) {
        if matches!(self.status, MessageStatus::Failed | MessageStatus::Delivered | MessageStatus::Read) {
            return;
        }
        let status = if code == OUTCOME_UNKNOWN { MessageStatus::Unknown } else { MessageStatus::Failed };
        if self.status == status && self.error.as_ref().is_some_and(|(known, _)| known == code) {
            return;
        }
        self.status = status;
        self.error = Some((code.to_owned(), detail.to_owned()));
        self.failed = true;
        self.changed = true;
    }

    /// What the reports mean for its item; `None`: what it says already. That is the case of nearly all, and costs nothing.
    pub(super) fn fate(&self) -> Option<ItemFate> {
        match (&self.error, self.failed) {
            (Some((code, detail)), true) if self.status == MessageStatus::Unknown => {
                Some(ItemFate::Unknown { code: code.clone(), detail: detail.clone() })
            }
            (Some((code, detail)), true) => Some(ItemFate::Failed { code: code.clone(), detail: detail.clone() }),
            _ if self.troubled && !self.status.is_troubled() => Some(ItemFate::Sent),
            _ => None,
        }
    }

    /// As what the reports left it, where they say that it will not arrive: failed, or in doubt.
    pub(super) fn has_failed(&self) -> Option<MessageStatus> {
        self.failed.then_some(self.status)
    }

    pub(super) fn json(&self) -> Value {
        let (code, message) = self.error.as_ref().map(|(code, message)| (code.as_str(), message.as_str())).unzip();
        json!({
            "id": self.id, "ack": self.ack, "status": self.status, "whatsapp_id": self.whatsapp_id, "error_code": code,
            "error_message": message, "sent_at": self.sent_at, "delivered_at": self.delivered_at, "read_at": self.read_at,
            "seen_delay_ms": self.seen_delay_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent() -> ReportedMessage {
        ReportedMessage {
            id: MessageId(1),
            uuid: Uuid::nil(),
            contact: ContactId(1),
            item: None,
            whatsapp_id: None,
            ack: 1,
            status: MessageStatus::Sent,
            error: None,
            sent_at: None,
            delivered_at: None,
            read_at: None,
            seen_delay_ms: None,
            changed: false,
            progress: Vec::new(),
            troubled: false,
            failed: false,
        }
    }

    fn ack(level: AckLevel) -> ReceiptKind {
        ReceiptKind::Ack { level, whatsapp_id: None }
    }

    fn failed(code: &str) -> ReceiptKind {
        ReceiptKind::Failed { code: code.into(), detail: "why".into() }
    }

    #[test]
    fn each_level_is_told_once_and_none_goes_back() {
        let mut message = sent();
        for level in [2, 1, 2, 3, 2, 4, 3] {
            message.take(&ack(level), Timestamp(level));
        }
        message.take(&ReceiptKind::Seen { whatsapp_id: None, delay_ms: Some(5) }, Timestamp(9));
        message.take(&ReceiptKind::Seen { whatsapp_id: None, delay_ms: Some(6) }, Timestamp(10));
        assert_eq!(message.progress, [Progress::Acked(2), Progress::Acked(3), Progress::Acked(4), Progress::Seen]);
        assert_eq!((message.ack, message.status), (4, MessageStatus::Read));
        assert_eq!((message.delivered_at, message.read_at), (Some(Timestamp(2)), Some(Timestamp(3))));
        assert_eq!(message.seen_delay_ms, Some(5));
    }

    #[test]
    fn a_read_receipt_reads() {
        let mut message = sent();
        message.take(&ReceiptKind::Seen { whatsapp_id: None, delay_ms: None }, Timestamp(9));
        assert_eq!(message.progress, [Progress::Acked(3), Progress::Seen]);
    }

    #[test]
    fn what_was_delivered_cannot_fail_and_what_failed_was_delivered_if_the_network_says_so() {
        let mut message = sent();
        message.take(&ack(2), Timestamp(1));
        message.take(&failed("131026"), Timestamp(2));
        assert_eq!(message.status, MessageStatus::Delivered);

        let mut message = sent();
        message.take(&failed("131026"), Timestamp(1));
        message.take(&ack(1), Timestamp(2));
        assert_eq!((message.status, message.fate().is_some()), (MessageStatus::Failed, true));
        message.take(&ack(2), Timestamp(3));
        assert_eq!((message.status, message.fate()), (MessageStatus::Delivered, None), "its item was never told");
        message.troubled = true;
        assert_eq!(message.fate(), Some(ItemFate::Sent));
    }

    #[test]
    fn doubt_ends_with_the_first_word_of_the_network() {
        let mut message = sent();
        message.take(&failed(OUTCOME_UNKNOWN), Timestamp(1));
        assert!(matches!(message.fate(), Some(ItemFate::Unknown { .. })));
        message.troubled = true;
        message.take(&ReceiptKind::Mapped { whatsapp_id: "w".into(), wa_id: None }, Timestamp(2));
        assert_eq!((message.status, message.fate()), (MessageStatus::Sent, Some(ItemFate::Sent)));
    }

    proptest! {
        /// Whatever comes in whatever order and however often: told again from the start, nothing changes.
        #[test]
        fn reports_told_again_change_nothing(levels in prop::collection::vec(0i64..7, 1..12)) {
            let kind = |n: i64| match n {
                0 => ReceiptKind::Mapped { whatsapp_id: "w".into(), wa_id: None },
                1..=4 => ack(n),
                5 => ReceiptKind::Seen { whatsapp_id: None, delay_ms: Some(1) },
                _ => failed("131026"),
            };
            let mut message = sent();
            for n in &levels {
                message.take(&kind(*n), Timestamp(*n));
            }
            let (ack, was) = (message.ack, message.clone());
            message.progress.clear();
            for n in &levels {
                message.take(&kind(*n), Timestamp(100));
            }
            prop_assert!(message.progress.is_empty(), "{:?}", message.progress);
            prop_assert_eq!(message.ack, ack);
            prop_assert_eq!((message.status, message.delivered_at, message.read_at), (was.status, was.delivered_at, was.read_at));
        }
    }
}
