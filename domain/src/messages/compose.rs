//! Writing a single message: its row and the job that delivers it, in one transaction.

use super::history::{self, Direction, Message};
use crate::contacts::activity;
use crate::contacts::customers::identifier;
use crate::contacts::merge;
use crate::conversations::{self, By, Channel};
use crate::db::{self, Dialect};
use crate::jobs::{self, NewJob};
use crate::model::MessageStatus;
use crate::outbox::{DomainEvent, NewEvent};
use crate::ring::{JobKind, Ring};
use crate::time::Timestamp;
use entities::{ContactId, UserId};
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::json;

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// A user.
    User(UserId),
    /// Nobody: an automatic answer.
    System,
}

/// Why a message was not written.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// There is no such contact.
    #[error("no such customer")]
    NoContact,
    /// The contact has no phone number to send to.
    #[error("the customer has no phone number")]
    NoPhone,
    /// The database's.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// A message that was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Composed {
    /// The message.
    pub message: Message,
    /// To be rung after the commit.
    pub rings: Vec<Ring>,
    /// To be appended to the outbox, last.
    pub to_append: Vec<NewEvent>,
}

/// Writes a message to a contact, to be delivered on the critical lane.
///
/// # Errors
/// See [`ComposeError`].
pub async fn compose(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    contact: ContactId,
    text: &str,
    author: Author,
    rng: &mut impl Rng,
) -> Result<Composed, ComposeError> {
    // Locked, so that it is not merged into another before its message is there.
    let sql =
        format!("SELECT phone FROM contacts WHERE id = $1 AND deleted_at IS NULL{}", Dialect::of(conn).for_update());
    let mut contact = contact;
    let mut phone: Option<Option<String>> = db::value(conn, sql.clone(), [contact.into()]).await?;
    if phone.is_none()
        && let Some(kept) = merge::survivor(conn, contact).await?
    {
        contact = kept;
        phone = db::value(conn, sql, [kept.into()]).await?;
    }
    let phone = phone.ok_or(ComposeError::NoContact)?;
    if phone.is_none() {
        return Err(ComposeError::NoPhone);
    }
    let conversation = conversations::open(conn, now, contact, Channel::WhatsApp, By::Us, rng).await?;
    let author = match author {
        Author::User(user) => Some(user),
        Author::System => None,
    };
    let sql = format!(
        "INSERT INTO messages (uuid, contact_id, conversation_id, author_id, direction, content, status, created_at, sender_id)
         VALUES ({}, $2, $3, $4, '{}', $5, '{}', $6, $7) RETURNING {}",
        Dialect::of(conn).uuid(1),
        Direction::Outbound,
        MessageStatus::Queued,
        history::COLUMNS
    );
    let values = [
        identifier(now, rng).to_string().into(),
        contact.into(),
        conversation.id.into(),
        author.map(|user| user.0).into(),
        text.into(),
        now.0.into(),
        conversation.sender.map(|id| id.0).into(),
    ];
    let message: Message = db::one_as(conn, sql, values).await?.ok_or(DbErr::RecordNotInserted)?;
    activity::touch(conn, [(contact, now)]).await?;
    let job = NewJob { payload: json!({ "message": message.id }), ..NewJob::of(JobKind::Deliver, now) };
    let rings = jobs::enqueue(conn, now, &[job]).await?;
    let written = NewEvent::of(contact, DomainEvent::ReplyWritten { message: message.id, author });
    Ok(Composed { message, rings, to_append: conversation.opened.into_iter().chain([written]).collect() })
}
