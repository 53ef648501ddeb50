//! A statement that names one job reads one job, whatever PostgreSQL believes of the table: its statistics are those of the
//! last quiet hour.

use domain::db::{self, Limits};
use domain::jobs::{self, Claim, Ending, Finished};
use domain::{Db, JobId, Timestamp};
use sea_orm::ConnectionTrait;
use sqlx::postgres::PgConnectOptions;
use std::str::FromStr;
use std::time::Duration;
use support::{Postgres, Program};

const LIMITS: Limits = Limits { connections: 2, acquire: Duration::from_secs(10), answer: Duration::from_secs(60) };

/// How many rows of `jobs` this transaction has read.
async fn rows_read(tx: &impl ConnectionTrait) -> i64 {
    let sql = "SELECT CAST(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) AS BIGINT) AS n
               FROM pg_stat_xact_user_tables WHERE relname = 'jobs'";
    let row = db::one(tx, sql, []).await.expect("read").expect("a row");
    row.try_get("", "n").expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_among_many_is_found_at_once_after_a_quiet_night() {
    let database = Postgres::database().await;
    let program = Program::new(env!("CARGO_BIN_EXE_paceline")).env("PACELINE_DATABASE_URL", database.url());
    program.run(&["migrate", "up"], "").await;
    let fill = |state: &str, more: &str| {
        format!(
            "INSERT INTO jobs (kind, lane, state, run_at, created_at, lease_owner, lease_until, fence, finished_at)
             SELECT 'expand', 'bulk', '{state}', 1, 1, {more} FROM generate_series(1, 3000)"
        )
    };
    database.execute(fill("done", "NULL, NULL, 1, 1")).await;
    database.execute("ANALYZE jobs").await;
    database.execute(fill("ready", "NULL, NULL, 0, NULL")).await;
    database.execute(fill("running", "'somebody', 60000, 1, NULL")).await;

    let options = PgConnectOptions::from_str(database.url()).expect("its URL");
    let db = Db::postgres(options, LIMITS).await.expect("it is there");
    let tx = db.begin().await.expect("a transaction");
    let now = Timestamp(1_000);
    let before = rows_read(&tx).await;
    let id = JobId(4_000);
    let Claim::Taken(job) = jobs::claim(&tx, now, id, "me").await.expect("claimed") else { panic!("it is ready") };
    assert!(jobs::renew(&tx, now, id, job.fence).await.expect("renewed"));
    assert!(jobs::renew_with_progress(&tx, now, id, job.fence).await.expect("renewed"));
    assert_eq!(jobs::heartbeat(&tx, now, &[(id, job.fence)]).await.expect("renewed"), 1);
    let finished = jobs::finish(&tx, now, id, job.fence, &Ending::Done, &mut rand::rng()).await.expect("finished");
    assert_eq!(finished, Finished::Done);
    // It is over: a ring too many.
    assert_eq!(jobs::claim(&tx, now, id, "me").await.expect("asked"), Claim::NotReady);
    let read = rows_read(&tx).await - before;
    assert!(read <= 10, "{read} rows were read for one job");
}
