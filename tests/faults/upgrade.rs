//! A batch under way while everything is stopped, its schema goes on, and everything is started again.

use crate::setup::{PATIENCE, Runs, Setup};
use serde_json::json;
use support::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_survives_the_next_step_of_the_schema() {
    let mut s = Setup::split(&[]).await;
    let ids = s.contacts(300).await;
    let batch = s.send(&ids, json!({ "ratePerMinute": 3_000 })).await;
    s.gateway.wait_for(50).await;
    let Runs::Split(cluster) = &mut s.runs else { unreachable!() };
    for process in [&mut cluster.api, &mut cluster.workers[0], &mut cluster.scheduler] {
        process.terminate().await;
        assert!(process.wait(PATIENCE).await.success());
    }
    // As it was before the last step, and then the step again: what an upgrade does to rows that are in use.
    s.program.run(&["migrate", "down", "--yes"], "").await;
    let pending = s.program.run(&["migrate", "status"], "").await;
    assert!(pending.contains("pending"), "{pending}");
    s.program.run(&["migrate", "up"], "").await;
    cluster.api.restart().await;
    cluster.workers[0].restart().await;
    cluster.scheduler.restart().await;
    s.admin = cluster.api.client().with_token(s.program.token_for("admin").await);
    assert_eq!(s.ended(&batch).await["successCount"], json!(300));
    assert_eq!(s.gateway.attempts().len(), 300, "who is told to stop leaves nothing in the middle");
    s.audited().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_a_later_version_waits_for_a_later_build() {
    let s = Setup::split(&[]).await;
    let Runs::Split(cluster) = &s.runs else { unreachable!() };
    let ids = s.contacts(2).await;
    let batch = s.send(&ids, json!({ "scheduleAt": "2099-01-01T00:00:00Z" })).await;
    cluster.database.execute("UPDATE jobs SET payload_version = 99, run_at = 0 WHERE state = 'ready'").await;
    eventually("the worker to tell of it", PATIENCE, async || {
        let log = cluster.workers[0].log();
        if log.contains("a job of a later version waits for a later build") { Ok(()) } else { Err(log.tail(20)) }
    })
    .await;
    assert_eq!(s.get(&batch).await["status"], "PENDING");
    // The later build: one that reads this version.
    cluster.database.execute("UPDATE jobs SET payload_version = 1 WHERE payload_version = 99").await;
    assert_eq!(s.ended(&batch).await["successCount"], json!(2));
    s.audited().await;
}
