//! What the stream shows of what happens.
//!
//! The shapes are the contract's, and so is the choice: what it does not name (what colleagues write, conversations that
//! open and close) is not shown here. What a shape needs beside the event's ids is read for a whole page at once. A message
//! or a customer that is not there any more is not told of.

use super::wire::CustomerSummary;
use crate::realtime::stream::{Render, RenderedEvent};
use domain::contacts::customers::{self, Customer, Summary};
use domain::db::Handle;
use domain::messages::history::{self, Message};
use domain::outbox::{DomainEvent, StoredEvent};
use domain::{ContactId, MessageId};
use futures::FutureExt;
use futures::future::BoxFuture;
use poem_openapi::types::ToJSON;
use sea_orm::DbErr;
use serde_json::{Value, json};
use std::collections::HashMap;

/// The stream's events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrmEvents;

impl Render for CrmEvents {
    fn render<'a>(
        &'a self,
        db: &'a Handle,
        events: &'a [StoredEvent],
    ) -> BoxFuture<'a, Result<Vec<RenderedEvent>, DbErr>> {
        async move {
            let facts = Facts::read(db, events).await?;
            Ok(events.iter().filter_map(|event| facts.rendered(event)).collect())
        }
        .boxed()
    }
}

/// What a page's events need beside their ids.
#[derive(Debug, Default)]
struct Facts {
    messages: HashMap<MessageId, Message>,
    customers: HashMap<ContactId, Customer>,
}

impl Facts {
    async fn read(db: &Handle, events: &[StoredEvent]) -> Result<Self, DbErr> {
        let (mut messages, mut customers) = (Vec::new(), Vec::new());
        for stored in events {
            match stored.event {
                DomainEvent::MessageReceived { message } => messages.push(message),
                DomainEvent::ContactCreated { contact, first_message } => {
                    customers.push(contact);
                    messages.extend(first_message);
                }
                DomainEvent::ContactMerged { .. }
                | DomainEvent::MessageAcked { .. }
                | DomainEvent::MessageSeen { .. }
                | DomainEvent::ReplyWritten { .. }
                | DomainEvent::ReplyFailed { .. }
                | DomainEvent::ConversationOpened { .. }
                | DomainEvent::ConversationClosed { .. }
                | DomainEvent::ConversationRead { .. } => {}
            }
        }
        let messages = history::by_ids(db, &messages).await?;
        let customers = customers::by_ids(db, &customers).await?;
        Ok(Self {
            messages: messages.into_iter().map(|message| (message.id, message)).collect(),
            customers: customers.into_iter().map(|customer| (customer.id, customer)).collect(),
        })
    }

    /// `None`: the stream does not show it.
    fn rendered(&self, stored: &StoredEvent) -> Option<RenderedEvent> {
        let (id, customer) = (stored.id, stored.contact);
        let whole = match stored.event {
            DomainEvent::ContactCreated { contact, first_message } => {
                let (whole, masked) = self.new_customer(contact, first_message)?;
                return Some(RenderedEvent { id, whole: whole.to_string(), masked: Some(masked.to_string()) });
            }
            DomainEvent::MessageReceived { message } => self.inbound_message(customer, message)?,
            DomainEvent::MessageAcked { message, level } => {
                json!({ "type": "message_ack", "customer_id": customer, "message_id": message, "ack": level })
            }
            DomainEvent::MessageSeen { .. } => json!({ "type": "message_seen", "customer_id": customer }),
            // Whoever shows the second shows the first instead.
            DomainEvent::ContactMerged { gone } => {
                json!({ "type": "customer_merged", "customer_id": customer, "merged_id": gone })
            }
            DomainEvent::ReplyWritten { .. }
            | DomainEvent::ReplyFailed { .. }
            | DomainEvent::ConversationOpened { .. }
            | DomainEvent::ConversationClosed { .. }
            | DomainEvent::ConversationRead { .. } => return None,
        };
        Some(RenderedEvent { id, whole: whole.to_string(), masked: None })
    }

    fn inbound_message(&self, customer: ContactId, message: MessageId) -> Option<Value> {
        let message = self.messages.get(&message)?;
        // Without a text it was erased with its customer.
        let content = message.content.as_deref()?;
        let at = message.created_at.to_rfc3339();
        let told = json!({ "id": message.id, "content": content, "timestamp": at, "direction": "inbound" });
        Some(json!({ "type": "inbound_message", "customer_id": customer, "message": told }))
    }

    /// As in the list of summaries, when there was the first message alone; whole, and as a guest sees it.
    fn new_customer(&self, contact: ContactId, first_message: Option<MessageId>) -> Option<(Value, Value)> {
        let customer = self.customers.get(&contact)?;
        let first = first_message.and_then(|message| self.messages.get(&message));
        let summary = Summary {
            id: customer.id,
            name: customer.name.clone(),
            phone: customer.phone.clone(),
            photo_url: customer.photo_url.clone(),
            status: customer.status.clone(),
            last_message: first.and_then(|message| message.content.clone()),
            last_at: first.map(|message| message.created_at),
            unread: i64::from(first_message.is_some()),
        };
        let shown = |summary, whole| json!({ "type": "new_customer", "customer": CustomerSummary::of(summary, whole).to_json() });
        Some((shown(summary.clone(), true), shown(summary, false)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::model::MessageStatus;
    use domain::{ConversationId, Timestamp, UserId};

    const CONTACT: ContactId = ContactId(1);
    const MESSAGE: MessageId = MessageId(2);

    fn facts() -> Facts {
        let message = Message {
            id: MESSAGE,
            contact: CONTACT,
            conversation: None,
            batch: None,
            author: None,
            direction: history::Direction::Inbound,
            content: Some("Hi".into()),
            message_type: "text".into(),
            media: None,
            status: MessageStatus::Received,
            ack: 2,
            whatsapp_id: None,
            error_code: None,
            error_message: None,
            created_at: Timestamp(0),
        };
        let customer = Customer {
            id: CONTACT,
            name: None,
            phone: Some("60123456789".into()),
            status: "new".into(),
            remark: None,
            attributes: customers::Attributes(json!({})),
            photo_url: None,
            unread: 5,
            suppressed_at: None,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        };
        Facts { messages: [(MESSAGE, message)].into(), customers: [(CONTACT, customer)].into() }
    }

    fn rendered(facts: &Facts, event: DomainEvent) -> Option<RenderedEvent> {
        facts.rendered(&StoredEvent { id: 7, contact: CONTACT, event })
    }

    fn data(text: &str) -> Value {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn a_guest_is_not_told_numbers() {
        let created = DomainEvent::ContactCreated { contact: CONTACT, first_message: Some(MESSAGE) };
        let event = rendered(&facts(), created).expect("shown");
        let whole = json!({ "type": "new_customer", "customer": {
            "id": 1, "name": null, "phone": "60123456789", "photo_url": null, "status": "new", "last_message": "Hi",
            "last_timestamp": "1970-01-01T00:00:00.000Z", "unread_count": 1,
        } });
        assert_eq!((event.id, data(&event.whole)), (7, whole.clone()));
        let masked = event.masked.expect("masked");
        assert!(!masked.contains("123456789"), "{masked}");
        let mut masked = data(&masked);
        masked["customer"]["phone"] = whole["customer"]["phone"].clone();
        assert_eq!(masked, whole);
    }

    #[test]
    fn what_is_not_there_any_more_is_not_told_of() {
        let mut facts = facts();
        let received = DomainEvent::MessageReceived { message: MESSAGE };
        let told = rendered(&facts, received).expect("shown");
        let message =
            json!({ "id": 2, "content": "Hi", "timestamp": "1970-01-01T00:00:00.000Z", "direction": "inbound" });
        assert_eq!(data(&told.whole), json!({ "type": "inbound_message", "customer_id": 1, "message": message }));
        facts.messages.entry(MESSAGE).and_modify(|message| message.content = None);
        assert_eq!(rendered(&facts, received), None);
        assert_eq!(rendered(&Facts::default(), received), None);
        let created = DomainEvent::ContactCreated { contact: CONTACT, first_message: None };
        assert_eq!(rendered(&Facts::default(), created), None);
    }

    #[test]
    fn the_contract_does_not_show_what_colleagues_do() {
        let conversation = ConversationId(3);
        for event in [
            DomainEvent::ReplyWritten { message: MESSAGE, author: Some(UserId(4)) },
            DomainEvent::ReplyFailed { message: MESSAGE, status: MessageStatus::Failed },
            DomainEvent::ConversationOpened { conversation },
            DomainEvent::ConversationClosed { conversation },
            DomainEvent::ConversationRead { user: None },
        ] {
            assert_eq!(rendered(&facts(), event), None, "{event:?}");
        }
    }
}
