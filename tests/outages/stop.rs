//! Paceline itself told to stop, told twice, and standing still for too long.

use crate::setup::{Embedded, PATIENCE, Split, counted, figure, sound, within};
use serde_json::json;
use std::time::{Duration, Instant};
use support::{Paceline, Reply, eventually};

/// How long a process may take from SIGTERM to its end.
const END: Duration = Duration::from_secs(30);

/// Tells a process to stop, and waits for its good end.
async fn ends_well(process: &mut Paceline) {
    let began = Instant::now();
    process.terminate().await;
    let status = process.wait(END).await;
    within(END, began, "from SIGTERM to the end");
    assert_eq!(status.code(), Some(0), "{}", process.log().tail(60));
    sound(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_told_to_stop_in_mid_send() {
    let mut w = Split::start(|cluster| cluster).await;
    w.gateway.script(|_| Reply::accept().after(Duration::from_millis(200)));
    let ids = w.contacts(600).await;
    let batch = w.send(&ids, 12_000).await;
    for sent in [100, 250, 400] {
        w.gateway.wait_for(sent).await;
        ends_well(&mut w.runs.workers[0]).await;
        let count = w.gateway.attempts().len();
        // What it had claimed is given back: the next one begins at once, and not when a lease ends.
        let began = Instant::now();
        w.runs.workers[0].restart().await;
        w.gateway.wait_for_attempts(count + 1).await;
        within(Duration::from_secs(12), began, "until the next worker goes on");
    }
    w.whole(&[batch], 600).await;
    assert_eq!(
        w.gateway.attempts().len(),
        600,
        "what was in flight has ended, and was written down: no message is repeated"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_that_is_told_to_stop_in_mid_send() {
    let mut w = Embedded::start(|program| program).await;
    w.gateway.script(|_| Reply::accept().after(Duration::from_millis(200)));
    let ids = w.contacts(400).await;
    let batch = w.send(&ids, 12_000).await;
    w.gateway.wait_for(100).await;
    ends_well(&mut w.runs).await;
    w.runs.restart().await;
    w.admin = w.runs.client().with_token(w.program.token_for("admin").await);
    w.whole(&[batch], 400).await;
    assert_eq!(w.gateway.attempts().len(), 400, "no message is repeated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: waits until the lease of a worker ends that was made to end at once"]
async fn a_second_signal_ends_at_once() {
    let mut w = Split::start(|cluster| cluster).await;
    let ids = w.contacts(100).await;
    w.gateway.script(|_| Reply::hang());
    let batch = w.send(&ids, 60_000).await;
    w.gateway.wait_for_attempts(10).await;
    let worker = &mut w.runs.workers[0];
    worker.terminate().await;
    let log = worker.log().clone();
    eventually("it to begin to stop", PATIENCE, async || {
        if log.contains("stopping; a second signal") { Ok(()) } else { Err(log.tail(10)) }
    })
    .await;
    let began = Instant::now();
    worker.terminate().await;
    let status = worker.wait(END).await;
    within(Duration::from_secs(3), began, "from the second SIGTERM to the end");
    assert_eq!(status.code(), Some(1), "it had not done what it was asked to");
    w.gateway.script(|_| Reply::accept());
    w.gateway.release();
    w.runs.workers[0].restart().await;
    // The hanging ones were asked, and nobody knows: the same ids settle it, once the lease has ended.
    w.whole(&[batch], 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: waits until the lease of a worker ends that stands still"]
async fn a_worker_that_stood_still_past_its_lease() {
    let mut w = Split::start(|cluster| cluster).await;
    w.gateway.script(|_| Reply::accept().after(Duration::from_millis(150)));
    let ids = w.contacts(2_000).await;
    let batch = w.send(&ids, 12_000).await;
    w.gateway.wait_for(300).await;
    // It holds every job that is open, and messages are in flight.
    w.runs.workers[0].freeze().await;
    let began = Instant::now();
    let other = w.program.elsewhere().start(&["worker"]).await;
    let done = w.ended(&batch).await;
    assert_eq!(done["successCount"], json!(2_000), "{done}");
    within(Duration::from_secs(65), began, "until another worker has done it all");
    let (attempts, sent) = (w.gateway.attempts().len(), w.gateway.sent_count());
    let metric = "paceline_stale_fences_total";
    w.runs.workers[0].thaw().await;
    // It wakes, believes in its claims, and writes down what became of its messages: too late.
    let late = eventually("its late writes to be counted", PATIENCE, async || {
        let counted = counted(&w.runs.workers[0], metric, "").await;
        if counted >= 1.0 { Ok(counted) } else { Err("none is") }
    })
    .await;
    figure("late writes that changed nothing", late);
    let after = w.gateway.attempts().len() - attempts;
    figure("attempts after it woke", after);
    // Two hundred were claimed, and their slots have passed. Only what was on its way to the gateway already arrives there.
    assert!(after <= 10, "{after} messages left under a claim that no longer stood");
    assert_eq!(w.gateway.sent_count(), sent, "and nothing took effect twice");
    sound(&other);
    w.whole(&[batch], 2_000).await;
}
