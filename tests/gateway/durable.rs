//! A 202 means that it is kept: over kills, repeats and lost answers, each message goes out once.

use crate::setup::{PATIENCE, World, recipient, signed};
use serde_json::json;
use std::collections::HashSet;
use std::time::Duration;
use support::{Method, Taking, eventually};

/// Asks for each message until it is taken, many at once. Nobody need be there meanwhile.
async fn insist(world: &World, ids: &[String]) -> HashSet<String> {
    let asked = futures::future::join_all(ids.iter().map(|id| async {
        match world.try_send(id).await {
            Ok(answer) if answer.status == 202 => Some(id.clone()),
            Ok(_) | Err(_) => None,
        }
    }));
    asked.await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_each_message_goes_out_once() {
    let mut world =
        World::start(&[("PACELINE_SQLITE_SYNCHRONOUS", "full"), ("PACELINE_SIMULATOR_LATENCY_MAX_MS", "20")]).await;
    let ids: Vec<String> = (0..400).map(|n| format!("m-{n}")).collect();
    let mut taken = HashSet::new();
    for kill in 0..3 {
        let client = world.gateway.client();
        let killed = {
            let (some, stop) = (insist(&world, &ids), async {
                // In the middle: when the network has some of them and not all.
                eventually("some to be sent", PATIENCE, async || {
                    let stats = client.try_send(client.request(Method::GET, "/sim/stats")).await;
                    let sent = stats.map_err(|error| error.to_string())?.body["sent"].as_u64().unwrap_or_default();
                    if sent > 60 * (kill + 1) { Ok(()) } else { Err(sent.to_string()) }
                })
                .await;
            });
            let (some, ()) = tokio::join!(some, stop);
            some
        };
        taken.extend(killed);
        world.gateway.kill9().await;
        world.gateway.restart().await;
    }
    assert!(!taken.is_empty());
    eventually("all to be taken", PATIENCE, async || {
        let taken = insist(&world, &ids).await;
        if taken.len() == ids.len() { Ok(()) } else { Err(taken.len()) }
    })
    .await;
    let stats = world.sent(ids.len()).await;
    assert_eq!(stats["duplicates"], json!(0), "{stats}");
    for id in &ids {
        world.told(id, &["map"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_id_sends_nothing_again_also_after_a_restart() {
    let mut world = World::start(&[]).await;
    for _ in 0..3 {
        world.accept("same").await;
    }
    world.told("same", &["map"]).await;
    world.gateway.kill9().await;
    world.gateway.restart().await;
    world.accept("same").await;
    world.accept("other").await;
    let stats = world.sent(2).await;
    assert_eq!((&stats["attempts"], &stats["repeats"]), (&json!(2), &json!(0)), "{stats}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_lost_is_asked_for_again_where_the_network_knows_the_id() {
    let world = World::start(&[("PACELINE_SIMULATOR_UNKNOWN_RATE", "0.5"), ("PACELINE_SIMULATOR_SEED", "7")]).await;
    let ids: Vec<String> = (0..40).map(|n| format!("m-{n}")).collect();
    assert_eq!(insist(&world, &ids).await.len(), 40);
    for id in &ids {
        world.told(id, &["map"]).await;
    }
    let stats = world.sent(40).await;
    assert_eq!(stats["duplicates"], json!(0), "{stats}");
    assert!(stats["repeats"].as_u64().is_some_and(|n| n > 0) && stats["unknown"].as_u64().is_some_and(|n| n > 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_lost_is_waited_for_where_the_network_tells_what_it_has() {
    let env = [("PACELINE_SIMULATOR_UNKNOWN_RATE", "1"), ("PACELINE_SIMULATOR_IDEMPOTENT", "false")];
    let world = World::start(&env).await;
    world.accept("m").await;
    // Handed over again it would go out twice; the network's own word settles it.
    world.told("m", &["map", "ack 1"]).await;
    let stats = world.stats().await;
    assert_eq!((&stats["sent"], &stats["attempts"]), (&json!(1), &json!(1)), "{stats}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_handed_over_at_a_kill_is_settled_at_the_next_start() {
    let mut world =
        World::start(&[("PACELINE_SIMULATOR_LATENCY_MIN_MS", "60000"), ("PACELINE_SIMULATOR_LATENCY_MAX_MS", "60000")])
            .await;
    for n in 0..20 {
        world.accept(&format!("m-{n}")).await;
    }
    // The network has them all, and has answered for none.
    world.sent(20).await;
    world.gateway.kill9().await;
    world.gateway.set_env("PACELINE_SIMULATOR_LATENCY_MIN_MS", None);
    world.gateway.set_env("PACELINE_SIMULATOR_LATENCY_MAX_MS", None);
    world.gateway.restart().await;
    for n in 0..20 {
        world.told(&format!("m-{n}"), &["map"]).await;
    }
    let stats = world.stats().await;
    assert_eq!(
        (&stats["sent"], &stats["repeats"], &stats["duplicates"]),
        (&json!(20), &json!(20), &json!(0)),
        "{stats}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_what_is_under_way_end() {
    let mut world =
        World::start(&[("PACELINE_SIMULATOR_LATENCY_MIN_MS", "300"), ("PACELINE_SIMULATOR_LATENCY_MAX_MS", "300")])
            .await;
    world.backend.script(|_| Taking::Take);
    for n in 0..10 {
        world.accept(&format!("m-{n}")).await;
    }
    world.sent(10).await;
    world.gateway.terminate().await;
    let status = world.gateway.wait(Duration::from_secs(20)).await;
    assert!(status.success(), "{status}");
    world.gateway.restart().await;
    for n in 0..10 {
        world.told(&format!("m-{n}"), &["map"]).await;
    }
    assert_eq!(world.stats().await["attempts"], json!(10), "nothing was left in doubt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_refuses_what_it_cannot_keep_and_loses_nothing() {
    let mut world =
        World::start(&[("PACELINE_SQLITE_MAX_MIB", "1"), ("PACELINE_GATEWAY_SENDER_RATE_PER_MIN", "1")]).await;
    let mut taken = Vec::new();
    let refused = loop {
        let id = format!("m-{}", taken.len());
        let body = json!({ "to": recipient(&id), "message": "x".repeat(4_000), "backend_message_id": id }).to_string();
        let client = world.gateway.client();
        let answer = client.send(signed(&client, Method::POST, "/send", &body)).await;
        if answer.status != 202 {
            break answer;
        }
        taken.push(id);
        assert!(taken.len() < 300, "a MiB is full sooner");
    };
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(refused.header("retry-after").is_some() && refused.text.contains("disk is full"), "{}", refused.text);
    world.accept(&taken[0]).await;
    // What comes after a transaction that SQLite undid by itself is a transaction: a short message may still fit, and is kept.
    while world.send(&format!("short-{}", taken.len())).await.status == 202 {
        taken.push(format!("short-{}", taken.len()));
        assert!(taken.len() < 1_000, "the last page is full sooner");
    }
    world.gateway.set_env("PACELINE_SQLITE_MAX_MIB", None);
    world.gateway.set_env("PACELINE_GATEWAY_SENDER_RATE_PER_MIN", None);
    world.gateway.restart().await;
    let stats = world.sent(taken.len()).await;
    assert_eq!(stats["duplicates"], json!(0), "{stats}");
    world.accept("another").await;
    world.told("another", &["map"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_has_one_process() {
    let world = World::start(&[]).await;
    let second = world.program.output(&["gateway"], "").await;
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("another process uses"), "{said}");
}
