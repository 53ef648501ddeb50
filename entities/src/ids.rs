//! Typed ids. A row's number never meets another table's number by accident.

use sea_orm::DeriveValueType;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, DeriveValueType)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;
            /// Reads a decimal number from 1 up, without sign or leading zero: one spelling for one id.
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit()) && !s.starts_with('0');
                if digits { s.parse().map(Self) } else { "".parse().map(Self) }
            }
        }
    )+};
}

id! {
    /// A user of the surfaces: an admin, a supervisor, an agent, a guest.
    UserId,
    /// A signed-in session; its access tokens carry it, a log-out revokes it.
    SessionId,
    /// A contact (support desk), customer (CRM), user (admin chat), recipient (batch): one row.
    ContactId,
    /// A tag's name, once.
    TagId,
    /// A batch operation.
    BatchId,
    /// A job: one unit of claimed work.
    JobId,
    /// An act on all the jobs or batches that match.
    OperationId,
    /// An examination of the installation.
    ExaminationId,
    /// A message, whoever wrote it.
    MessageId,
    /// A message template.
    TemplateId,
    /// A sender: a number that messages leave from, with its own pace.
    SenderId,
    /// A conversation with a contact over one channel.
    ConversationId,
    /// A gateway that messages leave through.
    GatewayId,
    /// A view of a list that somebody keeps.
    ViewId,
    /// A label of conversations.
    LabelId,
    /// A wish not to be written to, and the trail of it.
    SuppressionId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        assert_eq!("42".parse::<BatchId>().ok(), Some(BatchId(42)));
        for bad in ["", "0", "042", "-1", "+1", " 1", "1.0", "99999999999999999999", "abc"] {
            assert!(bad.parse::<BatchId>().is_err(), "{bad:?}");
        }
    }
}
