//! What batches keep of a person beside the contact's row, and how a deletion finds it.
//!
//! A chunk of an import has the rows of the file. Once it is done it keeps only those that failed, to be tried again; and
//! their items have the rows' cells, to be mended. Such a row, and whatever somebody typed in the place of a contact's id, may
//! have the number of a contact: a trace says which number stands in which item, by what its spellings have in common
//! ([`spelling::key`]), so that a deletion of a million looks up what it has to forget and reads nothing else.

use super::chunks;
use super::import::ImportLine;
use super::prune::Extent;
use super::recipients::{self, ContactRef};
use super::table::Table;
use crate::contacts::phone::{self, Country, Unmarked};
use crate::contacts::{erase, spelling, suppressions};
use crate::db::{self, Dialect};
use crate::idempotency;
use crate::messages::receipts;
use crate::model::BatchType;
use entities::BatchId;
use sea_orm::{ConnectionTrait, DbErr};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How much data of a chunk counts as one row that is written.
const BYTES_A_ROW: u64 = 1_024;

/// What an item says whose row was forgotten.
pub(super) const ERASED: &str = "erased with its contact";

/// A number in an item.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Trace {
    phone_key: String,
    seq: i64,
}

impl Trace {
    /// The traces of what was typed for an item: each number that it may have meant. A text that may be none leaves none.
    pub(crate) fn of(typed: &str, home: Option<Country>, seq: i64) -> Vec<Self> {
        let read = |unmarked| phone::read(typed, unmarked).ok().map(|reading| reading.phone);
        let digits: String = typed.chars().filter(char::is_ascii_digit).collect();
        let meant = [read(Unmarked::ByPeople(home)), read(Unmarked::International), phone::Phone::of_network(&digits)];
        let keys: BTreeSet<String> =
            meant.iter().flatten().map(|phone| spelling::key(phone.as_digits()).into_owned()).collect();
        keys.into_iter().map(|phone_key| Self { phone_key, seq }).collect()
    }
}

/// Notes what numbers a batch keeps.
pub(crate) async fn note(conn: &impl ConnectionTrait, batch: BatchId, traces: &[Trace]) -> Result<(), DbErr> {
    if traces.is_empty() {
        return Ok(());
    }
    let source = Dialect::of(conn).rows(2, &[("phone_key", "text"), ("seq", "bigint")]);
    let sql = format!(
        "INSERT INTO contact_traces (phone_key, batch_id, seq) SELECT phone_key, $1, seq FROM {source} WHERE TRUE
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

/// Lets go of the rows of an import's chunk that is done, all but those that failed. What failed by itself was noted then;
/// what failed because its job died is noted now.
pub(super) async fn let_go(conn: &impl ConnectionTrait, batch: BatchId, no: i64) -> Result<(), DbErr> {
    let sql = "SELECT i.seq AS seq, i.error_code = 'job_dead' AS dead FROM batch_chunks k
               JOIN batch_items i ON i.batch_id = k.batch_id AND i.seq >= k.first_seq AND i.seq < k.first_seq + k.item_count
               WHERE k.batch_id = $1 AND k.no = $2 AND i.error_code IS NOT NULL AND i.item_status = 'failed'";
    let failed: HashMap<i64, bool> = db::values(conn, sql, [batch.into(), no.into()]).await?.into_iter().collect();
    // Read again only where something failed: most chunks have nothing to keep.
    let kept = if failed.is_empty() { None } else { chunks::load(conn, batch, no).await? };
    let mut left: Vec<ImportLine> = Vec::new();
    let mut traces = Vec::new();
    if let Some(chunk) = kept {
        for (seq, line) in (chunk.first_seq..).zip(lines(&chunk.data, chunk.item_count)?) {
            let Some(dead) = failed.get(&seq) else {
                left.push(ImportLine::Done);
                continue;
            };
            if let (true, Some(typed)) = (*dead, line.number()) {
                traces.extend(Trace::of(typed, None, seq));
            }
            left.push(line);
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

/// Forgets what is kept of contacts elsewhere than in their own rows and messages: rows of imports, what was typed for items,
/// the gateway's words for people, remembered answers, the trail of suppressions that ended, reports that came early. A call
/// takes what it writes off `left`; `false`: there is more, for another call. The contacts must still have their numbers.
pub(super) async fn forget(conn: &impl ConnectionTrait, contacts: &[i64], left: &mut u64) -> Result<bool, DbErr> {
    let list = json!(contacts).to_string();
    let these = Dialect::of(conn).one_of(1, "bigint");
    let sql = format!(
        "SELECT phone_key FROM contacts WHERE id {these} AND phone_key IS NOT NULL
         UNION SELECT phone_key FROM contact_identities WHERE contact_id {these} AND phone_key IS NOT NULL"
    );
    let keys: Vec<String> = db::values(conn, sql, [list.clone().into()]).await?;
    Ok(forget_typed(conn, &keys, left).await?
        && forget_reasons(conn, &list, left).await?
        && idempotency::forget(conn, contacts, left).await?
        && suppressions::forget(conn, &keys, left).await?
        && receipts::forget(conn, &keys, left).await?)
}

/// A chunk that has one of the numbers, or the place of one.
struct Found {
    no: i64,
    first: i64,
    end: i64,
    /// How many rows its data count for.
    weight: u64,
}

/// Rows and inputs that have one of the numbers, chunk by chunk.
async fn forget_typed(conn: &impl ConnectionTrait, keys: &[String], left: &mut u64) -> Result<bool, DbErr> {
    let keys = json!(keys).to_string();
    let one_of = Dialect::of(conn).one_of(1, "text");
    // Each is a trace and an item.
    let most = usize::try_from((*left / 2).max(1)).unwrap_or(usize::MAX);
    let sql = format!("SELECT batch_id, seq FROM contact_traces WHERE phone_key {one_of} LIMIT {}", most + 1);
    let found: Vec<(i64, i64)> = db::values(conn, sql, [keys.clone().into()]).await?;
    let all = found.len() <= most;
    let mut items: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for (batch, seq) in found.into_iter().take(most) {
        items.entry(batch).or_default().insert(seq);
    }
    for (batch, mut seqs) in items {
        while let Some(seq) = seqs.first().copied() {
            if *left == 0 {
                return Ok(false);
            }
            let chunk = chunk_of(conn, batch, seq).await?;
            let end = chunk.as_ref().map_or(seq + 1, |chunk| chunk.end);
            let later = seqs.split_off(&end);
            let here = json!(seqs).to_string();
            let values = || [batch.into(), here.as_str().into()];
            let these = Dialect::of(conn).one_of(2, "bigint");
            // Items before their chunk: who works on them writes in this order too.
            for (table, and) in [(Table::Messages, ""), (Table::Sets, "source_row = NULL,")] {
                let sql = format!(
                    "UPDATE {} SET input = NULL, {and}
                            error_message = CASE WHEN error_message IS NULL THEN NULL ELSE '{ERASED}' END
                     WHERE batch_id = $1 AND seq {these}",
                    table.name()
                );
                db::execute(conn, sql, values()).await?;
            }
            if let Some(chunk) = &chunk {
                forget_data(conn, batch, chunk, &seqs).await?;
            }
            let of_keys = Dialect::of(conn).one_of(3, "text");
            let sql = format!("DELETE FROM contact_traces WHERE phone_key {of_keys} AND batch_id = $1 AND seq {these}");
            let [batch_id, list] = values();
            let gone = db::execute(conn, sql, [batch_id, list, keys.clone().into()]).await?;
            *left = left.saturating_sub(seqs.len() as u64 + gone + chunk.map_or(0, |chunk| chunk.weight));
            seqs = later;
        }
    }
    Ok(all)
}

async fn chunk_of(conn: &impl ConnectionTrait, batch: i64, seq: i64) -> Result<Option<Found>, DbErr> {
    // The last that begins before it: looked up, where all of a large batch's would be read.
    let sql = "SELECT no, first_seq, item_count, CAST(length(data) AS BIGINT) AS size FROM batch_chunks
               WHERE batch_id = $1 AND first_seq <= $2 AND first_seq + item_count > $2";
    let found = |Extent { no, first_seq, item_count, size }| Found {
        no,
        first: first_seq,
        end: first_seq + item_count,
        weight: 1 + u64::try_from(size).unwrap_or(0) / BYTES_A_ROW,
    };
    Ok(db::one_as(conn, sql, [batch.into(), seq.into()]).await?.map(found))
}

/// Blanks the places of items in the data of their chunk.
async fn forget_data(
    conn: &impl ConnectionTrait,
    batch: i64,
    chunk: &Found,
    seqs: &BTreeSet<i64>,
) -> Result<(), DbErr> {
    let sql = format!(
        "SELECT b.type, k.data FROM batch_chunks k JOIN batches b ON b.id = k.batch_id
         WHERE k.batch_id = $1 AND k.no = $2{}",
        if Dialect::of(conn) == Dialect::Postgres { " FOR UPDATE OF k" } else { "" }
    );
    let row: Option<(BatchType, String)> = db::value(conn, sql, [batch.into(), chunk.no.into()]).await?;
    let Some((batch_type, data)) = row else { return Ok(()) };
    let blank = match batch_type {
        BatchType::Import => serde_json::to_value(ImportLine::Done).map_err(|e| DbErr::Json(e.to_string()))?,
        BatchType::Send | BatchType::Tag | BatchType::Delete => Value::from(""),
    };
    let mut data: Vec<Value> =
        serde_json::from_str(&data).map_err(|e| DbErr::Json(format!("the data of a chunk of batch {batch}: {e}")))?;
    let mut changed = false;
    for seq in seqs {
        let place = usize::try_from(seq - chunk.first).ok();
        if let Some(place) = place.and_then(|place| data.get_mut(place)).filter(|place| **place != blank) {
            *place = blank.clone();
            changed = true;
        }
    }
    if !changed {
        return Ok(());
    }
    let data = Value::from(data);
    let sql = "UPDATE batch_chunks SET data = $3 WHERE batch_id = $1 AND no = $2";
    db::execute(conn, sql, [batch.into(), chunk.no.into(), data.to_string().into()]).await?;
    if batch_type == BatchType::Import {
        return Ok(());
    }
    // A number that was typed in the place of an id may be the lowest or the highest.
    let refs: Vec<ContactRef> = serde_json::from_value(data).map_err(|e| DbErr::Json(e.to_string()))?;
    let (lowest, highest) = chunks::bounds(recipients::between(&refs));
    let sql = "UPDATE batch_chunks SET lowest_contact = $3, highest_contact = $4 WHERE batch_id = $1 AND no = $2";
    db::execute(conn, sql, [batch.into(), chunk.no.into(), lowest.into(), highest.into()]).await.map(|_| ())
}

/// Reasons in the gateway's words may name the number. Their codes stay. Those of messages go with their texts.
async fn forget_reasons(conn: &impl ConnectionTrait, contacts: &str, left: &mut u64) -> Result<bool, DbErr> {
    let dialect = Dialect::of(conn);
    for (table, key, which) in erase::REASONS {
        if *left == 0 {
            return Ok(false);
        }
        let with_reason = format!("contact_id {} AND {which}", dialect.one_of(1, "bigint"));
        let some = dialect.some_of(table, key, &with_reason, *left);
        let sql = format!("UPDATE {table} SET error_message = NULL WHERE {some}");
        let written = db::execute(conn, sql, [contacts.into()]).await?;
        if written >= *left {
            *left = 0;
            return Ok(false);
        }
        *left -= written;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_text_may_have_meant_is_traced() {
        let home = "MY".parse().ok();
        let keys =
            |typed: &str, home| Trace::of(typed, home, 7).into_iter().map(|trace| trace.phone_key).collect::<Vec<_>>();
        for typed in ["+60 12-300 0777", "60123000777", "0060 12 300 0777"] {
            assert!(keys(typed, None).contains(&"60123000777".to_owned()), "{typed}: {:?}", keys(typed, None));
        }
        assert!(keys("012-300 0777", home).contains(&"60123000777".to_owned()));
        // Both spellings of one number.
        assert!(keys("553187654321", None).contains(&"5531987654321".to_owned()));
        for typed in ["", "12", "nobody", "a2f3e5c0-0000-4000-8000"] {
            assert!(keys(typed, None).iter().all(|key| key != "60123000777"));
        }
        assert_eq!(keys("12", home), Vec::<String>::new());
    }

    #[test]
    fn rows_that_are_gone_are_done() {
        let data = serde_json::to_string(&[ImportLine::Done]).expect("json");
        assert_eq!(data, r#"["d"]"#);
        assert_eq!(lines(&data, 3).expect("read"), [ImportLine::Done, ImportLine::Done, ImportLine::Done]);
        assert_eq!(lines("[]", 2).expect("read").len(), 2);
    }
}
