//! What a contact got, waits for, was skipped for and why, over all batches.
//!
//! What was decided has a row, found by the contact (`messages_contact_item`, `batch_items_contact`). Who waits, or is written to for the first time, has
//! none: their chunk knows them. A chunk
//! that is not closed says between which numbers its contacts are, so of a list in the order of its numbers one chunk is read;
//! of any other list the database looks through the chunks' texts, of unfinished batches alone.

use super::in_flight::{self, ClaimId, InFlight};
use super::items::{self, Item};
use super::recipients::ContactRef;
use super::table::Table;
use crate::db::{self, Dialect, Json};
use crate::model::{BatchStatus, BatchType, ItemStatus};
use crate::time::Timestamp;
use entities::{BatchId, ContactId};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Value};

/// An item of a contact, with its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactItem {
    /// The batch.
    pub batch: BatchId,
    /// What the batch does.
    pub batch_type: BatchType,
    /// Where the batch stands.
    pub batch_status: BatchStatus,
    /// When the batch was accepted.
    pub created_at: Timestamp,
    /// When the batch is to start, if it has a time.
    pub schedule_at: Option<Timestamp>,
    /// What became of the contact in it.
    pub item: Item,
}

impl ContactItem {
    /// Where it stands in the list.
    #[must_use]
    pub const fn place(&self) -> ItemPosition {
        ItemPosition { batch: self.batch.0, seq: self.item.seq }
    }
}

/// Where a list goes on: behind this item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemPosition {
    /// The batch's number.
    pub batch: i64,
    /// The item's place in the batch.
    pub seq: i64,
}

/// A page, and where the next one begins.
pub type Items = (Vec<ContactItem>, Option<ItemPosition>);

/// How many chunks are read at a time.
const CHUNKS: usize = 20;

/// A contact as batches may name it: by its own number and identifier, and by those of contacts that were merged into it.
struct Names {
    contact: ContactId,
    phone: Option<String>,
    numbers: Vec<i64>,
    identifiers: Vec<String>,
}

/// Lists a contact's items, the newest batch first, from behind `after`, at most `limit` (1 to 1,000). `None`: no such contact.
///
/// # Errors
/// The database's.
pub async fn items_of_contact(
    conn: &impl ConnectionTrait,
    contact: ContactId,
    status: Option<ItemStatus>,
    after: Option<ItemPosition>,
    limit: usize,
) -> Result<Option<Items>, DbErr> {
    let Some(names) = names(conn, contact).await? else { return Ok(None) };
    let before = after.unwrap_or(ItemPosition { batch: i64::MAX, seq: i64::MAX });
    let mut waiting = match status {
        None | Some(ItemStatus::Pending | ItemStatus::Sending | ItemStatus::Cancelled) => {
            waiting(conn, &names, before, limit + 1).await?
        }
        Some(ItemStatus::Succeeded | ItemStatus::Failed | ItemStatus::Skipped | ItemStatus::Unknown) => Vec::new(),
    };
    waiting.retain(|one| status.is_none_or(|status| one.item.status == status));
    let mut found = Vec::new();
    for table in Table::ALL {
        found.extend(written(conn, table, &names, status, before, limit + 1).await?);
    }
    found.extend(waiting);
    // One that gets its row between the two readings is in both: the row is the newer.
    found.sort_by_key(|one| std::cmp::Reverse(one.place()));
    found.dedup_by_key(|one| one.place());
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(ContactItem::place);
    Ok(Some((found, next)))
}

async fn names(conn: &impl ConnectionTrait, contact: ContactId) -> Result<Option<Names>, DbErr> {
    let sql = "SELECT c.id, c.phone, CAST(c.identifier AS TEXT) FROM contacts c
               WHERE c.deleted_at IS NULL
                 AND c.id = coalesce((SELECT into_id FROM contact_merges WHERE from_id = $1), $1)";
    let row: Option<(ContactId, Option<String>, String)> = db::value(conn, sql, [contact.into()]).await?;
    let Some((contact, phone, identifier)) = row else { return Ok(None) };
    let mut names = Names { contact, phone, numbers: vec![contact.0], identifiers: vec![identifier] };
    let sql = "SELECT c.id, CAST(c.identifier AS TEXT) FROM contact_merges m
               JOIN contacts c ON c.id = m.from_id WHERE m.into_id = $1 ORDER BY c.id LIMIT 100";
    for (number, identifier) in db::values(conn, sql, [contact.into()]).await? {
        names.numbers.push(number);
        names.identifiers.push(identifier);
    }
    Ok(Some(names))
}

const BATCH: &str = "b.id AS batch_id, b.type AS type, b.status AS batch_status, b.created_at AS created_at,
    b.schedule_at AS schedule_at";

async fn written(
    conn: &impl ConnectionTrait,
    table: Table,
    names: &Names,
    status: Option<ItemStatus>,
    before: ItemPosition,
    limit: usize,
) -> Result<Vec<ContactItem>, DbErr> {
    let equals = if status.is_some() { "AND i.item_status = $4" } else { "AND $4 = ''" };
    let sql = format!(
        "SELECT {BATCH}, {} FROM {} i JOIN batches b ON b.id = i.batch_id
         LEFT JOIN contacts c ON c.id = i.contact_id
         WHERE i.contact_id = $1 AND i.seq IS NOT NULL AND (i.batch_id, i.seq) < ($2, $3) {equals}
         ORDER BY i.batch_id DESC, i.seq DESC LIMIT {limit}",
        table.columns(),
        table.name()
    );
    let status = status.map_or("", ItemStatus::as_str);
    let values = [names.contact.into(), before.batch.into(), before.seq.into(), status.into()];
    let found = db::all_as::<WrittenItem>(conn, sql, values).await?;
    Ok(found.into_iter().map(|WrittenItem { batch, item }| batch.with(item.of(batch.batch_type))).collect())
}

/// A batch's [`BATCH`].
#[derive(Clone, Copy, FromQueryResult)]
struct BatchRow {
    batch_id: BatchId,
    #[sea_orm(alias = "type")]
    batch_type: BatchType,
    batch_status: BatchStatus,
    created_at: Timestamp,
    schedule_at: Option<Timestamp>,
}

impl BatchRow {
    fn with(self, item: Item) -> ContactItem {
        ContactItem {
            batch: self.batch_id,
            batch_type: self.batch_type,
            batch_status: self.batch_status,
            created_at: self.created_at,
            schedule_at: self.schedule_at,
            item,
        }
    }
}

#[derive(FromQueryResult)]
struct WrittenItem {
    #[sea_orm(nested)]
    batch: BatchRow,
    #[sea_orm(nested)]
    item: Item,
}

/// A chunk that may have the contact, with its batch.
#[derive(FromQueryResult)]
struct ChunkRow {
    #[sea_orm(nested)]
    batch: BatchRow,
    no: i64,
    first_seq: i64,
    next_seq: i64,
    data: Json<Vec<ContactRef>>,
}

async fn waiting(
    conn: &impl ConnectionTrait,
    names: &Names,
    before: ItemPosition,
    limit: usize,
) -> Result<Vec<ContactItem>, DbErr> {
    let mut found = Vec::new();
    for name in names.numbers.iter().zip(&names.identifiers) {
        found.extend(waiting_as(conn, names, name, before, limit).await?);
    }
    Ok(found)
}

/// The newest places, behind one, of those who are named so. A chunk says between which numbers it is, which the index has; its
/// text is looked into only then.
async fn waiting_as(
    conn: &impl ConnectionTrait,
    names: &Names,
    (number, identifier): (&i64, &String),
    before: ItemPosition,
    limit: usize,
) -> Result<Vec<ContactItem>, DbErr> {
    let holds = match Dialect::of(conn) {
        Dialect::Postgres => "strpos",
        Dialect::Sqlite => "instr",
    };
    let sql = format!(
        "SELECT {BATCH}, k.no AS no, k.first_seq AS first_seq, k.next_seq AS next_seq, k.data AS data,
                CAST(k.claim_id AS TEXT) AS claim_id
         FROM batch_chunks k JOIN batches b ON b.id = k.batch_id
         WHERE k.state <> 'closed' AND (k.batch_id, k.no) < ($1, $2) AND k.lowest_contact <= $3 AND k.highest_contact >= $3
           AND (k.next_seq < k.first_seq + k.item_count OR k.claim_id IS NOT NULL) AND b.type <> 'IMPORT'
           AND ({holds}(k.data, $4) > 0 OR k.data LIKE $5 OR k.data LIKE $6 OR k.data = $7 OR {holds}(k.data, $8) > 0)
         ORDER BY k.batch_id DESC, k.no DESC LIMIT {CHUNKS}"
    );
    let texts = [
        format!(",{number},"),
        format!("[{number},%"),
        format!("%,{number}]"),
        format!("[{number}]"),
        format!("\"{identifier}\""),
    ];
    let mut found = Vec::new();
    let mut from = (before.batch.saturating_add(1), 0_i64);
    while found.len() < limit {
        let mut values: Vec<Value> = vec![from.0.into(), from.1.into(), (*number).into()];
        values.extend(texts.iter().map(|text| Value::from(text.as_str())));
        let rows = db::all(conn, sql.clone(), values).await?;
        for row in &rows {
            let chunk = ChunkRow::from_query_result(row, "")?;
            from = (chunk.batch.batch_id.0, chunk.no);
            let here = in_chunk(conn, chunk, ClaimId::read(row)?, names, (*number, identifier)).await?;
            found.extend(here.into_iter().filter(|one| one.place() < before));
        }
        if rows.len() < CHUNKS {
            break;
        }
    }
    Ok(found)
}

/// The contact's places in a chunk that have no row.
async fn in_chunk(
    conn: &impl ConnectionTrait,
    chunk: ChunkRow,
    claim: Option<ClaimId>,
    names: &Names,
    (number, identifier): (i64, &str),
) -> Result<Vec<ContactItem>, DbErr> {
    let ChunkRow { batch, first_seq: first, next_seq: next, data: Json(refs), .. } = chunk;
    let is_it = |contact: &ContactRef| match contact {
        ContactRef::Number(id) => *id == number,
        ContactRef::Text(text) => **text == *identifier,
    };
    let places: Vec<i64> = (first..).zip(refs).filter(|(_, contact)| is_it(contact)).map(|(seq, _)| seq).collect();
    let (claimed, unclaimed): (Vec<i64>, Vec<i64>) = places.into_iter().partition(|seq| *seq < next);
    let waits = |seq: i64| Item::rowless(seq, Some(names.contact), items::unwritten_as(batch.batch_status));
    let mut found: Vec<Item> = unclaimed.into_iter().map(waits).collect();
    if let Some(claim) = claim {
        let rows = in_flight::with_rows(conn, batch.batch_id, &claimed).await?;
        found.extend(claimed.into_iter().filter(|seq| !rows.contains(seq)).map(|seq| {
            Item::in_flight(InFlight {
                seq,
                contact: Some(names.contact),
                phone: None,
                message_id: claim.message(seq - first),
                started_at: claim.began(),
            })
        }));
    }
    let with_phone = |item: Item| Item { phone: names.phone.clone(), ..item };
    Ok(found.into_iter().map(|item| batch.with(with_phone(item))).collect())
}
