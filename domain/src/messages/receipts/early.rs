//! Reports that came before what they are about.

use super::{About, Receipt, ReceiptKind, ReportOutcome};
use crate::ack::{ACK_READ, ACK_SENT, AckLevel};
use crate::db::{self, Dialect};
use crate::time::Timestamp;
use entities::early_receipts;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What is kept for one message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ForMessage {
    level: AckLevel,
    whatsapp_id: Option<String>,
    wa_id: Option<String>,
    error: Option<(String, String)>,
    at: Timestamp,
}

/// What a group of reports leaves to be kept.
#[derive(Debug, Default)]
pub(crate) struct EarlyReceipts {
    messages: BTreeMap<Uuid, ForMessage>,
    acks: BTreeMap<String, (AckLevel, Timestamp)>,
}

impl EarlyReceipts {
    /// Keeps a report whose message is not there.
    pub(crate) fn keep(&mut self, receipt: &Receipt) -> ReportOutcome {
        let (level, told, error) = match &receipt.kind {
            ReceiptKind::Mapped { whatsapp_id, .. } => (ACK_SENT, Some(whatsapp_id), None),
            ReceiptKind::Ack { level, whatsapp_id } => (*level, whatsapp_id.as_ref(), None),
            ReceiptKind::Seen { whatsapp_id, .. } => (ACK_READ, whatsapp_id.as_ref(), None),
            ReceiptKind::Failed { code, detail } => (0, None, Some((code.clone(), detail.clone()))),
        };
        match &receipt.about {
            // Numbers are given with the row: one that is not there never will be.
            About::Number(_) => ReportOutcome::NoMessage,
            About::Uuid(uuid) => {
                let at = receipt.at;
                let wa_id = match &receipt.kind {
                    ReceiptKind::Mapped { wa_id, .. } => wa_id.clone(),
                    ReceiptKind::Ack { .. } | ReceiptKind::Seen { .. } | ReceiptKind::Failed { .. } => None,
                };
                let nothing = ForMessage { level, whatsapp_id: None, wa_id: None, error: None, at };
                let kept = self.messages.entry(*uuid).or_insert(nothing);
                kept.wa_id = kept.wa_id.take().or(wa_id);
                kept.level = kept.level.max(level);
                kept.whatsapp_id = kept.whatsapp_id.take().or(told.cloned());
                kept.error = kept.error.take().or(error);
                ReportOutcome::Kept
            }
            About::Network(id) => {
                let kept = self.acks.entry(id.clone()).or_insert((level, receipt.at));
                kept.0 = kept.0.max(level);
                ReportOutcome::Kept
            }
        }
    }

    pub(crate) async fn write(self, conn: &impl ConnectionTrait) -> Result<(), DbErr> {
        let dialect = Dialect::of(conn);
        if !self.messages.is_empty() {
            let row = |(uuid, kept): (&Uuid, &ForMessage)| {
                let (code, message) = kept.error.clone().unzip();
                json!({ "uuid": uuid, "ack": kept.level, "whatsapp_id": kept.whatsapp_id, "wa_id": kept.wa_id, "error_code": code,
                    "error_message": message, "at": kept.at })
            };
            let rows: Vec<Value> = self.messages.iter().map(row).collect();
            let columns = [
                ("uuid", "uuid"),
                ("ack", "bigint"),
                ("whatsapp_id", "text"),
                ("wa_id", "text"),
                ("error_code", "text"),
                ("error_message", "text"),
                ("at", "bigint"),
            ];
            let sql = format!(
                "INSERT INTO early_receipts (uuid, ack, whatsapp_id, wa_id, error_code, error_message, received_at)
                 SELECT uuid, ack, whatsapp_id, wa_id, error_code, error_message, at FROM {} WHERE TRUE
                 ON CONFLICT (uuid) DO UPDATE SET
                    ack = CASE WHEN early_receipts.ack > excluded.ack THEN early_receipts.ack ELSE excluded.ack END,
                    whatsapp_id = coalesce(early_receipts.whatsapp_id, excluded.whatsapp_id),
                    wa_id = coalesce(early_receipts.wa_id, excluded.wa_id),
                    error_code = coalesce(early_receipts.error_code, excluded.error_code),
                    error_message = coalesce(early_receipts.error_message, excluded.error_message)",
                dialect.rows(1, &columns)
            );
            db::execute(conn, sql, [Value::from(rows).to_string().into()]).await?;
        }
        if !self.acks.is_empty() {
            let row = |(id, (level, at)): (&String, &(AckLevel, Timestamp))| json!({ "whatsapp_id": id, "ack": level, "at": at });
            let rows: Vec<Value> = self.acks.iter().map(row).collect();
            let columns = [("whatsapp_id", "text"), ("ack", "bigint"), ("at", "bigint")];
            let sql = format!(
                "INSERT INTO early_acks (whatsapp_id, ack, received_at) SELECT whatsapp_id, ack, at FROM {} WHERE TRUE
                 ON CONFLICT (whatsapp_id) DO UPDATE SET
                    ack = CASE WHEN early_acks.ack > excluded.ack THEN early_acks.ack ELSE excluded.ack END",
                dialect.rows(1, &columns)
            );
            db::execute(conn, sql, [Value::from(rows).to_string().into()]).await?;
        }
        Ok(())
    }
}

/// Takes what was kept for messages that are being written now.
pub(crate) async fn take_early(conn: &impl ConnectionTrait, messages: &[Uuid]) -> Result<Vec<Receipt>, DbErr> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let (these, ids) = Dialect::of(conn).one_of_uuids(1, messages);
    let sql = format!("DELETE FROM early_receipts WHERE uuid {these} RETURNING *");
    Ok(receipts(db::all_as(conn, sql, [ids]).await?))
}

fn receipts(rows: Vec<early_receipts::Model>) -> Vec<Receipt> {
    let mut receipts = Vec::with_capacity(rows.len());
    for row in rows {
        let about = About::Uuid(row.uuid.0);
        let (level, at, whatsapp_id) = (row.ack, row.received_at, row.whatsapp_id);
        if let Some(code) = row.error_code {
            let detail = row.error_message.unwrap_or_default();
            receipts.push(Receipt { about: about.clone(), kind: ReceiptKind::Failed { code, detail }, at });
        }
        if let (Some(whatsapp_id), Some(_)) = (&whatsapp_id, &row.wa_id) {
            let kind = ReceiptKind::Mapped { whatsapp_id: whatsapp_id.clone(), wa_id: row.wa_id };
            receipts.push(Receipt { about: about.clone(), kind, at });
        }
        if level > 0 {
            receipts.push(Receipt { about, kind: ReceiptKind::Ack { level, whatsapp_id }, at });
        }
    }
    receipts
}

/// Takes the acks that were kept for these ids of the network.
pub(crate) async fn take_acks(
    conn: &impl ConnectionTrait,
    whatsapp_ids: &[String],
) -> Result<Vec<(String, AckLevel, Timestamp)>, DbErr> {
    if whatsapp_ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "DELETE FROM early_acks WHERE whatsapp_id {} RETURNING whatsapp_id, ack, received_at",
        Dialect::of(conn).one_of(1, "text")
    );
    db::values(conn, sql, [json!(whatsapp_ids).to_string().into()]).await
}

/// Takes what was kept for messages that are there by now.
pub(crate) async fn take_found(conn: &impl ConnectionTrait, limit: u64) -> Result<Vec<Receipt>, DbErr> {
    let sql = format!(
        "DELETE FROM early_receipts WHERE uuid IN (
            SELECT e.uuid FROM early_receipts e WHERE EXISTS (
                SELECT 1 FROM messages m WHERE m.uuid = e.uuid AND m.direction IS NOT NULL) LIMIT {limit})
         RETURNING *"
    );
    let mut found = receipts(db::all_as(conn, sql, []).await?);
    let sql = format!(
        "DELETE FROM early_acks WHERE whatsapp_id IN (
            SELECT e.whatsapp_id FROM early_acks e
            WHERE EXISTS (SELECT 1 FROM messages m WHERE m.whatsapp_id = e.whatsapp_id) LIMIT {limit})
         RETURNING whatsapp_id, ack, received_at"
    );
    for (whatsapp_id, level, at) in db::values(conn, sql, []).await? {
        let kind = ReceiptKind::Ack { level, whatsapp_id: None };
        found.push(Receipt { about: About::Network(whatsapp_id), kind, at });
    }
    Ok(found)
}

/// Forgets which numbers the network resolved those with these keys to, where that was told before the message. A call takes
/// what it writes off `left`; `false`: there is more.
pub(crate) async fn forget(conn: &impl ConnectionTrait, keys: &[String], left: &mut u64) -> Result<bool, DbErr> {
    if *left == 0 {
        return Ok(false);
    }
    let dialect = Dialect::of(conn);
    let some = dialect.some_of("early_receipts", "uuid", &format!("wa_key {}", dialect.one_of(1, "text")), *left);
    let sql = format!("UPDATE early_receipts SET wa_id = NULL, error_message = NULL WHERE {some}");
    let written = db::execute(conn, sql, [json!(keys).to_string().into()]).await?;
    let all = written < *left;
    *left = left.saturating_sub(written);
    Ok(all)
}

/// Throws away what was kept since before `before` for messages that never came, at most `limit` of each kind; returns how
/// much of the kind of which there was more.
///
/// # Errors
/// The database's.
pub async fn prune(conn: &impl ConnectionTrait, before: Timestamp, limit: u64) -> Result<u64, DbErr> {
    let mut gone = 0;
    for (table, key) in [("early_receipts", "uuid"), ("early_acks", "whatsapp_id")] {
        let some = Dialect::of(conn).some_of(table, key, "received_at < $1", limit);
        gone = gone.max(db::execute(conn, format!("DELETE FROM {table} WHERE {some}"), [before.0.into()]).await?);
    }
    Ok(gone)
}
