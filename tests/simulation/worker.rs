//! A worker: what the real one does between two transactions, without its tasks and timers. In one step it makes at most
//! one transaction, or sends one message.

use crate::ledger::{self, Fate, Heard};
use crate::world::World;
use domain::batches::RunState;
use domain::batches::{self, Expanded, NextPage, Ran, SetChunk};
use domain::circuit::CircuitSignal;
use domain::db::Trouble;
use domain::delivery::AttemptOutcome;
use domain::delivery::send::{
    self, ChunkStart, ClaimRequest, Held, ItemResult, Outgoing, Rest, Resting, Settled, Work,
};
use domain::jobs::{self, Claim, Claimed, Ending, Finished};
use domain::kinds::Kinds;
use domain::retry::Backoff;
use domain::{BatchId, JobKind, Step, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sea_orm::DbErr;

/// How many rows a step of a set-based chunk writes: so few that a chunk takes several.
const STEP_ROWS: usize = 20;

/// What a worker is doing.
pub(crate) enum Doing {
    /// It waits for a ring.
    Nothing,
    /// It has a job and has not begun with it.
    Holding(Box<Claimed>),
    /// It sends a chunk.
    Sending(Box<Sending>),
    /// Its job failed, and that is to be written.
    Failing(Box<Claimed>, Ending),
}

/// A chunk under way.
pub(crate) struct Sending {
    pub(crate) job: Claimed,
    pub(crate) work: Work,
    pub(crate) in_flight: Vec<Outgoing>,
    pub(crate) results: Vec<ItemResult>,
    pub(crate) more_at: Option<Timestamp>,
    pub(crate) run_state: RunState,
    /// Told to stop: it claims nothing more and gives the job back.
    pub(crate) stopping: bool,
}

impl Sending {
    fn resting(&self) -> Resting {
        Resting { more_at: self.more_at, give_back: self.stopping }
    }
}

pub(crate) struct Worker {
    /// Never the same twice.
    pub(crate) owner: String,
    pub(crate) doing: Doing,
    /// It does nothing, and does not know it.
    pub(crate) frozen: bool,
}

impl Worker {
    pub(crate) fn new(owner: String) -> Self {
        Self { owner, doing: Doing::Nothing, frozen: false }
    }

    /// The claim that it believes to have.
    pub(crate) fn held(&self) -> Option<&Claimed> {
        match &self.doing {
            Doing::Holding(job) => Some(job),
            Doing::Sending(sending) => Some(&sending.job),
            // Its lease is not renewed any more.
            Doing::Nothing | Doing::Failing(..) => None,
        }
    }
}

impl World {
    pub(crate) async fn work(&mut self) {
        let which = self.rng.random_range(0..self.workers.len());
        if !self.workers[which].frozen {
            self.advance(which).await;
        }
    }

    /// One step of a worker: at most one transaction or one message. False when it had nothing to do.
    pub(crate) async fn advance(&mut self, which: usize) -> bool {
        match std::mem::replace(&mut self.workers[which].doing, Doing::Nothing) {
            Doing::Nothing => self.answer(which).await,
            Doing::Holding(job) => {
                self.do_job(which, job).await;
                true
            }
            Doing::Sending(sending) => self.send_on(which, sending).await,
            Doing::Failing(job, ending) => {
                self.write_failure(which, job, ending).await;
                true
            }
        }
    }

    /// Takes any ring: order is nothing to rely on.
    pub(crate) async fn answer(&mut self, which: usize) -> bool {
        if self.rings.is_empty() {
            return false;
        }
        let ring = self.rings.swap_remove(self.rng.random_range(0..self.rings.len()));
        let (now, owner) = (self.now, self.workers[which].owner.clone());
        let fate = self.fate(true);
        let mut rng = StdRng::from_rng(&mut self.rng);
        let asked = self.asked();
        // A worker claims a job by itself where its first step failed.
        let with_first_step = ring.job.kind == JobKind::SendChunk && self.rng.random_bool(0.8);
        let claimed = ledger::step(&self.db, fate, async |tx| match with_first_step {
            true => send::claim_and_begin(tx, now, ring.job.id, &owner, asked, &mut rng).await,
            false => jobs::claim(tx, now, ring.job.id, &owner).await.map(|claim| Step::quiet((claim, None))),
        })
        .await;
        let claimed = match claimed {
            Heard::Done(step) => {
                self.rings.extend(step.rings);
                Heard::Done(step.value)
            }
            Heard::Error(error) => Heard::Error(error),
            Heard::Nobody => Heard::Nobody,
        };
        match claimed {
            Heard::Done((Claim::Taken(job), begun)) => {
                self.say(format!("{owner} claims {} {} as {}", job.kind, job.id, job.fence));
                match begun {
                    None => self.workers[which].doing = Doing::Holding(job),
                    Some(begun) => self.begun(which, job, begun),
                }
            }
            Heard::Done((Claim::NotReady | Claim::Early { .. }, _)) => self.seen.idle_rings += 1,
            Heard::Done((Claim::Unknown { kind, version }, _)) => panic!("no {kind} of version {version} was written"),
            Heard::Error(_) => self.say(format!("{owner} does not hear of its claim of {}", ring.job)),
            Heard::Nobody => self.replace(which, "dies at a claim").await,
        }
        true
    }

    pub(crate) async fn do_job(&mut self, which: usize, job: Box<Claimed>) {
        let now = self.now;
        let fate = self.fate(true);
        let mut rng = StdRng::from_rng(&mut self.rng);
        let asked = self.asked();
        enum Did {
            Begun(ChunkStart),
            Over(&'static str),
            More,
        }
        let made: Heard<Step<Did>> = ledger::step(&self.db, fate, async |tx| {
            let ran = |ran| match ran {
                Ran::More => Did::More,
                Ran::Done => Did::Over("done"),
                Ran::Paused => Did::Over("paused"),
                Ran::Ended => Did::Over("ended"),
                Ran::Stale => Did::Over("stale"),
            };
            Ok(match job.kind {
                JobKind::SendChunk => {
                    send::begin(tx, now, Held::of(&job).expect("a chunk"), asked, &mut rng).await?.map(Did::Begun)
                }
                JobKind::Cancel => batches::run_cancel(tx, now, &job, &mut rng).await?.map(|()| Did::Over("cancelled")),
                JobKind::Start => batches::run_start(tx, now, &job, &mut rng).await?.map(|()| Did::Over("started")),
                JobKind::Expand => {
                    let page = NextPage::read(tx, &job, NextPage::CONTACTS).await?;
                    batches::run_expand(tx, now, &job, page.as_ref(), &mut rng).await?.map(|expanded| match expanded {
                        Expanded::More => Did::More,
                        Expanded::Done => Did::Over("expanded"),
                        Expanded::Stale => Did::Over("stale"),
                    })
                }
                JobKind::TagChunk => {
                    let mut set = SetChunk::read(tx, &job).await?.expect("a set").parse()?.with_step_rows(STEP_ROWS);
                    batches::run_set(tx, now, &job, &mut set, &mut rng).await?.map(ran)
                }
                other => panic!("there is no {other} here"),
            })
        })
        .await;
        match made {
            Heard::Done(step) => {
                self.rings.extend(step.rings);
                match step.value {
                    Did::Begun(begun) => self.begun(which, job, begun),
                    Did::Over(word) => self.over(which, &job, word),
                    Did::More => self.workers[which].doing = Doing::Holding(job),
                }
            }
            Heard::Error(error) => self.fails(which, job, error),
            Heard::Nobody => self.replace(which, "dies at the beginning").await,
        }
    }

    /// Goes on with a chunk that was begun.
    fn begun(&mut self, which: usize, job: Box<Claimed>, begun: ChunkStart) {
        match begun {
            ChunkStart::Go(work, first) => {
                let mut sending = Sending {
                    job: *job,
                    work: *work,
                    in_flight: Vec::new(),
                    results: Vec::new(),
                    more_at: Some(self.now),
                    run_state: RunState::Running,
                    stopping: false,
                };
                self.claimed(which, &mut sending, *first);
                self.workers[which].doing = Doing::Sending(Box::new(sending));
            }
            ChunkStart::Parked => self.over(which, &job, "parked"),
            ChunkStart::Over => self.over(which, &job, "over"),
            ChunkStart::Stale => self.over(which, &job, "stale"),
        }
    }

    fn over(&mut self, which: usize, job: &Claimed, word: &str) {
        self.seen.stale += u64::from(word == "stale");
        self.say(format!("{}: {} {} is {word}", self.workers[which].owner, job.kind, job.id));
    }

    pub(crate) fn fails(&mut self, which: usize, job: Box<Claimed>, error: DbErr) {
        let error_text = error.to_string();
        assert!(Trouble::of(&error).passes(), "job {}: {error_text}", job.id);
        let wait = Backoff::POSTPONED.delay(0, &mut self.rng);
        let ending = Ending::Postponed { until: self.now.plus(wait), error: error_text };
        self.say(format!("{}: job {} fails", self.workers[which].owner, job.id));
        self.workers[which].doing = Doing::Failing(job, ending);
    }

    pub(crate) async fn write_failure(&mut self, which: usize, job: Box<Claimed>, ending: Ending) {
        let now = self.now;
        let fate = self.fate(true);
        let mut rng = StdRng::from_rng(&mut self.rng);
        let made =
            ledger::step(&self.db, fate, async |tx| jobs::fail(tx, now, &job, &ending, &Kinds, &mut rng).await).await;
        match made {
            Heard::Done(step) => {
                self.seen.stale += u64::from(step.value == Finished::Stale);
                self.rings.extend(step.rings);
            }
            // It tries again for a while, or gives up: the rescue takes over.
            Heard::Error(_) if self.rng.random_bool(0.8) => self.workers[which].doing = Doing::Failing(job, ending),
            Heard::Error(_) => {}
            Heard::Nobody => self.replace(which, "dies at a failure").await,
        }
    }

    pub(crate) async fn send_on(&mut self, which: usize, mut sending: Box<Sending>) -> bool {
        let may_claim = !sending.stopping
            && sending.run_state == RunState::Running
            && sending.in_flight.len() < 4
            && sending.more_at.is_some_and(|at| at <= self.now);
        let can_send = sending.in_flight.iter().any(|item| sending.stopping || item.send_at_us <= self.now.0 * 1_000);
        let nothing_left = sending.in_flight.is_empty() && sending.results.is_empty();
        if may_claim && (nothing_left || self.rng.random_bool(0.5)) {
            self.claim_items(which, sending).await;
        } else if can_send && (sending.results.is_empty() || self.rng.random_bool(0.7)) {
            self.send_one(which, &mut sending);
            self.workers[which].doing = Doing::Sending(sending);
        } else if !sending.results.is_empty() && sending.in_flight.is_empty() && !may_claim && self.rng.random_bool(0.7)
        {
            self.settle_and_rest(which, sending).await;
        } else if !sending.results.is_empty() {
            self.settle(which, sending).await;
        } else if !nothing_left {
            // Its slot has not come.
            self.workers[which].doing = Doing::Sending(sending);
            return false;
        } else {
            self.rest(which, sending).await;
        }
        true
    }

    pub(crate) async fn claim_items(&mut self, which: usize, mut sending: Box<Sending>) {
        let now = self.now;
        let fate = self.fate(true);
        let asked = self.asked();
        let mut rng = StdRng::from_rng(&mut self.rng);
        let work = &mut sending.work;
        let made =
            ledger::step(&self.db, fate, async |tx| send::claim_items(tx, now, work, asked, &mut rng).await).await;
        match made {
            Heard::Done(None) => {
                self.seen.stale += 1;
                self.say(format!("{}: its claim does not stand", self.workers[which].owner));
            }
            Heard::Done(Some(step)) => {
                self.rings.extend(step.rings);
                self.claimed(which, &mut sending, step.value);
                self.workers[which].doing = Doing::Sending(sending);
            }
            Heard::Error(error) => self.fails(which, Box::new(sending.job), error),
            Heard::Nobody => self.replace(which, "dies at a claim of items").await,
        }
    }

    fn asked(&mut self) -> ClaimRequest {
        ClaimRequest { wanted: self.rng.random_range(1..8), gateway: None, sender_rate: None }
    }

    fn claimed(&mut self, which: usize, sending: &mut Sending, claimed: send::ClaimedItems) {
        self.seen.probes += u64::from(claimed.probe);
        let batch = sending.work.held.batch;
        let line = format!(
            "{}: batch {batch} chunk {} claims {:?}",
            self.workers[which].owner,
            sending.work.held.chunk,
            claimed.items.iter().map(|item| item.seq).collect::<Vec<_>>()
        );
        self.say(line);
        self.check_claim(batch, &claimed);
        sending.run_state = claimed.run_state;
        sending.more_at = claimed.more_at;
        sending.in_flight.extend(claimed.items);
    }

    /// What must hold of every claim of items.
    pub(crate) fn check_claim(&mut self, batch: BatchId, claimed: &send::ClaimedItems) {
        let wish = self.batches.iter().find(|(id, _)| *id == batch).expect("one of ours").1;
        assert!(!wish.paused || claimed.items.is_empty(), "batch {batch} is paused");
        assert!(!claimed.probe || claimed.items.len() == 1, "one message tries a gateway out");
        for item in &claimed.items {
            let id = *self.ids.entry((batch, item.seq)).or_insert(item.message_id);
            assert_eq!(id, item.message_id, "one id over all attempts");
            let Some(interval) = wish.interval_us else { continue };
            let slots = self.slots.entry(batch).or_default();
            let near = slots.range(item.send_at_us - interval + 1..item.send_at_us + interval).next();
            assert_eq!(near, None, "slot {} of batch {batch} with an interval of {interval}", item.send_at_us);
            slots.insert(item.send_at_us);
        }
    }

    /// One message leaves, or stays because its batch is held back.
    pub(crate) fn send_one(&mut self, which: usize, sending: &mut Sending) {
        let now_us = self.now.0 * 1_000;
        let ready = |item: &send::Outgoing| sending.stopping || item.send_at_us <= now_us;
        let due: Vec<usize> =
            sending.in_flight.iter().enumerate().filter(|(_, item)| ready(item)).map(|(i, _)| i).collect();
        let item = sending.in_flight.swap_remove(due[self.rng.random_range(0..due.len())]);
        let batch = sending.work.held.batch;
        let paused = self.batches.iter().any(|(id, wish)| *id == batch && wish.paused);
        // The news of a pause takes a moment.
        let stays = sending.stopping || (paused && self.rng.random_bool(0.7));
        let outcome = if stays {
            AttemptOutcome::Returned
        } else {
            self.seen.sent += 1;
            let known = self.gateway.known.get(&item.message_id).is_some_and(|known| known.taken);
            self.seen.repeats += u64::from(known);
            self.gateway.send(item.message_id, &mut self.rng)
        };
        self.seen.unknown += u64::from(matches!(outcome, AttemptOutcome::Unknown { .. }));
        let line = format!(
            "{}: batch {batch} item {} attempt {}: {outcome:?}",
            self.workers[which].owner, item.seq, item.attempt
        );
        self.say(line);
        sending.results.push(ItemResult { text: Some("Hello".into()), outcome, ..item.returned(self.now) });
    }

    pub(crate) async fn settle(&mut self, which: usize, mut sending: Box<Sending>) {
        let now = self.now;
        let fate = self.fate(true);
        let mut rng = StdRng::from_rng(&mut self.rng);
        let (held, results) = (sending.work.held, &sending.results);
        let changes = ledger::number(&self.db, "SELECT total_changes() AS n").await;
        let made = ledger::step(&self.db, fate, async |tx| send::settle(tx, now, held, results, &mut rng).await).await;
        match made {
            Heard::Done(Step { value: Settled::Stale, .. }) => {
                self.seen.stale += 1;
                let after = ledger::number(&self.db, "SELECT total_changes() AS n").await;
                assert_eq!(after, changes, "a stale claim changes nothing");
                self.say(format!("{}: its outcomes are stale", self.workers[which].owner));
            }
            Heard::Done(Step { value: Settled::Written { run_state, circuit_open_until }, .. }) => {
                if circuit_open_until.is_some() && results.iter().any(|r| r.signal() == CircuitSignal::Failing) {
                    self.seen.circuits += 1;
                }
                if let Some(until) = circuit_open_until {
                    sending.more_at = sending.more_at.map(|at| at.max(until));
                }
                if run_state != RunState::Running {
                    sending.run_state = run_state;
                }
                sending.results.clear();
                self.workers[which].doing = Doing::Sending(sending);
            }
            // The same group is written again, whether it was or not.
            Heard::Error(_) => {
                self.seen.written_again += u64::from(fate == Fate::Unheard);
                self.workers[which].doing = Doing::Sending(sending);
            }
            Heard::Nobody => self.replace(which, "dies at the outcomes").await,
        }
    }

    /// The last outcomes, and the rest with them.
    pub(crate) async fn settle_and_rest(&mut self, which: usize, sending: Box<Sending>) {
        let now = self.now;
        let fate = self.fate(true);
        let mut rng = StdRng::from_rng(&mut self.rng);
        let (work, results, resting) = (&sending.work, &sending.results, sending.resting());
        let held = work.held;
        let made = ledger::step(&self.db, fate, async |tx| {
            send::settle_and_rest(tx, now, work, results, resting, &mut rng).await
        })
        .await;
        match made {
            Heard::Done(step) => {
                self.rings.extend(step.rings);
                let (settled, rest) = step.value;
                assert_eq!(matches!(settled, Settled::Stale), rest == Rest::Stale, "both or neither");
                self.seen.stale += u64::from(rest == Rest::Stale);
                self.say(format!(
                    "{}: chunk {} of {}, with its last outcomes: {rest:?}",
                    self.workers[which].owner, held.chunk, held.batch
                ));
            }
            Heard::Error(_) => {
                self.seen.written_again += u64::from(fate == Fate::Unheard);
                self.workers[which].doing = Doing::Sending(sending);
            }
            Heard::Nobody => self.replace(which, "dies at its last outcomes").await,
        }
    }

    pub(crate) async fn rest(&mut self, which: usize, sending: Box<Sending>) {
        let now = self.now;
        let fate = self.fate(true);
        let mut rng = StdRng::from_rng(&mut self.rng);
        let (held, resting) = (sending.work.held, sending.resting());
        let made = ledger::step(&self.db, fate, async |tx| send::rest(tx, now, held, resting, &mut rng).await).await;
        match made {
            Heard::Done(step) => {
                self.rings.extend(step.rings);
                self.seen.stale += u64::from(step.value == Rest::Stale);
                self.say(format!(
                    "{}: chunk {} of {}: {:?}",
                    self.workers[which].owner, held.chunk, held.batch, step.value
                ));
            }
            Heard::Error(error) => self.fails(which, Box::new(sending.job), error),
            Heard::Nobody => self.replace(which, "dies at its rest").await,
        }
    }
}
