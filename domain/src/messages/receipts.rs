//! Messages and what the gateway reports of them.
//!
//! A receipt may come before its message's outcome was written (outcomes are written in groups): it is kept in
//! `early_receipts` and applied when the message arrives. A level never goes back, and a repeated receipt changes
//! nothing.

use crate::batches::{self, BatchSummary};
use crate::db::{self, Dialect};
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::{BatchId, ContactId};
use sea_orm::{ConnectionTrait, DbErr};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// How far a message has come, as the gateway's network counts.
pub type AckLevel = i64;

/// The network took it.
pub const ACK_SENT: AckLevel = 1;
/// It is on the recipient's device.
pub const ACK_DELIVERED: AckLevel = 2;
/// It was read.
pub const ACK_READ: AckLevel = 3;
/// Its voice or video was played.
pub const ACK_PLAYED: AckLevel = 4;

/// A gateway's report about one message that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Our id of the message.
    pub message: Uuid,
    /// How far it has come: [`ACK_SENT`] to [`ACK_PLAYED`].
    pub level: AckLevel,
    /// The network's id of it, where it is known.
    pub whatsapp_id: Option<String>,
    /// When.
    pub at: Timestamp,
}

const COLUMNS: [(&str, &str); 9] = [
    ("uuid", "uuid"),
    ("contact_id", "bigint"),
    ("item_seq", "bigint"),
    ("content", "text"),
    ("status", "text"),
    ("ack", "bigint"),
    ("error_code", "text"),
    ("error_message", "text"),
    ("at", "bigint"),
];

/// A message that left, or was to.
#[derive(Serialize)]
pub(crate) struct MessageRow<'a> {
    pub(crate) uuid: Uuid,
    pub(crate) contact_id: ContactId,
    pub(crate) item_seq: i64,
    pub(crate) content: Option<&'a str>,
    pub(crate) status: &'static str,
    pub(crate) ack: AckLevel,
    pub(crate) error_code: Option<String>,
    pub(crate) error_message: Option<String>,
    pub(crate) at: Timestamp,
    pub(crate) sent_at: Option<Timestamp>,
}

/// Writes the messages of a group of outcomes, and what was reported of them early.
pub(crate) async fn record_outgoing(
    conn: &impl ConnectionTrait,
    batch: BatchId,
    messages: &[MessageRow<'_>],
) -> Result<(), DbErr> {
    if messages.is_empty() {
        return Ok(());
    }
    let dialect = Dialect::of(conn);
    let mut columns = COLUMNS.to_vec();
    columns.push(("sent_at", "bigint"));
    let source = dialect.rows(2, &columns);
    db::execute(
        conn,
        format!(
            "INSERT INTO messages (uuid, contact_id, batch_id, item_seq, direction, content, status, ack, error_code,
                                   error_message, created_at, sent_at)
             SELECT uuid, contact_id, $1, item_seq, 'outbound', content, status, ack, error_code, error_message, at, sent_at
             FROM {source} WHERE TRUE
             ON CONFLICT (uuid) DO UPDATE SET content = coalesce(excluded.content, messages.content),
                status = CASE WHEN messages.ack > 1 THEN messages.status ELSE excluded.status END,
                ack = CASE WHEN messages.ack > excluded.ack THEN messages.ack ELSE excluded.ack END,
                error_code = excluded.error_code, error_message = excluded.error_message,
                sent_at = coalesce(messages.sent_at, excluded.sent_at)"
        ),
        [batch.into(), db::rows_json(messages)?],
    )
    .await?;
    let ids: Vec<Uuid> = messages.iter().map(|message| message.uuid).collect();
    let early = db::all(
        conn,
        format!(
            "DELETE FROM early_receipts WHERE uuid {}
             RETURNING CAST(uuid AS TEXT) AS uuid, ack, whatsapp_id, received_at",
            dialect.one_of(1, "uuid")
        ),
        [json!(ids).to_string().into()],
    )
    .await?;
    if early.is_empty() {
        return Ok(());
    }
    let receipts = early
        .iter()
        .map(|row| {
            let uuid: String = row.try_get("", "uuid")?;
            Ok(Receipt {
                message: Uuid::try_parse(&uuid).map_err(|e| DbErr::Type(e.to_string()))?,
                level: row.try_get("", "ack")?,
                whatsapp_id: row.try_get("", "whatsapp_id")?,
                at: Timestamp(row.try_get("", "received_at")?),
            })
        })
        .collect::<Result<Vec<_>, DbErr>>()?;
    apply(conn, &receipts).await
}

/// Applies receipts, in any order, any number of times. Those whose message has no row yet are kept for it.
///
/// # Errors
/// The database's.
pub async fn apply(conn: &impl ConnectionTrait, receipts: &[Receipt]) -> Result<(), DbErr> {
    let mut latest: BTreeMap<Uuid, Receipt> = BTreeMap::new();
    for receipt in receipts {
        latest
            .entry(receipt.message)
            .and_modify(|known| {
                known.whatsapp_id = known.whatsapp_id.take().or(receipt.whatsapp_id.clone());
                if receipt.level > known.level {
                    (known.level, known.at) = (receipt.level, receipt.at);
                }
            })
            .or_insert_with(|| receipt.clone());
    }
    if latest.is_empty() {
        return Ok(());
    }
    let row = |receipt: &Receipt| {
        let status = match receipt.level {
            ..=ACK_SENT => "sent",
            ACK_DELIVERED => "delivered",
            ACK_READ.. => "read",
        };
        json!({ "uuid": receipt.message, "ack": receipt.level, "whatsapp_id": receipt.whatsapp_id, "at": receipt.at,
            "status": status })
    };
    let rows: Vec<_> = latest.values().map(row).collect();
    let dialect = Dialect::of(conn);
    let columns = [("uuid", "uuid"), ("ack", "bigint"), ("whatsapp_id", "text"), ("at", "bigint"), ("status", "text")];
    let updated = db::all(
        conn,
        format!(
            "UPDATE messages SET ack = CASE WHEN messages.ack > r.ack THEN messages.ack ELSE r.ack END,
                    status = CASE WHEN messages.ack > r.ack THEN messages.status ELSE r.status END,
                    whatsapp_id = coalesce(messages.whatsapp_id, r.whatsapp_id),
                    delivered_at = CASE WHEN r.ack >= {ACK_DELIVERED} THEN coalesce(delivered_at, r.at) ELSE delivered_at END,
                    read_at = CASE WHEN r.ack >= {ACK_READ} THEN coalesce(read_at, r.at) ELSE read_at END
             FROM {} WHERE messages.uuid = r.uuid{} RETURNING CAST(messages.uuid AS TEXT) AS uuid",
            dialect.rows(1, &columns),
            dialect.among("messages.uuid", 1, "uuid", "uuid")
        ),
        [Value::from(rows).to_string().into()],
    )
    .await?;
    if updated.len() == latest.len() {
        return Ok(());
    }
    for row in updated {
        let uuid: String = row.try_get("", "uuid")?;
        latest.remove(&Uuid::try_parse(&uuid).map_err(|e| DbErr::Type(e.to_string()))?);
    }
    let rows: Vec<_> = latest.values().map(row).collect();
    db::execute(
        conn,
        format!(
            "INSERT INTO early_receipts (uuid, ack, whatsapp_id, received_at)
             SELECT uuid, ack, whatsapp_id, at FROM {} WHERE TRUE
             ON CONFLICT (uuid) DO UPDATE SET
                ack = CASE WHEN early_receipts.ack > excluded.ack THEN early_receipts.ack ELSE excluded.ack END,
                whatsapp_id = coalesce(early_receipts.whatsapp_id, excluded.whatsapp_id)",
            dialect.rows(1, &columns)
        ),
        [Value::from(rows).to_string().into()],
    )
    .await?;
    Ok(())
}

/// A message that the gateway had taken and then could not deliver: it has failed, and so has its item. Repeated, it
/// changes nothing.
///
/// # Errors
/// The database's.
pub async fn fail(conn: &impl ConnectionTrait, message: Uuid, code: &str, detail: &str) -> Result<Step<bool>, DbErr> {
    let values = Dialect::of(conn).one_of(1, "uuid");
    let row = db::one(
        conn,
        format!(
            "UPDATE messages SET status = 'failed', error_code = $2, error_message = $3
             WHERE uuid {values} AND status NOT IN ('failed', 'delivered', 'read')
             RETURNING batch_id, item_seq"
        ),
        [json!([message]).to_string().into(), code.into(), detail.into()],
    )
    .await?;
    let Some(row) = row else { return Ok(Step::quiet(false)) };
    let batch = row.try_get::<Option<i64>>("", "batch_id")?.map(BatchId);
    let (Some(batch), Some(seq)) = (batch, row.try_get::<Option<i64>>("", "item_seq")?) else {
        return Ok(Step::quiet(true));
    };
    let changed: Option<BatchSummary> = batches::fail_item(conn, batch, seq, code, detail).await?;
    Ok(Step { value: true, rings: Vec::new(), events: changed.map(Event::BatchChanged).into_iter().collect() })
}
