//! PostgreSQL killed, disconnected, full of others, locked, silent and slow.

use crate::setup::{PATIENCE, Split, accepted, figure, not_ready, refused, within};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::time::{Duration, Instant};
use support::{PostgresOptions, Way, eventually};

/// Short, so that what hangs ends soon.
const STATEMENT_SECS: &str = "2";

/// An answer that does not come is given up after the statement's time and 2 s more.
const GIVEN_UP: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_mid_send_and_started_again() {
    let mut w = Split::start(|cluster| cluster.private_postgres().workers(2)).await;
    let ids = w.contacts(1_500).await;
    let batch = w.send(&ids, 30_000).await;
    for sent in [200, 700] {
        w.gateway.wait_for(sent).await;
        let postgres = w.runs.postgres.as_mut().expect("of its own");
        postgres.kill9().await;
        not_ready(&w.runs.api, "database").await;
        refused(&w.admin.get("/batch").await, "away or busy");
        let began = Instant::now();
        w.runs.postgres.as_mut().expect("of its own").restart().await;
        w.ready().await;
        within(Duration::from_secs(15), began, "from its start until every process is ready");
    }
    w.whole(&[batch], 1_500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connection_broken_again_and_again() {
    let w = Split::start(|cluster| cluster.workers(2)).await;
    let ids = w.contacts(1_500).await;
    let batch = w.send(&ids, 20_000).await;
    let mut broken = 0;
    for turn in 1..=12 {
        w.gateway.wait_for(turn * 100).await;
        broken += w.runs.database.disconnect_all().await;
    }
    figure("connections broken", broken);
    assert!(broken > 24, "there was something to break: {broken}");
    w.whole(&[batch], 1_500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_left_for_us() {
    const PLACES: usize = 24;
    let settings = vec![
        ("max_connections".to_owned(), PLACES.to_string()),
        ("superuser_reserved_connections".to_owned(), "0".to_owned()),
    ];
    let w = Split::start(|cluster| {
        let server = PostgresOptions { settings, ..PostgresOptions::default() };
        cluster.postgres_with(server).env("PACELINE_DATABASE_MAX_CONNECTIONS", "4")
    })
    .await;
    let ids = w.contacts(600).await;
    let batch = w.send(&ids, 12_000).await;
    w.gateway.wait_for(100).await;
    // Ours are broken, and others take every place before we can.
    let mut others = Vec::new();
    others.push(PgConnection::connect(w.runs.database.url()).await.expect("a place"));
    eventually("no place left", PATIENCE, async || {
        let ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'paceline'";
        sqlx::query(ours).execute(&mut others[0]).await.map_err(|error| error.to_string())?;
        // Again and again: a session gives its place back a moment after it was broken.
        for _ in 0..100 {
            others.extend(PgConnection::connect(w.runs.database.url()).await);
        }
        // A session of ours that is just ending, or beginning, has a place as well: the next statement could use it.
        if others.len() < PLACES {
            return Err(format!("{} of {PLACES} places", others.len()));
        }
        let answer = w.admin.get("/batch").await;
        if answer.status == 503 { Ok(()) } else { Err(format!("{} with {} others", answer.status, others.len())) }
    })
    .await;
    not_ready(&w.runs.api, "database").await;
    let before = Instant::now();
    refused(&w.try_send(&ids, json!({})).await.expect("an answer"), "away or busy");
    within(Duration::from_secs(12), before, "a refusal");
    for other in others {
        other.close().await.expect("a goodbye");
    }
    w.ready().await;
    assert_eq!(w.admin.get("/batch?type=SEND").await.expect(200)["meta"]["count"], 1, "nothing is half written");
    w.whole(&[batch], 600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_somebody_locks() {
    let w = Split::start(|cluster| cluster.env("PACELINE_DATABASE_STATEMENT_TIMEOUT_SECS", STATEMENT_SECS)).await;
    let ids = w.contacts(600).await;
    let batch = w.send(&ids, 12_000).await;
    w.gateway.wait_for(100).await;
    let mut other = w.runs.database.connect().await;
    let mut locked = other.begin().await.expect("a transaction");
    // One alone: who waits for the second with the first in hand may be in a deadlock with us, and be the one that loses.
    sqlx::query("LOCK TABLE batches").execute(&mut *locked).await.expect("locked");
    for _ in 0..2 {
        let before = Instant::now();
        refused(&w.admin.get("/batch").await, "away or busy");
        refused(&w.try_send(&ids, json!({})).await.expect("an answer"), "away or busy");
        within(Duration::from_secs(15), before, "two refusals");
    }
    locked.rollback().await.expect("unlocked");
    assert_eq!(w.admin.get("/batch?type=SEND").await.expect(200)["meta"]["count"], 1, "nothing is half written");
    w.whole(&[batch], 600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_that_cannot_be_serialized() {
    let w = Split::start(|cluster| cluster.workers(2)).await;
    let name = w.runs.database.url().rsplit('/').next().expect("a name").to_owned();
    let strict = format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'");
    w.runs.database.execute(strict).await;
    w.runs.database.disconnect_all().await;
    let ids = w.contacts(600).await;
    let batch = w.send(&ids, 12_000).await;
    w.whole(&[batch], 600).await;
    let conflicts = w.runs.processes().any(|process| process.log().contains("could not serialize"));
    assert!(conflicts, "it was hit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlocks_with_somebody_else() {
    let w = Split::start(|cluster| cluster.workers(2)).await;
    let ids = w.contacts(1_000).await;
    let batch = w.send(&ids, 6_000).await;
    let mut other = w.runs.database.connect().await;
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut turns = 0;
    eventually("a deadlock", PATIENCE, async || {
        turns += 1;
        w.gateway.wait_for((turns * 20).min(1_000)).await;
        let mut tx = other.begin().await.expect("a transaction");
        // Outcomes lock their job first and the batch last; this one goes the other way round.
        let batch_first = format!("SELECT 1 FROM batches WHERE id = {batch} FOR UPDATE");
        sqlx::query(AssertSqlSafe(batch_first)).execute(&mut *tx).await.expect("locked");
        eventually("somebody to wait for it", PATIENCE, async || match w.runs.database.number(waiting).await {
            0 => Err("nobody does"),
            _ => Ok(()),
        })
        .await;
        let then_jobs = format!("SELECT 1 FROM jobs WHERE batch_id = {batch} FOR UPDATE");
        let we_gave_way = sqlx::query(AssertSqlSafe(then_jobs)).execute(&mut *tx).await.is_err();
        tx.rollback().await.expect("unlocked");
        let they_did = || w.runs.processes().any(|process| process.log().contains("deadlock detected"));
        if we_gave_way || they_did() { Ok(()) } else { Err(format!("none in {turns} turns")) }
    })
    .await;
    w.whole(&[batch], 1_000).await;
}

/// Makes each commit that counted outcomes take its time, so that it can be caught in the middle.
const DAWDLE: &str = "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
                          $$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$;
                      CREATE CONSTRAINT TRIGGER dawdle AFTER UPDATE OF succeeded ON batches DEFERRABLE INITIALLY DEFERRED
                          FOR EACH ROW EXECUTE FUNCTION dawdle()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_lost_after_the_commit() {
    let w = Split::start(|cluster| cluster.proxied()).await;
    let ids = w.contacts(1_000).await;
    w.runs.database.execute(DAWDLE).await;
    let batch = w.send(&ids, 6_000).await;
    let way = &w.runs.worker_links(0).postgres;
    let committing = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = 'COMMIT'
                      AND state = 'active' AND application_name = 'paceline'";
    let at_commit = async |wanted: bool| {
        eventually("a commit to begin, or to end", PATIENCE, async || {
            let count = w.runs.database.number(committing).await;
            if (count > 0) == wanted { Ok(()) } else { Err(count) }
        })
        .await;
    };
    for turn in 1..=5 {
        w.gateway.wait_for(turn * 50).await;
        at_commit(true).await;
        // It is done, and the answer does not come back; then the connection breaks.
        way.half_open(Way::Back);
        at_commit(false).await;
        way.break_off();
        way.pass();
    }
    w.runs.database.execute("DROP TRIGGER dawdle ON batches").await;
    let lost = w.runs.workers[0].log().contains("outcomes not written yet");
    assert!(lost, "an outcome was among what was committed:\n{}", w.runs.workers[0].log().tail(30));
    w.whole(&[batch], 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_forgets_connections_and_stalls() {
    let w =
        Split::start(|cluster| cluster.proxied().env("PACELINE_DATABASE_STATEMENT_TIMEOUT_SECS", STATEMENT_SECS)).await;
    let ids = w.contacts(1_500).await;
    let batch = w.send(&ids, 20_000).await;
    // Somebody in between forgets the connections, twice: each was given up, and new ones are made.
    for sent in [200, 500] {
        w.gateway.wait_for(sent).await;
        let before = Instant::now();
        w.runs.links.iter().for_each(|links| links.postgres.lose());
        eventually("the API to answer", PATIENCE, async || match w.admin.get("/batch").await.status {
            200 => Ok(()),
            status => Err(status),
        })
        .await;
        within(2 * GIVEN_UP, before, "until the API answers over new connections");
        w.gateway.wait_for(sent + 100).await;
        within(2 * GIVEN_UP + Duration::from_secs(5), before, "until messages leave again");
    }
    // Nothing comes through for longer than anything is waited for.
    w.runs.links.iter().for_each(|links| links.postgres.stall());
    not_ready(&w.runs.api, "database").await;
    let before = Instant::now();
    refused(&w.admin.get("/batch").await, "away or busy");
    within(Duration::from_secs(15), before, "a refusal");
    w.runs.links.iter().for_each(|links| links.postgres.pass());
    let before = Instant::now();
    w.ready().await;
    within(Duration::from_secs(10), before, "until every process is ready");
    w.whole(&[batch], 1_500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_reset_after_some_bytes() {
    let w = Split::start(|cluster| cluster.proxied().workers(2)).await;
    let ids = w.contacts(1_200).await;
    let batch = w.send(&ids, 6_000).await;
    let trapped = || w.runs.links.iter().map(|links| links.postgres.trapped()).sum::<usize>();
    for (turn, bytes) in [700, 2_000, 1_500].into_iter().enumerate() {
        w.gateway.wait_for((turn + 1) * 100).await;
        let before = trapped();
        for links in &w.runs.links {
            let way = if turn % 2 == 0 { Way::Back } else { Way::There };
            links.postgres.reset_after(way, bytes, 3);
            // What there is breaks, so that the next ones are trapped.
            links.postgres.break_off();
        }
        eventually("the traps to spring", PATIENCE, async || {
            let sprung = trapped() - before;
            if sprung >= 3 { Ok(()) } else { Err(format!("{sprung} after {bytes} bytes")) }
        })
        .await;
    }
    figure("connections reset", trapped());
    w.runs.links.iter().for_each(|links| links.postgres.pass());
    w.whole(&[batch], 1_200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: waits until the lease of a worker ends that cannot reach the ledger"]
async fn one_of_two_workers_is_cut_off_from_the_ledger() {
    let w = Split::start(|cluster| {
        cluster.proxied().workers(2).env("PACELINE_DATABASE_STATEMENT_TIMEOUT_SECS", STATEMENT_SECS)
    })
    .await;
    let ids = w.contacts(2_000).await;
    let batch = w.send(&ids, 20_000).await;
    w.gateway.wait_for(300).await;
    let way = &w.runs.worker_links(0).postgres;
    way.stall();
    let before = Instant::now();
    // The other goes on, and takes over what the first one held once its lease has ended.
    let done = w.ended(&batch).await;
    assert_eq!(done["successCount"], json!(2_000), "{done}");
    within(Duration::from_secs(70), before, "until the other worker has done it all");
    way.pass();
    w.runs.workers[0].ready().await;
    // It works again: without the other, it does everything.
    let second = accepted(w.try_send(&ids, json!({})).await.expect("an answer"));
    w.whole(&[batch, second], 2_000).await;
}
