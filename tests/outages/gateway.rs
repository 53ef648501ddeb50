//! The gateway behind a network that is cut, silent, slow, or breaks off in the middle. Whatever becomes of an attempt, a
//! message has one id, and takes effect once.

use crate::setup::{PATIENCE, Split, counted_more, figure, within};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use support::{Proxy, Way, eventually};

async fn world() -> Split {
    Split::start(|cluster| cluster.proxied()).await
}

fn way(w: &Split) -> &Proxy {
    w.runs.worker_links(0).gateway.as_ref().expect("a gateway")
}

/// How many messages went over the wire more than once.
fn repeated(w: &Split) -> usize {
    let attempts = w.gateway.attempts();
    let ids: HashSet<_> = attempts.iter().map(|attempt| &attempt.id).collect();
    attempts.len() - ids.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_off() {
    let w = world().await;
    let ids = w.contacts(600).await;
    let batch = w.send(&ids, 6_000).await;
    for sent in [100, 300] {
        w.gateway.wait_for(sent).await;
        way(&w).cut();
        // Attempts are made and fail, and none of them reached anybody.
        let count = w.gateway.attempts().len();
        counted_more(&w.runs.workers[0], "paceline_send_seconds_count", "unreachable", 3.0).await;
        figure("attempts that arrived through a cut", w.gateway.attempts().len() - count);
        way(&w).pass();
    }
    w.whole(&[batch], 600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reset_in_the_middle_of_requests_and_answers() {
    let w = world().await;
    let ids = w.contacts(800).await;
    let batch = w.send(&ids, 12_000).await;
    // Before the request is whole; after its head; in the middle of the answer's head; after some answers.
    let traps =
        [(Way::There, 20), (Way::There, 350), (Way::Back, 1), (Way::Back, 60), (Way::Back, 400), (Way::There, 900)];
    for (turn, (direction, bytes)) in traps.into_iter().enumerate() {
        w.gateway.wait_for((turn + 1) * 100).await;
        let trapped = way(&w).trapped();
        way(&w).reset_after(direction, bytes, 10);
        way(&w).break_off();
        eventually("the traps to spring", PATIENCE, async || {
            let sprung = way(&w).trapped() - trapped;
            if sprung >= 5 { Ok(()) } else { Err(format!("{sprung} after {bytes} bytes {direction:?}")) }
        })
        .await;
        // After five in a row the gateway is left alone for a while: what is left of the traps would last for minutes.
        way(&w).pass();
    }
    figure("connections reset", way(&w).trapped());
    w.whole(&[batch], 800).await;
    assert!(repeated(&w) > 0, "an answer that was lost leaves the outcome open, and the same id settles it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_away() {
    let w = world().await;
    let ids = w.contacts(300).await;
    way(&w).latency(Duration::from_secs(1));
    let before = Instant::now();
    let batch = w.send(&ids, 6_000).await;
    w.ended(&batch).await;
    // 64 at once, a round trip of two seconds, and one more to connect.
    within(Duration::from_secs(40), before, "a batch of 300 over a slow network");
    assert_eq!(repeated(&w), 0, "slow is not lost");
    w.whole(&[batch], 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: waits until requests time out"]
async fn silent() {
    let w = world().await;
    let ids = w.contacts(400).await;
    let batch = w.send(&ids, 12_000).await;
    for (turn, sent) in [60, 200].into_iter().enumerate() {
        w.gateway.wait_for(sent).await;
        match turn {
            // Nobody knows whether a request arrived: it did not.
            0 => way(&w).stall(),
            // It did, and its answer does not.
            _ => way(&w).half_open(Way::Back),
        }
        counted_more(&w.runs.workers[0], "paceline_send_seconds_count", "unknown", 10.0).await;
        way(&w).break_off();
        way(&w).pass();
    }
    w.whole(&[batch], 400).await;
    assert!(repeated(&w) > 0, "what was not answered is asked again under the same id");
}
