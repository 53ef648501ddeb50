//! The world: workers, a scheduler, users, rings and time.

use crate::gateway::Gateway;
use crate::ledger::{self, Fate, Heard};
use crate::seen::Seen;
use crate::worker::Worker;
use domain::{BatchId, Ring, Timestamp, batches};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sea_orm::{DatabaseConnection, DbErr};
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

const WORKERS: usize = 3;
const MOVES: usize = 160;

/// How many moves the end may take before it is called endless.
pub(crate) const PATIENCE: usize = 4_000;

/// What the user asked for, and must hold from then on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) paused: bool,
    /// A pace that was never changed: the time between two slots.
    pub(crate) interval_us: Option<i64>,
}

pub(crate) struct World {
    pub(crate) db: DatabaseConnection,
    pub(crate) now: Timestamp,
    pub(crate) rng: StdRng,
    pub(crate) gateway: Gateway,
    pub(crate) workers: Vec<Worker>,
    pub(crate) rings: Vec<Ring>,
    pub(crate) batches: Vec<(BatchId, Wish)>,
    pub(crate) ids: HashMap<(BatchId, i64), Uuid>,
    pub(crate) slots: HashMap<BatchId, BTreeSet<i64>>,
    pub(crate) beaten_at: Timestamp,
    /// Nothing goes wrong any more.
    pub(crate) calm: bool,
    pub(crate) born: u64,
    pub(crate) trace: Vec<String>,
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

    pub(crate) fn newborn(&mut self) -> Worker {
        self.born += 1;
        Worker::new(format!("worker-{}", self.born))
    }

    pub(crate) fn say(&mut self, what: String) {
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
    pub(crate) async fn retry_all(&mut self) {
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

    pub(crate) async fn one_move(&mut self) {
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
}
