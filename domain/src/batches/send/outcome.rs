//! Writing down what became of messages, and letting the chunk rest.

use super::{Going, Held};
use crate::batches::chunks;
use crate::batches::model::{ItemStatus, OnUnknown};
use crate::batches::row::{self, Batch, Counts};
use crate::db::{self, Dialect};
use crate::jobs::{self, Ending};
use crate::messages::receipts::{self, MessageRow};
use crate::retry::{Backoff, MAX_MESSAGE_RETRIES};
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::ContactId;
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};
use serde::Serialize;
use std::collections::HashSet;
use std::time::Duration;
use uuid::Uuid;

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemOutcome {
    /// The gateway took it.
    Accepted,
    /// It will never be taken: the gateway refused it, or it could not be rendered.
    Rejected {
        /// A stable word for the reason.
        code: String,
        /// The reason for people.
        detail: String,
    },
    /// It was not taken, and may be another time.
    Failed {
        /// A stable word for the reason.
        code: String,
        /// The reason for people.
        detail: String,
    },
    /// Nobody knows whether it was taken.
    Unknown {
        /// A stable word for the reason.
        code: String,
        /// The reason for people.
        detail: String,
    },
    /// Not now: the gateway asks the sender to wait. Uses up no attempt.
    Throttled {
        /// How long to wait.
        retry_after: Duration,
    },
    /// It never left: the batch was paused or cancelled first, the worker is stopping, or its slot had passed. Uses up no
    /// attempt.
    Returned,
}

/// One attempt that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemResult {
    /// The item.
    pub seq: i64,
    /// Its message.
    pub message_id: Uuid,
    /// Its recipient.
    pub contact: ContactId,
    /// Which attempt it was.
    pub attempt: i64,
    /// The text that was sent, if one was rendered.
    pub text: Option<String>,
    /// When the attempt ended.
    pub at: Timestamp,
    /// What became of it.
    pub outcome: ItemOutcome,
}

/// What [`settle`] did.
#[derive(Debug)]
pub enum Settled {
    /// Written. Tells whether claims should go on.
    Written(Going),
    /// The claim of the job no longer stands: another worker has it, and nothing was written.
    Stale,
}

struct Decision {
    status: ItemStatus,
    error: Option<(String, String)>,
    finished: bool,
    next_attempt_at: Option<Timestamp>,
    attempts: i64,
}

/// Decides where an item goes after an attempt. Pure: the whole policy of retries is here.
fn decide(batch_going: Going, on_unknown: OnUnknown, result: &ItemResult, rng: &mut impl Rng) -> Decision {
    let over = batch_going == Going::Ended;
    let exhausted = result.attempt > MAX_MESSAGE_RETRIES;
    let retry = u32::try_from(result.attempt - 1).unwrap_or(0);
    let done =
        |status, error| Decision { status, error, finished: true, next_attempt_at: None, attempts: result.attempt };
    let later = |status, error, at| Decision {
        status,
        error,
        finished: false,
        next_attempt_at: Some(at),
        attempts: result.attempt,
    };
    let not_counted = |next_attempt_at| match over {
        true => Decision { attempts: result.attempt - 1, ..done(ItemStatus::Cancelled, None) },
        false => Decision {
            status: ItemStatus::Pending,
            error: None,
            finished: false,
            next_attempt_at,
            attempts: result.attempt - 1,
        },
    };
    match &result.outcome {
        ItemOutcome::Accepted => done(ItemStatus::Succeeded, None),
        ItemOutcome::Rejected { code, detail } => done(ItemStatus::Failed, Some((code.clone(), detail.clone()))),
        ItemOutcome::Failed { code, detail } => {
            let error = Some((code.clone(), detail.clone()));
            if exhausted || over {
                done(ItemStatus::Failed, error)
            } else {
                later(ItemStatus::Pending, error, result.at.plus(Backoff::MESSAGES.delay(retry, rng)))
            }
        }
        ItemOutcome::Unknown { code, detail } => {
            let error = Some((code.clone(), detail.clone()));
            if exhausted || over || on_unknown == OnUnknown::Hold {
                done(ItemStatus::Unknown, error)
            } else {
                later(ItemStatus::Unknown, error, result.at.plus(Backoff::MESSAGES.delay(retry, rng)))
            }
        }
        ItemOutcome::Throttled { retry_after } => not_counted(Some(result.at.plus(*retry_after))),
        ItemOutcome::Returned => not_counted(None),
    }
}

/// Writes a group of outcomes: items, messages, counts, and a sender's pause, in one transaction.
///
/// # Errors
/// The database's.
pub async fn settle(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    held: Held,
    results: &[ItemResult],
    rng: &mut impl Rng,
) -> Result<Step<Settled>, DbErr> {
    if !jobs::renew(conn, now, held.job, held.fence).await? {
        return Ok(Step::quiet(Settled::Stale));
    }
    // Not locked until the counts are written, last: the chunks of a batch settle beside one another.
    let Some(batch) = row::read(conn, held.batch).await? else { return Ok(Step::quiet(Settled::Stale)) };
    let going = Going::of(&batch);
    let decided: Vec<_> = results.iter().map(|result| (result, decide(going, batch.on_unknown, result, rng))).collect();
    let items: Vec<_> = decided.iter().map(|(result, decision)| item_row(result, decision)).collect();
    // A commit whose answer was lost is tried again: what it wrote is neither written nor counted a second time.
    let written = write_items(conn, held, &items).await?;
    let mut counts = Counts::default();
    let mut messages = Vec::new();
    for (result, decision) in &decided {
        if !decision.finished || !written.contains(&result.seq) {
            continue;
        }
        match decision.status {
            ItemStatus::Succeeded => counts.succeeded += 1,
            ItemStatus::Failed | ItemStatus::Unknown => counts.failed += 1,
            ItemStatus::Skipped => counts.skipped += 1,
            ItemStatus::Pending | ItemStatus::Sending | ItemStatus::Cancelled => {}
        }
        if decision.status != ItemStatus::Cancelled {
            messages.push(message_row(result, decision));
        }
    }
    receipts::record_outgoing(conn, held.batch, &messages).await?;
    pause_sender(conn, &batch, results).await?;
    let mut step = Step::quiet(Settled::Written(going));
    if !counts.is_zero()
        && let Some(changed) = row::count(conn, held.batch, counts).await?
    {
        step.events.push(Event::BatchChanged(changed));
    }
    Ok(step)
}

fn message_row<'a>(result: &'a ItemResult, decision: &Decision) -> MessageRow<'a> {
    let (code, detail) = decision.error.clone().unzip();
    let status = match decision.status {
        ItemStatus::Succeeded => "sent",
        ItemStatus::Unknown => "unknown",
        ItemStatus::Failed
        | ItemStatus::Skipped
        | ItemStatus::Pending
        | ItemStatus::Sending
        | ItemStatus::Cancelled => "failed",
    };
    MessageRow {
        uuid: result.message_id,
        contact_id: result.contact,
        item_seq: result.seq,
        content: result.text.as_deref(),
        status,
        ack: i64::from(status == "sent"),
        error_code: code,
        error_message: detail,
        at: result.at,
        sent_at: (status == "sent").then_some(result.at),
    }
}

/// How an attempt leaves its item.
#[derive(Serialize)]
struct ItemRow {
    seq: i64,
    status: ItemStatus,
    attempts: i64,
    error_code: Option<String>,
    error_message: Option<String>,
    finished_at: Option<Timestamp>,
    next_attempt_at: Option<Timestamp>,
}

fn item_row(result: &ItemResult, decision: &Decision) -> ItemRow {
    let (error_code, error_message) = decision.error.clone().unzip();
    ItemRow {
        seq: result.seq,
        status: decision.status,
        attempts: decision.attempts,
        error_code,
        error_message,
        finished_at: decision.finished.then_some(result.at),
        next_attempt_at: decision.next_attempt_at,
    }
}

/// Writes them, and returns which were still to be written.
async fn write_items(conn: &impl ConnectionTrait, held: Held, items: &[ItemRow]) -> Result<HashSet<i64>, DbErr> {
    let dialect = Dialect::of(conn);
    let among = dialect.among("batch_items.seq", 3, "seq", "bigint");
    let source = dialect.rows(
        3,
        &[
            ("seq", "bigint"),
            ("status", "text"),
            ("attempts", "bigint"),
            ("error_code", "text"),
            ("error_message", "text"),
            ("finished_at", "bigint"),
            ("next_attempt_at", "bigint"),
        ],
    );
    let rows = db::all(
        conn,
        format!(
            "UPDATE batch_items SET status = r.status, attempts = r.attempts, error_code = r.error_code,
                    error_message = r.error_message, finished_at = r.finished_at, next_attempt_at = r.next_attempt_at,
                    slot_us = NULL
             FROM {source}
             WHERE batch_items.batch_id = $1 AND batch_items.seq = r.seq AND batch_items.fence = $2
               AND batch_items.status = 'sending'{among}
             RETURNING batch_items.seq AS seq"
        ),
        [held.batch.into(), held.fence.into(), db::rows_json(items)?],
    )
    .await?;
    rows.iter().map(|row| row.try_get("", "seq")).collect()
}

/// A gateway that says "not now" says it of the sender: its next slot moves for every process.
async fn pause_sender(conn: &impl ConnectionTrait, batch: &Batch, results: &[ItemResult]) -> Result<(), DbErr> {
    let until = results
        .iter()
        .filter_map(|r| match &r.outcome {
            ItemOutcome::Throttled { retry_after } => Some(r.at.plus(*retry_after)),
            ItemOutcome::Accepted
            | ItemOutcome::Rejected { .. }
            | ItemOutcome::Failed { .. }
            | ItemOutcome::Unknown { .. }
            | ItemOutcome::Returned => None,
        })
        .max();
    if let (Some(until), Some(sender)) = (until, batch.sender) {
        let sql = "UPDATE senders SET next_slot_us = $2 WHERE id = $1 AND next_slot_us < $2";
        db::execute(conn, sql, [sender.into(), until.0.saturating_mul(1000).into()]).await?;
    }
    Ok(())
}

/// Where a chunk went when its worker had nothing more to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Every item is finished; the chunk is closed.
    Closed,
    /// It sleeps until then: ring it at that time.
    Asleep(Timestamp),
    /// Its batch is paused.
    Paused,
    /// The claim no longer stood.
    Stale,
}

/// Ends a claim of a `send_chunk` job: closes the chunk if all is finished, or puts the job to sleep until there is
/// something to do. `more_at` is the claim's word for when that is, where slots are the reason; `give_back` makes the
/// job ready at once, for a worker that is stopping.
///
/// # Errors
/// The database's.
pub async fn rest(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    held: Held,
    more_at: Option<Timestamp>,
    give_back: bool,
    rng: &mut impl Rng,
) -> Result<Step<Rest>, DbErr> {
    if !jobs::renew(conn, now, held.job, held.fence).await? {
        return Ok(Step::quiet(Rest::Stale));
    }
    let batch = row::lock(conn, held.batch).await?;
    let chunk = chunks::load(conn, held.batch, held.chunk).await?;
    let (Some(batch), Some(chunk)) = (batch, chunk) else { return Ok(Step::quiet(Rest::Stale)) };
    let end = async |ending: Ending, rng: &mut _| jobs::finish(conn, now, held.job, held.fence, 0, &ending, rng).await;
    let range = [held.batch.into(), chunk.first_seq.into(), chunk.end_seq().into()];

    if Going::of(&batch) == Going::Ended {
        chunks::abandon(conn, now, held.batch, chunk.first_seq, chunk.end_seq()).await?;
        end(Ending::Done, rng).await?;
        return Ok(chunks::close(conn, now, held.batch, held.chunk).await?.map(|()| Rest::Closed));
    }

    let open = db::one(
        conn,
        "SELECT count(*) AS n, min(coalesce(next_attempt_at, 0)) AS at FROM batch_items
         WHERE batch_id = $1 AND seq >= $2 AND seq < $3 AND finished_at IS NULL",
        range,
    )
    .await?;
    let (waiting, due): (i64, Option<i64>) = match open {
        Some(row) => (row.try_get("", "n")?, row.try_get("", "at")?),
        None => (0, None),
    };
    let all_written = chunk.next_seq >= chunk.end_seq();
    if all_written && waiting == 0 {
        end(Ending::Done, rng).await?;
        return Ok(chunks::close(conn, now, held.batch, held.chunk).await?.map(|()| Rest::Closed));
    }
    if batch.paused {
        end(Ending::Paused, rng).await?;
        return Ok(Step::quiet(Rest::Paused));
    }
    let mut step = Step::quiet(());
    if all_written && !chunk.passed_on {
        step.rings = chunks::pass_on(conn, now, held.batch, batch.summary.batch_type, held.chunk).await?;
    }
    let until = if give_back {
        now
    } else {
        let retry_at = if all_written { due.map(Timestamp) } else { None };
        more_at.into_iter().chain(retry_at).min().unwrap_or(now).max(now)
    };
    end(Ending::Asleep { until }, rng).await?;
    Ok(step.map(|()| Rest::Asleep(until)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn result(attempt: i64, outcome: ItemOutcome) -> ItemResult {
        ItemResult {
            seq: 0,
            message_id: Uuid::nil(),
            contact: ContactId(1),
            attempt,
            text: None,
            at: Timestamp(1_000_000),
            outcome,
        }
    }

    fn outcomes() -> impl Strategy<Value = ItemOutcome> {
        let (code, detail) = (String::from("c"), String::from("d"));
        prop_oneof![
            Just(ItemOutcome::Accepted),
            Just(ItemOutcome::Rejected { code: code.clone(), detail: detail.clone() }),
            Just(ItemOutcome::Failed { code: code.clone(), detail: detail.clone() }),
            Just(ItemOutcome::Unknown { code, detail }),
            (0u64..100_000).prop_map(|ms| ItemOutcome::Throttled { retry_after: Duration::from_millis(ms) }),
            Just(ItemOutcome::Returned),
        ]
    }

    proptest! {
        #[test]
        fn an_item_is_finished_or_has_its_next_step(
            outcome in outcomes(), attempt in 1i64..6, hold: bool, going in 0..3, seed: u64,
        ) {
            let going = [Going::On, Going::Paused, Going::Ended][usize::try_from(going).expect("small")];
            let on_unknown = if hold { OnUnknown::Hold } else { OnUnknown::Resend };
            let result = result(attempt, outcome);
            let decision = decide(going, on_unknown, &result, &mut StdRng::seed_from_u64(seed));
            let terminal = !matches!(decision.status, ItemStatus::Pending | ItemStatus::Sending)
                && (decision.status != ItemStatus::Unknown || decision.next_attempt_at.is_none());
            prop_assert_eq!(decision.finished, terminal);
            // Nothing waits in a batch that has ended, and no item is tried for ever.
            prop_assert!(decision.finished || going != Going::Ended);
            let counted = !matches!(result.outcome, ItemOutcome::Throttled { .. } | ItemOutcome::Returned);
            prop_assert!(decision.finished || !counted || attempt <= MAX_MESSAGE_RETRIES);
            prop_assert_eq!(decision.attempts, if counted { attempt } else { attempt - 1 });
            // What nobody knows is never called sent or failed.
            if matches!(result.outcome, ItemOutcome::Unknown { .. }) {
                prop_assert_eq!(decision.status, ItemStatus::Unknown);
            }
            prop_assert!(decision.next_attempt_at.is_none_or(|at| at >= result.at));
        }
    }
}
