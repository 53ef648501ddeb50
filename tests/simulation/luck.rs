//! Time, those who keep it, and bad luck.

use crate::gateway::Mood;
use crate::ledger::{self, Fate, Heard};
use crate::worker::Doing;
use crate::world::World;
use domain::jobs::workers::{self, SILENCE};
use domain::jobs::{self, HEARTBEAT};
use domain::kinds::Kinds;
use rand::Rng;
use std::time::Duration;

impl World {
    pub(crate) async fn time_passes(&mut self) {
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

    pub(crate) async fn beat(&mut self) {
        let renew = self.now.since(self.beaten_at) >= HEARTBEAT;
        if renew {
            self.beaten_at = self.now;
        }
        for worker in self.workers.iter().filter(|worker| !worker.frozen) {
            workers::beat(&self.db, self.now, &worker.owner, &workers::Orders::default()).await.expect("beaten");
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
    pub(crate) async fn schedule(&mut self) {
        let fate = self.fate(false);
        let now = self.now;
        let made = ledger::step(&self.db, fate, async |tx| {
            let silent = workers::bury_silent(tx, now, now.minus(SILENCE)).await?;
            Ok((silent, jobs::rescue(tx, now, 100, &Kinds).await?))
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
        if let Heard::Done(jobs::Swept { rings, .. }) =
            ledger::step(&self.db, fate, async |tx| jobs::sweep(tx, now, 100).await).await
        {
            if !rings.is_empty() {
                self.say(format!("{} jobs are rung again", rings.len()));
            }
            self.rings.extend(rings);
        }
    }

    pub(crate) fn fate(&mut self, may_die: bool) -> Fate {
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

    pub(crate) async fn crash(&mut self) {
        let which = self.rng.random_range(0..self.workers.len());
        self.seen.crashes += 1;
        self.replace(which, "is killed").await;
    }

    pub(crate) async fn replace(&mut self, which: usize, how: &str) {
        let newborn = self.newborn();
        let old = std::mem::replace(&mut self.workers[which], newborn);
        self.say(format!("{} {how}", old.owner));
        workers::beat(&self.db, self.now, &self.workers[which].owner, &workers::Orders::default())
            .await
            .expect("beaten");
    }

    pub(crate) async fn freeze(&mut self) {
        let which = self.rng.random_range(0..self.workers.len());
        let worker = &mut self.workers[which];
        worker.frozen = !worker.frozen;
        self.seen.frozen += u64::from(worker.frozen);
        let line = format!("{} {}", worker.owner, if worker.frozen { "is frozen" } else { "is thawed" });
        self.say(line);
    }

    pub(crate) fn lose_or_double_rings(&mut self) {
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

    pub(crate) fn change_mood(&mut self) {
        self.gateway.mood = match self.rng.random_range(0..10) {
            0..6 => Mood::Works,
            6..7 => Mood::Away,
            7..8 => Mood::Broken,
            8..9 => Mood::Silent,
            _ => Mood::Flawless,
        };
        self.say(format!("the gateway: {:?}", self.gateway.mood));
    }

    pub(crate) fn stop_one(&mut self) {
        let which = self.rng.random_range(0..self.workers.len());
        if let Doing::Sending(sending) = &mut self.workers[which].doing {
            sending.stopping = true;
        }
    }
}
