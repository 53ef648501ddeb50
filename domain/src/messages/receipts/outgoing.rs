//! The messages of batches, written with their outcomes.

use super::Receipt;
use super::early::take_early;
use crate::ack::AckLevel;
use crate::contacts::{activity, merge};
use crate::db::{self, Dialect};
use crate::model::MessageStatus;
use crate::time::Timestamp;
use entities::{BatchId, ContactId, GatewayId};
use sea_orm::{ConnectionTrait, DbErr};
use serde::Serialize;
use uuid::Uuid;

const COLUMNS: [(&str, &str); 11] = [
    ("uuid", "uuid"),
    ("contact_id", "bigint"),
    ("item_seq", "bigint"),
    ("content", "text"),
    ("status", "text"),
    ("ack", "bigint"),
    ("error_code", "text"),
    ("error_message", "text"),
    ("at", "bigint"),
    ("sent_at", "bigint"),
    ("gateway_id", "bigint"),
];

/// A message that left, or was to.
#[derive(Serialize)]
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
    messages: &[MessageRow<'_>],
) -> Result<Vec<Receipt>, DbErr> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let source = Dialect::of(conn).rows(2, &COLUMNS);
    // A contact that was deleted while its message was under way has no text any more.
    let there = merge::is_there("r.contact_id");
    db::execute(
        conn,
        format!(
            "INSERT INTO messages (uuid, contact_id, batch_id, item_seq, direction, content, status, ack, error_code,
                                   error_message, created_at, sent_at, gateway_id)
             SELECT uuid, contact_id, $1, item_seq, 'outbound', CASE WHEN {there} THEN content END, status, ack,
                    error_code, CASE WHEN error_message IS NULL OR {there} THEN error_message END, at, sent_at,
                    gateway_id
             FROM {source} WHERE TRUE
             ON CONFLICT (uuid) DO UPDATE SET content = coalesce(excluded.content, messages.content),
                status = CASE WHEN messages.ack > 1 THEN messages.status ELSE excluded.status END,
                ack = CASE WHEN messages.ack > excluded.ack THEN messages.ack ELSE excluded.ack END,
                error_code = excluded.error_code, error_message = excluded.error_message,
                sent_at = coalesce(messages.sent_at, excluded.sent_at),
                gateway_id = coalesce(excluded.gateway_id, messages.gateway_id)"
        ),
        [batch.into(), db::rows_json(messages)?],
    )
    .await?;
    activity::touch(conn, messages.iter().map(|message| (message.contact_id, message.at))).await?;
    let ids: Vec<Uuid> = messages.iter().map(|message| message.uuid).collect();
    take_early(conn, &ids).await
}
