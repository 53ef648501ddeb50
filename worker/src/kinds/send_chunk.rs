//! Sends one chunk of a batch.
//!
//! A loop over three things that overlap: claim the next items a little before they are needed, let each leave at its
//! slot, and write outcomes in groups. A claim is committed before any of its messages leaves. While its messages wait for
//! their slots, its place in the lane is somebody else's. When the next slot or retry is more than a moment away and
//! nothing is in flight, the job gives its place back and sleeps as a row.

use crate::Shared;
use crate::attempt;
use crate::circuits::Circuit;
use crate::control::Control;
use crate::execute::{JobEnd, JobError};
use crate::identity::UnknownGateway;
use crate::places::LanePlace;
use domain::batches::RunState;
use domain::delivery::AttemptOutcome;
use domain::delivery::send::{
    self, ChunkStart, ClaimRequest, ClaimedItems, Held, ItemResult, Outgoing, Rest, Resting, Settled, Work,
};
use domain::jobs::{Claim, Claimed};
use domain::messages::template::{Recipient, Template};
use domain::pacing::WAKE_AHEAD_MS;
use domain::{JobId, JobRef, Timestamp, db, senders};
use faults::Commit;
use gateway::Outbound;
use sea_orm::DbErr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tracing::Instrument;

/// How many items one claim takes at most.
const CLAIM_ITEMS: usize = 250;

/// More are claimed when fewer than this are in hand.
const LOW_WATER: usize = 100;

/// Outcomes are written when there are this many,
const GROUP_ITEMS: usize = 250;

/// or when the first of them has waited this long.
const GROUP_WAIT: Duration = Duration::from_millis(50);

/// How far off the next slot or retry may be for a job to wait for it in its place.
const MOMENT_MS: i64 = 100;

/// A slot that is missed by more than this is given back: the process stood still, and what it would send now would be
/// a burst.
const LATE_US: i64 = 1_000_000;

/// How long a job goes on while others cannot leave their places for it. Then it sleeps as a row, behind them.
const TURN: Duration = Duration::from_secs(5);

/// How long the writing of outcomes is tried while the database is away: as long as the lease is sure to stand.
const SETTLE_FOR: Duration = Duration::from_secs(20);

/// Claims the job and begins with it, in one transaction.
pub(crate) async fn claim(shared: &Shared, now: Timestamp, id: JobId) -> Result<(Claim, Option<ChunkStart>), DbErr> {
    let asked = asked(shared).await;
    let tx = shared.db.begin().await?;
    let step = send::claim_and_begin(&tx, now, id, &shared.owner, asked, &mut shared.rng()).await?;
    db::commit(tx, Commit::Begin).await?;
    Ok(shared.after.commit(step))
}

/// Begins with a job that was claimed by itself.
async fn begin(shared: &Shared, job: &Claimed) -> Result<ChunkStart, JobError> {
    let malformed = || JobError::Permanent(format!("a {} job that is about no chunk", job.kind));
    let held = Held::of(job).ok_or_else(malformed)?;
    let asked = asked(shared).await;
    let tx = shared.db.begin().await?;
    let step = send::begin(&tx, shared.clock.now(), held, asked, &mut shared.rng()).await?;
    db::commit(tx, Commit::Begin).await?;
    Ok(shared.after.commit(step))
}

pub(crate) async fn run(
    shared: &Arc<Shared>,
    job: &Claimed,
    begun: Option<ChunkStart>,
    place: &mut LanePlace,
) -> Result<JobEnd, JobError> {
    let begun = match begun {
        Some(begun) => begun,
        None => begin(shared, job).await?,
    };
    let (work, first) = match begun {
        ChunkStart::Go(work, first) => (*work, *first),
        ChunkStart::Parked | ChunkStart::Over => return Ok(JobEnd::Settled),
        ChunkStart::Stale => return Ok(JobEnd::Stale),
    };
    let template = Template::parse(&work.content).map_err(|e| JobError::Permanent(format!("message: {e}")))?;
    let control = shared.controls.of(work.held.batch);
    let circuit = shared.circuits.of(work.sender);
    let sender = shared.sender_names.of(&shared.db, work.sender).await?;
    Chunk {
        shared,
        job,
        place,
        began: Instant::now(),
        last_slot_us: 0,
        gained: false,
        held: work.held,
        work,
        template: Arc::new(template),
        control,
        circuit,
        sender,
        results: Vec::new(),
        oldest_result: None,
        more_at: None,
        run_state: RunState::Running,
        broken: None,
    }
    .run(first)
    .await
}

/// What a claim of items asks for.
async fn asked(shared: &Shared) -> ClaimRequest {
    // Known before it is claimed: what is claimed for nobody known does not leave.
    if shared.identity.last().is_none() {
        drop(shared.known_gateway().await);
    }
    let sender_rate = shared.settings.sender_rate_per_minute;
    ClaimRequest { wanted: CLAIM_ITEMS, gateway: shared.identity.last(), sender_rate }
}

struct Chunk<'a> {
    shared: &'a Arc<Shared>,
    job: &'a Claimed,
    place: &'a mut LanePlace,
    /// When its turn began.
    began: Instant,
    /// The latest slot of all that was claimed, in microseconds since the epoch.
    last_slot_us: i64,
    /// Whether the last claim gave anything. Who got nothing waits in its place: of many who want the slots of one sender
    /// only a few ask for them at once.
    gained: bool,
    held: Held,
    work: Work,
    template: Arc<Template>,
    control: Arc<Control>,
    circuit: Arc<Circuit>,
    /// Who sends, by name.
    sender: Arc<str>,
    /// Outcomes that are not written yet.
    results: Vec<ItemResult>,
    oldest_result: Option<Instant>,
    /// When a claim may give more items; `None`: the chunk has none left.
    more_at: Option<Timestamp>,
    run_state: RunState,
    /// Why a claim of items failed. Whether it was committed is not known, so the job has to begin again.
    broken: Option<JobError>,
}

impl Chunk<'_> {
    async fn run(mut self, first: ClaimedItems) -> Result<JobEnd, JobError> {
        // Tasks of their own: messages go on while this loop waits for the database. Dropped with it, when the claim no
        // longer stands.
        let mut in_flight = JoinSet::new();
        let first = self.claimed(first);
        self.launch(&mut in_flight, first);
        loop {
            if self.may_claim(in_flight.len()) {
                let items = match self.claim().await {
                    Ok(Some(items)) => items,
                    Ok(None) => return Ok(JobEnd::Stale),
                    // What left must not become unknown for that: it is waited for and written first.
                    Err(error) if !in_flight.is_empty() || !self.results.is_empty() => {
                        self.broken = Some(error);
                        self.more_at = None;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                self.launch(&mut in_flight, items);
                continue;
            }
            let next_claim = self.next_claim();
            if in_flight.is_empty() && (self.results.is_empty() || next_claim.is_none()) {
                let wait = next_claim.map(|at| at.0 - self.shared.clock.now().0);
                if wait.is_none_or(|wait| wait > MOMENT_MS) {
                    break;
                }
            }
            if self.gained && (in_flight.is_empty() || self.last_slot_us > self.shared.clock.now().0 * 1000) {
                self.place.leave();
            }
            let flush_at = self.oldest_result.map(|oldest| oldest + GROUP_WAIT);
            tokio::select! {
                Some(done) = in_flight.join_next(), if !in_flight.is_empty() => {
                    // Only a panic ends an attempt without a result; it is the job's.
                    let result = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
                    self.oldest_result.get_or_insert_with(Instant::now);
                    self.results.push(result);
                    if self.results.len() < GROUP_ITEMS {
                        continue;
                    }
                    if !self.settle().await? { return Ok(JobEnd::Stale) }
                }
                () = sleep_until(flush_at), if flush_at.is_some() => {
                    if !self.settle().await? { return Ok(JobEnd::Stale) }
                }
                () = sleep_to(self.shared, next_claim), if next_claim.is_some() && in_flight.len() < LOW_WATER => {}
                () = self.shared.stopping.cancelled(), if !in_flight.is_empty() && next_claim.is_some() => {}
            }
        }
        match self.broken.take() {
            Some(error) => match self.settle().await? {
                true => Err(error),
                false => Ok(JobEnd::Stale),
            },
            None => self.rest().await,
        }
    }

    /// Lets each of these leave at its slot.
    fn launch(&mut self, in_flight: &mut JoinSet<ItemResult>, items: Vec<Outgoing>) {
        self.gained = !items.is_empty();
        for item in items {
            self.last_slot_us = self.last_slot_us.max(item.send_at_us);
            let sending = Sending {
                shared: self.shared.clone(),
                template: self.template.clone(),
                control: self.control.clone(),
                circuit: self.circuit.clone(),
                sender: self.sender.clone(),
            };
            in_flight.spawn(sending.attempt(item).in_current_span());
        }
    }

    /// When the next claim is due; `None` when there is nothing to claim, or nothing should be.
    fn next_claim(&self) -> Option<Timestamp> {
        if self.shared.stopping.is_cancelled() || self.run_state != RunState::Running {
            return None;
        }
        if self.place.crowded() && self.began.elapsed() > TURN {
            return None;
        }
        self.more_at.map(|at| Timestamp(at.0 - WAKE_AHEAD_MS))
    }

    fn may_claim(&self, in_flight: usize) -> bool {
        in_flight < LOW_WATER && self.next_claim().is_some_and(|at| at <= self.shared.clock.now())
    }

    /// Claims items; `None`: the claim of the job no longer stands.
    async fn claim(&mut self) -> Result<Option<Vec<Outgoing>>, JobError> {
        let shared = self.shared;
        self.place.enter().await;
        let asked = asked(shared).await;
        let tx = shared.db.begin().await?;
        let step = send::claim_items(&tx, shared.clock.now(), &mut self.work, asked, &mut shared.rng()).await?;
        let Some(step) = step else { return Ok(None) };
        db::commit(tx, Commit::ClaimItems).await?;
        let claimed = shared.after.commit(step);
        Ok(Some(self.claimed(claimed)))
    }

    /// Notes what a claim gave; returns its items.
    fn claimed(&mut self, claimed: ClaimedItems) -> Vec<Outgoing> {
        self.run_state = claimed.run_state;
        self.more_at = claimed.more_at;
        if claimed.elsewhere {
            self.shared.identity.elsewhere(self.held.batch);
        }
        if claimed.probe {
            self.circuit.lets_through();
        }
        claimed.items
    }

    /// Writes the outcomes that are in hand, in one transaction; tries again while the database is away, since a
    /// message that was taken must not become unknown for that. `false`: the claim of the job no longer stands.
    async fn settle(&mut self) -> Result<bool, JobError> {
        if self.results.is_empty() {
            return Ok(true);
        }
        self.place.enter().await;
        let (settled, _) = self.write(None).await?;
        let Settled::Written { run_state, circuit_open_until } = settled else { return Ok(false) };
        if let Some(until) = circuit_open_until {
            self.circuit.opens(until);
            // What is left waits for the circuit, and not in this place.
            self.more_at = self.more_at.map(|at| at.max(until));
        }
        if run_state != RunState::Running {
            self.run_state = run_state;
        }
        self.results.clear();
        self.oldest_result = None;
        Ok(true)
    }

    /// Writes the outcomes, and with them the rest of the job where it is given one, again while the database is away.
    async fn write(&self, resting: Option<Resting>) -> Result<(Settled, Option<Rest>), JobError> {
        let began = Instant::now();
        loop {
            match self.try_write(resting).await {
                Ok(written) => return Ok(written),
                Err(error) if began.elapsed() < SETTLE_FOR => {
                    tracing::warn!(%error, outcomes = self.results.len(), "outcomes not written yet");
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn try_write(&self, resting: Option<Resting>) -> Result<(Settled, Option<Rest>), DbErr> {
        let (shared, held, results) = (self.shared, self.held, &self.results);
        let (now, mut rng) = (shared.clock.now(), shared.rng());
        let tx = shared.db.begin().await?;
        let step = match resting {
            None => send::settle(&tx, now, held, results, &mut rng).await?.map(|settled| (settled, None)),
            Some(resting) => {
                let step = send::settle_and_rest(&tx, now, &self.work, results, resting, &mut rng).await?;
                step.map(|(settled, rest)| (settled, Some(rest)))
            }
        };
        db::commit(tx, Commit::Settle).await?;
        Ok(shared.after.commit(step))
    }

    /// Lets go of the job, with the outcomes that are in hand: the chunk is closed, sleeps, or is somebody else's.
    async fn rest(self) -> Result<JobEnd, JobError> {
        let shared = self.shared;
        self.place.enter().await;
        let resting = Resting {
            more_at: self.more_at.map(|at| Timestamp(at.0 - WAKE_AHEAD_MS)),
            give_back: shared.stopping.is_cancelled(),
        };
        let rest = if self.results.is_empty() {
            let tx = shared.db.begin().await?;
            let step = send::rest(&tx, shared.clock.now(), self.held, resting, &mut shared.rng()).await?;
            db::commit(tx, Commit::Rest).await?;
            shared.after.commit(step)
        } else {
            let (settled, rest) = self.write(Some(resting)).await?;
            if let Settled::Written { circuit_open_until: Some(until), .. } = settled {
                self.circuit.opens(until);
            }
            rest.unwrap_or(Rest::Stale)
        };
        match rest {
            Rest::Closed | Rest::Paused => Ok(JobEnd::Settled),
            Rest::Asleep(until) => {
                let job = JobRef { kind: self.job.kind, id: self.job.id };
                shared.after.ring_at(self.job.lane, job, until);
                Ok(JobEnd::Settled)
            }
            Rest::Stale => Ok(JobEnd::Stale),
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}

async fn sleep_to(shared: &Shared, at: Option<Timestamp>) {
    if let Some(at) = at {
        tokio::time::sleep(at.since(shared.clock.now())).await;
    }
}

/// What an attempt at a message needs.
struct Sending {
    shared: Arc<Shared>,
    template: Arc<Template>,
    control: Arc<Control>,
    circuit: Arc<Circuit>,
    sender: Arc<str>,
}

impl Sending {
    /// One attempt at one message: waits for its slot and for a free place at the gateway, and leaves, unless its batch is
    /// held back or the gateway seems not to work by then.
    async fn attempt(self, item: Outgoing) -> ItemResult {
        let shared = &self.shared;
        let mut result = item.returned(shared.clock.now());
        let wait_us = item.send_at_us - shared.clock.now().0 * 1000;
        if wait_us > 0 {
            metrics::histogram!("paceline_limiter_wait_seconds").record(wait_us as f64 / 1e6);
            tokio::select! {
                () = tokio::time::sleep(Duration::from_micros(wait_us.unsigned_abs())) => {}
                () = shared.stopping.cancelled() => return result,
            }
        }
        // Asked after the wait: who stood still meanwhile wakes long after the slot, and another may have the job by then.
        if item.send_at_us > 0 && shared.clock.now().0 * 1000 - item.send_at_us > LATE_US {
            metrics::counter!("paceline_slots_missed_total").increment(1);
            return result;
        }
        let recipient = Recipient { name: item.name.as_deref(), phone: &item.phone, attributes: &item.attributes };
        let text = match self.template.render(&recipient) {
            Ok(text) => text,
            Err(error) => {
                result.outcome = AttemptOutcome::Invalid { code: "template_error".into(), detail: error.to_string() };
                return result;
            }
        };
        let Ok(_place) = shared.sends.acquire().await else { return result };
        if self.control.held_back() || self.circuit.is_open(shared.clock.now()) || shared.stopping.is_cancelled() {
            return result;
        }
        let began = Instant::now();
        let took = |label: &'static str| {
            metrics::histogram!("paceline_send_seconds", "outcome" => label).record(began.elapsed().as_secs_f64());
        };
        let known = match shared.known_gateway().await {
            // The batch was made another gateway's, or nobody's yet: it is claimed again, and that decides.
            Ok(known) if item.gateway != Some(known.id) => return result,
            Ok(known) => known,
            Err(UnknownGateway::Away(detail)) => {
                took("unreachable");
                result.at = shared.clock.now();
                result.outcome = AttemptOutcome::Unreachable { detail };
                self.circuit.sees(result.signal(), result.at);
                return result;
            }
            Err(UnknownGateway::Ledger(error)) => {
                tracing::warn!(%error, "it is not known which gateway this is");
                return result;
            }
        };
        let id = item.message_id.hyphenated().to_string();
        let (sender, gateway) = (senders::on_the_wire(&self.sender), known.name.as_deref());
        let message = Outbound { to: &item.phone, text: &text, message_id: &id, sender, gateway };
        let outcome = attempt::attempt(shared, &message).await;
        took(attempt::label(&outcome));
        result.at = shared.clock.now();
        result.gateway = Some(known.id);
        result.text = Some(text);
        result.outcome = outcome;
        self.circuit.sees(result.signal(), result.at);
        result
    }
}
