//! Where items have their rows.
//!
//! A recipient of a send and its message are one row, in `messages` (0037): who is skipped, was cancelled or waits has a row
//! there too, whose `direction` is absent until there is a message that a person may see. Items of the other kinds have no
//! message, and rows of their own in `batch_items`. Columns that both have are named alike, so that a statement is one text.

use crate::model::BatchType;

/// The table of a batch's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// `messages`: recipients of sends.
    Messages,
    /// `batch_items`: rows of imports, and contacts whose tags change or that are deleted.
    Sets,
}

impl Table {
    /// Both of them.
    pub(crate) const ALL: [Self; 2] = [Self::Messages, Self::Sets];

    /// That of a batch of this type.
    pub(crate) const fn of(batch_type: BatchType) -> Self {
        match batch_type {
            BatchType::Send => Self::Messages,
            BatchType::Import | BatchType::Tag | BatchType::Delete => Self::Sets,
        }
    }

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Sets => "batch_items",
        }
    }

    /// What is added to the `SET` of an update that finishes items: nothing is left to wait for.
    pub(crate) const fn no_more_slots(self) -> &'static str {
        match self {
            Self::Messages => ", next_attempt_at = NULL, slot_us = NULL",
            Self::Sets => "",
        }
    }

    /// The columns of an item `i` and its contact `c`, as a list shows them.
    pub(crate) fn columns(self) -> String {
        let own = match self {
            Self::Messages => {
                "CAST(NULL AS TEXT) AS warning, CAST(i.uuid AS TEXT) AS message_id, i.next_attempt_at AS next_attempt_at"
            }
            Self::Sets => {
                "i.warning AS warning, CAST(NULL AS TEXT) AS message_id, CAST(NULL AS BIGINT) AS next_attempt_at"
            }
        };
        format!(
            "i.seq AS seq, i.contact_id AS contact_id, c.phone AS phone, i.input AS input, i.item_status AS status,
             i.attempts AS attempts, i.error_code AS error_code, i.error_message AS error_message,
             i.started_at AS started_at, i.finished_at AS finished_at, {own}"
        )
    }
}
