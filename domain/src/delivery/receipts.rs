//! Reports about messages of ours, applied.
//!
//! Reports are applied to the messages as they are (`progress`), in one transaction for a group: the rows are locked in
//! the order of their numbers, changed in memory, and written back at once. A level never goes back, and a repeated
//! report changes nothing. What comes before its message is kept for it (`messages::receipts`).

mod progress;

use crate::Event;
use crate::batches::{self, ItemFate};
use crate::contacts::suppressions::{self, Cause};
use crate::contacts::{addresses, merge};
use crate::db::{self, Dialect};
use crate::messages::receipts::{About, EarlyReceipts, Receipt, ReceiptKind, ReportOutcome, take_acks};
use crate::outbox::{DomainEvent, NewEvent};
use crate::time::Timestamp;
use entities::ContactId;
use progress::{Progress, ReportedMessage};
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::{Value, json};
use std::collections::HashMap;

/// What came of a group of reports.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) taken: Vec<ReportOutcome>,
    /// What is to be appended to the outbox, last.
    pub(crate) to_append: Vec<NewEvent>,
    pub(crate) events: Vec<Event>,
}

/// The network's code for a person who wants nothing from businesses.
const OPTED_OUT: &str = "131050";

/// Applies reports in their order. Those whose message is not there yet are kept for it.
pub(crate) async fn apply(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    receipts: &[&Receipt],
) -> Result<Applied, DbErr> {
    let mut applied = Applied::default();
    if receipts.is_empty() {
        return Ok(applied);
    }
    let mut known = Messages::load(conn, receipts).await?;
    let mut kept = EarlyReceipts::default();
    for receipt in receipts {
        applied.taken.push(known.apply(receipt, &mut kept));
    }
    // Acks that came before the maps that these reports brought.
    for (whatsapp_id, level, at) in take_acks(conn, &known.newly_mapped).await? {
        let kind = ReceiptKind::Ack { level, whatsapp_id: None };
        known.apply(&Receipt { about: About::Network(whatsapp_id), kind, at }, &mut kept);
    }
    kept.write(conn).await?;
    let changed: Vec<&ReportedMessage> = known.rows.iter().filter(|row| row.changed).collect();
    write(conn, &changed).await?;
    for row in changed {
        if let (Some((batch, seq)), Some(fate)) = (row.item, row.fate()) {
            let told = batches::settle_item(conn, now, batch, seq, row.uuid, &fate).await?;
            applied.events.extend(told.map(Event::BatchChanged));
        }
        if let Some(ItemFate::Failed { code, .. }) = row.fate()
            && code == OPTED_OUT
        {
            let sql = "SELECT phone FROM contacts WHERE id = $1 AND phone IS NOT NULL";
            if let Some(phone) = db::value::<String>(conn, sql, [row.contact.into()]).await? {
                // One who was suppressed before stays so: nothing is to be said of it.
                drop(suppressions::begin(conn, now, &phone, Cause::Network { message: row.id }).await?);
            }
        }
        applied.to_append.extend(events(row));
    }
    for merged in addresses::resolved(conn, now, &known.resolved).await? {
        applied.to_append.extend(merged.events());
    }
    Ok(applied)
}

/// What the outbox tells of a message. That one of a batch failed is told as its batch's change.
fn events(row: &ReportedMessage) -> impl Iterator<Item = NewEvent> {
    let (message, bulk) = (row.id, row.item.is_some());
    let progress = row.progress.iter().map(move |progress| match *progress {
        Progress::Acked(level) => DomainEvent::MessageAcked { message, level },
        Progress::Seen => DomainEvent::MessageSeen { message },
    });
    let failed = row.has_failed().filter(|_| !bulk).map(|status| DomainEvent::ReplyFailed { message, status });
    progress.chain(failed).map(move |event| NewEvent { contact: row.contact, event, bulk })
}

/// The messages that a group of reports is about.
struct Messages {
    rows: Vec<ReportedMessage>,
    by: HashMap<About, usize>,
    newly_mapped: Vec<String>,
    /// Which accounts the network told of the contacts that were written to.
    resolved: Vec<(ContactId, String)>,
}

impl Messages {
    /// Finds them, then locks them in the order of their numbers: two groups over the same messages cannot wait for each
    /// other.
    async fn load(conn: &impl ConnectionTrait, receipts: &[&Receipt]) -> Result<Self, DbErr> {
        let (mut uuids, mut numbers, mut networks) = (Vec::new(), Vec::new(), Vec::new());
        for receipt in receipts {
            match &receipt.about {
                About::Uuid(uuid) => uuids.push(uuid.to_string()),
                About::Number(id) => numbers.push(id.0),
                About::Network(id) => networks.push(id.clone()),
            }
            if let ReceiptKind::Mapped { whatsapp_id, .. }
            | ReceiptKind::Ack { whatsapp_id: Some(whatsapp_id), .. }
            | ReceiptKind::Seen { whatsapp_id: Some(whatsapp_id), .. } = &receipt.kind
            {
                networks.push(whatsapp_id.clone());
            }
        }
        let dialect = Dialect::of(conn);
        for (list, column, ty) in [(json!(uuids), "uuid", "uuid"), (json!(networks), "whatsapp_id", "text")] {
            if list.as_array().is_some_and(Vec::is_empty) {
                continue;
            }
            let sql = format!("SELECT id FROM messages WHERE {column} {}", dialect.one_of(1, ty));
            numbers.extend(db::values::<i64>(conn, sql, [list.to_string().into()]).await?);
        }
        numbers.sort_unstable();
        numbers.dedup();
        let mut messages =
            Self { rows: Vec::new(), by: HashMap::new(), newly_mapped: Vec::new(), resolved: Vec::new() };
        if numbers.is_empty() {
            return Ok(messages);
        }
        let sql = format!(
            "SELECT {} FROM messages WHERE id {} AND direction = 'outbound' ORDER BY id{}",
            progress::COLUMNS,
            dialect.one_of(1, "bigint"),
            dialect.for_update()
        );
        for row in db::all_as::<progress::Row>(conn, sql, [json!(numbers).to_string().into()]).await? {
            let known = ReportedMessage::from(row);
            let at = messages.rows.len();
            messages.by.insert(About::Uuid(known.uuid), at);
            messages.by.insert(About::Number(known.id), at);
            if let Some(id) = &known.whatsapp_id {
                messages.by.insert(About::Network(id.clone()), at);
            }
            messages.rows.push(known);
        }
        Ok(messages)
    }

    fn apply(&mut self, receipt: &Receipt, kept: &mut EarlyReceipts) -> ReportOutcome {
        let told = match &receipt.kind {
            ReceiptKind::Mapped { whatsapp_id, .. } => Some(whatsapp_id),
            ReceiptKind::Ack { whatsapp_id, .. } | ReceiptKind::Seen { whatsapp_id, .. } => whatsapp_id.as_ref(),
            ReceiptKind::Failed { .. } => None,
        };
        let by_network = told.and_then(|id| self.by.get(&About::Network(id.clone()))).copied();
        let Some(at) = self.by.get(&receipt.about).copied().or(by_network) else { return kept.keep(receipt) };
        if told.is_some() && by_network.is_some_and(|other| other != at) {
            return ReportOutcome::Contradicts;
        }
        let Some(row) = self.rows.get_mut(at) else { return ReportOutcome::NoMessage };
        if let Some(id) = told
            && by_network.is_none()
        {
            if !row.map(id) {
                return ReportOutcome::Contradicts;
            }
            self.by.insert(About::Network(id.clone()), at);
            self.newly_mapped.push(id.clone());
        }
        row.take(&receipt.kind, receipt.at);
        if let ReceiptKind::Mapped { wa_id: Some(wa_id), .. } = &receipt.kind {
            self.resolved.push((row.contact, wa_id.clone()));
        }
        ReportOutcome::Applied
    }
}

async fn write(conn: &impl ConnectionTrait, changed: &[&ReportedMessage]) -> Result<(), DbErr> {
    if changed.is_empty() {
        return Ok(());
    }
    let dialect = Dialect::of(conn);
    let rows: Vec<Value> = changed.iter().map(|row| row.json()).collect();
    let among = dialect.among("messages.id", 1, "id", "bigint");
    let source = dialect.rows(
        1,
        &[
            ("id", "bigint"),
            ("ack", "bigint"),
            ("status", "text"),
            ("whatsapp_id", "text"),
            ("error_code", "text"),
            ("error_message", "text"),
            ("sent_at", "bigint"),
            ("delivered_at", "bigint"),
            ("read_at", "bigint"),
            ("seen_delay_ms", "bigint"),
        ],
    );
    let there = merge::is_there("messages.contact_id");
    db::execute(
        conn,
        format!(
            "UPDATE messages SET ack = r.ack, status = r.status, whatsapp_id = r.whatsapp_id, error_code = r.error_code,
                    error_message = CASE WHEN r.error_message IS NULL OR {there} THEN r.error_message END,
                    sent_at = r.sent_at, delivered_at = r.delivered_at, read_at = r.read_at, seen_delay_ms = r.seen_delay_ms
             FROM {source} WHERE messages.id = r.id{among}"
        ),
        [Value::from(rows).to_string().into()],
    )
    .await
    .map(|_| ())
}
