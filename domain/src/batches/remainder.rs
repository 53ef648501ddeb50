//! What a cancelled batch never sent, as the recipients of another.

use super::create::Recipients;
use super::recipients::{Audience, ContactRef, ContactRefs};
use super::row::{self, Batch};
use crate::db::{self, Json};
use crate::model::{BatchStatus, BatchType, OnUnknown};
use crate::senders;
use entities::BatchId;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use std::collections::HashSet;

/// How many chunks are read at once.
const PAGE: u64 = 50;

/// What a cancelled batch never sent, and how it would have.
#[derive(Debug)]
pub struct Remainder {
    /// Those that it never wrote to. None that may have got its message.
    pub recipients: Recipients,
    /// Its message, as it was frozen.
    pub content: String,
    /// The name of the sender that it left from.
    pub sender: Option<String>,
    /// Its own pace, as it was last; `None`: the sender's.
    pub rate_per_minute: Option<u32>,
    /// Its jitter, as it was last.
    pub jitter_ms: u32,
    /// What became of a send whose outcome was not known.
    pub on_unknown: OnUnknown,
}

/// Why there is no remainder.
#[derive(Debug, thiserror::Error)]
pub enum RemainderError {
    /// There is no such batch.
    #[error("no such batch")]
    NotFound,
    /// The batch is not one, or not yet; the text says why.
    #[error("{0}")]
    Conflict(String),
    /// The database's.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// Reads what a cancelled batch never sent. What a cancelled batch's items say is final once none is in flight, so nothing
/// has to be locked for it.
///
/// # Errors
/// See [`RemainderError`].
pub async fn remainder(conn: &impl ConnectionTrait, id: BatchId) -> Result<Remainder, RemainderError> {
    let conflict = |why: String| Err(RemainderError::Conflict(why));
    let batch = super::read::get(conn, id).await?.ok_or(RemainderError::NotFound)?;
    if batch.summary.batch_type != BatchType::Send {
        return conflict(format!("batch {id} sends nothing"));
    }
    if batch.summary.status != BatchStatus::Cancelled {
        return conflict(format!("batch {id} was not cancelled; POST /batch/{id}/retry tries again what failed"));
    }
    let flying =
        "SELECT id FROM jobs WHERE batch_id = $1 AND state IN ('ready', 'running', 'paused', 'parked') LIMIT 1";
    if db::one(conn, flying, [id.into()]).await?.is_some() {
        return conflict(format!("messages of batch {id} are still in flight; ask again in some seconds"));
    }
    let recipients = if batch.expanded {
        Recipients::Contacts(never_sent(conn, id).await?)
    } else {
        // Nothing is sent before all of an audience is known: so all of it is left.
        let audience: Audience =
            serde_json::from_value(batch.config["audience"].clone()).map_err(|e| DbErr::Json(e.to_string()))?;
        Recipients::Audience(audience)
    };
    if matches!(&recipients, Recipients::Contacts(refs) if refs.is_empty()) {
        return conflict(format!("batch {id} left nobody out"));
    }
    let sender = match batch.sender {
        Some(id) => senders::name(conn, id).await?,
        None => None,
    };
    let Batch { content, rate_per_minute, jitter_ms, on_unknown, .. } = batch;
    Ok(Remainder {
        recipients,
        content: content.unwrap_or_default(),
        sender,
        rate_per_minute: rate_per_minute.and_then(|rate| u32::try_from(rate).ok()),
        jitter_ms: u32::try_from(jitter_ms).unwrap_or(0),
        on_unknown,
    })
}

#[derive(FromQueryResult)]
struct Chunk {
    no: i64,
    first_seq: i64,
    item_count: i64,
    next_seq: i64,
    data: Json<Vec<ContactRef>>,
}

/// The recipients whose items were cancelled, or have no row: nothing was ever claimed of them. Read in pages.
async fn never_sent(conn: &impl ConnectionTrait, id: BatchId) -> Result<ContactRefs, DbErr> {
    let mut left = ContactRefs::default();
    let mut from = 0_i64;
    loop {
        let sql = format!(
            "SELECT no, first_seq, item_count, next_seq, data FROM batch_chunks WHERE batch_id = $1 AND no >= $2
             ORDER BY no LIMIT {PAGE}"
        );
        let chunks: Vec<Chunk> = db::all_as(conn, sql, [id.into(), from.into()]).await?;
        let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else { return Ok(left) };
        let (first, end) = (first.first_seq, last.first_seq + last.item_count);
        from = last.no + 1;
        let sql =
            "SELECT seq FROM messages WHERE batch_id = $1 AND seq >= $2 AND seq < $3 AND item_status = 'cancelled'";
        let cancelled: HashSet<i64> =
            db::values(conn, sql, [id.into(), first.into(), end.into()]).await?.into_iter().collect();
        for Chunk { first_seq, next_seq, data: Json(refs), .. } in chunks {
            let numbered = (first_seq..).zip(refs);
            for (_, contact) in numbered.filter(|(seq, _)| *seq >= next_seq || cancelled.contains(seq)) {
                left.add(contact);
            }
        }
    }
}

/// The batch that was made of what `of` never sent, if there is one. Locks the row of `of`, so that two who ask at the same
/// moment do not both find none.
pub(super) async fn made_of(conn: &impl ConnectionTrait, of: BatchId) -> Result<Option<BatchId>, DbErr> {
    row::lock(conn, of).await?;
    db::value(conn, "SELECT id FROM batches WHERE remainder_of = $1", [of.into()]).await
}
