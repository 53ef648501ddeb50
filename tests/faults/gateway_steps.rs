//! Every step of the gateway's own process × {error, panic, kill -9}: what it said yes to goes out once, and is told.

use crate::gateway_setup::{PATIENCE, World};
use faults::{GatewayStep, Point, Side};
use serde_json::json;
use std::path::Path;
use support::eventually;

/// All of them.
pub(crate) fn of_gateway() -> Vec<Point> {
    let both = |step| [Point::Gateway(step, Side::Before), Point::Gateway(step, Side::After)];
    GatewayStep::ALL.into_iter().flat_map(both).collect()
}

/// What a message's whole way is told as.
const WHOLE: [&str; 5] = ["map", "ack 1", "ack 2", "ack 3", "seen"];

/// Starts again what has died, without its fault.
async fn heal(world: &mut World) {
    if !world.gateway.is_running().await {
        world.gateway.set_env("PACELINE_TEST_FAULTS", None);
        world.gateway.restart().await;
    }
}

/// Asks until the message is taken, as a backend does.
async fn insist(world: &mut World, id: &str) {
    eventually("a message to be taken", PATIENCE, async || {
        heal(world).await;
        match world.try_send(id).await {
            Ok(answer) if answer.status == 202 => Ok(()),
            Ok(answer) => Err(answer.text),
            Err(error) => Err(format!("{error:?}")),
        }
    })
    .await;
}

async fn try_all(action: &str) {
    let env = [
        ("PACELINE_SIMULATOR_ACKS", "true"),
        ("PACELINE_SIMULATOR_DELIVERED_RATE", "1"),
        ("PACELINE_SIMULATOR_READ_RATE", "1"),
    ];
    let mut world = World::start(&env).await;
    let mut sent = 0;
    for point in of_gateway() {
        let log = world.program.dir().join(format!("hits-{point}-{action}"));
        world.gateway.set_env("PACELINE_TEST_FAULTS", Some(&format!("{point}={action}")));
        world.gateway.set_env("PACELINE_TEST_FAULTS_LOG", log.to_str());
        // It may be killed before it is ready: what it finds undone it does first.
        world.gateway.relaunch().await;
        let ids: Vec<String> = (0..5).map(|n| format!("{point}-{n}")).collect();
        for id in &ids {
            insist(&mut world, id).await;
        }
        sent += ids.len();
        for id in &ids {
            eventually(&format!("{id} to be told to its end"), PATIENCE, async || {
                heal(&mut world).await;
                let story = world.backend.story(id);
                if story == WHOLE { Ok(()) } else { Err(format!("{story:?}")) }
            })
            .await;
        }
        let hit = format!("{point}={action}");
        let hits = |log: &Path| std::fs::read_to_string(log).unwrap_or_default();
        eventually(&format!("{hit} to be hit"), PATIENCE, async || {
            heal(&mut world).await;
            if hits(&log).contains(&hit) { Ok(()) } else { Err("not yet") }
        })
        .await;
        heal(&mut world).await;
        let stats = world.sent(sent).await;
        assert_eq!(stats["duplicates"], json!(0), "{hit}: {stats}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: restarts a process for each case"]
async fn gateway_errors() {
    try_all("error").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: restarts a process for each case"]
async fn gateway_panics() {
    try_all("panic").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: restarts a process for each case"]
async fn gateway_kills() {
    try_all("kill").await;
}
