//! Senders: several in one process, each with its rate, its daily cap and its health.

use crate::setup::{PATIENCE, World, recipient, signed};
use serde_json::json;
use std::time::Instant;
use support::{Method, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rate_is_kept_over_a_restart() {
    // Twenty a second.
    let mut world = World::start(&[("PACELINE_GATEWAY_SENDER_RATE_PER_MIN", "1200")]).await;
    let began = Instant::now();
    for n in 0..40 {
        world.accept(&format!("m-{n}")).await;
    }
    eventually("half of them", PATIENCE, async || {
        let sent = world.stats().await["sent"].as_u64().unwrap_or_default();
        if sent >= 20 { Ok(()) } else { Err(sent) }
    })
    .await;
    world.gateway.kill9().await;
    world.gateway.restart().await;
    world.sent(40).await;
    // The first leaves at once, and each other 50 ms after the one before it.
    assert!(began.elapsed().as_millis() >= 39 * 50, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daily_cap_is_answered_with_how_long_the_day_lasts() {
    let world = World::start(&[("PACELINE_GATEWAY_DAILY_CAP", "5")]).await;
    for n in 0..5 {
        world.accept(&format!("m-{n}")).await;
    }
    let refused = world.send("one-too-many").await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    let wait: u64 = refused.header("retry-after").and_then(|wait| wait.parse().ok()).expect("Retry-After");
    assert!((1..=86_400).contains(&wait), "{wait}");
    assert!(refused.body["detail"].is_string());
    world.sent(5).await;
    assert_eq!(world.send("still").await.status, 429);
    world.accept("m-0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_has_several_senders() {
    let world = World::start(&[("PACELINE_GATEWAY_SENDERS", "shop, desk"), ("PACELINE_GATEWAY_DAILY_CAP", "2")]).await;
    let client = world.gateway.client();
    let send = async |id: &str, sender: &str| {
        let body =
            json!({ "to": recipient(id), "message": id, "backend_message_id": id, "sender": sender }).to_string();
        client.send(signed(&client, Method::POST, "/send", &body)).await
    };
    for (id, sender) in [("a", "shop"), ("b", "desk"), ("c", "default"), ("d", "shop")] {
        send(id, sender).await.expect(202);
    }
    world.accept("e").await;
    assert_eq!(send("f", "shop").await.status, 429, "its own day is full");
    assert_eq!(world.send("g").await.status, 429, "the default one's is full too");
    send("h", "desk").await.expect(202);
    world.sent(6).await;
    let messages = client.send(signed(&client, Method::GET, "/sim/messages", "")).await.expect(200);
    let mut left: Vec<(String, String)> = (messages["messages"].as_array().expect("a list").iter())
        .map(|one| (one["sender"].to_string(), one["backend_message_id"].to_string()))
        .collect();
    left.sort();
    let of = |sender: &str, id: &str| (format!("{sender:?}"), format!("{id:?}"));
    let expected = [("default", "c"), ("default", "e"), ("desk", "b"), ("desk", "h"), ("shop", "a"), ("shop", "d")];
    assert_eq!(left, expected.map(|(sender, id)| of(sender, id)));
    let refused = send("x", "nobody").await.expect(422);
    assert_eq!(refused["detail"][0]["loc"], json!(["body", "sender"]), "{refused}");
    let bad = send("x", "no name").await.expect(422);
    assert_eq!(bad["detail"][0]["loc"], json!(["body", "sender"]), "{bad}");
    let list = world.program.run(&["sender", "list"], "").await;
    assert!(["default", "desk", "shop"].iter().all(|name| list.contains(name)), "{list}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_sender_waits_for_a_person() {
    let mut world = World::start(&[("PACELINE_SIMULATOR_STOP_RATE", "1")]).await;
    world.accept("m").await;
    let status = async || world.gateway.client().get("/status").await.expect(200);
    eventually("the sender to be stopped", PATIENCE, async || {
        let status = status().await;
        if status["ready"] == json!(false) { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let refused = world.send("another").await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(refused.header("retry-after").is_some() && refused.text.contains("sender_blocked"), "{}", refused.text);
    world.accept("m").await;
    let list = world.program.run(&["sender", "list"], "").await;
    assert!(list.contains("stopped") && list.contains("sender_blocked"), "{list}");
    // Over a restart too: only a person lets it go on.
    world.gateway.set_env("PACELINE_SIMULATOR_STOP_RATE", None);
    world.gateway.restart().await;
    assert_eq!(world.send("another").await.status, 503);
    world.program.run(&["sender", "resume"], "").await;
    world.told("m", &["map"]).await;
    world.accept("another").await;
    let list = world.program.run(&["sender", "list"], "").await;
    assert!(list.contains("ok"), "{list}");
    let unknown = world.program.output(&["sender", "resume", "nobody"], "").await;
    assert_eq!(unknown.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_network_is_too_slow_for_waits_and_is_sent() {
    // Ten at once, and then twenty a second.
    let world = World::start(&[("PACELINE_SIMULATOR_RATE_PER_MINUTE", "1200")]).await;
    for n in 0..30 {
        world.accept(&format!("m-{n}")).await;
    }
    let stats = world.sent(30).await;
    assert!(stats["by_class"]["later"].as_u64().is_some_and(|n| n > 0), "{stats}");
    assert_eq!(stats["duplicates"], json!(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_is_tried_again_until_it_has_failed() {
    let world = World::start(&[("PACELINE_SIMULATOR_FAIL_RATE", "1")]).await;
    world.accept("m").await;
    world.told("m", &["failed gateway_500"]).await;
    assert_eq!(world.stats().await["attempts"], json!(5));
}
