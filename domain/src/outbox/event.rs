//! What can happen, and how it is kept.

use crate::ack::AckLevel;
use crate::model::MessageStatus;
use entities::{ContactId, ConversationId, MessageId, UserId};
use sea_orm::{DbErr, FromQueryResult};
use serde::{Deserialize, Serialize};

/// Something that happened to a contact, to one of their messages or to a conversation with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DomainEvent {
    /// A contact was made by a user, or since somebody wrote whom nobody knew. Imports are told of as batches are.
    ContactCreated {
        /// The number that it was made under. After a merge the event is about the contact that stayed, which is another.
        contact: ContactId,
        /// What they wrote first, if that is why.
        first_message: Option<MessageId>,
    },
    /// Another contact turned out to be this one.
    ContactMerged {
        /// The one that is not there any more.
        gone: ContactId,
    },
    /// The contact wrote.
    MessageReceived {
        /// What.
        message: MessageId,
    },
    /// Somebody on our side wrote to the contact: no message of a batch.
    ReplyWritten {
        /// What.
        message: MessageId,
        /// Who; `None`: an automatic answer.
        author: Option<UserId>,
    },
    /// A reply is not tried any more: it failed, or nobody knows whether it was taken.
    ReplyFailed {
        /// Which.
        message: MessageId,
        /// Which of the two.
        status: MessageStatus,
    },
    /// A message to the contact came so far.
    MessageAcked {
        /// Which.
        message: MessageId,
        /// How far.
        level: AckLevel,
    },
    /// The contact saw a message.
    MessageSeen {
        /// Which.
        message: MessageId,
    },
    /// A conversation began, or goes on after it was resolved.
    ConversationOpened {
        /// Which.
        conversation: ConversationId,
    },
    /// A conversation ended.
    ConversationClosed {
        /// Which.
        conversation: ConversationId,
    },
    /// A user read everything that the contact wrote.
    ConversationRead {
        /// Who; `None`: somebody who had not to sign in.
        user: Option<UserId>,
    },
}

impl DomainEvent {
    /// As it is kept.
    pub(super) fn to_json(self) -> Result<String, DbErr> {
        serde_json::to_string(&self).map_err(|error| DbErr::Json(error.to_string()))
    }
}

/// An event to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Whom it is about.
    pub contact: ContactId,
    /// What happened.
    pub event: DomainEvent,
    /// Whether it is the receipt of a batch's message.
    pub bulk: bool,
}

impl NewEvent {
    /// An event about a person.
    #[must_use]
    pub const fn of(contact: ContactId, event: DomainEvent) -> Self {
        Self { contact, event, bulk: false }
    }
}

/// An event as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its number: larger than that of any event before it.
    pub id: i64,
    /// Whom it is about; after a merge the contact that stayed.
    pub contact: ContactId,
    /// What happened.
    pub event: DomainEvent,
}

/// The same as a row.
#[derive(FromQueryResult)]
pub(super) struct EventRow {
    pub(super) id: i64,
    contact_id: ContactId,
    event: String,
}

impl EventRow {
    /// `None`: an event of another release.
    pub(super) fn read(self) -> Option<StoredEvent> {
        match serde_json::from_str(&self.event) {
            Ok(event) => Some(StoredEvent { id: self.id, contact: self.contact_id, event }),
            Err(error) => {
                tracing::warn!(id = self.id, %error, "an event of another release is passed over");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written today is read by the next release: these words stay.
    #[test]
    fn events_are_kept_as_ids_and_words() {
        let (contact, message, conversation) = (ContactId(1), MessageId(2), ConversationId(3));
        for (event, kept) in [
            (
                DomainEvent::ContactCreated { contact, first_message: Some(message) },
                r#"{"kind":"contact_created","contact":1,"first_message":2}"#,
            ),
            (DomainEvent::ContactMerged { gone: contact }, r#"{"kind":"contact_merged","gone":1}"#),
            (DomainEvent::MessageReceived { message }, r#"{"kind":"message_received","message":2}"#),
            (
                DomainEvent::ReplyWritten { message, author: Some(UserId(4)) },
                r#"{"kind":"reply_written","message":2,"author":4}"#,
            ),
            (
                DomainEvent::ReplyFailed { message, status: MessageStatus::Unknown },
                r#"{"kind":"reply_failed","message":2,"status":"unknown"}"#,
            ),
            (DomainEvent::MessageAcked { message, level: 3 }, r#"{"kind":"message_acked","message":2,"level":3}"#),
            (DomainEvent::MessageSeen { message }, r#"{"kind":"message_seen","message":2}"#),
            (DomainEvent::ConversationOpened { conversation }, r#"{"kind":"conversation_opened","conversation":3}"#),
            (DomainEvent::ConversationClosed { conversation }, r#"{"kind":"conversation_closed","conversation":3}"#),
            (DomainEvent::ConversationRead { user: None }, r#"{"kind":"conversation_read","user":null}"#),
        ] {
            assert_eq!(event.to_json().expect("JSON"), kept);
            assert_eq!(serde_json::from_str::<DomainEvent>(kept).expect("an event"), event);
        }
    }
}
