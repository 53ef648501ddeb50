//! Conversations: what is being talked about with a contact over one channel, from its opening to its close.
//!
//! At most one conversation of a contact and channel is not closed. What the contact writes opens it, or opens a resolved
//! one again; on a closed one a new one begins. A batch opens none: a campaign is no conversation until somebody answers.
//! A contact's history is all their messages, whichever conversation or batch they came from.

use crate::ack::ACK_READ;
use crate::contacts::customers::identifier;
use crate::contacts::merge;
use crate::db::{self, Dialect};
use crate::outbox::{DomainEvent, NewEvent};
use crate::time::Timestamp;
use entities::{ContactId, ConversationId, RowUuid, SenderId, UserId, conversations};
use rand::Rng;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect,
};

/// Over what people talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Through the gateway.
    WhatsApp,
}

impl Channel {
    /// The name in columns and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WhatsApp => "whatsapp",
        }
    }
}

/// Among how many of a contact's last messages one of ours is looked for: a history is not read for each message.
const LATELY: u32 = 100;

/// Who makes a conversation go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The contact wrote: there is something more to read, and what was resolved is open again.
    Contact,
    /// Somebody on our side did.
    Us,
}

/// A conversation that is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) id: ConversationId,
    /// The sender that it goes through; `None`: the default one.
    pub(crate) sender: Option<SenderId>,
    /// That it was not open before.
    pub(crate) opened: Option<NewEvent>,
}

/// The conversation with a contact that is not closed: the one that is there, or a new one. A new one goes through the sender
/// that wrote to the contact last.
pub(crate) async fn open(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    contact: ContactId,
    channel: Channel,
    by: By,
    rng: &mut impl Rng,
) -> Result<Open, DbErr> {
    let reopened = by == By::Contact && reopen(conn, contact, channel).await?;
    let uuid = identifier(now, rng);
    let sql = format!(
        "INSERT INTO conversations (uuid, contact_id, channel, status, unread, created_at, updated_at, sender_id)
         VALUES ({}, $2, $3, 'open', $4, $5, $5,
                 (SELECT sender_id FROM (SELECT id, created_at, direction, sender_id FROM messages
                                         WHERE contact_id = $2 AND direction IS NOT NULL
                                         ORDER BY created_at DESC, id DESC LIMIT {LATELY}) AS lately
                  WHERE direction = 'outbound' ORDER BY created_at DESC, id DESC LIMIT 1))
         ON CONFLICT (contact_id, channel) WHERE status <> 'closed' DO UPDATE SET
            unread = conversations.unread + excluded.unread, updated_at = excluded.updated_at
         RETURNING id, sender_id, uuid",
        Dialect::of(conn).uuid(1)
    );
    let values = [
        uuid.to_string().into(),
        contact.into(),
        channel.as_str().into(),
        i64::from(by == By::Contact).into(),
        now.0.into(),
    ];
    let row: Row = db::one_as(conn, sql, values).await?.ok_or(DbErr::RecordNotInserted)?;
    let new = row.uuid.0 == uuid;
    let opened = DomainEvent::ConversationOpened { conversation: row.id };
    let opened = (new || reopened).then_some(NewEvent::of(contact, opened));
    Ok(Open { id: row.id, sender: row.sender_id, opened })
}

#[derive(FromQueryResult)]
struct Row {
    id: ConversationId,
    sender_id: Option<SenderId>,
    uuid: RowUuid,
}

/// What was resolved is open again; tells whether it was.
async fn reopen(conn: &impl ConnectionTrait, contact: ContactId, channel: Channel) -> Result<bool, DbErr> {
    let sql = "UPDATE conversations SET status = 'open', resolved_at = NULL
               WHERE contact_id = $1 AND channel = $2 AND status = 'resolved'";
    Ok(db::execute(conn, sql, [contact.into(), channel.as_str().into()]).await? > 0)
}

/// What became of the unread messages of a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkedRead {
    /// How many there were.
    pub count: i64,
    /// What is to be appended to the outbox of it, last; `None`: there were none.
    pub event: Option<NewEvent>,
}

/// Marks everything that a contact wrote as read. `None`: there is no such contact.
///
/// # Errors
/// The database's.
pub async fn mark_read(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    contact: ContactId,
    user: Option<UserId>,
) -> Result<Option<MarkedRead>, DbErr> {
    let mut contact = contact;
    if !merge::is_known(conn, contact).await? {
        let Some(kept) = merge::survivor(conn, contact).await? else { return Ok(None) };
        if !merge::is_known(conn, kept).await? {
            return Ok(None);
        }
        contact = kept;
    }
    let unread: Vec<i64> = conversations::Entity::find()
        .filter(conversations::Column::ContactId.eq(contact))
        .filter(conversations::Column::Unread.gt(0))
        .order_by_asc(conversations::Column::Id)
        .lock_exclusive()
        .select_only()
        .column(conversations::Column::Unread)
        .into_tuple()
        .all(conn)
        .await?;
    let unread: i64 = unread.into_iter().sum();
    if unread == 0 {
        return Ok(Some(MarkedRead { count: 0, event: None }));
    }
    let sql = "UPDATE conversations SET unread = 0, updated_at = $2 WHERE contact_id = $1 AND unread > 0";
    db::execute(conn, sql, [contact.into(), now.0.into()]).await?;
    // The unread ones are those that came last, whenever they were written: one that comes late was not read either.
    let sql = format!(
        "UPDATE messages SET ack = {ACK_READ}, read_at = $2 WHERE id IN (
            SELECT id FROM messages WHERE contact_id = $1 AND direction = 'inbound' ORDER BY id DESC LIMIT $3)
         AND ack < {ACK_READ}"
    );
    db::execute(conn, sql, [contact.into(), now.0.into(), unread.into()]).await?;
    let event = NewEvent::of(contact, DomainEvent::ConversationRead { user });
    Ok(Some(MarkedRead { count: unread, event: Some(event) }))
}
