//! Users: what they ask for, and how they change their minds.

use crate::ledger::{self, CONTACTS, Fate, Heard};
use crate::world::{PATIENCE, Wish, World};
use domain::batches::{
    self, Audience, ContactRefs, NewSend, NewTag, OnUnknown, Patch, Recipients, Staged, TagOperation,
};
use domain::{Step, UserId, db};
use rand::Rng;
use sea_orm::DbErr;
use std::time::Duration;

impl World {
    pub(crate) async fn create(&mut self) {
        let now = self.now;
        let step = if self.rng.random_bool(0.1) {
            let mut contacts = ContactRefs::default();
            (1..=self.rng.random_range(1..=CONTACTS)).for_each(|id| contacts.push(&id.to_string()));
            let new = NewTag { contacts, tags: vec!["new".into()], operation: TagOperation::Add };
            self.accept(async |tx| batches::create_tag(tx, now, UserId(1), new, Staged::default()).await).await
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
                rate_per_minute: self.rng.random_bool(0.4).then(|| self.rng.random_range(60..6_000)),
                schedule_at: self.rng.random_bool(0.2).then(|| now.plus(Duration::from_secs(7))),
                on_unknown: if self.rng.random_bool(0.3) { OnUnknown::Hold } else { OnUnknown::Resend },
                chunk_items: Some(self.rng.random_range(1..16)),
                ..NewSend::new("Hello", recipients)
            };
            self.accept(async |tx| batches::create_send(tx, now, UserId(1), new, Staged::default()).await).await
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
        let new = NewSend { chunk_items: Some(10), ..NewSend::new("Hello", Recipients::Contacts(refs)) };
        let now = self.now;
        let step = self.accept(async |tx| batches::create_send(tx, now, UserId(1), new, Staged::default()).await).await;
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

    pub(crate) async fn accept(
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

    pub(crate) async fn delete_a_contact(&mut self) {
        let id = self.rng.random_range(1..=CONTACTS);
        db::execute(&self.db, "UPDATE contacts SET deleted_at = $2 WHERE id = $1", [id.into(), self.now.0.into()])
            .await
            .expect("deleted");
        self.say(format!("contact {id} is deleted"));
    }

    pub(crate) async fn steer(&mut self) {
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
}
