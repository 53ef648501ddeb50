//! Writing down what became of messages, and letting the chunk rest.

use super::decide::{AttemptContext, Decision, decide};
use super::settled::{self, SettledRow};
use super::{Held, Work, sender};
use crate::batches::chunks::{self, Chunk};
use crate::batches::in_flight;
use crate::batches::row::{self, Batch, Counts, RunState};
use crate::batches::table::Table;
use crate::circuit::{Circuit, CircuitPermit, CircuitSignal};
use crate::contacts::activity;
use crate::db;
use crate::delivery::attempt::AttemptOutcome;
use crate::delivery::receipts;
use crate::jobs::{self, Ending};
use crate::messages::receipts::take_early;
use crate::messages::tally::{self, Tally};
use crate::model::ItemStatus;
use crate::outbox::{self, NewEvent};
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::{ContactId, GatewayId};
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};
use uuid::Uuid;

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
    /// Whether an earlier attempt may have reached the gateway: then no failure of this one says that nothing was sent.
    pub doubtful: bool,
    /// Whether the item has a row; if not, this makes one.
    pub has_row: bool,
    /// When the attempt was claimed.
    pub claimed_at: Timestamp,
    /// Its slot, in microseconds since the epoch.
    pub slot_us: i64,
    /// The gateway that was asked, if one was.
    pub gateway: Option<GatewayId>,
    /// The text that was sent, if one was rendered.
    pub text: Option<String>,
    /// When the attempt ended.
    pub at: Timestamp,
    /// What became of it.
    pub outcome: AttemptOutcome,
}

impl ItemResult {
    /// What it says of the gateway.
    #[must_use]
    pub fn signal(&self) -> CircuitSignal {
        self.outcome.signal(self.attempt)
    }
}

/// What [`settle`] did.
#[derive(Debug)]
pub enum Settled {
    /// Written.
    Written {
        /// Whether claims should go on.
        run_state: RunState,
        /// Until when the sender's circuit is open.
        circuit_open_until: Option<Timestamp>,
    },
    /// The claim of the job no longer stands: another worker has it, and nothing was written.
    Stale,
}

/// Writes a group of outcomes: items, messages, counts, and what they say of the sender, in one transaction. What is
/// written again changes nothing: whoever lost the answer to the commit writes the group again.
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
    if !jobs::renew_with_progress(conn, now, held.job, held.fence).await? {
        return Ok(Step::quiet(Settled::Stale));
    }
    // Not locked until the counts are written, last: the chunks of a batch settle beside one another.
    let Some(batch) = row::read(conn, held.batch).await? else { return Ok(Step::quiet(Settled::Stale)) };
    let written = write(conn, now, held, &batch, None, results, rng).await?;
    written.tell(conn, now, rng).await
}

/// Writes the last outcomes and ends the claim of the job, in one transaction: [`settle`] and [`rest`].
///
/// # Errors
/// The database's.
pub async fn settle_and_rest(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    work: &Work,
    results: &[ItemResult],
    resting: Resting,
    rng: &mut impl Rng,
) -> Result<Step<(Settled, Rest)>, DbErr> {
    let held = work.held;
    let stale = || Ok(Step::quiet((Settled::Stale, Rest::Stale)));
    if !jobs::hold(conn, held.job, held.fence).await? {
        return stale();
    }
    // Locked at once: more of it changes than its counts, and its row comes before the sender's.
    let Some(batch) = row::lock(conn, held.batch).await? else { return stale() };
    let written = write(conn, now, held, &batch, Some(&work.chunk), results, rng).await?;
    let rest = match written.ended {
        true => {
            jobs::finish(conn, now, held.job, held.fence, &Ending::Done, rng).await?;
            Step::quiet(Rest::Closed)
        }
        false => come_to_rest(conn, now, held, &batch, resting, rng).await?,
    };
    let settled = written.tell(conn, now, rng).await?;
    let (rings, mut events) = (rest.rings, settled.events);
    events.extend(rest.events);
    Ok(Step { value: (settled.value, rest.value), rings, events })
}

/// A group that is written, but for what is written last.
struct Written {
    run_state: RunState,
    circuit: Circuit,
    /// Whether the batch has ended with it, and its last chunk is closed.
    ended: bool,
    /// How many were taken.
    succeeded: i64,
    to_append: Vec<NewEvent>,
    events: Vec<Event>,
}

impl Written {
    /// Writes the day's count and the outbox: others wait for these rows, so nothing is locked after them.
    async fn tell(
        self,
        conn: &impl ConnectionTrait,
        now: Timestamp,
        rng: &mut impl Rng,
    ) -> Result<Step<Settled>, DbErr> {
        let circuit_open_until = match self.circuit.permit(now) {
            CircuitPermit::NoneUntil(until) => Some(until),
            CircuitPermit::All | CircuitPermit::One => None,
        };
        tally::add(conn, now, Tally::Sent, self.succeeded, rng).await?;
        let mut events = self.events;
        events.extend(outbox::append(conn, now, &self.to_append).await?.events);
        Ok(Step {
            value: Settled::Written { run_state: self.run_state, circuit_open_until },
            rings: Vec::new(),
            events,
        })
    }
}

/// Writes a group of outcomes, in a transaction that has checked the job's claim and read the batch. With the chunk, where the
/// batch's row is locked: should the group finish all of it, and it is the batch's last, both end with it.
async fn write(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    held: Held,
    batch: &Batch,
    chunk: Option<&Chunk>,
    results: &[ItemResult],
    rng: &mut impl Rng,
) -> Result<Written, DbErr> {
    let run_state = RunState::of(batch);
    let circuit = sender::circuit_of(conn, batch.sender).await?;
    let open_until = match sender::after(circuit, now, results).permit(now) {
        // The failure of the one that tried the gateway out counts, so that no message does so for ever.
        CircuitPermit::NoneUntil(until) if !circuit.probing => Some(until),
        CircuitPermit::All | CircuitPermit::One | CircuitPermit::NoneUntil(_) => None,
    };
    let around = AttemptContext { run_state, on_unknown: batch.on_unknown, open_until };
    let decided: Vec<(&ItemResult, Decision)> =
        results.iter().map(|result| (result, decide(around, result, rng))).collect();
    let rows = |has_row: bool| {
        let some = decided.iter().filter(move |(result, _)| result.has_row == has_row);
        some.map(|(result, decision)| SettledRow::of(result, decision)).collect::<Vec<_>>()
    };
    let mut written = settled::insert(conn, held, batch.sender, &rows(false)).await?;
    written.extend(settled::update(conn, held, batch.sender, &rows(true)).await?);
    let mut counts = Counts::default();
    let mut messages: Vec<&ItemResult> = Vec::new();
    // What was written before, when the answer to that commit was lost, was counted then.
    for (result, decision) in decided.iter().filter(|(result, _)| written.contains(&result.seq)) {
        if !decision.finished {
            continue;
        }
        match decision.status {
            ItemStatus::Succeeded => counts.succeeded += 1,
            ItemStatus::Failed | ItemStatus::Unknown => counts.failed += 1,
            ItemStatus::Skipped => counts.skipped += 1,
            ItemStatus::Pending | ItemStatus::Sending | ItemStatus::Cancelled => {}
        }
        messages.extend(decision.message().map(|_| *result));
    }
    activity::touch(conn, messages.iter().map(|result| (result.contact, result.at))).await?;
    // What was reported of them early, in the same transaction: a report may change an outcome.
    let early = take_early(conn, &messages.iter().map(|result| result.message_id).collect::<Vec<_>>()).await?;
    let applied = receipts::apply(conn, now, &early.iter().collect::<Vec<_>>()).await?;
    let finished = decided.iter().filter(|(result, decision)| decision.finished && written.contains(&result.seq));
    let finished = i64::try_from(finished.count()).unwrap_or(i64::MAX);
    // What was reported early may have changed the counts since the batch was read.
    let last = early.is_empty() && batch.has_one_chunk_left() && run_state == RunState::Running;
    let ended = last && chunk.is_some_and(|chunk| finished == chunk.item_count);
    let changed = if ended {
        chunks::close_last(conn, now, &batch.summary, held.chunk, counts).await?
    } else if counts.is_zero() {
        None
    } else {
        row::count(conn, held.batch, counts).await?
    };
    // After the batch's row, as claims lock them.
    let circuit = sender::learn(conn, now, batch.sender, circuit, results).await?;
    let settled = results.iter().filter(|result| written.contains(&result.seq));
    sender::give_back(conn, now, batch.sender, settled).await?;
    let mut events = applied.events;
    events.extend(changed.map(Event::BatchChanged));
    Ok(Written { run_state, circuit, ended, succeeded: counts.succeeded, to_append: applied.to_append, events })
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

/// How a claim of a job ends.
#[derive(Clone, Copy, Debug)]
pub struct Resting {
    /// The claim's word for when there is something to do, where slots are the reason.
    pub more_at: Option<Timestamp>,
    /// The job is ready again at once: its worker is stopping.
    pub give_back: bool,
}

/// Ends a claim of a `send_chunk` job: closes the chunk if all is finished, or puts the job to sleep until there is
/// something to do.
///
/// # Errors
/// The database's.
pub async fn rest(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    held: Held,
    resting: Resting,
    rng: &mut impl Rng,
) -> Result<Step<Rest>, DbErr> {
    if !jobs::renew(conn, now, held.job, held.fence).await? {
        return Ok(Step::quiet(Rest::Stale));
    }
    let Some(batch) = row::lock(conn, held.batch).await? else { return Ok(Step::quiet(Rest::Stale)) };
    come_to_rest(conn, now, held, &batch, resting, rng).await
}

/// The same in a transaction that has checked the job's claim and locked the batch.
async fn come_to_rest(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    held: Held,
    batch: &Batch,
    Resting { more_at, give_back }: Resting,
    rng: &mut impl Rng,
) -> Result<Step<Rest>, DbErr> {
    let Some(chunk) = chunks::load(conn, held.batch, held.chunk).await? else { return Ok(Step::quiet(Rest::Stale)) };
    let end = async |ending: Ending, rng: &mut _| jobs::finish(conn, now, held.job, held.fence, &ending, rng).await;
    let range = [held.batch.into(), chunk.first_seq.into(), chunk.end_seq().into()];

    if RunState::of(batch) == RunState::Ended {
        chunks::disown(conn, held.batch, &chunk).await?;
        chunks::abandon(conn, now, held.batch, Table::Messages, chunk.first_seq, chunk.end_seq()).await?;
        end(Ending::Done, rng).await?;
        return Ok(chunks::close(conn, now, held.batch, held.chunk).await?.map(|()| Rest::Closed));
    }

    let open = db::one(
        conn,
        "SELECT count(*) AS n, count(finished_at) AS finished,
                min(CASE WHEN finished_at IS NULL THEN coalesce(next_attempt_at, 0) END) AS at FROM messages
         WHERE batch_id = $1 AND seq >= $2 AND seq < $3",
        range,
    )
    .await?;
    let (rows, finished, due): (i64, i64, Option<i64>) = match open {
        Some(row) => (row.try_get("", "n")?, row.try_get("", "finished")?, row.try_get("", "at")?),
        None => (0, 0, None),
    };
    let all_written = chunk.next_seq >= chunk.end_seq();
    if finished == chunk.item_count {
        end(Ending::Done, rng).await?;
        return Ok(chunks::close(conn, now, held.batch, held.chunk).await?.map(|()| Rest::Closed));
    }
    // Else an outcome is missing, and the next claim takes back what is in flight.
    if chunk.claim.is_some() && rows == chunk.next_seq - chunk.first_seq {
        in_flight::unclaim(conn, held.batch, chunk.no).await?;
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
        let wake_at = match (more_at, retry_at) {
            // What is due already was due when the claim had no slot for it.
            (Some(slot), Some(retry)) if retry > now => slot.min(retry),
            (Some(slot), _) => slot,
            (None, retry) => retry.unwrap_or(now),
        };
        let sender_at = match sender::read(conn, batch.sender, None).await?.map(|sender| sender.permit(now)) {
            Some(CircuitPermit::NoneUntil(at)) => at,
            Some(CircuitPermit::All | CircuitPermit::One) | None => now,
        };
        wake_at.max(sender_at)
    };
    end(Ending::Asleep { until }, rng).await?;
    Ok(step.map(|()| Rest::Asleep(until)))
}
