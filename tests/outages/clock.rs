//! Machines whose clocks are wrong. Leases, slots, schedules and retries go by the database's clock.

use crate::setup::{PATIENCE, Split, accepted, figure, within};
use domain::Timestamp;
use serde_json::json;
use std::fs;
use std::time::{Duration, Instant, SystemTime};
use support::{ClusterBuilder, Reply, eventually, tools};

/// libfaketime's variables: a clock that is off by so much. Timers are left alone, as on a machine that is only set wrong.
fn off_by(offset: &str) -> Vec<(String, String)> {
    let library = tools::faketime().unwrap_or_else(|error| panic!("{error:#}; see `cargo xtask test`"));
    let value = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![
        value("LD_PRELOAD", &library.display().to_string()),
        value("FAKETIME", offset),
        value("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]
}

fn borrowed(env: &[(String, String)]) -> Vec<(&str, &str)> {
    env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Everything is off by as much, but the database.
fn all_off_by(cluster: ClusterBuilder, offset: &str) -> ClusterBuilder {
    off_by(offset).into_iter().fold(cluster, |cluster, (name, value)| cluster.env(name, value))
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after it");
    i64::try_from(now.as_millis()).expect("small")
}

/// No lease was taken for one that had ended, and what was scheduled left at its time.
async fn keeps_time(w: &Split, ids: &[String]) -> String {
    let at = now_ms() + 2_500;
    let schedule = json!({ "scheduleAt": Timestamp(at).to_rfc3339() });
    let sent = w.gateway.sent_count();
    let batch = accepted(w.try_send(ids, schedule).await.expect("an answer"));
    let first = eventually("the first to leave", PATIENCE, async || match w.gateway.sent_count() {
        count if count > sent => Ok(now_ms()),
        _ => Err("none has"),
    })
    .await;
    figure("after its scheduled time the first left", format!("{} ms", first - at));
    assert!((-5..3_000).contains(&(first - at)), "{} ms off its time", first - at);
    w.ended(&batch).await;
    batch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_worker_ahead_and_one_behind() {
    let (ahead, behind) = (off_by("+300s"), off_by("-300s"));
    let w =
        Split::start(|cluster| cluster.workers(0).and_worker(&borrowed(&ahead)).and_worker(&borrowed(&behind))).await;
    // Half of the first attempts fail, so retries have times too.
    w.gateway.script(|attempt| match attempt.number {
        1 if attempt.to.ends_with(['1', '3', '5', '7', '9']) => Reply::status(500),
        _ => Reply::accept(),
    });
    let ids = w.contacts(600).await;
    let began = Instant::now();
    let batch = w.send(&ids, 6_000).await;
    w.ended(&batch).await;
    // Six seconds at its pace, and the retries of the last ones.
    within(Duration::from_secs(40), began, "a batch with retries");
    for attempt in w.gateway.attempts() {
        let stamp = attempt.headers.get("x-paceline-timestamp").and_then(|stamp| stamp.to_str().ok());
        let stamp: i64 = stamp.and_then(|stamp| stamp.parse().ok()).expect("seconds");
        assert!((now_ms() / 1_000 - stamp).abs() < 200, "a gateway takes no signature that is minutes off");
    }
    let scheduled = keeps_time(&w, &ids).await;
    for worker in &w.runs.workers {
        assert!(worker.log().contains("this machine's clock differs"), "it was off: {}", worker.log().tail(20));
    }
    let taken = ["paceline_jobs_rescued_total", "paceline_stale_fences_total"];
    for metric in taken {
        assert!(w.counted(metric).await < 1.0, "{metric}: no lease ended early");
    }
    w.whole(&[batch, scheduled], 600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_ahead_of_the_database() {
    let behind = off_by("-300s");
    let w = Split::start(|cluster| all_off_by(cluster, "+300s").and_worker(&borrowed(&behind))).await;
    let ids = w.contacts(400).await;
    let batch = w.send(&ids, 12_000).await;
    w.ended(&batch).await;
    let scheduled = keeps_time(&w, &ids).await;
    assert!(w.counted("paceline_jobs_rescued_total").await < 1.0, "no lease ended early");
    w.whole(&[batch, scheduled], 400).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_while_it_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("clock");
    let set = |offset: &str| {
        let next = dir.path().join("next");
        fs::write(&next, offset).expect("written");
        fs::rename(&next, &file).expect("in its place");
    };
    set("+0");
    let w = Split::start(|cluster| {
        let mut env = off_by("+0");
        env.retain(|(name, _)| name != "FAKETIME");
        env.push(("FAKETIME_TIMESTAMP_FILE".into(), file.display().to_string()));
        env.push(("FAKETIME_NO_CACHE".into(), "1".into()));
        env.into_iter().fold(cluster.workers(2), |cluster, (name, value)| cluster.env(name, value))
    })
    .await;
    let ids = w.contacts(1_000).await;
    let batch = w.send(&ids, 12_000).await;
    for (turn, offset) in ["+300s", "-300s", "+3600s", "+0"].into_iter().enumerate() {
        w.gateway.wait_for((turn + 1) * 150).await;
        set(offset);
        let before = Instant::now();
        w.gateway.wait_for((turn + 1) * 150 + 100).await;
        within(Duration::from_secs(8), before, &format!("the next 100 messages after a jump to {offset}"));
    }
    w.ended(&batch).await;
    set("-120s");
    let scheduled = keeps_time(&w, &ids).await;
    assert!(w.counted("paceline_jobs_rescued_total").await < 1.0, "no lease ended early");
    w.whole(&[batch, scheduled], 1_000).await;
}
