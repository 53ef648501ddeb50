//! What an attempt leaves: the row of its item, which is its message too.

use super::Held;
use super::decide::Decision;
use super::outcome::ItemResult;
use crate::contacts::merge;
use crate::db::{self, Dialect, Set};
use crate::model::{ItemStatus, MessageStatus};
use crate::time::Timestamp;
use entities::{ContactId, GatewayId, SenderId};
use sea_orm::{ConnectionTrait, DbErr};
use serde::Serialize;
use std::collections::HashSet;
use uuid::Uuid;

/// How an attempt leaves its item and its message.
#[derive(Serialize)]
pub(super) struct SettledRow<'a> {
    seq: i64,
    contact_id: ContactId,
    uuid: Uuid,
    /// Which attempt it was.
    attempt: i64,
    item_status: ItemStatus,
    attempts: i64,
    slot_us: Option<i64>,
    /// Where the message stands; `None`: there is none that a person may see, since it is not decided or never left.
    status: Option<MessageStatus>,
    content: Option<&'a str>,
    /// The gateway that was asked.
    gateway_id: Option<GatewayId>,
    error_code: Option<&'a str>,
    error_message: Option<&'a str>,
    started_at: Timestamp,
    /// When the attempt ended.
    at: Timestamp,
    finished_at: Option<Timestamp>,
    next_attempt_at: Option<Timestamp>,
}

impl<'a> SettledRow<'a> {
    pub(super) fn of(result: &'a ItemResult, decision: &'a Decision) -> Self {
        let (code, detail) = decision.error.as_ref().map(|(code, detail)| (code.as_str(), detail.as_str())).unzip();
        let status = decision.message();
        Self {
            seq: result.seq,
            contact_id: result.contact,
            uuid: result.message_id,
            attempt: result.attempt,
            item_status: decision.status,
            attempts: decision.attempts,
            // The one that it left at; who waits gets another.
            slot_us: decision.finished.then_some(result.slot_us),
            status,
            content: status.and(result.text.as_deref()),
            gateway_id: status.and(result.gateway),
            error_code: code,
            error_message: detail,
            started_at: result.claimed_at,
            at: result.at,
            finished_at: decision.finished.then_some(result.at),
            next_attempt_at: decision.next_attempt_at,
        }
    }
}

impl Decision {
    /// Where the message stands by it; `None`: see [`SettledRow`].
    pub(super) const fn message(&self) -> Option<MessageStatus> {
        if !self.finished {
            return None;
        }
        match self.status {
            ItemStatus::Succeeded => Some(MessageStatus::Sent),
            ItemStatus::Unknown => Some(MessageStatus::Unknown),
            ItemStatus::Failed | ItemStatus::Skipped | ItemStatus::Pending | ItemStatus::Sending => {
                Some(MessageStatus::Failed)
            }
            ItemStatus::Cancelled => None,
        }
    }
}

/// Writes items that had no row, since this was their first attempt; returns which. One that has a row by now was written
/// before, or was given up by somebody who had reason to. A contact that was deleted while its message was under way has no
/// text any more.
pub(super) async fn insert(
    conn: &impl ConnectionTrait,
    held: Held,
    sender: Option<SenderId>,
    rows: &[SettledRow<'_>],
) -> Result<HashSet<i64>, DbErr> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let (source, mut values) = Set::default()
        .ints("seq", rows.iter().map(|row| Some(row.seq)))
        .ints("contact_id", rows.iter().map(|row| Some(row.contact_id.0)))
        .uuids("uuid", rows.iter().map(|row| row.uuid))
        .texts("item_status", rows.iter().map(|row| Some(row.item_status.as_str())))
        .ints("attempts", rows.iter().map(|row| Some(row.attempts)))
        .ints("slot_us", rows.iter().map(|row| row.slot_us))
        .texts("status", rows.iter().map(|row| row.status.map(MessageStatus::as_str)))
        .texts("content", rows.iter().map(|row| row.content))
        .ints("gateway_id", rows.iter().map(|row| row.gateway_id.map(|gateway| gateway.0)))
        .texts("error_code", rows.iter().map(|row| row.error_code))
        .texts("error_message", rows.iter().map(|row| row.error_message))
        .ints("started_at", rows.iter().map(|row| Some(row.started_at.0)))
        .ints("at", rows.iter().map(|row| Some(row.at.0)))
        .ints("finished_at", rows.iter().map(|row| row.finished_at.map(|at| at.0)))
        .ints("next_attempt_at", rows.iter().map(|row| row.next_attempt_at.map(|at| at.0)))
        .into_source(Dialect::of(conn));
    let (batch, fence, from) = (values.len() + 1, values.len() + 2, values.len() + 3);
    values.extend([held.batch.into(), held.fence.into(), sender.into()]);
    let there = merge::is_there("r.contact_id");
    let written = db::all(
        conn,
        format!(
            "INSERT INTO messages (batch_id, fence, sender_id, seq, contact_id, uuid, item_status, attempts, slot_us, direction,
                                   status, ack, content, gateway_id, error_code, error_message, created_at, sent_at,
                                   started_at, finished_at, next_attempt_at)
             SELECT ${batch}, ${fence}, ${from}, seq, contact_id, uuid, item_status, attempts, slot_us,
                    CASE WHEN status IS NOT NULL THEN 'outbound' END, status, CASE WHEN status = 'sent' THEN 1 ELSE 0 END,
                    CASE WHEN content IS NOT NULL AND {there} THEN content END, gateway_id, error_code,
                    CASE WHEN error_message IS NOT NULL AND {there} THEN error_message END, at,
                    CASE WHEN status = 'sent' THEN at END, started_at, finished_at, next_attempt_at
             FROM {source} WHERE TRUE
             ON CONFLICT (batch_id, seq) WHERE seq IS NOT NULL DO NOTHING RETURNING seq"
        ),
        values,
    )
    .await?;
    written.iter().map(|row| row.try_get("", "seq")).collect()
}

/// Writes items whose very attempt is still in flight under this claim; returns which. What a report said of a message before
/// its outcome stands.
pub(super) async fn update(
    conn: &impl ConnectionTrait,
    held: Held,
    sender: Option<SenderId>,
    rows: &[SettledRow<'_>],
) -> Result<HashSet<i64>, DbErr> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let dialect = Dialect::of(conn);
    let among = dialect.among("messages.seq", 3, "seq", "bigint");
    let source = dialect.rows(
        3,
        &[
            ("seq", "bigint"),
            ("attempt", "bigint"),
            ("item_status", "text"),
            ("attempts", "bigint"),
            ("slot_us", "bigint"),
            ("status", "text"),
            ("content", "text"),
            ("gateway_id", "bigint"),
            ("error_code", "text"),
            ("error_message", "text"),
            ("at", "bigint"),
            ("finished_at", "bigint"),
            ("next_attempt_at", "bigint"),
        ],
    );
    let there = merge::is_there("messages.contact_id");
    let written = db::all(
        conn,
        format!(
            "UPDATE messages SET item_status = r.item_status, attempts = r.attempts, slot_us = r.slot_us,
                    error_code = r.error_code,
                    error_message = CASE WHEN r.error_message IS NOT NULL AND {there} THEN r.error_message END,
                    finished_at = r.finished_at, next_attempt_at = r.next_attempt_at, sender_id = $4,
                    created_at = CASE WHEN messages.direction IS NULL THEN r.at ELSE messages.created_at END,
                    direction = CASE WHEN r.status IS NOT NULL THEN 'outbound' ELSE messages.direction END,
                    status = CASE WHEN r.status IS NULL OR messages.ack > 1 THEN messages.status ELSE r.status END,
                    ack = CASE WHEN r.status = 'sent' AND messages.ack < 1 THEN 1 ELSE messages.ack END,
                    content = coalesce(CASE WHEN r.content IS NOT NULL AND {there} THEN r.content END, messages.content),
                    sent_at = coalesce(messages.sent_at, CASE WHEN r.status = 'sent' THEN r.at END),
                    gateway_id = coalesce(r.gateway_id, messages.gateway_id)
             FROM {source}
             WHERE messages.batch_id = $1 AND messages.seq = r.seq AND messages.fence = $2
               AND messages.item_status = 'sending' AND messages.attempts = r.attempt{among}
             RETURNING messages.seq AS seq"
        ),
        [held.batch.into(), held.fence.into(), db::rows_json(rows)?, sender.into()],
    )
    .await?;
    written.iter().map(|row| row.try_get("", "seq")).collect()
}
