//! What customers write.
//!
//! The network's id makes a message one, however often it is reported. A writer whom nobody knows becomes a customer. A
//! word by which people opt out is a message like any other, and is acted on in the same transaction.

use super::compose::{self, Author, ComposeError, Composed};
use super::history::Direction;
use super::tally::{self, Tally};
use crate::ack::ACK_DELIVERED;
use crate::audit_log::{self, Action, Origin};
use crate::contacts::activity;
use crate::contacts::addresses::{self, Owner};
use crate::contacts::customers::{self, CreateError, Identity, NewCustomer, identifier};
use crate::contacts::merge::{self, Cause, Merged};
use crate::contacts::phone::{self, Phone, Unmarked};
use crate::contacts::stop_words::{OptOut, Wish};
use crate::contacts::suppressions;
use crate::conversations::{self, By, Channel};
use crate::db::{self, Dialect};
use crate::model::MessageStatus;
use crate::outbox::{DomainEvent, NewEvent};
use crate::ring::Ring;
use crate::time::Timestamp;
use entities::ContactId;
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::Value;

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
    /// To be appended to the outbox, last.
    pub(crate) to_append: Vec<NewEvent>,
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
    let Correspondent { contact, new, merged } = writer(conn, now, inbound, rng).await?;
    let conversation = conversations::open(conn, now, contact, Channel::WhatsApp, By::Contact, rng).await?;
    let sql = format!(
        "INSERT INTO messages (uuid, contact_id, conversation_id, direction, content, message_type, media, status, ack,
                               whatsapp_id, created_at, sender_id)
         VALUES ({}, $2, $3, '{}', $4, $5, $6, '{}', {ACK_DELIVERED}, $7, $8, $9) RETURNING id",
        Dialect::of(conn).uuid(1),
        Direction::Inbound,
        MessageStatus::Received
    );
    let values = [
        identifier(now, rng).to_string().into(),
        contact.into(),
        conversation.id.into(),
        inbound.content.as_str().into(),
        inbound.message_type.as_str().into(),
        inbound.media.as_ref().map(Value::to_string).into(),
        inbound.whatsapp_id.clone().into(),
        at.0.into(),
        conversation.sender.map(|id| id.0).into(),
    ];
    let message = db::value(conn, sql, values).await?.ok_or(DbErr::RecordNotInserted)?;
    activity::touch(conn, [(contact, at)]).await?;
    let mut received = Received::default();
    received.to_append.extend(merged.iter().flat_map(Merged::events));
    if new {
        let created = DomainEvent::ContactCreated { contact, first_message: Some(message) };
        received.to_append.push(NewEvent::of(contact, created));
    }
    received.to_append.extend(conversation.opened);
    received.to_append.push(NewEvent::of(contact, DomainEvent::MessageReceived { message }));
    if let (Some(phone), Some((wish, word))) = (&inbound.phone, opt_out.read(&inbound.content)) {
        let cause = suppressions::Cause::Word { word, message };
        if let Some(answer) = obey(conn, now, contact, phone, wish, cause, opt_out, rng).await? {
            received.rings = answer.rings;
            received.to_append.extend(answer.to_append);
        }
    }
    tally::add(conn, now, Tally::Received, 1, rng).await?;
    Ok(received)
}

/// Who wrote.
struct Correspondent {
    contact: ContactId,
    /// They were not known before.
    new: bool,
    /// Contacts that this message showed to be one.
    merged: Vec<Merged>,
}

/// The customer who wrote: known by the number in any spelling, or by another address, or made now. Where that names several,
/// they are one from now on.
async fn writer(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    inbound: &Inbound,
    rng: &mut impl Rng,
) -> Result<Correspondent, DbErr> {
    let mut known: Vec<Owner> = Vec::new();
    if let Some(phone) = &inbound.phone {
        known = addresses::owners(conn, phone.as_digits()).await?;
    }
    let by_number = known.len();
    for identity in &inbound.identities {
        if let Some(owner) = addresses::owner_of_address(conn, &identity.kind, &identity.value).await?
            && !known.contains(&owner)
        {
            known.push(owner);
        }
    }
    let mut known = known.into_iter().enumerate();
    let Some((_, mut person)) = known.next() else {
        let contact = made(conn, now, inbound, rng).await?;
        return Ok(Correspondent { contact, new: true, merged: Vec::new() });
    };
    let mut merged = Vec::new();
    for (nth, other) in known {
        // Two numbers behind one account of another kind may be a number that was given to somebody else: the address moves
        // to who has it now, and both stay. One that has no number is nobody else.
        let one = nth < by_number || person.phone.is_none() || other.phone.is_none();
        if !one {
            continue;
        }
        if let Some(done) = merge::merge(conn, now, person.id, other.id, Cause::Inbound).await? {
            person = Owner { id: done.kept, phone: person.phone.or(other.phone) };
            merged.push(done);
        }
    }
    learn(conn, now, &person, inbound).await?;
    Ok(Correspondent { contact: person.id, new: false, merged })
}

async fn made(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    inbound: &Inbound,
    rng: &mut impl Rng,
) -> Result<ContactId, DbErr> {
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
    for identity in &inbound.identities {
        merge::add_address(conn, now, made.id, &identity.kind, &identity.value).await?;
    }
    Ok(made.id)
}

/// A name, a number, a spelling of it and addresses that nobody knew are kept.
async fn learn(conn: &impl ConnectionTrait, now: Timestamp, person: &Owner, inbound: &Inbound) -> Result<(), DbErr> {
    let contact = person.id;
    if let Some(name) = inbound.name.as_deref().filter(|name| !name.is_empty()) {
        let sql = "UPDATE contacts SET name = $2, updated_at = $3 WHERE id = $1 AND name IS NULL";
        db::execute(conn, sql, [contact.into(), name.into(), now.0.into()]).await?;
    }
    for identity in &inbound.identities {
        merge::add_address(conn, now, contact, &identity.kind, &identity.value).await?;
    }
    match (&inbound.phone, &person.phone) {
        (Some(phone), None) => {
            let sql = "UPDATE contacts SET phone = $2, updated_at = $3 WHERE id = $1 AND phone IS NULL";
            db::execute(conn, sql, [contact.into(), phone.as_digits().into(), now.0.into()]).await?;
            suppressions::repeat(conn, &[contact]).await
        }
        (Some(phone), Some(_)) => addresses::learn_number(conn, now, person, phone.as_digits()).await,
        (None, _) => Ok(()),
    }
}

/// Does what a word asks for, and answers it: to a word that changes nothing there is nothing to say.
#[expect(clippy::too_many_arguments, reason = "a step: its transaction, clock, input and randomness")]
async fn obey(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    contact: ContactId,
    phone: &Phone,
    wish: Wish,
    cause: suppressions::Cause<'_>,
    opt_out: &OptOut,
    rng: &mut impl Rng,
) -> Result<Option<Composed>, DbErr> {
    let (changed, action, reply) = match wish {
        Wish::Stop => {
            let begun = suppressions::begin(conn, now, phone.as_digits(), cause).await?.into_new();
            (begun, Action::SuppressionCreate, opt_out.stop_reply.as_str())
        }
        Wish::Start => {
            let ended = suppressions::end(conn, now, phone.as_digits(), cause).await?;
            (ended, Action::SuppressionEnd, opt_out.start_reply.as_str())
        }
    };
    let Some(changed) = changed else { return Ok(None) };
    audit_log::record(conn, now, &Origin::gateway(), action, Some(changed.id)).await?;
    if reply.is_empty() {
        return Ok(None);
    }
    match compose::compose(conn, now, contact, reply, Author::System, rng).await {
        Ok(composed) => Ok(Some(composed)),
        Err(ComposeError::NoContact | ComposeError::NoPhone) => Ok(None),
        Err(ComposeError::Database(error)) => Err(error),
    }
}

/// A number as a network tells it. What the library does not know is taken as the digits that they are: the network has
/// delivered from there.
#[must_use]
pub fn writers_phone(digits: &str) -> Option<Phone> {
    let read = phone::read(digits, Unmarked::International).ok().map(|reading| reading.phone);
    read.or_else(|| Phone::of_network(digits))
}
