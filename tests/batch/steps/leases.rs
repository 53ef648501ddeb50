//! A worker's word that it is there, and its leases, while its own steps hold rows (PostgreSQL).

use super::ledger::{LIMITS, Ledger, NOW};
use crate::setup::{Runs, Setup, accepted};
use domain::db::{self, Limits};
use domain::jobs::workers::{self, SILENCE};
use domain::jobs::{self, LEASE};
use domain::kinds::Kinds;
use domain::{Db, Timestamp};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use std::str::FromStr;

const LATER: Timestamp = Timestamp(NOW.0 + 10_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_passes_over_what_a_step_of_its_own_process_holds() {
    let ledger = Ledger::postgres().await;
    ledger.contacts(2).await;
    let (_, first) = ledger.delete(&[1]).await;
    let (_, second) = ledger.delete(&[2]).await;
    let (one, two) = (ledger.claim(first[0].job.id).await, ledger.claim(second[0].job.id).await);
    let held = [(one.id, one.fence), (two.id, two.fence)];
    let db = &ledger.db;
    workers::beat(db.vital(), NOW, "me", &workers::Orders::default()).await.expect("told");

    // A step that takes as long as it likes: the job's row is its until it ends.
    let step = db.begin().await.expect("a transaction");
    assert!(jobs::renew(&step, NOW, one.id, one.fence).await.expect("renewed"));
    let until = async |id| ledger.number(format!("SELECT lease_until AS n FROM jobs WHERE id = {id}")).await;

    // Each of these fails by a timeout if it waits for the step.
    assert_eq!(jobs::heartbeat(db.vital(), LATER, &held).await.expect("not waited for"), 2, "both stand");
    assert_eq!(until(two.id).await, LATER.plus(LEASE).0, "the other one is renewed");
    assert_eq!(workers::disown(db.vital(), LATER, "me", &[], LATER.plus(LEASE)).await.expect("not waited for"), 1);
    assert!(until(two.id).await < LATER.0, "nobody knew of it");
    workers::beat(db.vital(), LATER, "me", &workers::Orders::default()).await.expect("not waited for");

    // Nor does whoever takes the worker for dead; and what a living step holds is nobody else's.
    let silent = db.begin().await.expect("a transaction");
    let heard_since = LATER.plus(SILENCE);
    assert_eq!(workers::bury_silent(&silent, heard_since, heard_since).await.expect("not waited for"), 1);
    silent.commit().await.expect("committed");
    let rescue = db.begin().await.expect("a transaction");
    let far = LATER.plus(LEASE * 10);
    let rescued = jobs::rescue(&rescue, far, 10, &Kinds).await.expect("not waited for").value;
    rescue.commit().await.expect("committed");
    assert_eq!(rescued.ready, 1, "only the one that no transaction holds");
    step.commit().await.expect("the claim stood all the while");
    assert_eq!(jobs::heartbeat(db.vital(), far, &held).await.expect("renewed"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_beat_and_the_leases_need_no_connection_of_the_jobs() {
    let ledger = Ledger::postgres().await;
    let database = ledger.database.as_ref().expect("a database");
    let options = PgConnectOptions::from_str(database.url()).expect("its URL");
    let db = Db::postgres(options, Limits { connections: 2, ..LIMITS }).await.expect("it is there");
    let all = [db.begin().await.expect("the first"), db.begin().await.expect("the last")];
    workers::beat(db.vital(), NOW, "me", &workers::Orders::default())
        .await
        .expect("told, with every connection of the jobs in use");
    assert_eq!(jobs::heartbeat(db.vital(), NOW, &[(domain::JobId(1), 1)]).await.expect("asked"), 0);
    for tx in all {
        tx.rollback().await.expect("rolled back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stops_leaves_what_its_steps_hold() {
    let ledger = Ledger::postgres().await;
    ledger.contacts(1).await;
    let (_, rings) = ledger.delete(&[1]).await;
    let job = ledger.claim(rings[0].job.id).await;
    workers::beat(ledger.db.vital(), NOW, "me", &workers::Orders::default()).await.expect("told");
    let step = ledger.db.begin().await.expect("a transaction");
    assert!(jobs::renew(&step, NOW, job.id, job.fence).await.expect("renewed"));
    assert_eq!(workers::leave(ledger.db.write(), LATER, "me").await.expect("not waited for"), 0);
    let there = "SELECT count(*) AS n FROM workers";
    assert_eq!(ledger.number(there).await, 1, "its job is taken back as that of a worker that is there");
    db::execute(&step, "UPDATE jobs SET state = 'done', lease_owner = NULL", []).await.expect("written");
    step.commit().await.expect("committed");
    assert_eq!(workers::leave(ledger.db.write(), LATER, "me").await.expect("left"), 0);
    assert_eq!(ledger.number(there).await, 0);
}

/// Each message whose text is removed takes its time: the texts of all take far longer than a worker may be silent.
const SLOW: &str = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
                        $$ BEGIN PERFORM pg_sleep(0.0005); RETURN NEW; END $$;
                    CREATE TRIGGER slow BEFORE UPDATE OF content ON messages FOR EACH ROW EXECUTE FUNCTION slow()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_deletion_costs_its_worker_no_lease() {
    let s = Setup::split(&[]).await;
    let ids = s.contacts(20).await;
    let Runs::Split(cluster) = &s.runs else { panic!("it is split") };
    cluster
        .database
        .execute(
            "INSERT INTO messages (uuid, contact_id, direction, content, status, created_at)
             SELECT gen_random_uuid(), c.id, 'in', 'a secret', 'received', 0 FROM contacts c, generate_series(1, 1000)",
        )
        .await;
    cluster.database.execute(SLOW).await;
    let id = accepted(s.admin.post("/batch/delete", &json!({ "contactIds": ids })).await.expect(202));
    let done = s.ended(&id).await;
    assert_eq!(done["successCount"], json!(20), "{done}");
    assert_eq!(cluster.database.number("SELECT count(*) FROM messages WHERE content IS NOT NULL").await, 0);
    let claims = format!("SELECT max(attempts) FROM jobs WHERE batch_id = {id}");
    assert_eq!(cluster.database.number(claims).await, 1, "nobody took it for dead");
    for process in cluster.processes() {
        let log = process.log();
        assert!(!log.contains("fell silent") && !log.contains("leases had ended"), "{}", log.tail(30));
    }
    s.audited().await;
}
