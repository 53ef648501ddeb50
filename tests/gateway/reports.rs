//! What is told to the backend: in order for each message, signed, and until it is taken.

use crate::setup::{PATIENCE, World, is_signed};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{ReceivedReport, Taking, eventually};

/// Everybody reads and answers.
const TALKATIVE: [(&str, &str); 4] = [
    ("PACELINE_SIMULATOR_ACKS", "true"),
    ("PACELINE_SIMULATOR_DELIVERED_RATE", "1"),
    ("PACELINE_SIMULATOR_READ_RATE", "1"),
    ("PACELINE_SIMULATOR_REPLY_RATE", "1"),
];

/// What is told of a message that was read.
const WHOLE: [&str; 5] = ["map", "ack 1", "ack 2", "ack 3", "seen"];

/// What reports meet before they are taken.
const TROUBLES: [Taking; 4] = [Taking::Refuse(500), Taking::TakeAndCut, Taking::Refuse(409), Taking::Cut];

/// A backend that has its troubles: no report meets more than two, so that none waits long for its next try, and no more
/// than three come in a row, so that the backend is seldom taken for away, and never for long.
#[derive(Default)]
struct Moody {
    tries: HashMap<Vec<u8>, usize>,
    in_a_row: usize,
    troubles: usize,
}

impl Moody {
    fn take(&mut self, told: &ReceivedReport) -> Taking {
        let tries = self.tries.entry(told.raw.to_vec()).or_default();
        *tries += 1;
        if *tries > 2 || self.in_a_row == 3 {
            self.in_a_row = 0;
            return Taking::Take;
        }
        self.in_a_row += 1;
        self.troubles += 1;
        TROUBLES[self.troubles % TROUBLES.len()]
    }
}

async fn all_told(world: &World, count: usize) {
    for n in 0..count {
        world.told(&format!("m-{n}"), &WHOLE).await;
    }
    // One writer's words in one thread, all of them.
    eventually("the replies", PATIENCE, async || {
        let replies = world.backend.taken().iter().filter(|told| told.what() == "inbox").count();
        if replies >= count { Ok(()) } else { Err(replies) }
    })
    .await;
    assert!(world.backend.asked().iter().all(is_signed), "every report is signed");
    eventually("nothing to be left", PATIENCE, async || {
        let left = world.metric("paceline_gateway_reports_waiting").await;
        if left == 0.0 { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_wait_for_a_backend_that_is_away() {
    let mut world = World::start(&TALKATIVE).await;
    world.backend.leave().await;
    for n in 0..30 {
        world.accept(&format!("m-{n}")).await;
    }
    world.sent(30).await;
    world.gateway.kill9().await;
    world.gateway.restart().await;
    world.backend.come_back().await;
    all_told(&world, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_keep_their_order_whatever_the_backend_does() {
    let world = World::start(&TALKATIVE).await;
    let moody = Arc::new(Mutex::new(Moody::default()));
    world.backend.script({
        let moody = moody.clone();
        move |told| moody.lock().take(told)
    });
    for n in 0..10 {
        world.accept(&format!("m-{n}")).await;
    }
    all_told(&world, 10).await;
    let troubles = moody.lock().troubles;
    assert!(troubles >= 10 * TROUBLES.len(), "each of them, often: {troubles}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_is_never_taken_does_not_block_those_behind_it() {
    let world = World::start(&TALKATIVE).await;
    world.backend.script(|told| match told.what().as_str() {
        "ack 1" => Taking::Refuse(422),
        _ => Taking::Take,
    });
    world.accept("m").await;
    world.told("m", &["map", "ack 2", "ack 3", "seen"]).await;
    assert_eq!(world.metric("paceline_gateway_reports_refused").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_the_backend_does_not_take_loses_no_report() {
    let world = World::start(&[]).await;
    world.backend.script(|_| Taking::Refuse(401));
    world.accept("m").await;
    world.backend.wait_until("it to be asked", |backend| !backend.asked().is_empty()).await;
    world.backend.script(|_| Taking::Take);
    world.told("m", &["map"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_asks_for_time_gets_it() {
    let world = World::start(&[]).await;
    let first = Arc::new(AtomicUsize::new(0));
    world.backend.script(move |_| match first.fetch_add(1, Ordering::SeqCst) {
        0 => Taking::RefuseFor(503, 1),
        _ => Taking::Take,
    });
    let began = std::time::Instant::now();
    world.accept("m").await;
    world.told("m", &["map"]).await;
    assert!(began.elapsed().as_millis() >= 1_000, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_reported_with_its_reason() {
    let world = World::start(&[("PACELINE_SIMULATOR_REJECT_RATE", "1")]).await;
    world.accept("m").await;
    world.told("m", &["failed not_on_whatsapp"]).await;
    let told = world.backend.taken();
    assert_eq!(told[0].body["detail"], json!("the number is not on WhatsApp"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_and_not_delivered_is_reported() {
    let env = [("PACELINE_SIMULATOR_ACKS", "true"), ("PACELINE_SIMULATOR_UNDELIVERED_RATE", "1")];
    let world = World::start(&env).await;
    world.accept("m").await;
    world.told("m", &["map", "ack 1", "failed undeliverable"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_of_the_network_passes_in_a_second() {
    let day = "86400000";
    let mut env = TALKATIVE.to_vec();
    env.extend([
        ("PACELINE_SIMULATOR_TIME_SCALE", "86400"),
        ("PACELINE_SIMULATOR_ACK_DELAY_MAX_MS", "1000"),
        ("PACELINE_SIMULATOR_READ_DELAY_MAX_MS", day),
        ("PACELINE_SIMULATOR_SEED", "3"),
    ]);
    let world = World::start(&env).await;
    for n in 0..10 {
        world.accept(&format!("m-{n}")).await;
    }
    all_told(&world, 10).await;
    let delays: Vec<i64> = world
        .backend
        .taken()
        .iter()
        .filter(|told| told.what() == "seen")
        .filter_map(|told| told.body["delay_ms"].as_i64())
        .collect();
    assert!(delays.iter().any(|ms| *ms > 3_600_000), "in the network's time, hours: {delays:?}");
}
