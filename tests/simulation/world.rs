//! The world: workers, a scheduler, users, rings and time.

use crate::gateway::{Gateway, Mood};
use crate::ledger::{self, CONTACTS, Fate, Heard};
use crate::worker::{Doing, Sending, Worker};
use domain::batches::send::{self, Begin, Going, ItemOutcome, ItemResult, Rest, Settled};
use domain::batches::{
    self, Audience, BatchStatus, ContactRefs, Expanded, Finding, NewSend, NewTag, OnUnknown, Patch, Ran, Recipients,
    TagOperation,
};
use domain::circuit::Sign;
use domain::db::{self, Trouble};
use domain::jobs::workers::{self, SILENCE};
use domain::jobs::{self, Claim, Claimed, Ending, Finished, HEARTBEAT};
use domain::retry::Backoff;
use domain::{BatchId, JobKind, Ring, Step, Timestamp, UserId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sea_orm::{DatabaseConnection, DbErr};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use uuid::Uuid;

const WORKERS: usize = 3;
const MOVES: usize = 160;

/// How many moves the end may take before it is called endless.
const PATIENCE: usize = 4_000;

/// How often each thing happened, over all seeds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) batches: u64,
    pub(crate) sent: u64,
    pub(crate) crashes: u64,
    pub(crate) frozen: u64,
    pub(crate) stale: u64,
    pub(crate) rescued: u64,
    pub(crate) buried_workers: u64,
    pub(crate) disowned: u64,
    pub(crate) rings_lost: u64,
    pub(crate) rings_doubled: u64,
    pub(crate) idle_rings: u64,
    pub(crate) broken: u64,
    pub(crate) unheard: u64,
    pub(crate) written_again: u64,
    pub(crate) circuits: u64,
    pub(crate) probes: u64,
    pub(crate) unknown: u64,
    pub(crate) repeats: u64,
    pub(crate) paused: u64,
    pub(crate) cancelled: u64,
    pub(crate) retried: u64,
    pub(crate) dead: u64,
}

impl Seen {
    fn fields(&mut self) -> [(&'static str, &mut u64); 22] {
        [
            ("batches", &mut self.batches),
            ("sent", &mut self.sent),
            ("crashes", &mut self.crashes),
            ("frozen", &mut self.frozen),
            ("stale", &mut self.stale),
            ("rescued", &mut self.rescued),
            ("buried_workers", &mut self.buried_workers),
            ("disowned", &mut self.disowned),
            ("rings_lost", &mut self.rings_lost),
            ("rings_doubled", &mut self.rings_doubled),
            ("idle_rings", &mut self.idle_rings),
            ("broken", &mut self.broken),
            ("unheard", &mut self.unheard),
            ("written_again", &mut self.written_again),
            ("circuits", &mut self.circuits),
            ("probes", &mut self.probes),
            ("unknown", &mut self.unknown),
            ("repeats", &mut self.repeats),
            ("paused", &mut self.paused),
            ("cancelled", &mut self.cancelled),
            ("retried", &mut self.retried),
            ("dead", &mut self.dead),
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let mut other = *other;
        for ((_, sum), (_, more)) in self.fields().into_iter().zip(other.fields()) {
            *sum += *more;
        }
    }

    /// Panics with the name of what never happened.
    pub(crate) fn everything_happened(mut self) {
        for (name, count) in self.fields() {
            assert!(*count > 0, "{name} never happened");
        }
    }
}

/// What the user asked for, and must hold from then on.
#[derive(Clone, Copy, Debug, Default)]
struct Wish {
    paused: bool,
    /// A pace that was never changed: the time between two slots.
    interval_us: Option<i64>,
}

pub(crate) struct World {
    pub(crate) db: DatabaseConnection,
    pub(crate) now: Timestamp,
    pub(crate) rng: StdRng,
    pub(crate) gateway: Gateway,
    pub(crate) workers: Vec<Worker>,
    rings: Vec<Ring>,
    batches: Vec<(BatchId, Wish)>,
    ids: HashMap<(BatchId, i64), Uuid>,
    slots: HashMap<BatchId, BTreeSet<i64>>,
    beaten_at: Timestamp,
    /// Nothing goes wrong any more.
    calm: bool,
    born: u64,
    trace: Vec<String>,
    pub(crate) seen: Seen,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self {
            db: ledger::open().await,
            now: Timestamp(0),
            rng: StdRng::seed_from_u64(0),
            gateway: Gateway::new(),
            workers: Vec::new(),
            rings: Vec::new(),
            batches: Vec::new(),
            ids: HashMap::new(),
            slots: HashMap::new(),
            beaten_at: Timestamp(0),
            calm: false,
            born: 0,
            trace: Vec::new(),
            seen: Seen::default(),
        }
    }

    pub(crate) fn trace(&self) -> &[String] {
        &self.trace
    }

    /// As at the beginning, whatever was played before.
    pub(crate) async fn begin(&mut self, seed: u64) {
        ledger::clear(&self.db).await;
        self.now = Timestamp(1_800_000_000_000);
        self.rng = StdRng::seed_from_u64(seed);
        self.gateway = Gateway::new();
        (self.rings, self.batches, self.trace) = Default::default();
        (self.ids, self.slots) = Default::default();
        (self.beaten_at, self.calm, self.born) = (self.now, false, 0);
        self.workers = (0..WORKERS).map(|_| self.newborn()).collect();
        self.beat().await;
    }

    fn newborn(&mut self) -> Worker {
        self.born += 1;
        Worker::new(format!("worker-{}", self.born))
    }

    fn say(&mut self, what: String) {
        self.trace.push(format!("{:>8} {what}", self.now.0 - 1_800_000_000_000));
    }

    /// Plays a seed: faults first, then calm, until all has ended.
    pub(crate) async fn play(&mut self, seed: u64) {
        self.begin(seed).await;
        for _ in 0..self.rng.random_range(1..4) {
            self.create().await;
        }
        for _ in 0..MOVES {
            self.one_move().await;
        }
        self.come_to_the_end().await;
        self.check_the_end().await;
        if self.rng.random_bool(0.5) {
            self.retry_all().await;
            self.come_to_the_end().await;
            self.check_the_end().await;
        }
    }

    /// Opens what failed again, as users do when the trouble is over.
    async fn retry_all(&mut self) {
        for (id, _) in self.batches.clone() {
            let now = self.now;
            let made = ledger::step(&self.db, Fate::Committed, async |tx| {
                batches::retry(tx, now, id).await.map_err(|error| DbErr::Custom(error.to_string()))
            })
            .await;
            if let Heard::Done(step) = made {
                self.seen.retried += 1;
                self.say(format!("batch {id} is retried"));
                self.rings.extend(step.rings);
            }
        }
    }

    async fn one_move(&mut self) {
        match self.rng.random_range(0..100) {
            0..66 => self.work().await,
            66..80 => self.time_passes().await,
            80..86 => self.schedule().await,
            86..89 => self.crash().await,
            89..91 => self.freeze().await,
            91..93 => self.lose_or_double_rings(),
            93..95 => self.change_mood(),
            95..96 => self.stop_one(),
            96..97 => self.delete_a_contact().await,
            _ => self.steer().await,
        }
        if self.rng.random_bool(0.04) {
            self.audit().await;
        }
    }

    // Users.

    pub(crate) async fn create(&mut self) {
        let now = self.now;
        let step = if self.rng.random_bool(0.1) {
            let mut contacts = ContactRefs::default();
            (1..=self.rng.random_range(1..=CONTACTS)).for_each(|id| contacts.push(&id.to_string()));
            let new = NewTag { contacts, tags: vec!["new".into()], operation: TagOperation::Add };
            self.accept(async |tx| batches::create_tag(tx, now, UserId(1), new).await).await
        } else {
            let audience = self.rng.random_bool(0.15);
            let recipients = if audience {
                Recipients::Audience(Audience { tags_all: vec!["few".into()], ..Audience::default() })
            } else {
                let mut refs = ContactRefs::default();
                // One in ten is nobody.
                let count = self.rng.random_range(1..40);
                (1..=count).for_each(|id| refs.push(&(if id % 10 == 0 { id + 1_000 } else { id }).to_string()));
                Recipients::Contacts(refs)
            };
            let new = NewSend {
                content: Some("Hello".into()),
                template: None,
                recipients,
                rate_per_minute: self.rng.random_bool(0.4).then(|| self.rng.random_range(60..6_000)),
                jitter_ms: 0,
                schedule_at: self.rng.random_bool(0.2).then(|| now.plus(Duration::from_secs(7))),
                on_unknown: if self.rng.random_bool(0.3) { OnUnknown::Hold } else { OnUnknown::Resend },
                chunk_items: Some(self.rng.random_range(1..16)),
            };
            self.accept(async |tx| batches::create_send(tx, now, UserId(1), new).await).await
        };
        let batch = step.value;
        let interval_us = batch.rate_per_minute.map(|rate| (60_000_000 + rate - 1) / rate);
        self.batches.push((batch.summary.id, Wish { paused: false, interval_us }));
        self.seen.batches += 1;
        self.say(format!("batch {} of {} is accepted", batch.summary.id, batch.summary.total));
        self.rings.extend(step.rings);
    }

    /// A batch to the first contacts, in chunks of ten, as fast as it goes.
    pub(crate) async fn create_plain(&mut self, count: i64) {
        let mut refs = ContactRefs::default();
        (1..=count).for_each(|id| refs.push(&id.to_string()));
        let new = NewSend {
            content: Some("Hello".into()),
            template: None,
            recipients: Recipients::Contacts(refs),
            rate_per_minute: None,
            jitter_ms: 0,
            schedule_at: None,
            on_unknown: OnUnknown::Resend,
            chunk_items: Some(10),
        };
        let now = self.now;
        let step = self.accept(async |tx| batches::create_send(tx, now, UserId(1), new).await).await;
        self.batches.push((step.value.summary.id, Wish::default()));
        self.rings.extend(step.rings);
    }

    /// Nothing goes wrong but what the gateway does: the workers do what there is to do, then time passes.
    pub(crate) async fn run_for(&mut self, ms: u64) {
        self.calm = true;
        let mut moves = 0;
        loop {
            let mut busy = false;
            for which in 0..self.workers.len() {
                busy |= self.advance(which).await;
            }
            if !busy {
                break;
            }
            moves += 1;
            assert!(moves < PATIENCE, "no rest within {ms} ms");
        }
        self.wait(ms).await;
        self.schedule().await;
    }

    async fn accept(
        &self,
        make: impl AsyncFnOnce(&sea_orm::DatabaseTransaction) -> Result<Step<batches::Batch>, batches::CreateError>,
    ) -> Step<batches::Batch> {
        let made = ledger::step(&self.db, Fate::Committed, async |tx| {
            make(tx).await.map_err(|error| DbErr::Custom(error.to_string()))
        })
        .await;
        let Heard::Done(step) = made else { panic!("a batch was not accepted") };
        step
    }

    async fn delete_a_contact(&mut self) {
        let id = self.rng.random_range(1..=CONTACTS);
        db::execute(&self.db, "UPDATE contacts SET deleted_at = $2 WHERE id = $1", [id.into(), self.now.0.into()])
            .await
            .expect("deleted");
        self.say(format!("contact {id} is deleted"));
    }

    async fn steer(&mut self) {
        let which = self.rng.random_range(0..self.batches.len());
        let (id, now) = (self.batches[which].0, self.now);
        let what = self.rng.random_range(0..10);
        let rate = self.rng.random_range(60..6_000);
        // What makes no sense in the present state is refused.
        let made = ledger::step(&self.db, Fate::Committed, async |tx| {
            let steered = match what {
                0..3 => batches::pause(tx, id).await,
                3..6 => batches::resume(tx, now, id).await,
                6 => batches::cancel(tx, now, id).await,
                7..9 => batches::retry(tx, now, id).await,
                _ => batches::patch(tx, now, id, Patch { rate_per_minute: Some(rate), ..Patch::default() }).await,
            };
            steered.map_err(|error| DbErr::Custom(error.to_string()))
        })
        .await;
        let Heard::Done(step) = made else { return };
        let wish = &mut self.batches[which].1;
        let word = match what {
            0..3 => {
                wish.paused = true;
                self.seen.paused += 1;
                "paused"
            }
            3..6 => {
                wish.paused = false;
                "resumed"
            }
            6 => {
                wish.paused = false;
                self.seen.cancelled += 1;
                "cancelled"
            }
            7..9 => {
                self.seen.retried += 1;
                "retried"
            }
            _ => {
                wish.interval_us = None;
                "given another pace"
            }
        };
        self.say(format!("batch {id} is {word}"));
        self.rings.extend(step.rings);
    }

    // Time, and those who keep it.

    async fn time_passes(&mut self) {
        let ms = match self.rng.random_range(0..20) {
            0..8 => self.rng.random_range(1..300),
            8..15 => self.rng.random_range(300..3_000),
            15..19 => self.rng.random_range(3_000..12_000),
            _ => self.rng.random_range(30_000..90_000),
        };
        self.wait(ms).await;
    }

    /// Lets time pass; workers say that they are there as it does.
    pub(crate) async fn wait(&mut self, ms: u64) {
        self.now = self.now.plus(Duration::from_millis(ms));
        self.say(format!("{ms} ms pass"));
        self.beat().await;
    }

    async fn beat(&mut self) {
        let renew = self.now.since(self.beaten_at) >= HEARTBEAT;
        if renew {
            self.beaten_at = self.now;
        }
        for worker in self.workers.iter().filter(|worker| !worker.frozen) {
            workers::beat(&self.db, self.now, &worker.owner).await.expect("beaten");
            if !renew {
                continue;
            }
            let held: Vec<_> = worker.held().map(|job| (job.id, job.fence)).into_iter().collect();
            jobs::heartbeat(&self.db, self.now, &held).await.expect("renewed");
            let before = self.now.minus(HEARTBEAT);
            let disowned = workers::disown(&self.db, self.now, &worker.owner, &held, before).await.expect("disowned");
            self.seen.disowned += disowned;
        }
    }

    /// One pass of the scheduler.
    async fn schedule(&mut self) {
        let fate = self.fate(false);
        let now = self.now;
        let made = ledger::step(&self.db, fate, async |tx| {
            let silent = workers::bury_silent(tx, now, now.minus(SILENCE)).await?;
            Ok((silent, jobs::rescue(tx, now, 100).await?))
        })
        .await;
        if let Heard::Done((silent, step)) = made {
            self.seen.buried_workers += silent as u64;
            self.seen.rescued += step.value.ready as u64;
            self.seen.dead += step.value.dead as u64;
            if silent + step.value.ready + step.value.dead > 0 {
                self.say(format!("{silent} workers are silent, {:?}", step.value));
            }
            self.rings.extend(step.rings);
        }
        let fate = self.fate(false);
        if let Heard::Done((rings, _)) = ledger::step(&self.db, fate, async |tx| jobs::sweep(tx, now, 100).await).await
        {
            if !rings.is_empty() {
                self.say(format!("{} jobs are rung again", rings.len()));
            }
            self.rings.extend(rings);
        }
    }

    // Bad luck.

    fn fate(&mut self, may_die: bool) -> Fate {
        if self.calm {
            return Fate::Committed;
        }
        let fate = match self.rng.random_range(0..100) {
            0..3 => Fate::Broken,
            3..6 => Fate::Unheard,
            6..8 if may_die => Fate::Died { committed: false },
            8..10 if may_die => Fate::Died { committed: true },
            _ => Fate::Committed,
        };
        match fate {
            Fate::Committed => {}
            Fate::Broken => self.seen.broken += 1,
            Fate::Unheard => self.seen.unheard += 1,
            Fate::Died { .. } => self.seen.crashes += 1,
        }
        fate
    }

    async fn crash(&mut self) {
        let which = self.rng.random_range(0..self.workers.len());
        self.seen.crashes += 1;
        self.replace(which, "is killed").await;
    }

    async fn replace(&mut self, which: usize, how: &str) {
        let newborn = self.newborn();
        let old = std::mem::replace(&mut self.workers[which], newborn);
        self.say(format!("{} {how}", old.owner));
        workers::beat(&self.db, self.now, &self.workers[which].owner).await.expect("beaten");
    }

    async fn freeze(&mut self) {
        let which = self.rng.random_range(0..self.workers.len());
        let worker = &mut self.workers[which];
        worker.frozen = !worker.frozen;
        self.seen.frozen += u64::from(worker.frozen);
        let line = format!("{} {}", worker.owner, if worker.frozen { "is frozen" } else { "is thawed" });
        self.say(line);
    }

    fn lose_or_double_rings(&mut self) {
        if self.rings.is_empty() {
            return;
        }
        if self.rng.random_bool(0.5) {
            let ring = self.rings[self.rng.random_range(0..self.rings.len())];
            self.rings.push(ring);
            self.seen.rings_doubled += 1;
        } else if self.rng.random_bool(0.2) {
            self.seen.rings_lost += self.rings.len() as u64;
            self.rings.clear();
            self.say("the queue is emptied".into());
        } else {
            let lost = self.rng.random_range(0..self.rings.len());
            self.rings.swap_remove(lost);
            self.seen.rings_lost += 1;
        }
    }

    fn change_mood(&mut self) {
        self.gateway.mood = match self.rng.random_range(0..10) {
            0..6 => Mood::Works,
            6..7 => Mood::Away,
            7..8 => Mood::Broken,
            8..9 => Mood::Silent,
            _ => Mood::Flawless,
        };
        self.say(format!("the gateway: {:?}", self.gateway.mood));
    }

    fn stop_one(&mut self) {
        let which = self.rng.random_range(0..self.workers.len());
        if let Doing::Sending(sending) = &mut self.workers[which].doing {
            sending.stopping = true;
        }
    }

    // Work.

    async fn work(&mut self) {
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
    async fn answer(&mut self, which: usize) -> bool {
        if self.rings.is_empty() {
            return false;
        }
        let ring = self.rings.swap_remove(self.rng.random_range(0..self.rings.len()));
        let (now, owner) = (self.now, self.workers[which].owner.clone());
        let fate = self.fate(true);
        let claimed = ledger::step(&self.db, fate, async |tx| jobs::claim(tx, now, ring.job.id, &owner).await).await;
        match claimed {
            Heard::Done(Claim::Taken(job)) => {
                self.say(format!("{owner} claims {} {} as {}", job.kind, job.id, job.fence));
                self.workers[which].doing = Doing::Holding(job);
            }
            Heard::Done(Claim::NotReady) => self.seen.idle_rings += 1,
            Heard::Done(Claim::Early { .. }) => self.seen.idle_rings += 1,
            Heard::Done(Claim::TooNew { version }) => panic!("nothing of version {version} was written"),
            Heard::Error(_) => self.say(format!("{owner} does not hear of its claim of {}", ring.job)),
            Heard::Nobody => self.replace(which, "dies at a claim").await,
        }
        true
    }

    async fn do_job(&mut self, which: usize, job: Box<Claimed>) {
        let now = self.now;
        let fate = self.fate(true);
        let mut rng = StdRng::from_rng(&mut self.rng);
        let owner = self.workers[which].owner.clone();
        enum Did {
            Begun(Box<send::Work>),
            Over(&'static str),
            More,
        }
        let made: Heard<Step<Did>> = ledger::step(&self.db, fate, async |tx| {
            let ran = |ran| {
                Did::Over(match ran {
                    Ran::Done => "done",
                    Ran::Paused => "paused",
                    Ran::Ended => "ended",
                    Ran::Stale => "stale",
                })
            };
            Ok(match job.kind {
                JobKind::SendChunk => send::begin(tx, now, &job, &mut rng).await?.map(|begun| match begun {
                    Begin::Go(work) => Did::Begun(work),
                    Begin::Parked => Did::Over("parked"),
                    Begin::Over => Did::Over("over"),
                    Begin::Stale => Did::Over("stale"),
                }),
                JobKind::Start => batches::run_start(tx, now, &job, &mut rng).await?.map(|()| Did::Over("started")),
                JobKind::Expand => batches::run_expand(tx, now, &job, &mut rng).await?.map(|expanded| match expanded {
                    Expanded::More => Did::More,
                    Expanded::Done => Did::Over("expanded"),
                    Expanded::Stale => Did::Over("stale"),
                }),
                JobKind::TagChunk => batches::run_tag(tx, now, &job, &mut rng).await?.map(ran),
                other => panic!("there is no {other} here"),
            })
        })
        .await;
        match made {
            Heard::Done(step) => {
                self.rings.extend(step.rings);
                match step.value {
                    Did::Begun(work) => {
                        let sending = Sending {
                            job: *job,
                            work: *work,
                            in_flight: Vec::new(),
                            results: Vec::new(),
                            more_at: Some(now),
                            going: Going::On,
                            stopping: false,
                        };
                        self.workers[which].doing = Doing::Sending(Box::new(sending));
                    }
                    Did::Over(word) => {
                        self.seen.stale += u64::from(word == "stale");
                        self.say(format!("{owner}: {} {} is {word}", job.kind, job.id));
                    }
                    Did::More => self.workers[which].doing = Doing::Holding(job),
                }
            }
            Heard::Error(error) => self.fails(which, job, error),
            Heard::Nobody => self.replace(which, "dies at the beginning").await,
        }
    }

    fn fails(&mut self, which: usize, job: Box<Claimed>, error: DbErr) {
        let error_text = error.to_string();
        assert!(Trouble::of(&error).passes(), "job {}: {error_text}", job.id);
        let wait = Backoff::POSTPONED.delay(0, &mut self.rng);
        let ending = Ending::Postponed { until: self.now.plus(wait), error: error_text };
        self.say(format!("{}: job {} fails", self.workers[which].owner, job.id));
        self.workers[which].doing = Doing::Failing(job, ending);
    }

    async fn write_failure(&mut self, which: usize, job: Box<Claimed>, ending: Ending) {
        let now = self.now;
        let fate = self.fate(true);
        let mut rng = StdRng::from_rng(&mut self.rng);
        let made = ledger::step(&self.db, fate, async |tx| jobs::fail(tx, now, &job, &ending, &mut rng).await).await;
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

    async fn send_on(&mut self, which: usize, mut sending: Box<Sending>) -> bool {
        let may_claim = !sending.stopping
            && sending.going == Going::On
            && sending.in_flight.len() < 4
            && sending.more_at.is_some_and(|at| at <= self.now);
        let can_send = sending.in_flight.iter().any(|item| sending.stopping || item.send_at_us <= self.now.0 * 1_000);
        let nothing_left = sending.in_flight.is_empty() && sending.results.is_empty();
        if may_claim && (nothing_left || self.rng.random_bool(0.5)) {
            self.claim_items(which, sending).await;
        } else if can_send && (sending.results.is_empty() || self.rng.random_bool(0.7)) {
            self.send_one(which, &mut sending);
            self.workers[which].doing = Doing::Sending(sending);
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

    async fn claim_items(&mut self, which: usize, mut sending: Box<Sending>) {
        let now = self.now;
        let fate = self.fate(true);
        let wanted = self.rng.random_range(1..8);
        let mut rng = StdRng::from_rng(&mut self.rng);
        let work = &mut sending.work;
        let made =
            ledger::step(&self.db, fate, async |tx| send::claim_items(tx, now, work, wanted, None, &mut rng).await)
                .await;
        match made {
            Heard::Done(None) => {
                self.seen.stale += 1;
                self.say(format!("{}: its claim does not stand", self.workers[which].owner));
            }
            Heard::Done(Some(step)) => {
                self.rings.extend(step.rings);
                let claimed = step.value;
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
                sending.going = claimed.going;
                sending.more_at = claimed.more_at;
                sending.in_flight.extend(claimed.items);
                self.workers[which].doing = Doing::Sending(sending);
            }
            Heard::Error(error) => self.fails(which, Box::new(sending.job), error),
            Heard::Nobody => self.replace(which, "dies at a claim of items").await,
        }
    }

    /// What must hold of every claim of items.
    fn check_claim(&mut self, batch: BatchId, claimed: &send::ClaimedItems) {
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
    fn send_one(&mut self, which: usize, sending: &mut Sending) {
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
            ItemOutcome::Returned
        } else {
            self.seen.sent += 1;
            let known = self.gateway.known.get(&item.message_id).is_some_and(|known| known.taken);
            self.seen.repeats += u64::from(known);
            self.gateway.send(item.message_id, &mut self.rng)
        };
        self.seen.unknown += u64::from(matches!(outcome, ItemOutcome::Unknown { .. }));
        let line = format!(
            "{}: batch {batch} item {} attempt {}: {outcome:?}",
            self.workers[which].owner, item.seq, item.attempt
        );
        self.say(line);
        sending.results.push(ItemResult {
            seq: item.seq,
            message_id: item.message_id,
            contact: item.contact,
            attempt: item.attempt,
            doubtful: item.doubtful,
            text: Some("Hello".into()),
            at: self.now,
            outcome,
        });
    }

    async fn settle(&mut self, which: usize, mut sending: Box<Sending>) {
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
            Heard::Done(Step { value: Settled::Written { going, circuit_open_until }, .. }) => {
                if circuit_open_until.is_some() && results.iter().any(|r| r.sign() == Sign::Failing) {
                    self.seen.circuits += 1;
                }
                if let Some(until) = circuit_open_until {
                    sending.more_at = sending.more_at.map(|at| at.max(until));
                }
                if going != Going::On {
                    sending.going = going;
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

    async fn rest(&mut self, which: usize, sending: Box<Sending>) {
        let now = self.now;
        let fate = self.fate(true);
        let mut rng = StdRng::from_rng(&mut self.rng);
        let (held, more_at, stopping) = (sending.work.held, sending.more_at, sending.stopping);
        let made =
            ledger::step(&self.db, fate, async |tx| send::rest(tx, now, held, more_at, stopping, &mut rng).await).await;
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

    // The end.

    /// No more faults: all that is left comes to its end by itself.
    pub(crate) async fn come_to_the_end(&mut self) {
        self.calm = true;
        self.gateway.mood = Mood::Flawless;
        self.say("all is calm".into());
        for worker in &mut self.workers {
            worker.frozen = false;
        }
        for which in 0..self.batches.len() {
            let (id, now) = (self.batches[which].0, self.now);
            self.batches[which].1.paused = false;
            let resumed = ledger::step(&self.db, Fate::Committed, async |tx| {
                batches::resume(tx, now, id).await.map_err(|error| DbErr::Custom(error.to_string()))
            })
            .await;
            if let Heard::Done(step) = resumed {
                self.rings.extend(step.rings);
            }
        }
        for _ in 0..PATIENCE {
            let mut busy = false;
            for which in 0..self.workers.len() {
                busy |= self.advance(which).await;
            }
            if busy {
                continue;
            }
            if self.open_jobs().await == 0 {
                return;
            }
            self.wait(700).await;
            self.schedule().await;
        }
        panic!("no end after {PATIENCE} moves: {:?}", self.findings().await);
    }

    async fn open_jobs(&self) -> i64 {
        let sql = "SELECT count(*) AS n FROM jobs WHERE state IN ('ready', 'running', 'paused')";
        ledger::number(&self.db, sql).await
    }

    async fn findings(&self) -> Vec<Finding> {
        let mut found = batches::audit(&self.db, self.now, 9).await.expect("audited");
        // The scheduler here passes by chance and not by the clock.
        found.retain(|finding| !matches!(finding, Finding::Unrung { .. } | Finding::Abandoned { .. }));
        found
    }

    async fn audit(&mut self) {
        assert_eq!(self.findings().await, Vec::new());
    }

    /// What must hold when all has ended.
    pub(crate) async fn check_the_end(&mut self) {
        self.audit().await;
        let mut by_status: BTreeMap<String, u64> = BTreeMap::new();
        for (id, _) in self.batches.clone() {
            let batch = batches::get(&self.db, id).await.expect("read").expect("there").summary;
            assert!(batch.status.is_terminal(), "{batch:?}");
            let sql =
                format!("SELECT count(*) AS n FROM jobs WHERE batch_id = {id} AND state = 'dead' AND chunk_no IS NULL");
            // One whose audience killed three workers in a row has no items to speak of.
            let unexpanded = batch.status == BatchStatus::Failed && ledger::number(&self.db, &sql).await > 0;
            let cancelled = batch.status == BatchStatus::Cancelled;
            assert!(cancelled || unexpanded || batch.processed() == batch.total, "{batch:?}");
        }
        let sql = "SELECT batch_id, seq, status, attempts, error_code, CAST(message_id AS TEXT) AS message_id,
                          finished_at IS NOT NULL AS finished FROM batch_items
                   WHERE batch_id IN (SELECT id FROM batches WHERE type = 'SEND')";
        for row in db::all(&self.db, sql, []).await.expect("read") {
            let text = |column: &str| row.try_get::<Option<String>>("", column).expect("a text");
            let (batch, seq): (i64, i64) =
                (row.try_get("", "batch_id").expect("n"), row.try_get("", "seq").expect("n"));
            let status = text("status").expect("a status");
            let what = format!("item {seq} of batch {batch} is {status}");
            assert!(row.try_get::<bool>("", "finished").expect("a flag"), "{what} and not finished");
            let attempts: i64 = row.try_get("", "attempts").expect("n");
            // A worker that dies in the middle of a message uses up an attempt, and does not decide whether it was the last.
            assert!(attempts < 20, "{what} after {attempts} attempts");
            let id = text("message_id").map(|id| Uuid::parse_str(&id).expect("an id"));
            let taken = id.is_some_and(|id| self.gateway.known.get(&id).is_some_and(|known| known.taken));
            match status.as_str() {
                "succeeded" => assert!(taken, "{what}, and the gateway never took it"),
                "unknown" => {}
                _ => assert!(!taken, "{what}, and the gateway took it ({:?})", text("error_code")),
            }
            *by_status.entry(status).or_default() += 1;
        }
        for id in self.gateway.known.keys() {
            assert!(self.ids.values().any(|known| known == id), "nobody claimed {id}");
        }
        self.say(format!("the end: {by_status:?}"));
    }
}
