//! The end: all that is left comes to it by itself, and then everything must be as it should.

use crate::gateway::Mood;
use crate::ledger::{self, Fate, Heard};
use crate::world::{PATIENCE, World};
use domain::batches::{self, BatchStatus, Finding};
use domain::db;
use sea_orm::DbErr;
use std::collections::BTreeMap;
use uuid::Uuid;

impl World {
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

    pub(crate) async fn open_jobs(&self) -> i64 {
        let sql = "SELECT count(*) AS n FROM jobs WHERE state IN ('ready', 'running', 'paused', 'parked')";
        ledger::number(&self.db, sql).await
    }

    pub(crate) async fn findings(&self) -> Vec<Finding> {
        let mut found = batches::audit(&self.db, self.now, 9).await.expect("audited");
        // The scheduler here passes by chance and not by the clock.
        found.retain(|finding| !matches!(finding, Finding::Unrung { .. } | Finding::Abandoned { .. }));
        found
    }

    pub(crate) async fn audit(&mut self) {
        assert_eq!(self.findings().await, Vec::new());
        // Those that have nothing left but retries that wait have opened their successors.
        let sql = format!(
            "SELECT count(*) AS n FROM (SELECT batch_id FROM batch_chunks WHERE state = 'open' AND NOT passed_on
             GROUP BY batch_id HAVING count(*) > {})",
            batches::WINDOW
        );
        assert_eq!(ledger::number(&self.db, &sql).await, 0, "more chunks of a batch are open than may be at once");
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
        let sql = "SELECT batch_id, seq, item_status AS status, attempts, error_code, CAST(uuid AS TEXT) AS message_id,
                          finished_at IS NOT NULL AS finished FROM messages WHERE seq IS NOT NULL";
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
