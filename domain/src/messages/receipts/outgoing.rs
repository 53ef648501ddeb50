//! The messages of batches, written with their outcomes.

use super::Receipt;
use super::early::take_early;
use crate::ack::AckLevel;
use crate::contacts::{activity, merge};
use crate::db::{self, Dialect, Set};
use crate::model::MessageStatus;
use crate::time::Timestamp;
use entities::{BatchId, ContactId, GatewayId, SenderId};
use sea_orm::{ConnectionTrait, DbErr};
use uuid::Uuid;

/// A message that left, or was to.
pub(crate) struct MessageRow<'a> {
    pub(crate) uuid: Uuid,
    pub(crate) contact_id: ContactId,
    pub(crate) item_seq: i64,
    pub(crate) content: Option<&'a str>,
    pub(crate) status: MessageStatus,
    pub(crate) ack: AckLevel,
    pub(crate) error_code: Option<String>,
    pub(crate) error_message: Option<String>,
    pub(crate) at: Timestamp,
    pub(crate) sent_at: Option<Timestamp>,
    /// The gateway that was asked.
    pub(crate) gateway_id: Option<GatewayId>,
}

/// Writes the messages of a group of outcomes. Returns what was reported of them early: to be applied in the same
/// transaction, once the items' outcomes are written, since a report may change them.
pub(crate) async fn record_outgoing(
    conn: &impl ConnectionTrait,
    batch: BatchId,
    sender: Option<SenderId>,
    messages: &[MessageRow<'_>],
) -> Result<Vec<Receipt>, DbErr> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let (source, values) = Set::default()
        .uuids("uuid", messages.iter().map(|message| message.uuid))
        .ints("contact_id", messages.iter().map(|message| Some(message.contact_id.0)))
        .ints("item_seq", messages.iter().map(|message| Some(message.item_seq)))
        .texts("content", messages.iter().map(|message| message.content))
        .texts("status", messages.iter().map(|message| Some(message.status.as_str())))
        .ints("ack", messages.iter().map(|message| Some(message.ack)))
        .texts("error_code", messages.iter().map(|message| message.error_code.as_deref()))
        .texts("error_message", messages.iter().map(|message| message.error_message.as_deref()))
        .ints("at", messages.iter().map(|message| Some(message.at.0)))
        .ints("sent_at", messages.iter().map(|message| message.sent_at.map(|at| at.0)))
        .ints("gateway_id", messages.iter().map(|message| message.gateway_id.map(|gateway| gateway.0)))
        .into_source(Dialect::of(conn), 3);
    // A contact that was deleted while its message was under way has no text any more.
    let there = merge::is_there("r.contact_id");
    db::execute(
        conn,
        format!(
            "INSERT INTO messages (uuid, contact_id, batch_id, item_seq, direction, content, status, ack, error_code,
                                   error_message, created_at, sent_at, gateway_id, sender_id)
             SELECT uuid, contact_id, $1, item_seq, 'outbound', CASE WHEN {there} THEN content END, status, ack,
                    error_code, CASE WHEN error_message IS NULL OR {there} THEN error_message END, at, sent_at,
                    gateway_id, $2
             FROM {source} WHERE TRUE
             ON CONFLICT (uuid) DO UPDATE SET content = coalesce(excluded.content, messages.content),
                status = CASE WHEN messages.ack > 1 THEN messages.status ELSE excluded.status END,
                ack = CASE WHEN messages.ack > excluded.ack THEN messages.ack ELSE excluded.ack END,
                error_code = excluded.error_code, error_message = excluded.error_message,
                sent_at = coalesce(messages.sent_at, excluded.sent_at),
                gateway_id = coalesce(excluded.gateway_id, messages.gateway_id)"
        ),
        [batch.into(), sender.into()].into_iter().chain(values),
    )
    .await?;
    activity::touch(conn, messages.iter().map(|message| (message.contact_id, message.at))).await?;
    let ids: Vec<Uuid> = messages.iter().map(|message| message.uuid).collect();
    take_early(conn, &ids).await
}
