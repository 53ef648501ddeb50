//! Reading batches.

use super::lookup::{self, resolve};
use super::recipients::{Audience, ContactRef};
use super::row::{self, Batch, COLUMNS, RunState, SUMMARY};
use super::table::Table;
use crate::contacts::phone;
use crate::db::{self, Dialect, Json};
use crate::messages::template::{Recipient, Template};
use crate::model::{Approval, BatchStatus, BatchSummary, BatchType};
use crate::time::Timestamp;
use entities::{BatchId, SenderId, UserId, senders};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, FromQueryResult, QuerySelect, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// Reads a batch.
///
/// # Errors
/// The database's.
pub async fn get(conn: &impl ConnectionTrait, id: BatchId) -> Result<Option<Batch>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM batches WHERE id = $1");
    db::one(conn, sql, [id.into()]).await?.as_ref().map(row::batch).transpose()
}

/// Which batches to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Only of this type.
    pub batch_type: Option<BatchType>,
    /// Only in this status.
    pub status: Option<BatchStatus>,
    /// Only those accepted from this time on.
    pub created_after: Option<Timestamp>,
    /// Only those accepted before this time.
    pub created_before: Option<Timestamp>,
    /// Only those that this user asked for.
    pub created_by: Option<UserId>,
    /// Only those whose approval stands so; of those that wait for one, those that have not ended.
    pub approval: Option<Approval>,
    /// Only sends whose text has this in it, in small or capital letters of English.
    pub text: Option<String>,
}

impl Filter {
    /// Whether it says nothing: all batches match.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn condition(&self) -> (String, Vec<Value>) {
        let mut parts = vec![String::from("TRUE")];
        let mut values: Vec<Value> = Vec::new();
        let mut add = |column: &str, operator: &str, value: Value| {
            values.push(value);
            parts.push(format!("{column} {operator} ${}", values.len()));
        };
        if let Some(batch_type) = self.batch_type {
            add("type", "=", batch_type.as_str().into());
        }
        if let Some(status) = self.status {
            add("status", "=", status.as_str().into());
        }
        if let Some(approval) = self.approval {
            add("approval", "=", approval.as_str().into());
        }
        if let Some(after) = self.created_after {
            add("created_at", ">=", after.0.into());
        }
        if let Some(before) = self.created_before {
            add("created_at", "<", before.0.into());
        }
        if let Some(user) = self.created_by {
            add("created_by", "=", user.into());
        }
        if let Some(text) = &self.text {
            add("lower(content)", "LIKE", db::part(&text.to_ascii_lowercase()).into());
            parts.last_mut().into_iter().for_each(|last| last.push_str(" ESCAPE '\\'"));
        }
        if self.approval == Some(Approval::Pending) {
            parts.push("status IN ('PENDING', 'PROCESSING')".into());
        }
        (parts.join(" AND "), values)
    }
}

/// Lists batches, the newest first, and counts all that match.
///
/// # Errors
/// The database's.
pub async fn list(
    conn: &impl ConnectionTrait,
    filter: &Filter,
    limit: u64,
    offset: u64,
) -> Result<(Vec<Batch>, i64), DbErr> {
    let (condition, values) = filter.condition();
    let sql = format!("SELECT {COLUMNS} FROM batches WHERE {condition} ORDER BY id DESC LIMIT {limit} OFFSET {offset}");
    let batches = db::all(conn, sql, values.clone()).await?.iter().map(row::batch).collect::<Result<Vec<_>, _>>()?;
    let count = db::value(conn, format!("SELECT count(*) FROM batches WHERE {condition}"), values).await?;
    Ok((batches, count.unwrap_or(0)))
}

/// A page of batches, the newest first, from the one before `before` on; at most `limit`. Costs the same for every page.
///
/// # Errors
/// The database's.
pub async fn page(
    conn: &impl ConnectionTrait,
    filter: &Filter,
    before: Option<BatchId>,
    limit: u64,
) -> Result<Vec<Batch>, DbErr> {
    let (mut condition, mut values) = filter.condition();
    if let Some(before) = before {
        values.push(before.into());
        condition = format!("{condition} AND id < ${}", values.len());
    }
    let sql = format!("SELECT {COLUMNS} FROM batches WHERE {condition} ORDER BY id DESC LIMIT {limit}");
    db::all(conn, sql, values).await?.iter().map(row::batch).collect()
}

/// The batches under way that leave from a sender, the oldest first; at most `limit`.
///
/// # Errors
/// The database's.
pub async fn of_sender(conn: &impl ConnectionTrait, sender: SenderId, limit: u64) -> Result<Vec<Batch>, DbErr> {
    let sql = format!(
        "SELECT {COLUMNS} FROM batches WHERE status = 'PROCESSING' AND sender_id = $1 ORDER BY id LIMIT {limit}"
    );
    db::all(conn, sql, [sender.into()]).await?.iter().map(row::batch).collect()
}

/// How many batches are newer than `than`; counts to `at_most` and no further.
///
/// # Errors
/// The database's.
pub async fn newer(conn: &impl ConnectionTrait, filter: &Filter, than: BatchId, at_most: u64) -> Result<i64, DbErr> {
    let (condition, mut values) = filter.condition();
    values.push(than.into());
    let sql = format!(
        "SELECT count(*) FROM (SELECT id FROM batches WHERE {condition} AND id > ${} LIMIT {at_most}) AS those",
        values.len()
    );
    Ok(db::value(conn, sql, values).await?.unwrap_or(0))
}

/// The failed items of a batch that have one cause.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Cause {
    /// The stable word of their last error.
    pub code: String,
    /// One of their errors, for people.
    pub sample: String,
    /// How many they are.
    pub count: i64,
    /// When the last of them failed.
    pub last_at: Option<Timestamp>,
}

/// Why items of a batch failed or are in doubt, the most frequent cause first; at most 100 causes.
///
/// # Errors
/// The database's.
pub async fn causes(conn: &impl ConnectionTrait, id: BatchId) -> Result<Vec<Cause>, DbErr> {
    // An id is of one batch: one of the two tables has its items.
    let of = |table: Table| {
        format!(
            "SELECT error_code, error_message, finished_at FROM {}
             WHERE batch_id = $1 AND seq IS NOT NULL AND error_code IS NOT NULL AND item_status IN ('failed', 'unknown')",
            table.name()
        )
    };
    let sql = format!(
        "SELECT error_code AS code, coalesce(min(error_message), '') AS sample, count(*) AS count,
                max(finished_at) AS last_at
         FROM ({} UNION ALL {}) AS items GROUP BY error_code ORDER BY count DESC, code LIMIT 100",
        of(Table::Messages),
        of(Table::Sets)
    );
    db::all_as(conn, sql, [id.into()]).await
}

/// The batches that have not ended, the oldest first; at most `limit`.
///
/// # Errors
/// The database's.
pub async fn live(conn: &impl ConnectionTrait, limit: u64) -> Result<Vec<BatchSummary>, DbErr> {
    let sql =
        format!("SELECT {SUMMARY} FROM batches WHERE status IN ('PENDING', 'PROCESSING') ORDER BY id LIMIT {limit}");
    db::all(conn, sql, []).await?.iter().map(row::summary).collect()
}

/// Status and counts of the batches that are there of these, in no order.
///
/// # Errors
/// The database's.
pub async fn summaries(conn: &impl ConnectionTrait, ids: &[BatchId]) -> Result<Vec<BatchSummary>, DbErr> {
    let values = Dialect::of(conn).one_of(1, "bigint");
    let sql = format!("SELECT {SUMMARY} FROM batches WHERE id {values}");
    db::all(conn, sql, [json!(ids).to_string().into()]).await?.iter().map(row::summary).collect()
}

/// Whether batches should go on. One that does not exist any more should not.
///
/// # Errors
/// The database's.
pub async fn run_states(conn: &impl ConnectionTrait, ids: &[BatchId]) -> Result<Vec<(BatchId, RunState)>, DbErr> {
    let values = Dialect::of(conn).one_of(1, "bigint");
    let sql = format!("SELECT id, status, paused FROM batches WHERE id {values}");
    let mut states: BTreeMap<BatchId, RunState> = ids.iter().map(|id| (*id, RunState::Ended)).collect();
    let found: Vec<(BatchId, BatchStatus, bool)> = db::values(conn, sql, [json!(ids).to_string().into()]).await?;
    states.extend(found.into_iter().map(|(id, status, paused)| {
        let run_state = match (status.is_terminal(), paused) {
            (true, _) => RunState::Ended,
            (false, true) => RunState::Paused,
            (false, false) => RunState::Running,
        };
        (id, run_state)
    }));
    Ok(states.into_iter().collect())
}

/// Numbers over many batches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// How many batches match.
    pub total: i64,
    /// How many of each type.
    pub by_type: BTreeMap<BatchType, i64>,
    /// How many in each status.
    pub by_status: BTreeMap<BatchStatus, i64>,
    /// Items that are done with.
    pub processed: i64,
    /// Items that succeeded.
    pub succeeded: i64,
    /// Items that failed.
    pub failed: i64,
}

impl Stats {
    /// The percentage of processed items that succeeded, rounded to one decimal; 0 when none were processed.
    #[must_use]
    pub fn success_rate(&self) -> f64 {
        if self.processed == 0 {
            return 0.0;
        }
        let permille = (self.succeeded * 2_000 + self.processed) / (2 * self.processed);
        #[expect(clippy::cast_precision_loss, reason = "0 to 1000")]
        let rate = permille as f64 / 10.0;
        rate
    }
}

/// Counts batches and their items.
///
/// # Errors
/// The database's.
pub async fn stats(conn: &impl ConnectionTrait, filter: &Filter) -> Result<Stats, DbErr> {
    let (condition, values) = filter.condition();
    let sql = format!(
        "SELECT type, status, count(*) AS n, CAST(sum(succeeded) AS BIGINT) AS succeeded,
                CAST(sum(failed) AS BIGINT) AS failed, CAST(sum(skipped) AS BIGINT) AS skipped
         FROM batches WHERE {condition} GROUP BY type, status"
    );
    let mut stats = Stats::default();
    for group in db::all_as::<Group>(conn, sql, values).await? {
        stats.total += group.n;
        *stats.by_type.entry(group.batch_type).or_default() += group.n;
        *stats.by_status.entry(group.status).or_default() += group.n;
        stats.succeeded += group.succeeded;
        stats.failed += group.failed;
        stats.processed += group.succeeded + group.failed + group.skipped;
    }
    Ok(stats)
}

/// Batches of one type and status.
#[derive(FromQueryResult)]
struct Group {
    #[sea_orm(alias = "type")]
    batch_type: BatchType,
    status: BatchStatus,
    n: i64,
    succeeded: i64,
    failed: i64,
    skipped: i64,
}

/// A sender's own rate a minute, where its row has one.
///
/// # Errors
/// The database's.
pub async fn sender_rate(conn: &impl ConnectionTrait, sender: SenderId) -> Result<Option<i64>, DbErr> {
    let rate: Option<Option<i64>> = senders::Entity::find_by_id(sender)
        .select_only()
        .column(senders::Column::RatePerMinute)
        .into_tuple()
        .one(conn)
        .await?;
    Ok(rate.flatten())
}

/// What one recipient would read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// The recipient as the request named it.
    pub contact: String,
    /// The recipient's number, masked.
    pub phone: Option<String>,
    /// The message.
    pub text: Result<String, String>,
}

/// Renders the messages of a batch's first `n` recipients. `None`: no such batch. Empty for a batch that sends nothing.
///
/// # Errors
/// The database's.
pub async fn preview(conn: &impl ConnectionTrait, id: BatchId, n: usize) -> Result<Option<Vec<Preview>>, DbErr> {
    let Some(batch) = get(conn, id).await? else { return Ok(None) };
    let Some(template) = batch.content.as_deref().and_then(|content| Template::parse(content).ok()) else {
        return Ok(Some(Vec::new()));
    };
    let mut refs: Vec<ContactRef> = Vec::new();
    let first = "SELECT data FROM batch_chunks WHERE batch_id = $1 AND no = 0";
    if let Some(Json(named)) = db::value(conn, first, [id.into()]).await? {
        refs = named;
    } else if let Some(audience) = batch.config.get("audience") {
        let audience: Audience = serde_json::from_value(audience.clone()).map_err(|e| DbErr::Json(e.to_string()))?;
        let page = audience.page(conn, 0, u64::try_from(n).unwrap_or(u64::MAX)).await?;
        refs = page.into_iter().map(ContactRef::Number).collect();
    }
    refs.truncate(n);
    let found = resolve(conn, refs.iter()).await?;
    Ok(Some(refs.iter().map(|contact| preview_one(&template, contact, found.get(contact))).collect()))
}

fn preview_one(template: &Template, contact: &ContactRef, recipient: Option<&lookup::Recipient>) -> Preview {
    let none = |reason: &str| Preview { contact: contact.to_string(), phone: None, text: Err(reason.into()) };
    let Some(lookup::Recipient { phone, name, attributes, .. }) = recipient else { return none("contact not found") };
    if phone.is_empty() {
        return none("the contact has no phone number");
    }
    let text = template.render(&Recipient { name: name.as_deref(), phone, attributes }).map_err(|e| e.to_string());
    Preview { contact: contact.to_string(), phone: Some(phone::mask_digits(phone)), text }
}
