//! How fast a batch went, from its start on.
//!
//! The scheduler's look, every few seconds, keeps how many of a batch's items were decided and what it was allowed then: one row
//! for a span of time, which is the longer the older the batch is, so that a batch has some hundred rows however long it runs.
//! No item is read. What was decided is kept as the number so far, so that several schedulers, and one that was started again,
//! write the same.

use super::row::Batch;
use crate::db::{self, Dialect};
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr};

/// The most spans that are read: the newest.
const MOST: u64 = 1_000;

/// How long the spans are: up to which age of the batch, and for how long, in milliseconds. Beyond the last it is
/// [`LONGEST_MS`].
const SPANS_MS: [(i64, i64); 3] = [(600_000, 10_000), (7_200_000, 60_000), (86_400_000, 600_000)];

/// The longest span, in milliseconds.
const LONGEST_MS: i64 = 3_600_000;

/// How fast a batch went for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaceSample {
    /// When the while began.
    pub from: Timestamp,
    /// When it ended.
    pub to: Timestamp,
    /// How many items were decided from the batch's start to its end.
    pub decided: i64,
    /// How many were decided a minute, in the while.
    pub per_minute: i64,
    /// How many a minute it was allowed at its end; `None`: nothing of ours limited it.
    pub may: Option<i64>,
}

/// Keeps how far these batches have come.
///
/// # Errors
/// The database's.
pub(crate) async fn keep(conn: &impl ConnectionTrait, now: Timestamp, batches: &[i64]) -> Result<(), DbErr> {
    if batches.is_empty() {
        return Ok(());
    }
    let span = SPANS_MS
        .iter()
        .map(|(age, span)| format!("WHEN $1 - b.started_at < {age} THEN $1 - $1 % {span}"))
        .collect::<Vec<_>>()
        .join(" ");
    let (among, ids) = Dialect::of(conn).one_of_numbers(2, batches);
    let sql = format!(
        "INSERT INTO batch_paces (batch_id, since, seen_at, decided, may)
         SELECT b.id, CASE {span} ELSE $1 - $1 % {LONGEST_MS} END, $1, b.succeeded + b.failed + b.skipped,
                CASE WHEN b.paused OR coalesce(s.paused, FALSE) THEN 0
                     WHEN s.rate_per_minute < b.rate_per_minute THEN s.rate_per_minute
                     ELSE coalesce(b.rate_per_minute, s.rate_per_minute) END
         FROM batches b LEFT JOIN senders s ON s.id = b.sender_id WHERE b.id {among} AND b.started_at IS NOT NULL
         ON CONFLICT (batch_id, since) DO UPDATE SET seen_at = excluded.seen_at, decided = excluded.decided,
            may = excluded.may"
    );
    db::execute(conn, sql, [now.0.into(), ids]).await.map(drop)
}

/// How fast a batch went, from its start on, the oldest first. `sender_rate` is the configured limit of a sender whose row has
/// none.
///
/// # Errors
/// The database's.
pub async fn pace_samples(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: &Batch,
    sender_rate: Option<i64>,
) -> Result<Vec<PaceSample>, DbErr> {
    let Some(started) = batch.summary.started_at else { return Ok(Vec::new()) };
    let sql =
        format!("SELECT seen_at, decided, may FROM batch_paces WHERE batch_id = $1 ORDER BY since DESC LIMIT {MOST}");
    let mut looks = Vec::new();
    for row in db::all(conn, sql, [batch.summary.id.into()]).await?.iter().rev() {
        looks.push(Seen {
            at: Timestamp(row.try_get("", "seen_at")?),
            decided: row.try_get("", "decided")?,
            may: row.try_get("", "may")?,
        });
    }
    let ours = sender_rate.filter(|_| batch.sender.is_some());
    // What was not looked at yet, or ended before anybody looked, is known by the batch's own row.
    let (last, may) = (batch.summary.completed_at.unwrap_or(now), batch.rate_per_minute);
    let mut seen: Vec<Seen> = looks.into_iter().filter(|seen| seen.at > started && seen.at < last).collect();
    let full = u64::try_from(seen.len()).unwrap_or(u64::MAX) >= MOST;
    if !full {
        seen.insert(0, Seen { at: started, decided: 0, may: None });
    }
    let may = if batch.paused { Some(0) } else { seen.last().and_then(|seen| seen.may).filter(|may| *may > 0).or(may) };
    if last > seen.last().map_or(started, |seen| seen.at) {
        seen.push(Seen { at: last, decided: batch.summary.processed(), may });
    }
    Ok(between(&seen, ours))
}

/// What a look saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    at: Timestamp,
    decided: i64,
    may: Option<i64>,
}

/// What was done between each two looks.
fn between(seen: &[Seen], ours: Option<i64>) -> Vec<PaceSample> {
    let pairs = seen.iter().zip(seen.iter().skip(1));
    pairs
        .map(|(before, after)| {
            let elapsed = (after.at.0 - before.at.0).max(1);
            // A retry takes failures back.
            let decided = (after.decided - before.decided).max(0);
            PaceSample {
                from: before.at,
                to: after.at,
                decided: after.decided,
                per_minute: decided.saturating_mul(60_000) / elapsed,
                may: after.may.or(ours),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_what_was_decided_between_two_looks() {
        let seen = |secs: i64, decided, may| Seen { at: Timestamp(secs * 1_000), decided, may };
        let looks =
            [seen(0, 0, None), seen(10, 20, Some(120)), seen(40, 20, Some(0)), seen(41, 15, None), seen(42, 16, None)];
        let paces: Vec<_> =
            between(&looks, Some(600)).iter().map(|one| (one.to.0 / 1_000, one.per_minute, one.may)).collect();
        assert_eq!(paces, [(10, 120, Some(120)), (40, 0, Some(0)), (41, 0, Some(600)), (42, 60, Some(600))]);
        assert!(between(&looks[..1], None).is_empty() && between(&[], None).is_empty());
    }

    #[test]
    fn a_batch_has_some_hundred_spans_in_its_first_day() {
        let mut spans = 0;
        let mut before = 0;
        for (age, span) in SPANS_MS {
            spans += (age - before) / span;
            before = age;
        }
        assert_eq!(spans, 60 + 110 + 132);
        assert!(SPANS_MS.iter().all(|(_, span)| LONGEST_MS % span == 0));
    }
}
