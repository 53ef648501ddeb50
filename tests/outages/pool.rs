//! The connections to PostgreSQL themselves: each step ends, and no connection that is not clean is used again.

use domain::Db;
use domain::db::{self, Limits, Trouble};
use futures::FutureExt;
use futures::future::join_all;
use sea_orm::ConnectionTrait;
use sqlx::postgres::PgConnectOptions;
use std::str::FromStr;
use std::time::{Duration, Instant};
use support::{DEADLINE, Database, Postgres, Proxy, Way, eventually};

const LIMITS: Limits = Limits { connections: 4, acquire: Duration::from_secs(2), answer: Duration::from_millis(700) };

async fn world() -> (Database, Proxy, Db) {
    let database = Postgres::database().await;
    database.execute("CREATE TABLE notes (n BIGINT)").await;
    let proxy = Proxy::before(database.url()).await;
    let options = PgConnectOptions::from_str(&proxy.url(database.url())).expect("its URL");
    let db = Db::postgres(options, LIMITS).await.expect("it is there");
    (database, proxy, db)
}

async fn count(db: &Db) -> Result<i64, sea_orm::DbErr> {
    let row = db::one(db.read(), "SELECT count(*) AS n FROM notes", []).await?.expect("a row");
    row.try_get("", "n")
}

/// Uses as many connections at once as there may be.
async fn all_places_work(db: &Db) {
    let all = join_all((0..LIMITS.connections).map(async |_| db.begin().await)).await;
    for tx in all {
        let tx = tx.expect("a place");
        tx.execute_unprepared("INSERT INTO notes VALUES (1)").await.expect("it writes");
        tx.rollback().await.expect("it rolls back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_database_costs_a_limited_time_and_no_place() {
    let (_database, proxy, db) = world().await;
    all_places_work(&db).await;
    for turn in 0..3 {
        proxy.stall();
        let began = Instant::now();
        // More than there are places: with those that are never given back, the pool would be empty now.
        let answers = join_all((0..2 * LIMITS.connections).map(async |_| count(&db).await)).await;
        for answer in answers {
            let error = answer.expect_err("nothing comes through");
            assert_eq!(Trouble::of(&error), Trouble::Away, "{error}");
        }
        let most = 2 * (LIMITS.acquire + LIMITS.answer) + Duration::from_secs(5);
        assert!(began.elapsed() < most, "turn {turn}: {:?}", began.elapsed());
        proxy.pass();
        all_places_work(&db).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_lost_while_they_lie_idle_are_not_all_tried() {
    let (_database, proxy, db) = world().await;
    all_places_work(&db).await;
    proxy.lose();
    // One finds out by waiting; the others are dropped with it, and the read is answered by a new one.
    let began = Instant::now();
    assert_eq!(count(&db).await.expect("a new connection"), 0);
    assert!(began.elapsed() < LIMITS.answer + LIMITS.acquire, "{:?}", began.elapsed());
    all_places_work(&db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_nobody_saw_is_no_error_to_who_reads_or_begins() {
    let (database, _proxy, db) = world().await;
    for _ in 0..3 {
        all_places_work(&db).await;
        assert!(database.disconnect_all().await >= i64::from(LIMITS.connections));
        assert_eq!(count(&db).await.expect("a new connection"), 0);
        all_places_work(&db).await;
        database.disconnect_all().await;
        drop(db.begin().await.expect("a new connection"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dropped_half_way_leaves_no_transaction_behind() {
    let (database, proxy, db) = world().await;
    for _ in 0..20 {
        // BEGIN is on its way, and nobody waits for its answer any more.
        proxy.half_open(Way::Back);
        assert!(db.begin().now_or_never().is_none());
        let mut begin = Box::pin(db.begin());
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut begin).await.is_err());
        drop(begin);
        proxy.pass();
        // A single statement is its own transaction: what it wrote is there for others.
        db::execute(db.write(), "INSERT INTO notes VALUES (1)", []).await.expect("it writes");
    }
    assert_eq!(database.number("SELECT count(*) FROM notes").await, 20);
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    eventually("no open transaction", DEADLINE, async || match database.number(open).await {
        0 => Ok(()),
        open => Err(open),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_the_network_lost_holds_no_lock() {
    let (database, proxy, db) = world().await;
    database.execute("INSERT INTO notes VALUES (1)").await;
    let lock = "UPDATE notes SET n = n + 1";
    let lost = db.begin().await.expect("a place");
    lost.execute_unprepared(lock).await.expect("locked");
    // The server hears nothing of it any more: not even that it is over.
    proxy.lose();
    let began = Instant::now();
    lost.execute_unprepared(lock).await.expect_err("no answer");
    drop(lost);
    let next = db.begin().await.expect("a place");
    eventually("the lock to be free", DEADLINE, async || {
        next.execute_unprepared("SAVEPOINT s").await.map_err(|error| error.to_string())?;
        let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'
                    AND query LIKE 'UPDATE%'";
        match database.number(open).await {
            0 => Ok(()),
            open => Err(format!("{open} transactions hold it")),
        }
    })
    .await;
    next.execute_unprepared(lock).await.expect("locked");
    assert!(began.elapsed() < Duration::from_secs(20), "long before the server's own limit: {:?}", began.elapsed());
    next.commit().await.expect("committed");
    assert_eq!(database.number("SELECT n FROM notes").await, 2, "the lost one was rolled back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_in_which_something_failed_is_not_committed() {
    let (database, _proxy, db) = world().await;
    let tx = db.begin().await.expect("a place");
    tx.execute_unprepared("INSERT INTO notes VALUES (1)").await.expect("it writes");
    tx.execute_unprepared("INSERT INTO nowhere VALUES (1)").await.expect_err("no such table");
    // PostgreSQL answers COMMIT with a rollback, and calls that no error.
    tx.commit().await.expect_err("nothing was written");
    assert_eq!(database.number("SELECT count(*) FROM notes").await, 0);
    all_places_work(&db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_says_so() {
    let (database, proxy, db) = world().await;
    let tx = db.begin().await.expect("a place");
    tx.execute_unprepared("INSERT INTO notes VALUES (1)").await.expect("it writes");
    proxy.half_open(Way::Back);
    let error = tx.commit().await.expect_err("no answer");
    assert!(Trouble::is_unsettled(&error), "{error}");
    proxy.pass();
    assert_eq!(database.number("SELECT count(*) FROM notes").await, 1, "it was committed all the same");

    let tx = db.begin().await.expect("a place");
    proxy.cut();
    let error = tx.execute_unprepared("INSERT INTO notes VALUES (1)").await.expect_err("no connection");
    assert!(!Trouble::is_unsettled(&error), "{error}");
    let error = tx.commit().await.expect_err("no connection");
    assert!(!Trouble::is_unsettled(&error), "there was nothing to commit: {error}");
}
