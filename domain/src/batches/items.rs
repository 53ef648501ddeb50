//! Reading the items of a batch.
//!
//! An item's row is written when something is decided about it; until then its chunk knows it. A reader sees no
//! difference: recipients that have no row yet are listed as `pending`, or as `cancelled` in a batch that was; and as `sending`
//! while their first attempt is under way.

use super::chunks;
use super::import::ImportLine;
use super::in_flight::{self, InFlight};
use super::recipients::{ContactRef, ContactRefs};
use super::row::Batch;
use super::table::Table;
use super::traces;
use crate::db::{self, Json};
use crate::model::{BatchStatus, BatchType, ItemStatus};
use crate::time::Timestamp;
use entities::{BatchId, ContactId};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};

/// One recipient, row or contact of a batch.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Item {
    /// Its place in the batch, from 0.
    pub seq: i64,
    /// The contact; `None` while there is none.
    #[sea_orm(alias = "contact_id")]
    pub contact: Option<ContactId>,
    /// The contact's number: digits without `+`. Of an import's row that has no contact, the number as the file has it.
    pub phone: Option<String>,
    /// What the request named, where that is no contact: an id that is nobody's, or an import's number as the file has it.
    pub input: Option<String>,
    /// Where it stands.
    pub status: ItemStatus,
    /// How many attempts were made.
    pub attempts: i64,
    /// A stable word for the last error.
    pub error_code: Option<String>,
    /// The last error for people.
    pub error_message: Option<String>,
    /// A stable word for what is odd about it, though it was done.
    pub warning: Option<String>,
    /// The message's id, where one was given.
    pub message_id: Option<String>,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
    /// When it was finished.
    pub finished_at: Option<Timestamp>,
    /// When it is tried next.
    pub next_attempt_at: Option<Timestamp>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The page.
    pub rows: Vec<T>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<i64>,
}

/// Lists items in their order, from behind `after`, at most `limit` (1 to 1,000). `None`: no such batch.
///
/// # Errors
/// The database's.
pub async fn items(
    conn: &impl ConnectionTrait,
    id: BatchId,
    status: Option<ItemStatus>,
    after: Option<i64>,
    limit: usize,
) -> Result<Option<Page<Item>>, DbErr> {
    let Some(batch) = super::read::get(conn, id).await? else { return Ok(None) };
    let from = after.map_or(0, |after| after.saturating_add(1));
    let unwritten_as = unwritten_as(batch.summary.status);
    // In the order in which items go from one to the next: one that goes on meanwhile is found twice, and none is missed.
    let (mut waiting, mut flying) = (Vec::new(), Vec::new());
    if batch.summary.processed() < batch.summary.total {
        if status.is_none_or(|status| status == unwritten_as) {
            waiting = unwritten(conn, &batch, unwritten_as, from, limit + 1).await?;
        }
        if status.is_none_or(|status| status == ItemStatus::Sending) {
            flying = in_flight(conn, &batch, from, limit + 1).await?;
        }
    }
    let mut rows = written(conn, &batch, status, from, limit + 1).await?;
    if !waiting.is_empty() || !flying.is_empty() {
        rows.extend(flying);
        rows.extend(waiting);
        // Of those that were found twice the first here stays: the newest.
        rows.sort_by_key(|item| item.seq);
        rows.dedup_by_key(|item| item.seq);
    }
    let next = if rows.len() > limit { rows.get(limit - 1).map(|item| item.seq) } else { None };
    rows.truncate(limit);
    Ok(Some(Page { rows, next }))
}

/// One item. `None`: there is no such batch, or it has no such item.
///
/// # Errors
/// The database's.
pub async fn item(conn: &impl ConnectionTrait, id: BatchId, seq: i64) -> Result<Option<Item>, DbErr> {
    let Some(before) = seq.checked_sub(1).filter(|before| *before >= -1) else { return Ok(None) };
    let page = items(conn, id, None, Some(before), 1).await?;
    Ok(page.and_then(|page| page.rows.into_iter().next()).filter(|item| item.seq == seq))
}

/// How an item can have ended: what the recipients of a further send can be chosen by.
pub const OUTCOMES: [ItemStatus; 5] =
    [ItemStatus::Succeeded, ItemStatus::Failed, ItemStatus::Skipped, ItemStatus::Cancelled, ItemStatus::Unknown];

/// The contacts of a batch's items that have one of these statuses, in their order, at most `most`. `None`: no such batch.
///
/// # Errors
/// The database's.
pub async fn contacts_of(
    conn: &impl ConnectionTrait,
    id: BatchId,
    status: ItemStatus,
    most: usize,
) -> Result<Option<ContactRefs>, DbErr> {
    let (mut refs, mut after) = (ContactRefs::default(), None);
    loop {
        let Some(page) = items(conn, id, Some(status), after, 1_000).await? else { return Ok(None) };
        for contact in page.rows.iter().filter_map(|item| item.contact) {
            if refs.len() >= most {
                return Ok(Some(refs));
            }
            refs.push(&contact.to_string());
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(Some(refs)),
        }
    }
}

/// Those whose first attempt is under way.
async fn in_flight(conn: &impl ConnectionTrait, batch: &Batch, from: i64, limit: usize) -> Result<Vec<Item>, DbErr> {
    let mut items = Vec::new();
    for chunk in chunks::with_claims(conn, batch.summary.id, from).await? {
        let room = limit.saturating_sub(items.len());
        let here = in_flight::of_chunk(conn, batch.summary.id, &chunk, from, room).await?;
        items.extend(here.into_iter().map(Item::in_flight));
    }
    Ok(items)
}

impl Item {
    /// One that has no row yet.
    pub(super) const fn rowless(seq: i64, contact: Option<ContactId>, status: ItemStatus) -> Self {
        Self {
            seq,
            contact,
            phone: None,
            input: None,
            status,
            attempts: 0,
            error_code: None,
            error_message: None,
            warning: None,
            message_id: None,
            started_at: None,
            finished_at: None,
            next_attempt_at: None,
        }
    }

    /// One whose first attempt is under way.
    pub(super) fn in_flight(one: InFlight) -> Self {
        Self {
            phone: one.phone,
            attempts: 1,
            message_id: Some(one.message_id.to_string()),
            started_at: Some(one.started_at),
            ..Self::rowless(one.seq, one.contact, ItemStatus::Sending)
        }
    }
}

/// How recipients without a row stand in a batch.
pub(super) const fn unwritten_as(status: BatchStatus) -> ItemStatus {
    match status {
        BatchStatus::Cancelled | BatchStatus::Failed => ItemStatus::Cancelled,
        BatchStatus::Pending | BatchStatus::Processing | BatchStatus::Completed => ItemStatus::Pending,
    }
}

async fn written(
    conn: &impl ConnectionTrait,
    batch: &Batch,
    status: Option<ItemStatus>,
    from: i64,
    limit: usize,
) -> Result<Vec<Item>, DbErr> {
    let (id, batch_type) = (batch.summary.id, batch.summary.batch_type);
    let table = Table::of(batch_type);
    // What has failed is found by its error, what is under way by the chunks that are open: neither reads the whole batch.
    let narrow = match status {
        None | Some(ItemStatus::Succeeded | ItemStatus::Cancelled) => "",
        Some(ItemStatus::Failed | ItemStatus::Skipped | ItemStatus::Unknown) => "AND i.error_code IS NOT NULL",
        Some(ItemStatus::Pending | ItemStatus::Sending) => {
            "AND EXISTS (SELECT 1 FROM batch_chunks k WHERE k.batch_id = $1 AND k.state = 'open'
                         AND i.seq >= k.first_seq AND i.seq < k.first_seq + k.item_count)"
        }
    };
    let equals = if status.is_some() { "AND i.item_status = $3" } else { "AND $3 = ''" };
    let sql = format!(
        "SELECT {} FROM {} i LEFT JOIN contacts c ON c.id = i.contact_id
         WHERE i.batch_id = $1 AND i.seq >= $2 {equals} {narrow} ORDER BY i.seq LIMIT {limit}",
        table.columns(),
        table.name()
    );
    let status = status.map_or("", ItemStatus::as_str);
    let found = db::all_as::<Item>(conn, sql, [id.into(), from.into(), status.into()]).await?;
    Ok(found.into_iter().map(|item| item.of(batch_type)).collect())
}

impl Item {
    /// As it was read from its table's list. What an import names is a number; what the others name is a contact.
    pub(super) fn of(self, batch_type: BatchType) -> Self {
        let as_named = || self.input.clone().filter(|_| batch_type == BatchType::Import);
        Self { phone: self.phone.clone().or_else(as_named), ..self }
    }
}

/// A row of an import that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRow {
    /// Its place in the batch, from 0.
    pub seq: i64,
    /// The reason for people.
    pub reason: String,
    /// Its cells as they came; empty where they were not kept.
    pub cells: Vec<String>,
    /// Its number as it was written.
    pub input: Option<String>,
}

/// Lists the rows of an import that failed, in their order, from behind `after`, at most `limit`.
///
/// # Errors
/// The database's.
pub async fn failed_rows(
    conn: &impl ConnectionTrait,
    id: BatchId,
    after: Option<i64>,
    limit: usize,
) -> Result<Page<FailedRow>, DbErr> {
    let sql = format!(
        "SELECT seq, input, error_message, source_row FROM batch_items
         WHERE batch_id = $1 AND seq > $2 AND item_status = 'failed' AND error_code IS NOT NULL ORDER BY seq LIMIT {}",
        limit + 1
    );
    let found: Vec<Failed> = db::all_as(conn, sql, [id.into(), after.unwrap_or(-1).into()]).await?;
    let failed = |row: Failed| FailedRow {
        seq: row.seq,
        reason: row.error_message.unwrap_or_default(),
        cells: row.source_row.map_or_else(Vec::new, |Json(cells)| cells),
        input: row.input,
    };
    let mut rows: Vec<FailedRow> = found.into_iter().map(failed).collect();
    let next = if rows.len() > limit { rows.get(limit - 1).map(|row| row.seq) } else { None };
    rows.truncate(limit);
    Ok(Page { rows, next })
}

#[derive(FromQueryResult)]
struct Failed {
    seq: i64,
    input: Option<String>,
    error_message: Option<String>,
    source_row: Option<Json<Vec<String>>>,
}

/// A chunk of which something was not claimed yet.
#[derive(FromQueryResult)]
struct Unclaimed {
    first_seq: i64,
    item_count: i64,
    next_seq: i64,
    data: String,
}

/// Recipients of whom nothing was claimed yet, from the chunks that have some.
async fn unwritten(
    conn: &impl ConnectionTrait,
    batch: &Batch,
    status: ItemStatus,
    from: i64,
    limit: usize,
) -> Result<Vec<Item>, DbErr> {
    let mut items = Vec::new();
    let mut from = from;
    while items.len() < limit {
        let chunk: Option<Unclaimed> = db::one_as(
            conn,
            "SELECT first_seq, item_count, next_seq, data FROM batch_chunks
             WHERE batch_id = $1 AND first_seq + item_count > $2 AND next_seq < first_seq + item_count
             ORDER BY no LIMIT 1",
            [batch.summary.id.into(), from.into()],
        )
        .await?;
        let Some(Unclaimed { first_seq: first, item_count, next_seq, data }) = chunk else { break };
        let (start, end) = (next_seq.max(from), first + item_count);
        let skip = usize::try_from(start - first).unwrap_or(usize::MAX);
        let named = names(batch.summary.batch_type, &data, end - first, skip, limit - items.len())?;
        let is_import = batch.summary.batch_type == BatchType::Import;
        items.extend((start..).zip(named).map(|(seq, (contact, input))| Item {
            phone: input.clone().filter(|_| is_import),
            input,
            ..Item::rowless(seq, contact, status)
        }));
        from = end;
    }
    Ok(items)
}

type Named = (Option<ContactId>, Option<String>);

fn names(batch_type: BatchType, data: &str, count: i64, skip: usize, take: usize) -> Result<Vec<Named>, DbErr> {
    let bad = |e: serde_json::Error| DbErr::Json(e.to_string());
    Ok(match batch_type {
        BatchType::Import => traces::lines(data, count)?
            .into_iter()
            .skip(skip)
            .take(take)
            .map(|line| match line {
                ImportLine::Row(row) => (None, Some(row.phone)),
                ImportLine::Clean(row) => (None, Some(row.phone.as_digits().to_owned())),
                ImportLine::Unreadable(error) => (None, error.input),
                ImportLine::Done => (None, None),
            })
            .collect(),
        BatchType::Send | BatchType::Tag | BatchType::Delete => {
            let refs: Vec<ContactRef> = serde_json::from_str(data).map_err(bad)?;
            refs.into_iter()
                .skip(skip)
                .take(take)
                .map(|contact| match contact {
                    ContactRef::Number(id) => (Some(ContactId(id)), None),
                    ContactRef::Text(text) => (None, Some(text.into())),
                })
                .collect()
        }
    })
}
