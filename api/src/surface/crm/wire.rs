//! What goes over the wire.

use crate::foundation::time::Time;
use domain::contacts::customers::{Customer, Identity, Summary};
use domain::contacts::phone::mask_digits;
use domain::messages::history::{self, Direction};
use poem_openapi::types::{Any, Example};
use poem_openapi::{Enum, Object};
use serde_json::Value;

/// A customer in the list of summaries.
#[derive(Debug, Object)]
pub(super) struct CustomerSummary {
    /// Its number.
    pub(super) id: i64,
    /// The name.
    pub(super) name: Option<String>,
    /// Digits without `+`; masked for guests.
    pub(super) phone: Option<String>,
    /// Where the photo is.
    pub(super) photo_url: Option<String>,
    /// What users make of it; `new` at first.
    pub(super) status: String,
    /// The text of the last message, whoever wrote it.
    pub(super) last_message: Option<String>,
    /// When that was.
    pub(super) last_timestamp: Option<Time>,
    /// Messages from the customer that nobody has read.
    #[oai(validator(minimum(value = "0")))]
    pub(super) unread_count: i64,
}

fn shown(phone: Option<String>, whole: bool) -> Option<String> {
    phone.map(|digits| if whole { digits } else { mask_digits(&digits) })
}

impl CustomerSummary {
    pub(super) fn of(summary: Summary, whole: bool) -> Self {
        Self {
            id: summary.id.0,
            name: summary.name,
            phone: shown(summary.phone, whole),
            photo_url: summary.photo_url,
            status: summary.status,
            last_message: summary.last_message,
            last_timestamp: summary.last_at.map(Time),
            unread_count: summary.unread,
        }
    }
}

/// An address of a customer.
#[derive(Debug, Object)]
#[oai(rename = "Identity")]
pub(super) struct IdentityView {
    /// `phone`, `bsuid`, `lid`, `jid`, or `wa_id`: the network's own id of a number's account.
    pub(super) kind: String,
    /// The address.
    pub(super) value: String,
}

/// A customer.
#[derive(Debug, Object)]
#[oai(rename = "Customer")]
pub(super) struct CustomerView {
    /// Its number.
    pub(super) id: i64,
    /// The name.
    pub(super) name: Option<String>,
    /// Digits without `+`; masked for guests.
    pub(super) phone: Option<String>,
    /// What users make of it; `new` at first.
    pub(super) status: String,
    /// A note.
    pub(super) remark: Option<String>,
    /// What else is known: a JSON object.
    pub(super) extra_fields: Any<Value>,
    /// Where the photo is.
    pub(super) photo_url: Option<String>,
    /// Messages from the customer that nobody has read.
    #[oai(validator(minimum(value = "0")))]
    pub(super) unread_count: i64,
    /// Since when it gets no bulk messages.
    pub(super) suppressed_at: Option<Time>,
    /// Its addresses; only where one customer is asked for.
    pub(super) identities: Option<Vec<IdentityView>>,
    /// When it was made.
    pub(super) created_at: Time,
    /// When it was last changed.
    pub(super) updated_at: Time,
}

impl CustomerView {
    pub(super) fn of(customer: Customer, identities: Option<Vec<Identity>>, whole: bool) -> Self {
        let identities = identities.map(|list| {
            list.into_iter()
                .map(|identity| {
                    let number = matches!(identity.kind.as_str(), "phone" | "wa_id");
                    let value = if number && !whole { mask_digits(&identity.value) } else { identity.value };
                    IdentityView { kind: identity.kind, value }
                })
                .collect()
        });
        Self {
            id: customer.id.0,
            name: customer.name,
            phone: shown(customer.phone, whole),
            status: customer.status,
            remark: customer.remark,
            extra_fields: Any(customer.attributes.0),
            photo_url: customer.photo_url,
            unread_count: customer.unread,
            suppressed_at: customer.suppressed_at.map(Time),
            identities,
            created_at: Time(customer.created_at),
            updated_at: Time(customer.updated_at),
        }
    }
}

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename = "MessageDirection", rename_all = "lowercase")]
pub(super) enum MessageDirection {
    /// The customer wrote it.
    Inbound,
    /// It went to the customer, or was to.
    Outbound,
}

/// A message.
#[derive(Debug, Object)]
#[oai(rename = "Message")]
pub(super) struct MessageView {
    /// Its number.
    pub(super) id: i64,
    /// Whose history it is in.
    pub(super) customer_id: i64,
    /// Which way it went.
    pub(super) direction: MessageDirection,
    /// The text; null where there was none.
    pub(super) content: Option<String>,
    /// When it was written.
    pub(super) timestamp: Time,
    /// 1 sent, 2 delivered, 3 read, 4 played; never back.
    #[oai(validator(minimum(value = "0"), maximum(value = "4")))]
    pub(super) ack: i64,
    /// The network's id.
    pub(super) whatsapp_id: Option<String>,
    /// `queued`, `sent`, `delivered`, `read`, `failed`, `unknown`; `received` for the customer's own.
    pub(super) status: String,
    /// A stable word for why it failed, or has not been sent yet.
    pub(super) error_code: Option<String>,
    /// The same for people.
    pub(super) error_message: Option<String>,
    /// `text`, `image`, …: the network's word.
    pub(super) message_type: String,
    /// What the network says of its media.
    pub(super) media: Option<Any<Value>>,
    /// The batch that sent it, if one did.
    pub(super) batch_id: Option<String>,
}

impl From<history::Message> for MessageView {
    fn from(message: history::Message) -> Self {
        Self {
            id: message.id.0,
            customer_id: message.contact.0,
            direction: match message.direction {
                Direction::Inbound => MessageDirection::Inbound,
                Direction::Outbound => MessageDirection::Outbound,
            },
            content: message.content,
            timestamp: Time(message.created_at),
            ack: message.ack,
            whatsapp_id: message.whatsapp_id,
            status: message.status.to_string(),
            error_code: message.error_code,
            error_message: message.error_message,
            message_type: message.message_type,
            media: message.media.map(|media| Any(media.0)),
            batch_id: message.batch.map(|id| id.to_string()),
        }
    }
}

/// A customer to be made.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct CreateCustomer {
    /// The name.
    #[oai(validator(min_length = 1, max_length = 200))]
    name: String,
    /// An international number, with or without `+`.
    #[oai(validator(min_length = 1, max_length = 40))]
    phone: String,
    /// `new` if it is not given.
    #[oai(validator(min_length = 1, max_length = 40))]
    status: Option<String>,
}

impl Example for CreateCustomer {
    fn example() -> Self {
        Self { name: "MK Gan".into(), phone: "60127878560".into(), status: Some("new".into()) }
    }
}

/// Where a customer's photo is.
#[derive(Debug, Object)]
pub(super) struct SetPhoto {
    /// The customer's number.
    #[oai(validator(min_length = 1, max_length = 40))]
    phone: String,
    /// An http or https address; null or absent: there is none.
    #[oai(validator(max_length = 2048))]
    photo_url: Option<String>,
}

/// A message to be sent.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct SendMessage {
    /// To whom.
    #[oai(validator(minimum(value = "1")))]
    customer_id: i64,
    /// The text.
    #[oai(validator(min_length = 1, max_length = 4096))]
    content: String,
}

impl Example for SendMessage {
    fn example() -> Self {
        Self { customer_id: 1, content: "Hello, how are you?".into() }
    }
}

/// How much was marked as read.
#[derive(Debug, Object)]
pub(super) struct MarkedRead {
    /// The customer.
    pub(super) customer_id: i64,
    /// Messages that nobody had read.
    #[oai(validator(minimum(value = "0")))]
    pub(super) marked: i64,
    /// What is unread now.
    #[oai(validator(minimum(value = "0")))]
    pub(super) unread_count: i64,
}

/// The system's numbers.
#[derive(Debug, Object)]
pub(super) struct Numbers {
    /// Messages that the gateway took, ever.
    pub(super) messages_sent_total: i64,
    /// Messages that customers wrote, ever.
    pub(super) messages_received_total: i64,
    /// Customers who wrote or were written to within the last 24 hours.
    pub(super) active_customers: i64,
    /// What this process took on average to answer a request, in milliseconds.
    pub(super) average_response_time_ms: f64,
    /// How long this process has been up.
    pub(super) uptime_seconds: u64,
}
