//! Does the ledger agree with itself? What `paceline doctor` asks, and every fault test at its end.

use crate::db;
use crate::jobs::SWEEP_GRACE;
use crate::time::Timestamp;
use entities::BatchId;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use std::fmt;

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A batch's counts are not what its items say.
    CountsDiffer {
        /// The batch.
        batch: BatchId,
        /// succeeded, failed, skipped by its row.
        counted: [i64; 3],
        /// The same by its items.
        items: [i64; 3],
    },
    /// A batch's total is not what its chunks hold.
    TotalDiffers {
        /// The batch.
        batch: BatchId,
        /// By its row.
        total: i64,
        /// By its chunks.
        chunks: i64,
    },
    /// A batch has completed, and not all of its items were decided: some were claimed and never got a row.
    Undecided {
        /// The batch.
        batch: BatchId,
        /// How many items.
        items: i64,
    },
    /// A succeeded item of a send has no message.
    MessageMissing {
        /// The batch.
        batch: BatchId,
        /// How many such items it has.
        items: i64,
    },
    /// A batch that is under way has no job that could move it on.
    Stuck {
        /// The batch.
        batch: BatchId,
    },
    /// Single messages wait, and there are fewer jobs that could deliver them.
    Undelivered {
        /// How many have none.
        messages: i64,
    },
    /// Jobs were ready and due for longer than a sweep and were not rung.
    Unrung {
        /// How many.
        jobs: i64,
    },
    /// Jobs are running that nobody has: without an owner, or with a lease that ended a while ago. Nobody rescues.
    Abandoned {
        /// How many.
        jobs: i64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CountsDiffer { batch, counted, items } => write!(
                f,
                "batch {batch}: its row counts {counted:?} succeeded, failed, skipped; its items say {items:?}"
            ),
            Self::TotalDiffers { batch, total, chunks } => {
                write!(f, "batch {batch}: its row says {total} items, its chunks hold {chunks}")
            }
            Self::Undecided { batch, items } => {
                write!(f, "batch {batch}: completed, and {items} of its items were never decided")
            }
            Self::MessageMissing { batch, items } => {
                write!(f, "batch {batch}: {items} succeeded items have no message")
            }
            Self::Stuck { batch } => write!(f, "batch {batch}: under way, but no job will move it on"),
            Self::Undelivered { messages } => {
                write!(f, "{messages} single messages wait, and no job will deliver them")
            }
            Self::Unrung { jobs } => {
                write!(f, "{jobs} jobs are due for longer than a sweep and unrung: is a scheduler running?")
            }
            Self::Abandoned { jobs } => {
                write!(f, "{jobs} jobs are running that nobody has: is a scheduler running?")
            }
        }
    }
}

/// Checks all batches, at most `limit` findings of each kind.
///
/// # Errors
/// The database's.
pub async fn audit(conn: &impl ConnectionTrait, now: Timestamp, limit: u64) -> Result<Vec<Finding>, DbErr> {
    let mut findings = Vec::new();
    let counts = format!(
        "SELECT b.id AS id, b.succeeded AS succeeded, b.failed AS failed, b.skipped AS skipped,
                coalesce(i.succeeded, 0) AS i_succeeded, coalesce(i.failed, 0) AS i_failed, coalesce(i.skipped, 0) AS i_skipped
         FROM batches b LEFT JOIN (
             SELECT batch_id, count(CASE WHEN item_status = 'succeeded' THEN 1 END) AS succeeded,
                    count(CASE WHEN item_status = 'failed' OR (item_status = 'unknown' AND finished_at IS NOT NULL) THEN 1 END) AS failed,
                    count(CASE WHEN item_status = 'skipped' THEN 1 END) AS skipped
             FROM (SELECT batch_id, item_status, finished_at FROM messages WHERE seq IS NOT NULL
                   UNION ALL SELECT batch_id, item_status, finished_at FROM batch_items) AS items
             GROUP BY batch_id) i ON i.batch_id = b.id
         WHERE b.succeeded <> coalesce(i.succeeded, 0) OR b.failed <> coalesce(i.failed, 0)
            OR b.skipped <> coalesce(i.skipped, 0) ORDER BY b.id LIMIT {limit}"
    );
    for row in db::all_as::<BothCounts>(conn, counts, []).await? {
        findings.push(Finding::CountsDiffer {
            batch: row.id,
            counted: [row.succeeded, row.failed, row.skipped],
            items: [row.i_succeeded, row.i_failed, row.i_skipped],
        });
    }
    let totals = format!(
        "SELECT b.id, b.total, c.items FROM batches b JOIN (
             SELECT batch_id, CAST(sum(item_count) AS BIGINT) AS items FROM batch_chunks GROUP BY batch_id) c ON c.batch_id = b.id
         WHERE b.expanded AND b.total <> c.items ORDER BY b.id LIMIT {limit}"
    );
    for (batch, total, chunks) in db::values(conn, totals, []).await? {
        findings.push(Finding::TotalDiffers { batch, total, chunks });
    }
    let undecided = format!(
        "SELECT id, total - succeeded - failed - skipped FROM batches
         WHERE status = 'COMPLETED' AND total <> succeeded + failed + skipped ORDER BY id LIMIT {limit}"
    );
    for (batch, items) in db::values(conn, undecided, []).await? {
        findings.push(Finding::Undecided { batch, items });
    }
    let messages = format!(
        "SELECT b.id, b.succeeded - coalesce(m.n, 0) FROM batches b LEFT JOIN (
             SELECT batch_id, count(*) AS n FROM messages
             WHERE seq IS NOT NULL AND item_status = 'succeeded' AND direction = 'outbound' AND uuid IS NOT NULL
             GROUP BY batch_id) m ON m.batch_id = b.id
         WHERE b.type = 'SEND' AND b.succeeded <> coalesce(m.n, 0) ORDER BY b.id LIMIT {limit}"
    );
    for (batch, items) in db::values(conn, messages, []).await? {
        findings.push(Finding::MessageMissing { batch, items });
    }
    findings.extend(of_jobs(conn, now, limit).await?);
    Ok(findings)
}

/// A batch's counts, and the same by its items.
#[derive(FromQueryResult)]
struct BothCounts {
    id: BatchId,
    succeeded: i64,
    failed: i64,
    skipped: i64,
    i_succeeded: i64,
    i_failed: i64,
    i_skipped: i64,
}

/// Whether all that is under way has somebody to move it on.
async fn of_jobs(conn: &impl ConnectionTrait, now: Timestamp, limit: u64) -> Result<Vec<Finding>, DbErr> {
    let mut findings = Vec::new();
    let stuck = format!(
        "SELECT id FROM batches b WHERE status IN ('PENDING', 'PROCESSING') AND NOT EXISTS (
             SELECT 1 FROM jobs j WHERE j.batch_id = b.id AND j.state IN ('ready', 'running', 'paused', 'parked'))
         ORDER BY id LIMIT {limit}"
    );
    findings.extend(db::values(conn, stuck, []).await?.into_iter().map(|batch| Finding::Stuck { batch }));
    // In one statement: a message and its job are written, and end, together.
    let undelivered = "SELECT w.n - j.n FROM
            (SELECT count(*) AS n FROM messages WHERE status = 'queued' AND batch_id IS NULL) w,
            (SELECT count(*) AS n FROM jobs WHERE kind = 'deliver' AND state IN ('ready', 'running', 'paused', 'parked')) j";
    if let Some(messages) = db::value::<i64>(conn, undelivered, []).await? {
        findings.extend((messages > 0).then_some(Finding::Undelivered { messages }));
    }
    let late = now.minus(SWEEP_GRACE * 3).0;
    let sql = "SELECT count(*) FROM jobs WHERE state = 'ready' AND run_at < $1 AND (rung_at IS NULL OR rung_at < $1)";
    if let Some(jobs) = number(conn, sql, late).await? {
        findings.push(Finding::Unrung { jobs });
    }
    let sql = "SELECT count(*) FROM jobs
               WHERE state = 'running' AND (lease_owner IS NULL OR lease_until IS NULL OR lease_until < $1)";
    if let Some(jobs) = number(conn, sql, late).await? {
        findings.push(Finding::Abandoned { jobs });
    }
    Ok(findings)
}

async fn number(conn: &impl ConnectionTrait, sql: &str, bound: i64) -> Result<Option<i64>, DbErr> {
    Ok(db::value(conn, sql, [bound.into()]).await?.filter(|n| *n > 0))
}
