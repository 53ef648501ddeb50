//! The ledger under any order of claims, outcomes, crashes and steering: after every commit a batch's counts are what its
//! items say, and in the end every item is decided and every message is one.

use domain::batches::send::{self, Begin, ItemOutcome, ItemResult, Rest, Settled};
use domain::batches::{self, BatchStatus, ContactRefs, Finding, NewSend, OnUnknown, Recipients};
use domain::jobs::{self, Claim};
use domain::{BatchId, Lane, Timestamp, UserId};
use migration::{Migrator, MigratorTrait};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, TransactionTrait};
use std::collections::HashMap;
use std::time::Duration;

/// Two chunks and a part of one.
const CONTACTS: i64 = 1_100;

#[derive(Clone, Debug)]
enum Move {
    /// A worker takes the next job and comes so far.
    Work {
        claims: usize,
        outcomes: u64,
        ends: Ends,
    },
    Pause,
    Resume,
    Cancel,
    Retry,
    /// Time passes; leases that ended are taken back.
    Later(u64),
}

/// How a worker ends.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// It lets go of its job.
    AtRest,
    /// It is killed after its messages left, before it could write how.
    Unsettled,
    /// It is killed after it wrote the outcomes.
    Settled,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let ends = prop_oneof![4 => Just(Ends::AtRest), 1 => Just(Ends::Unsettled), 1 => Just(Ends::Settled)];
    let one = prop_oneof![
        8 => (1..5_usize, any::<u64>(), ends).prop_map(|(claims, outcomes, ends)| Move::Work { claims, outcomes, ends }),
        1 => Just(Move::Pause),
        2 => Just(Move::Resume),
        1 => Just(Move::Cancel),
        2 => Just(Move::Retry),
        4 => (1..60_000_u64).prop_map(Move::Later),
    ];
    prop::collection::vec(one, 1..25)
}

/// A ledger, its clock, and what a gateway would have seen.
struct World {
    db: DatabaseConnection,
    now: Timestamp,
    rng: StdRng,
    batch: BatchId,
    /// The message id of each item that was ever attempted.
    ids: HashMap<i64, String>,
}

impl World {
    async fn new(hold: bool, seed: u64) -> Self {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1).sqlx_logging(false);
        let db = Database::connect(options).await.expect("opened");
        Migrator::up(&db, None).await.expect("migrated");
        let contacts = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {CONTACTS})
             INSERT INTO contacts (identifier, phone, created_at, updated_at)
             SELECT 'contact ' || i, '6012' || (3000000 + i), 0, 0 FROM n"
        );
        db.execute_unprepared(&contacts).await.expect("written");
        let now = Timestamp(1_800_000_000_000);
        let mut refs = ContactRefs::default();
        // The last three are nobody.
        (1..=CONTACTS + 3).for_each(|id| refs.push(&id.to_string()));
        let new = NewSend {
            content: Some("Hello".into()),
            template: None,
            recipients: Recipients::Contacts(refs),
            rate_per_minute: None,
            jitter_ms: 0,
            schedule_at: None,
            on_unknown: if hold { OnUnknown::Hold } else { OnUnknown::Resend },
        };
        let tx = db.begin().await.expect("begun");
        let step = batches::create_send(&tx, now, UserId(1), new).await.expect("accepted");
        tx.commit().await.expect("committed");
        let batch = step.value.summary.id;
        Self { db, now, rng: StdRng::seed_from_u64(seed), batch, ids: HashMap::new() }
    }

    /// A worker takes one job; false when there is none. Without `outcomes` the gateway takes everything.
    async fn work(&mut self, claims: usize, outcomes: Option<u64>, ends: Ends) -> bool {
        let due = jobs::due(&self.db, self.now, Lane::Bulk, 1).await.expect("read");
        let Some(job) = due.first() else { return false };
        let Claim::Taken(job) = jobs::claim(&self.db, self.now, job.id, "w").await.expect("claimed") else {
            return false;
        };
        let tx = self.db.begin().await.expect("begun");
        let begun = send::begin(&tx, self.now, &job, &mut self.rng).await.expect("begins").value;
        tx.commit().await.expect("committed");
        let Begin::Go(mut work) = begun else { return true };
        let mut more_at = Some(self.now);
        for nth in 0..claims {
            if more_at.is_none_or(|at| at > self.now) {
                break;
            }
            let tx = self.db.begin().await.expect("begun");
            let claimed = send::claim_items(&tx, self.now, &mut work, 200, None, &mut self.rng).await.expect("claims");
            tx.commit().await.expect("committed");
            let claimed = claimed.expect("the claim stands").value;
            more_at = claimed.more_at;
            let results: Vec<_> = claimed
                .items
                .into_iter()
                .map(|item| {
                    let id = item.message_id.to_string();
                    assert_eq!(*self.ids.entry(item.seq).or_insert_with(|| id.clone()), id, "one id over all attempts");
                    let (code, detail) = (String::from("code"), String::from("detail"));
                    let chance = outcomes.map(|o| (o >> (nth * 7 % 32)).wrapping_add(item.seq.unsigned_abs()) % 11);
                    let outcome = match chance.unwrap_or(10) {
                        0 => ItemOutcome::Rejected { code, detail },
                        1 => ItemOutcome::Failed { code, detail },
                        2 => ItemOutcome::Unknown { code, detail },
                        3 => ItemOutcome::Returned,
                        _ => ItemOutcome::Accepted,
                    };
                    ItemResult {
                        seq: item.seq,
                        message_id: item.message_id,
                        contact: item.contact,
                        attempt: item.attempt,
                        doubtful: item.doubtful,
                        text: Some("Hello".into()),
                        at: self.now,
                        outcome,
                    }
                })
                .collect();
            if matches!(ends, Ends::Unsettled) && nth + 1 == claims {
                return true;
            }
            let tx = self.db.begin().await.expect("begun");
            let settled = send::settle(&tx, self.now, work.held, &results, &mut self.rng).await.expect("settles").value;
            assert!(matches!(settled, Settled::Written { .. }), "the claim stands");
            tx.commit().await.expect("committed");
        }
        if matches!(ends, Ends::AtRest) {
            let tx = self.db.begin().await.expect("begun");
            let rest = send::rest(&tx, self.now, work.held, more_at, false, &mut self.rng).await.expect("rests").value;
            assert_ne!(rest, Rest::Stale, "the claim stands");
            tx.commit().await.expect("committed");
        }
        true
    }

    async fn make(&mut self, one: &Move) {
        if let Move::Work { claims, outcomes, ends } = one {
            self.work(*claims, Some(*outcomes), *ends).await;
            return;
        }
        let tx = self.db.begin().await.expect("begun");
        // What makes no sense in the present state is refused, and rolled back.
        let made = match one {
            Move::Work { .. } => return,
            Move::Pause => batches::pause(&tx, self.batch).await.is_ok(),
            Move::Resume => batches::resume(&tx, self.now, self.batch).await.is_ok(),
            Move::Cancel => batches::cancel(&tx, self.now, self.batch).await.is_ok(),
            Move::Retry => batches::retry(&tx, self.now, self.batch).await.is_ok(),
            Move::Later(ms) => {
                self.now = self.now.plus(Duration::from_millis(*ms));
                jobs::rescue(&tx, self.now, 100).await.is_ok()
            }
        };
        if made { tx.commit().await.expect("committed") } else { tx.rollback().await.expect("rolled back") }
    }

    /// What the ledger says against itself. Rings are not played here, so that nobody rang is no finding.
    async fn findings(&self) -> Vec<Finding> {
        let mut found = batches::audit(&self.db, self.now, 9).await.expect("audited");
        found.retain(|finding| !matches!(finding, Finding::Unrung { .. } | Finding::Abandoned { .. }));
        found
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn counts_are_what_the_items_say_whatever_happens(moves in moves(), hold: bool, seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("made");
        runtime.block_on(async {
            let mut world = World::new(hold, seed).await;
            for one in &moves {
                world.make(one).await;
                let found = world.findings().await;
                prop_assert!(found.is_empty(), "after {:?}: {:?}", one, found);
            }
            // Everything comes to an end once the gateway takes it.
            world.make(&Move::Resume).await;
            for _ in 0..100 {
                if !world.work(9, None, Ends::AtRest).await {
                    let batch = batches::get(&world.db, world.batch).await.expect("read").expect("there").summary;
                    if batch.status.is_terminal() && jobs_left(&world.db).await == 0 {
                        break;
                    }
                }
                world.make(&Move::Later(10_000)).await;
            }
            prop_assert_eq!(world.findings().await, Vec::new());
            let batch = batches::get(&world.db, world.batch).await.expect("read").expect("there").summary;
            prop_assert!(batch.status.is_terminal(), "{:?}", batch);
            prop_assert!(batch.status == BatchStatus::Cancelled || batch.processed() == batch.total, "{:?}", batch);
            Ok(())
        })?;
    }
}

async fn jobs_left(db: &DatabaseConnection) -> i64 {
    let sql = "SELECT count(*) AS n FROM jobs WHERE state IN ('ready', 'running', 'paused')";
    let row = domain::db::one(db, sql, []).await.expect("read").expect("a row");
    row.try_get("", "n").expect("a number")
}
