//! A contact's history: every message, whoever wrote it.

use crate::ack::AckLevel;
use crate::contacts::merge;
use crate::db::{self, Dialect, Json};
use crate::model::MessageStatus;
use crate::time::Timestamp;
use entities::{BatchId, ContactId, ConversationId, MessageId, UserId};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use uuid::Uuid;

pub use entities::Direction;

/// A message.
#[derive(Clone, Debug, PartialEq, FromQueryResult)]
pub struct Message {
    /// Its number.
    pub id: MessageId,
    /// Whose history it is in.
    #[sea_orm(alias = "contact_id")]
    pub contact: ContactId,
    /// The conversation it belongs to, if it does to one.
    #[sea_orm(alias = "conversation_id")]
    pub conversation: Option<ConversationId>,
    /// The batch that sent it, if one did.
    #[sea_orm(alias = "batch_id")]
    pub batch: Option<BatchId>,
    /// The user who wrote it, if one did.
    #[sea_orm(alias = "author_id")]
    pub author: Option<UserId>,
    /// Which way it went.
    pub direction: Direction,
    /// The text; `None` where there was none, or it was erased with its contact.
    pub content: Option<String>,
    /// `text`, `image`, …: the network's word.
    pub message_type: String,
    /// What the network says of its media.
    pub media: Option<Json<serde_json::Value>>,
    /// Where it stands.
    pub status: MessageStatus,
    /// How far it has come.
    pub ack: AckLevel,
    /// The network's id.
    pub whatsapp_id: Option<String>,
    /// A stable word for why it failed, or is not sent yet.
    pub error_code: Option<String>,
    /// The same for people.
    pub error_message: Option<String>,
    /// When it was written.
    pub created_at: Timestamp,
}

pub(crate) const COLUMNS: &str =
    "id, contact_id, conversation_id, batch_id, author_id, direction, content, message_type, media,
    status, ack, whatsapp_id, error_code, error_message, created_at";

/// Which part of a history. A message that is not the contact's stands where its number would have come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// From the oldest message on.
    First,
    /// From behind this message on.
    After(MessageId),
    /// The last ones before this message.
    Before(MessageId),
}

/// Reads up to `limit` messages of a contact, the oldest first, and whether there are more in that direction. `None`:
/// there is no such contact.
///
/// Messages stand in the order of their own times, and those of one time in the order of their numbers: one that comes
/// late has a high number and stands where it belongs all the same.
///
/// # Errors
/// The database's.
pub async fn list(
    conn: &impl ConnectionTrait,
    contact: ContactId,
    part: Part,
    limit: usize,
) -> Result<Option<(Vec<Message>, bool)>, DbErr> {
    let ((at, id), compare, order) = match part {
        Part::First => (START, ">", "ASC"),
        Part::After(message) => (place(conn, contact, message, Part::After).await?.unwrap_or(START), ">", "ASC"),
        Part::Before(message) => (place(conn, contact, message, Part::Before).await?.unwrap_or(END), "<", "DESC"),
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM messages WHERE contact_id = $1 AND direction IS NOT NULL AND (created_at, id) {compare} ($2, $3)
         AND EXISTS (SELECT 1 FROM contacts c WHERE c.id = $1 AND c.deleted_at IS NULL)
         ORDER BY created_at {order}, id {order} LIMIT {}",
        limit + 1
    );
    let mut messages: Vec<Message> = db::all_as(conn, sql, [contact.into(), at.into(), id.into()]).await?;
    if messages.is_empty() {
        if merge::is_known(conn, contact).await? {
            return Ok(Some((Vec::new(), false)));
        }
        return match merge::survivor(conn, contact).await? {
            Some(kept) if kept != contact => Box::pin(list(conn, kept, part, limit)).await,
            _ => Ok(None),
        };
    }
    let more = messages.len() > limit;
    messages.truncate(limit);
    if let Part::Before(_) = part {
        messages.reverse();
    }
    Ok(Some((messages, more)))
}

/// Reads messages by their numbers, in no order; those that are not there are left out.
///
/// # Errors
/// The database's.
pub async fn by_ids(conn: &impl ConnectionTrait, ids: &[MessageId]) -> Result<Vec<Message>, DbErr> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let (these, numbers) = Dialect::of(conn).one_of_numbers(1, &numbers);
    let sql = format!("SELECT {COLUMNS} FROM messages WHERE id {these} AND direction IS NOT NULL");
    db::all_as(conn, sql, [numbers]).await
}

/// Whose a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The contact, where it still has one.
    pub contact: Option<ContactId>,
    /// The recipient of a batch that it is.
    pub item: Option<(BatchId, i64)>,
}

/// Whether a text is a message's id at the gateway.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

/// Whose the message with an id at the gateway is; `None`: there is none.
///
/// # Errors
/// The database's.
pub async fn of_id(conn: &impl ConnectionTrait, id: &str) -> Result<Option<Named>, DbErr> {
    let Ok(id) = Uuid::try_parse(id) else { return Ok(None) };
    let these = Dialect::of(conn).one_of(1, "uuid");
    let sql = format!("SELECT contact_id, batch_id, seq FROM messages WHERE uuid {these}");
    let row: Option<(Option<ContactId>, Option<BatchId>, Option<i64>)> =
        db::value(conn, sql, [serde_json::json!([id]).to_string().into()]).await?;
    Ok(row.map(|(contact, batch, seq)| Named { contact, item: batch.zip(seq) }))
}

/// A place in a history: a time and a number.
type Position = (i64, i64);

const START: Position = (i64::MIN, i64::MIN);
const END: Position = (i64::MAX, i64::MAX);

/// Where a message stands. Where the contact has no message of that number, it is the place of the one whose number is
/// the nearest on the side that the page turns its back to; `None`: there is none on that side.
async fn place(
    conn: &impl ConnectionTrait,
    contact: ContactId,
    message: MessageId,
    side: fn(MessageId) -> Part,
) -> Result<Option<Position>, DbErr> {
    let exact = "SELECT created_at, id FROM messages WHERE id = $2 AND contact_id = $1 AND direction IS NOT NULL";
    if let Some(place) = db::value(conn, exact, [contact.into(), message.into()]).await? {
        return Ok(Some(place));
    }
    let (compare, order) = match side(message) {
        Part::Before(_) => (">", "ASC"),
        Part::First | Part::After(_) => ("<", "DESC"),
    };
    let near = format!(
        "SELECT created_at, id FROM messages WHERE contact_id = $1 AND direction IS NOT NULL AND id {compare} $2
         ORDER BY id {order} LIMIT 1"
    );
    db::value(conn, near, [contact.into(), message.into()]).await
}
