//! What customers write.
//!
//! The network's id makes a message one, however often it is reported. A writer whom nobody knows becomes a customer. A
//! word by which people opt out is a message like any other, and is acted on in the same transaction.

use super::compose::{self, Author, ComposeError};
use super::history::Direction;
use super::receipts::ACK_DELIVERED;
use super::tally::{self, Tally};
use crate::contacts::activity;
use crate::contacts::customers::{self, CreateError, Customer, Identity, NewCustomer, Summary, identifier};
use crate::contacts::phone::{self, Phone};
use crate::contacts::stop_words::{OptOut, Wish};
use crate::contacts::suppressions::{self, Cause};
use crate::conversations::{self, By, Channel};
use crate::db::{self, Dialect};
use crate::feed::News;
use crate::ring::Ring;
use crate::time::Timestamp;
use entities::{ContactId, MessageId};
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::{Value, json};

/// A message that somebody wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inbound {
    /// The writer's number.
    pub phone: Option<Phone>,
    /// The writer's other addresses.
    pub identities: Vec<Identity>,
    /// The writer's own name.
    pub name: Option<String>,
    /// The text.
    pub content: String,
    /// The network's id.
    pub whatsapp_id: Option<String>,
    /// `text`, `image`, …: the network's word.
    pub message_type: String,
    /// What the network says of its media.
    pub media: Option<Value>,
    /// When it was written, if that was told.
    pub at: Option<Timestamp>,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) rings: Vec<Ring>,
    pub(crate) news: Vec<News>,
}

/// Takes a message in. One whose network id is known changes nothing.
pub(crate) async fn receive(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    inbound: &Inbound,
    opt_out: &OptOut,
    rng: &mut impl Rng,
) -> Result<Received, DbErr> {
    if let Some(id) = &inbound.whatsapp_id {
        let known = "SELECT id FROM messages WHERE whatsapp_id = $1";
        if db::one(conn, known, [id.as_str().into()]).await?.is_some() {
            return Ok(Received::default());
        }
    }
    // Nobody writes in the future: a clock that is ahead would keep its customer on top of every list.
    let at = inbound.at.map_or(now, |at| at.min(now));
    let (contact, new) = writer(conn, now, inbound, rng).await?;
    let conversation = conversations::open(conn, now, contact, Channel::WhatsApp, By::Contact, rng).await?;
    let sql = format!(
        "INSERT INTO messages (uuid, contact_id, conversation_id, direction, content, message_type, media, status, ack,
                               whatsapp_id, created_at)
         VALUES ({}, $2, $3, '{}', $4, $5, $6, 'received', {ACK_DELIVERED}, $7, $8) RETURNING id",
        Dialect::of(conn).uuid(1),
        Direction::Inbound.as_str()
    );
    let values = [
        identifier(now, rng).to_string().into(),
        contact.into(),
        conversation.into(),
        inbound.content.as_str().into(),
        inbound.message_type.as_str().into(),
        inbound.media.as_ref().map(Value::to_string).into(),
        inbound.whatsapp_id.clone().into(),
        at.0.into(),
    ];
    let row = db::one(conn, sql, values).await?.ok_or(DbErr::RecordNotInserted)?;
    let message = MessageId(row.try_get("", "id")?);
    activity::touch(conn, [(contact, at)]).await?;
    let mut received = Received::default();
    if let Some(customer) = new {
        received.news.push(News { contact, data: new_customer(&customer, Some((&inbound.content, at)), 1) });
    }
    let told =
        json!({ "id": message, "content": inbound.content, "timestamp": at.to_rfc3339(), "direction": "inbound" });
    received
        .news
        .push(News { contact, data: json!({ "type": "inbound_message", "customer_id": contact, "message": told }) });
    if let (Some(phone), Some((wish, word))) = (&inbound.phone, opt_out.read(&inbound.content)) {
        received.rings = obey(conn, now, contact, phone, wish, Cause::Word { word, message }, opt_out, rng).await?;
    }
    tally::add(conn, now, Tally::Received, 1, rng).await?;
    Ok(received)
}

/// What the stream says of a new customer: as in the list of summaries.
#[must_use]
pub fn new_customer(customer: &Customer, last: Option<(&str, Timestamp)>, unread: i64) -> Value {
    let summary = Summary {
        id: customer.id,
        name: customer.name.clone(),
        phone: customer.phone.clone(),
        photo_url: customer.photo_url.clone(),
        status: customer.status.clone(),
        last_message: last.map(|(text, _)| text.to_owned()),
        last_at: last.map(|(_, at)| at),
        unread,
    };
    json!({ "type": "new_customer", "customer": {
        "id": summary.id, "name": summary.name, "phone": summary.phone, "photo_url": summary.photo_url,
        "status": summary.status, "last_message": summary.last_message,
        "last_timestamp": summary.last_at.map(Timestamp::to_rfc3339), "unread_count": summary.unread,
    } })
}

/// The customer who wrote: known by the number, or by another address, or made now.
async fn writer(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    inbound: &Inbound,
    rng: &mut impl Rng,
) -> Result<(ContactId, Option<Customer>), DbErr> {
    let mut known = None;
    // Kept until the commit: a deletion comes before the message, which makes a new customer then, or finds it.
    let kept = Dialect::of(conn).for_key_share();
    if let Some(phone) = &inbound.phone {
        let sql = format!("SELECT id FROM contacts WHERE phone = $1{kept}");
        known = db::one(conn, sql, [phone.as_digits().into()]).await?;
    }
    for identity in &inbound.identities {
        if known.is_none() {
            let kept = if kept.is_empty() { "" } else { " FOR KEY SHARE OF c" };
            let sql = format!(
                "SELECT i.contact_id AS id FROM contact_identities i
                 JOIN contacts c ON c.id = i.contact_id AND c.deleted_at IS NULL
                 WHERE i.kind = $1 AND i.value = $2{kept}"
            );
            known = db::one(conn, sql, [identity.kind.as_str().into(), identity.value.as_str().into()]).await?;
        }
    }
    let (contact, new) = match known {
        Some(row) => {
            let contact = ContactId(row.try_get("", "id")?);
            learn(conn, now, contact, inbound).await?;
            (contact, None)
        }
        None => {
            let new = NewCustomer {
                phone: inbound.phone.as_ref(),
                name: inbound.name.as_deref(),
                status: customers::NEW,
                source: "inbound",
            };
            let made = customers::create(conn, now, &new, rng).await.map_err(|error| match error {
                CreateError::Database(error) => error,
                // Another made it at the same moment; told again, this finds it.
                CreateError::PhoneTaken => DbErr::RecordNotUpdated,
            })?;
            (made.id, Some(made))
        }
    };
    for identity in &inbound.identities {
        let sql = "INSERT INTO contact_identities (kind, value, contact_id, created_at) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (kind, value) DO UPDATE SET contact_id = excluded.contact_id
                   WHERE contact_identities.contact_id <> excluded.contact_id";
        let values = [identity.kind.as_str().into(), identity.value.as_str().into(), contact.into(), now.0.into()];
        db::execute(conn, sql, values).await?;
    }
    Ok((contact, new))
}

/// A name and a number that nobody knew are kept.
async fn learn(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    contact: ContactId,
    inbound: &Inbound,
) -> Result<(), DbErr> {
    if let Some(name) = inbound.name.as_deref().filter(|name| !name.is_empty()) {
        let sql = "UPDATE contacts SET name = $2, updated_at = $3 WHERE id = $1 AND name IS NULL";
        db::execute(conn, sql, [contact.into(), name.into(), now.0.into()]).await?;
    }
    if let Some(phone) = &inbound.phone {
        let sql = "UPDATE contacts SET phone = $2, updated_at = $3,
                          suppressed_at = (SELECT created_at FROM suppressions WHERE phone = $2 AND ended_at IS NULL)
                   WHERE id = $1 AND phone IS NULL";
        db::execute(conn, sql, [contact.into(), phone.as_digits().into(), now.0.into()]).await?;
    }
    Ok(())
}

/// Does what a word asks for, and answers it: to a word that changes nothing there is nothing to say.
#[expect(clippy::too_many_arguments, reason = "a step: its transaction, clock, input and randomness")]
async fn obey(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    contact: ContactId,
    phone: &Phone,
    wish: Wish,
    cause: Cause<'_>,
    opt_out: &OptOut,
    rng: &mut impl Rng,
) -> Result<Vec<Ring>, DbErr> {
    let (changed, reply) = match wish {
        Wish::Stop => {
            (suppressions::begin(conn, now, phone.as_digits(), cause).await?.is_ok(), opt_out.stop_reply.as_str())
        }
        Wish::Start => {
            (suppressions::end(conn, now, phone.as_digits(), cause).await?.is_some(), opt_out.start_reply.as_str())
        }
    };
    if !changed || reply.is_empty() {
        return Ok(Vec::new());
    }
    match compose::compose(conn, now, contact, reply, Author::System, rng).await {
        Ok(step) => Ok(step.rings),
        Err(ComposeError::NoContact | ComposeError::NoPhone) => Ok(Vec::new()),
        Err(ComposeError::Database(error)) => Err(error),
    }
}

/// A number as a network tells it. What the library does not know is taken as the digits that they are: the network has
/// delivered from there.
#[must_use]
pub fn writers_phone(digits: &str) -> Option<Phone> {
    phone::normalise(digits).ok().or_else(|| Phone::of_network(digits))
}
