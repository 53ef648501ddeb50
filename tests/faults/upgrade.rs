//! A batch under way while everything is stopped, its schema goes on, and everything is started again.

use crate::setup::{PATIENCE, Runs, Setup, on_both};
use serde_json::json;
use std::rc::Rc;
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

/// Writes past the program.
async fn execute(s: &Setup, sql: &str) {
    match &s.runs {
        Runs::Embedded(_) => drop(s.program.execute(sql).await),
        Runs::Split(cluster) => cluster.database.execute(sql).await,
    }
}

async fn number(s: &Setup, sql: &str) -> i64 {
    match &s.runs {
        Runs::Embedded(_) => s.program.number(sql).await,
        Runs::Split(cluster) => cluster.database.number(sql).await,
    }
}

async fn until(s: &Setup, what: &str, sql: &str, wanted: i64) {
    eventually(what, PATIENCE, async || match number(s, sql).await {
        n if n == wanted => Ok(()),
        n => Err(n),
    })
    .await;
}

/// What the doctor says of jobs, and whether it finds something wrong.
async fn doctor(s: &Setup) -> (bool, Vec<String>) {
    let output = s.program.output(&["doctor"], "").await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = said.lines().filter(|line| line.contains(" jobs ") && line.contains("of kind")).map(str::to_owned);
    (output.status.success(), lines.collect())
}

on_both!(a_job_of_a_later_version_waits_for_a_later_build () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(2).await;
    let batch = s.send(&ids, json!({ "scheduleAt": "2099-01-01T00:00:00Z" })).await;
    let other = s.send(&ids, json!({ "scheduleAt": "2099-01-01T00:00:00Z" })).await;
    execute(&s, "UPDATE jobs SET payload_version = 99, run_at = 0 WHERE state = 'ready'").await;
    until(&s, "both to be parked", "SELECT count(*) FROM jobs WHERE state = 'parked'", 2).await;
    assert_eq!(s.get(&batch).await["status"], "PENDING");
    let (fine, said) = doctor(&s).await;
    assert!(!fine && said.len() == 1, "{said:?}");
    assert!(said[0].starts_with("FAIL") && said[0].contains("2 of kind \"start\" (lane default, version 99)"), "{said:?}");
    // What is parked can be cancelled as all that waits.
    s.admin.post(&format!("/batch/{other}/cancel"), &json!({})).await.expect(200);
    assert_eq!(number(&s, "SELECT count(*) FROM jobs WHERE state = 'parked'").await, 1);
    // The later build: one that reads this version.
    execute(&s, "UPDATE jobs SET payload_version = 1 WHERE payload_version = 99").await;
    assert_eq!(s.ended(&batch).await["successCount"], json!(2));
    assert_eq!(s.gateway.sent_count(), 2);
    assert_eq!(doctor(&s).await, (true, vec![]));
    s.audited().await;
}));

on_both!(what_a_release_left_that_was_rolled_back_is_in_nobodys_way () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(3).await;
    // More than a sweep takes, older than all there will be, in every lane.
    for lane in ["critical", "default", "bulk"] {
        execute(&s, &format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
             INSERT INTO jobs (kind, lane, state, payload_version, payload, run_at, created_at)
             SELECT 'remind', '{lane}', 'ready', 1, '{{}}', 0, 0 FROM n"
        )).await;
    }
    // It is opened by a job that nobody rings for but the sweep.
    let batch = s.send(&ids, json!({ "scheduleAt": "2099-01-01T00:00:00Z" })).await;
    execute(&s, "UPDATE jobs SET run_at = 1 WHERE kind = 'start'").await;
    assert_eq!(s.ended(&batch).await["successCount"], json!(3));
    until(&s, "all of them to be parked", "SELECT count(*) FROM jobs WHERE state = 'parked'", 4_500).await;
    let scheduler = match &s.runs {
        Runs::Embedded(serve) => serve,
        Runs::Split(cluster) => &cluster.scheduler,
    };
    eventually("them to be counted", PATIENCE, async || {
        let text = scheduler.client().metrics().await;
        let counted = text.lines().any(|line| line == "paceline_jobs_parked 4500")
            && text.lines().filter(|l| l.starts_with("paceline_jobs{") && l.contains("remind") && l.ends_with(" 1500")).count() == 3;
        if counted { Ok(()) } else { Err(text) }
    })
    .await;
    let (fine, said) = doctor(&s).await;
    assert!(!fine && said.len() == 3 && said.iter().all(|line| line.contains("1500 of kind \"remind\"")), "{said:?}");
    // The release that knows them is back.
    execute(&s, "UPDATE jobs SET kind = 'probe' WHERE kind = 'remind'").await;
    until(&s, "all to be done", "SELECT count(*) FROM jobs WHERE kind = 'probe' AND state = 'done'", 4_500).await;
    assert_eq!(doctor(&s).await, (true, vec![]));
    eventually("none to be counted", PATIENCE, async || {
        let text = scheduler.client().metrics().await;
        let none = text.lines().any(|line| line == "paceline_jobs_parked 0")
            && text.lines().filter(|l| l.starts_with("paceline_jobs{") && l.contains("remind")).all(|l| l.ends_with(" 0"));
        if none { Ok(()) } else { Err(text) }
    })
    .await;
}));
