//! What batches keep of a person beside the contact's row, and how a deletion finds it.
//!
//! A chunk of an import has the rows of the file. Once it is done it keeps only those that failed, to be mended or tried
//! again. Such a row, and whatever somebody typed in the place of a contact's id, may have the number of a contact: a
//! trace says which number stands in which item, so that a deletion of a million looks up what it has to forget and reads
//! nothing else.

use super::chunks;
use super::import::ImportLine;
use super::model::BatchType;
use super::row::named;
use crate::contacts::{phone, suppressions, tags};
use crate::db::{self, Dialect};
use crate::idempotency;
use entities::BatchId;
use sea_orm::{ConnectionTrait, DbErr};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// How many rows one statement changes.
const ROWS: usize = 2_000;

/// What an item says whose row was forgotten.
pub(super) const ERASED: &str = "erased with its contact";

/// A number in an item.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Trace {
    phone: String,
    seq: i64,
}

impl Trace {
    /// The trace of what was typed for an item; `None`: it is no number.
    pub(super) fn of(typed: &str, seq: i64) -> Option<Self> {
        phone::normalise(typed).ok().map(|phone| Self { phone: phone.as_digits().to_owned(), seq })
    }
}

/// Notes what numbers a batch keeps.
pub(super) async fn note(conn: &impl ConnectionTrait, batch: BatchId, traces: &[Trace]) -> Result<(), DbErr> {
    if traces.is_empty() {
        return Ok(());
    }
    let source = Dialect::of(conn).rows(2, &[("phone", "text"), ("seq", "bigint")]);
    let sql = format!(
        "INSERT INTO contact_traces (phone, batch_id, seq) SELECT phone, $1, seq FROM {source} WHERE TRUE
         ON CONFLICT DO NOTHING"
    );
    db::execute(conn, sql, [batch.into(), db::rows_json(traces)?]).await.map(|_| ())
}

/// The rows of an import's chunk, as many as it has items: those that are gone are [`ImportLine::Done`].
pub(super) fn lines(data: &str, count: i64) -> Result<Vec<ImportLine>, DbErr> {
    let mut lines: Vec<ImportLine> = serde_json::from_str(data).map_err(|e| DbErr::Json(e.to_string()))?;
    lines.resize(usize::try_from(count).unwrap_or_default(), ImportLine::Done);
    Ok(lines)
}

/// Lets go of the rows of an import's chunk that is done, all but those that failed, and notes their numbers.
pub(super) async fn let_go(conn: &impl ConnectionTrait, batch: BatchId, no: i64) -> Result<(), DbErr> {
    let sql = "SELECT i.seq AS seq FROM batch_chunks k JOIN batch_items i ON i.batch_id = k.batch_id
                  AND i.seq >= k.first_seq AND i.seq < k.first_seq + k.item_count
               WHERE k.batch_id = $1 AND k.no = $2 AND i.error_code IS NOT NULL AND i.status = 'failed'";
    let failed = db::all(conn, sql, [batch.into(), no.into()]).await?;
    let failed = failed.iter().map(|row| row.try_get("", "seq")).collect::<Result<HashSet<i64>, _>>()?;
    // Read again only where something failed: most chunks have nothing to keep.
    let kept = if failed.is_empty() { None } else { chunks::load(conn, batch, no).await? };
    let mut left: Vec<ImportLine> = Vec::new();
    let mut traces = Vec::new();
    if let Some(chunk) = kept {
        for (seq, line) in (chunk.first_seq..).zip(lines(&chunk.data, chunk.item_count)?) {
            match line {
                ImportLine::Row(row) if failed.contains(&seq) => {
                    traces.extend(Trace::of(&row.phone, seq));
                    left.push(ImportLine::Row(row));
                }
                ImportLine::Unreadable(error) if failed.contains(&seq) => left.push(ImportLine::Unreadable(error)),
                ImportLine::Row(_) | ImportLine::Unreadable(_) | ImportLine::Done => left.push(ImportLine::Done),
            }
        }
    }
    let data = serde_json::to_string(&left).map_err(|e| DbErr::Json(e.to_string()))?;
    let sql = "UPDATE batch_chunks SET data = $3 WHERE batch_id = $1 AND no = $2";
    db::execute(conn, sql, [batch.into(), no.into(), data.into()]).await?;
    note(conn, batch, &traces).await
}

/// Lets go of the rows of cancelled imports that were never worked on, at most `limit` chunks; returns how many.
///
/// # Errors
/// The database's.
pub async fn let_go_of_cancelled(conn: &impl ConnectionTrait, limit: u64) -> Result<u64, DbErr> {
    let sql = format!(
        "UPDATE batch_chunks SET data = '[]' WHERE data <> '[]' AND (batch_id, no) IN (
            SELECT k.batch_id, k.no FROM batches b JOIN batch_chunks k ON k.batch_id = b.id
            WHERE b.status = 'CANCELLED' AND b.type = 'IMPORT' AND k.state <> 'closed' AND k.data <> '[]'
              AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.batch_id = b.id AND j.chunk_no = k.no AND j.state = 'running')
            LIMIT {limit})"
    );
    db::execute(conn, sql, []).await
}

/// What is left to do once the contacts themselves are erased.
#[derive(Debug)]
pub(super) struct Left {
    tags: BTreeSet<i64>,
}

/// Forgets what is kept of contacts elsewhere than in their own rows and messages' texts, before those go: rows of imports,
/// what was typed for items, the gateway's words for people, remembered answers, the trail of suppressions that ended.
pub(super) async fn forget(conn: &impl ConnectionTrait, contacts: &[i64]) -> Result<Left, DbErr> {
    let list = json!(contacts).to_string();
    let sql = format!("SELECT phone FROM contacts WHERE id {} AND phone IS NOT NULL", one_of(conn));
    let phones = db::all(conn, sql, [list.clone().into()]).await?;
    let phones = phones.iter().map(|row| row.try_get::<String>("", "phone")).collect::<Result<Vec<_>, _>>()?;
    forget_typed(conn, &phones).await?;
    forget_reasons(conn, &list).await?;
    idempotency::forget(conn, contacts).await?;
    suppressions::forget(conn, &phones).await?;
    Ok(Left { tags: tags::of(conn, contacts).await? })
}

impl Left {
    /// Once the contacts have no tags any more.
    pub(super) async fn finish(self, conn: &impl ConnectionTrait) -> Result<(), DbErr> {
        tags::drop_unused(conn, &self.tags).await
    }
}

fn one_of(conn: &impl ConnectionTrait) -> String {
    Dialect::of(conn).one_of(1, "bigint")
}

/// Rows and inputs that have one of the numbers.
async fn forget_typed(conn: &impl ConnectionTrait, phones: &[String]) -> Result<(), DbErr> {
    let list = json!(phones).to_string();
    let sql = format!(
        "DELETE FROM contact_traces WHERE (phone, batch_id, seq) IN (
            SELECT phone, batch_id, seq FROM contact_traces WHERE phone {} LIMIT {ROWS}) RETURNING batch_id, seq",
        Dialect::of(conn).one_of(1, "text")
    );
    loop {
        let found = db::all(conn, sql.clone(), [list.clone().into()]).await?;
        let mut items: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
        for row in &found {
            items.entry(row.try_get("", "batch_id")?).or_default().insert(row.try_get("", "seq")?);
        }
        for (batch, seqs) in items {
            forget_items(conn, batch, &seqs).await?;
            forget_data(conn, batch, &seqs).await?;
        }
        if found.len() < ROWS {
            return Ok(());
        }
    }
}

async fn forget_items(conn: &impl ConnectionTrait, batch: i64, seqs: &BTreeSet<i64>) -> Result<(), DbErr> {
    let sql = format!(
        "UPDATE batch_items SET input = NULL, error_message = CASE WHEN error_message IS NULL THEN NULL ELSE '{ERASED}' END
         WHERE batch_id = $1 AND seq {}",
        Dialect::of(conn).one_of(2, "bigint")
    );
    db::execute(conn, sql, [batch.into(), json!(seqs).to_string().into()]).await.map(|_| ())
}

/// Blanks the places of items in the data of their chunks.
async fn forget_data(conn: &impl ConnectionTrait, batch: i64, seqs: &BTreeSet<i64>) -> Result<(), DbErr> {
    let sql = "SELECT type FROM batches WHERE id = $1";
    let Some(row) = db::one(conn, sql, [batch.into()]).await? else { return Ok(()) };
    let blank = match named::<BatchType>(&row, "type")? {
        BatchType::Import => serde_json::to_value(ImportLine::Done).map_err(|e| DbErr::Json(e.to_string()))?,
        BatchType::Send | BatchType::Tag | BatchType::Delete => Value::from(""),
    };
    let mut left = seqs.clone();
    while let Some(seq) = left.first().copied() {
        let sql = format!(
            "SELECT no, first_seq, item_count, data FROM batch_chunks
             WHERE batch_id = $1 AND first_seq <= $2 AND first_seq + item_count > $2{}",
            Dialect::of(conn).for_update()
        );
        let Some(chunk) = db::one(conn, sql, [batch.into(), seq.into()]).await? else {
            left.remove(&seq);
            continue;
        };
        let first: i64 = chunk.try_get("", "first_seq")?;
        let end = first + chunk.try_get::<i64>("", "item_count")?;
        let mut data: Vec<Value> = serde_json::from_str(&chunk.try_get::<String>("", "data")?)
            .map_err(|e| DbErr::Json(format!("the data of a chunk of batch {batch}: {e}")))?;
        for seq in left.range(first..end) {
            if let Some(place) = usize::try_from(seq - first).ok().and_then(|place| data.get_mut(place)) {
                *place = blank.clone();
            }
        }
        let sql = "UPDATE batch_chunks SET data = $3 WHERE batch_id = $1 AND no = $2";
        let no: i64 = chunk.try_get("", "no")?;
        db::execute(conn, sql, [batch.into(), no.into(), Value::from(data).to_string().into()]).await?;
        left = left.split_off(&end);
    }
    Ok(())
}

/// Reasons in the gateway's words may name the number. Their codes stay. Items before messages: outcomes are written in this
/// order too.
async fn forget_reasons(conn: &impl ConnectionTrait, contacts: &str) -> Result<(), DbErr> {
    let these = one_of(conn);
    let of_items = format!(
        "UPDATE batch_items SET error_message = NULL WHERE (batch_id, seq) IN (
            SELECT batch_id, seq FROM batch_items WHERE contact_id {these} AND error_code IS NOT NULL
               AND error_message IS NOT NULL AND status <> 'skipped' LIMIT {ROWS})"
    );
    let of_messages = format!(
        "UPDATE messages SET error_message = NULL WHERE id IN (
            SELECT id FROM messages WHERE contact_id {these} AND error_message IS NOT NULL LIMIT {ROWS})"
    );
    for sql in [of_items, of_messages] {
        while db::execute(conn, sql.clone(), [contacts.into()]).await? >= ROWS as u64 {}
    }
    Ok(())
}
