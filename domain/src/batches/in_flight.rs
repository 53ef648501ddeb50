//! Items that are claimed for their first attempt. They have no row: the chunk's row says that they are claimed, and by that
//! what their messages' ids are (0028).
//!
//! All numbers of a chunk below its `next_seq` were looked at by a claim. One of them that has no row is in flight, and gets its
//! row with its outcome; or, when nobody is there any more who could tell it, by [`disown`].

use super::chunks::Chunk;
use super::lookup::Lookup;
use super::recipients::ContactRef;
use crate::contacts::merge;
use crate::db::{self, Dialect};
use crate::model::ItemStatus;
use crate::time::Timestamp;
use entities::{BatchId, ContactId};
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Who has a chunk's items in flight: one claim of its job. The messages' ids follow from it, so that they are the same
/// whoever asks.
///
/// It is a UUIDv7 (RFC 9562, 5.7) with the twelve bits behind its time at 0. A message's id has its place in the chunk there,
/// as the counter of 6.2: ids of one claim are in the order of their items, and differ from those of any other by its time and
/// 62 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClaimId(Uuid);

/// Where the counter is in a UUID as a number, and how much it holds.
const COUNTER_AT: u32 = 64;
const COUNTER_BITS: u32 = 12;
/// How many items a chunk has at most.
pub(super) const MOST_ITEMS: usize = 1 << COUNTER_BITS;
const COUNTER: u128 = ((1 << COUNTER_BITS) - 1) << COUNTER_AT;

impl ClaimId {
    /// A new one.
    pub(crate) fn new(now: Timestamp, rng: &mut impl Rng) -> Self {
        let id = uuid::Builder::from_unix_timestamp_millis(u64::try_from(now.0).unwrap_or(0), &rng.random());
        Self(Uuid::from_u128(id.into_uuid().as_u128() & !COUNTER))
    }

    /// As the column `claim_id` has it, read as a text.
    pub(crate) fn read(row: &QueryResult) -> Result<Option<Self>, DbErr> {
        let text: Option<String> = row.try_get("", "claim_id")?;
        text.map(|text| Uuid::try_parse(&text).map(Self).map_err(|e| DbErr::Type(format!("claim_id: {e}")))).transpose()
    }

    /// The id of the message of the item at this place of the chunk, the first being 0.
    pub(crate) fn message(self, place: i64) -> Uuid {
        let place = u128::from(place.unsigned_abs()) << COUNTER_AT;
        debug_assert!(place <= COUNTER, "a chunk has fewer items than the counter holds");
        Uuid::from_u128(self.0.as_u128() | (place & COUNTER))
    }

    /// The claim by which a message would have this id, and its place in the chunk.
    pub(crate) fn of_message(message: Uuid) -> (Self, i64) {
        let number = message.as_u128();
        let place = i64::try_from((number & COUNTER) >> COUNTER_AT).unwrap_or(0);
        (Self(Uuid::from_u128(number & !COUNTER)), place)
    }

    /// When it began: the time of the first of its claims of items.
    pub(crate) fn began(self) -> Timestamp {
        let ms = self.0.as_u128() >> 80;
        Timestamp(i64::try_from(ms).unwrap_or(0))
    }
}

impl std::fmt::Display for ClaimId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One that is in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InFlight {
    /// Its place in the batch.
    pub(crate) seq: i64,
    /// Its contact, as it was named: deleted ones too, and the one that it was merged into.
    pub(crate) contact: Option<ContactId>,
    /// The contact's number.
    pub(crate) phone: Option<String>,
    /// Its message.
    pub(crate) message_id: Uuid,
    /// When its chunk's claim began.
    pub(crate) started_at: Timestamp,
}

/// Those of a chunk that are in flight, from a number on, at most `limit`. Reads the chunk's data.
pub(crate) async fn of_chunk(
    conn: &impl ConnectionTrait,
    batch: BatchId,
    chunk: &Chunk,
    from: i64,
    limit: usize,
) -> Result<Vec<InFlight>, DbErr> {
    let Some(claim) = chunk.claim else { return Ok(Vec::new()) };
    let from = from.max(chunk.first_seq);
    let rows = db::all(
        conn,
        "SELECT seq FROM messages WHERE batch_id = $1 AND seq >= $2 AND seq < $3",
        [batch.into(), from.into(), chunk.next_seq.into()],
    )
    .await?;
    let rows = rows.iter().map(|row| row.try_get("", "seq")).collect::<Result<HashSet<i64>, _>>()?;
    let refs: Vec<ContactRef> = serde_json::from_str(&chunk.data).map_err(|e| DbErr::Json(e.to_string()))?;
    let named: Vec<(i64, &ContactRef)> = (chunk.first_seq..chunk.next_seq)
        .zip(&refs)
        .filter(|(seq, _)| *seq >= from && !rows.contains(seq))
        .take(limit)
        .collect();
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let people = people(conn, named.iter().map(|(_, contact)| *contact)).await?;
    let in_flight = |(seq, contact): &(i64, &ContactRef)| {
        let (id, phone) = people.get(*contact).cloned().unzip();
        InFlight {
            seq: *seq,
            contact: id,
            phone: phone.flatten(),
            message_id: claim.message(seq - chunk.first_seq),
            started_at: claim.began(),
        }
    };
    Ok(named.iter().map(in_flight).collect())
}

type Person = (ContactId, Option<String>);

/// Contacts as they were named, also those who were deleted since. Of one that was merged into another: the other.
async fn people<'a>(
    conn: &impl ConnectionTrait,
    refs: impl Iterator<Item = &'a ContactRef> + Clone,
) -> Result<HashMap<ContactRef, Person>, DbErr> {
    let lookup = Lookup { columns: "id, phone", deleted: true, merged: false, locked: false };
    let read = |row: &QueryResult| Ok((ContactId(row.try_get("", "id")?), row.try_get("", "phone")?));
    let mut found: HashMap<ContactRef, Person> = lookup.find(conn, refs, read).await?;
    let ids: Vec<i64> = found.values().map(|(id, _)| id.0).collect();
    let moved = merge::moved(conn, &ids, &[]).await?.numbers;
    if moved.is_empty() {
        return Ok(found);
    }
    let kept: Vec<ContactRef> = moved.values().copied().map(ContactRef::Number).collect();
    let kept = lookup.find(conn, kept.iter(), read).await?;
    for person in found.values_mut() {
        let into = moved.get(&person.0.0).and_then(|into| kept.get(&ContactRef::Number(*into)));
        if let Some(into) = into {
            *person = into.clone();
        }
    }
    Ok(found)
}

/// Which of these numbers of a batch have a row.
pub(super) async fn with_rows(
    conn: &impl ConnectionTrait,
    batch: BatchId,
    seqs: &[i64],
) -> Result<HashSet<i64>, DbErr> {
    if seqs.is_empty() {
        return Ok(HashSet::new());
    }
    let these = Dialect::of(conn).one_of(2, "bigint");
    let sql = format!("SELECT seq FROM messages WHERE batch_id = $1 AND seq {these}");
    let rows = db::all(conn, sql, [batch.into(), json!(seqs).to_string().into()]).await?;
    rows.iter().map(|row| row.try_get("", "seq")).collect()
}

/// The contacts of all that a batch has in flight.
pub(crate) async fn contacts(conn: &impl ConnectionTrait, batch: BatchId) -> Result<Vec<ContactId>, DbErr> {
    let mut contacts = Vec::new();
    for chunk in super::chunks::with_claims(conn, batch, 0).await? {
        let in_flight = of_chunk(conn, batch, &chunk, 0, usize::MAX).await?;
        contacts.extend(in_flight.into_iter().filter_map(|one| one.contact));
    }
    Ok(contacts)
}

/// How those are left who had nobody any more to tell their outcome: unknown, under their message's id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disowned<'a> {
    pub(crate) code: &'a str,
    pub(crate) message: &'a str,
    /// When it is asked again; `None`: it is not.
    pub(crate) next_attempt_at: Option<Timestamp>,
    /// When it was given up; `None`: it is asked again, or that is said later.
    pub(crate) finished_at: Option<Timestamp>,
}

/// Gives all that is in flight of a chunk its row, in doubt, since no worker has the chunk any more: its claim's lease is over
/// and its fence is stale. Returns how many they were.
pub(crate) async fn disown(
    conn: &impl ConnectionTrait,
    batch: BatchId,
    chunk: &Chunk,
    as_what: Disowned<'_>,
) -> Result<i64, DbErr> {
    if chunk.claim.is_none() {
        return Ok(0);
    }
    let lost = of_chunk(conn, batch, chunk, 0, usize::MAX).await?;
    if !lost.is_empty() {
        let row = |one: &InFlight| json!({ "seq": one.seq, "contact_id": one.contact, "message_id": one.message_id, "started_at": one.started_at });
        let rows: Vec<_> = lost.iter().map(row).collect();
        let columns = [("seq", "bigint"), ("contact_id", "bigint"), ("message_id", "uuid"), ("started_at", "bigint")];
        let sql = format!(
            "INSERT INTO messages (batch_id, seq, contact_id, item_status, attempts, uuid, started_at, error_code,
                                   error_message, next_attempt_at, finished_at, created_at)
             SELECT $2, seq, contact_id, $3, 1, message_id, started_at, $4, $5, $6, $7, started_at FROM {} WHERE TRUE",
            Dialect::of(conn).rows(1, &columns)
        );
        let values = [
            db::rows_json(&rows)?,
            batch.into(),
            ItemStatus::Unknown.as_str().into(),
            as_what.code.into(),
            as_what.message.into(),
            as_what.next_attempt_at.map(|at| at.0).into(),
            as_what.finished_at.map(|at| at.0).into(),
        ];
        db::execute(conn, sql, values).await?;
    }
    unclaim(conn, batch, chunk.no).await?;
    Ok(i64::try_from(lost.len()).unwrap_or(i64::MAX))
}

/// Says that nothing of a chunk is in flight without a row.
pub(crate) async fn unclaim(conn: &impl ConnectionTrait, batch: BatchId, no: i64) -> Result<(), DbErr> {
    let sql = "UPDATE batch_chunks SET claim_id = NULL WHERE batch_id = $1 AND no = $2";
    db::execute(conn, sql, [batch.into(), no.into()]).await.map(|_| ())
}

/// Those of these messages, by their ids, that belong to items whose first attempt is under way. Some that got their outcome a
/// moment ago may be among them: who wants to know reads their rows after this.
///
/// # Errors
/// The database's.
pub async fn messages(conn: &impl ConnectionTrait, ids: &[Uuid]) -> Result<Vec<Uuid>, DbErr> {
    let sql = "SELECT CAST(claim_id AS TEXT) AS claim_id, next_seq - first_seq AS places FROM batch_chunks
               WHERE state = 'open' AND claim_id IS NOT NULL";
    let mut open = HashMap::new();
    for row in db::all(conn, sql, []).await? {
        if let Some(ClaimId(claim)) = ClaimId::read(&row)? {
            open.insert(claim, row.try_get::<i64>("", "places")?);
        }
    }
    let is_in_flight = |id: &&Uuid| {
        let (ClaimId(claim), place) = ClaimId::of_message(**id);
        open.get(&claim).is_some_and(|places| place < *places)
    };
    Ok(ids.iter().filter(is_in_flight).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batches::chunk_size;
    use crate::model::BatchType;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn a_chunk_has_fewer_items_than_the_counter_holds() {
        assert!(chunk_size(BatchType::Send) <= MOST_ITEMS);
    }

    proptest! {
        #[test]
        fn ids_are_of_their_claim_in_order_and_version_7(ms in 0i64..(1 << 47), place in 0i64..4095, seed: u64) {
            let claim = ClaimId::new(Timestamp(ms), &mut StdRng::seed_from_u64(seed));
            let id = claim.message(place);
            prop_assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
            prop_assert_eq!(ClaimId::of_message(id), (claim, place));
            prop_assert_eq!(claim.began(), Timestamp(ms));
            prop_assert!(id < claim.message(place + 1));
            let other = ClaimId::new(Timestamp(ms), &mut StdRng::seed_from_u64(seed.wrapping_add(1)));
            prop_assert_ne!(other.message(place), id);
        }
    }
}
