//! The rows of items, as a claim leaves them.

use super::Held;
use crate::batches::row::Batch;
use crate::batches::traces::{self, Trace};
use crate::db::{self, Dialect};
use crate::model::ItemStatus;
use crate::time::Timestamp;
use entities::ContactId;
use sea_orm::{ConnectionTrait, DbErr};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

/// How a claim leaves an item.
#[derive(Serialize)]
pub(super) struct ClaimedRow {
    pub(super) seq: i64,
    pub(super) contact_id: Option<ContactId>,
    /// What the request called a contact that is not there.
    pub(super) input: Option<String>,
    pub(super) status: ItemStatus,
    pub(super) attempts: i64,
    pub(super) slot_us: Option<i64>,
    pub(super) message_id: Option<Uuid>,
    pub(super) error_code: Option<&'static str>,
    pub(super) error_message: Option<&'static str>,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) next_attempt_at: Option<i64>,
}

impl ClaimedRow {
    /// The row of an item that ends before it began.
    pub(super) fn unsent(
        now: Timestamp,
        seq: i64,
        contact_id: Option<ContactId>,
        input: Option<String>,
        status: ItemStatus,
        (code, message): (&'static str, &'static str),
    ) -> Self {
        Self {
            seq,
            contact_id,
            input,
            status,
            attempts: 0,
            slot_us: None,
            message_id: None,
            error_code: Some(code),
            error_message: Some(message),
            started_at: None,
            finished_at: Some(now),
            next_attempt_at: None,
        }
    }
}

/// Notes what stands in the place of contacts' ids, where that may be the number of one.
pub(super) async fn note_typed(conn: &impl ConnectionTrait, held: Held, rows: &[ClaimedRow]) -> Result<(), DbErr> {
    let typed = |row: &ClaimedRow| row.input.as_deref().map(|typed| Trace::of(typed, None, row.seq));
    let typed: Vec<Trace> = rows.iter().filter_map(typed).flatten().collect();
    traces::note(conn, held.batch, &typed).await
}

/// Items that have a row and are not sent any more. One that an earlier attempt may have reached stays unknown for ever.
pub(super) async fn end_items(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: &Batch,
    items: &[i64],
    status: ItemStatus,
    (code, message): (&str, &str),
) -> Result<(), DbErr> {
    if items.is_empty() {
        return Ok(());
    }
    let source = Dialect::of(conn).one_of(2, "bigint");
    db::execute(
        conn,
        format!(
            "UPDATE messages SET item_status = CASE WHEN item_status = 'unknown' THEN item_status ELSE $4 END, slot_us = NULL,
                    error_code = $5, error_message = $6, finished_at = $3, next_attempt_at = NULL
             WHERE batch_id = $1 AND seq {source}"
        ),
        [
            batch.summary.id.into(),
            json!(items).to_string().into(),
            now.0.into(),
            status.as_str().into(),
            code.into(),
            message.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Writes items that had no row.
pub(super) async fn insert_items(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    held: Held,
    rows: &[ClaimedRow],
) -> Result<(), DbErr> {
    if rows.is_empty() {
        return Ok(());
    }
    let source = Dialect::of(conn).rows(
        3,
        &[
            ("seq", "bigint"),
            ("contact_id", "bigint"),
            ("input", "text"),
            ("status", "text"),
            ("attempts", "bigint"),
            ("slot_us", "bigint"),
            ("message_id", "uuid"),
            ("error_code", "text"),
            ("error_message", "text"),
            ("started_at", "bigint"),
            ("finished_at", "bigint"),
            ("next_attempt_at", "bigint"),
        ],
    );
    db::execute(
        conn,
        format!(
            "INSERT INTO messages (batch_id, fence, created_at, seq, contact_id, input, item_status, attempts, slot_us,
                                   uuid, error_code, error_message, started_at, finished_at, next_attempt_at)
             SELECT $1, $2, $4, seq, contact_id, input, status, attempts, slot_us, message_id, error_code, error_message,
                    started_at, finished_at, next_attempt_at FROM {source}"
        ),
        [held.batch.into(), held.fence.into(), db::rows_json(rows)?, now.0.into()],
    )
    .await?;
    Ok(())
}

/// Writes items that had one.
pub(super) async fn update_items(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    held: Held,
    rows: &[ClaimedRow],
) -> Result<(), DbErr> {
    if rows.is_empty() {
        return Ok(());
    }
    let dialect = Dialect::of(conn);
    let source = dialect.rows(
        3,
        &[
            ("seq", "bigint"),
            ("status", "text"),
            ("attempts", "bigint"),
            ("slot_us", "bigint"),
            ("next_attempt_at", "bigint"),
            ("contact_id", "bigint"),
            ("message_id", "uuid"),
        ],
    );
    let among = dialect.among("messages.seq", 3, "seq", "bigint");
    db::execute(
        conn,
        format!(
            "UPDATE messages SET contact_id = r.contact_id, uuid = r.message_id, item_status = r.status,
                    attempts = r.attempts, slot_us = r.slot_us,
                    next_attempt_at = r.next_attempt_at, fence = $2,
                    started_at = CASE WHEN r.status = 'sending' THEN coalesce(messages.started_at, $4) ELSE messages.started_at END
             FROM {source} WHERE messages.batch_id = $1 AND messages.seq = r.seq{among}"
        ),
        [held.batch.into(), held.fence.into(), db::rows_json(rows)?, now.0.into()],
    )
    .await?;
    Ok(())
}
