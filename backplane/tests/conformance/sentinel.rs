//! A primary that Sentinels elect.

use crate::server::Node;
use crate::world::{in_time, job, listening, news, next, rings};
use backplane::{Backplane, Notice};
use domain::Lane;
use std::fs;
use std::time::Duration;
use support::{DEADLINE, eventually};

async fn node(primary: Option<u16>) -> Node {
    Node::start(move |dir, port, command| {
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]).arg("--dir").arg(dir);
        command.args(["--requirepass", "hunter2", "--masterauth", "hunter2", "--repl-diskless-sync-delay", "0"]);
        if let Some(primary) = primary {
            command.args(["--replicaof", &format!("127.0.0.1 {primary}")]);
        }
        Ok(())
    })
    .await
}

async fn sentinel(primary: u16) -> Node {
    Node::start(move |dir, port, command| {
        let config = dir.join("sentinel.conf");
        let lines = [
            format!("port {port}"),
            "bind 127.0.0.1".into(),
            format!("dir {}", dir.display()),
            format!("sentinel monitor main 127.0.0.1 {primary} 1"),
            "sentinel auth-pass main hunter2".into(),
            "sentinel down-after-milliseconds main 500".into(),
            "sentinel failover-timeout main 5000".into(),
        ];
        fs::write(&config, lines.join("\n") + "\n")?;
        command.arg(&config).arg("--sentinel");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_that_the_sentinels_elect_is_followed() {
    let primary = node(None).await;
    let replica = node(Some(primary.port)).await;
    let sentinel = sentinel(primary.port).await;
    eventually("the Sentinel to know the replica", DEADLINE, async || {
        let replicas = sentinel.replicas("main").await?;
        if replicas.contains(&format!("127.0.0.1:{}", replica.port)) { Ok(()) } else { Err(replicas) }
    })
    .await;

    let url = format!("redis+sentinel://:hunter2@127.0.0.1:{}/main", sentinel.port);
    let backplane = Backplane::redis(&url).expect("an address");
    let queue = &backplane.queue;
    let mut listeners = [backplane.notifier.subscribe()];
    listening(&backplane, &mut listeners).await;
    queue.push(&rings(Lane::Bulk, [1])).await.expect("a primary");
    assert_eq!(queue.pop(Lane::Bulk, 9, Duration::ZERO).await.expect("a primary"), [job(1)]);

    primary.kill();
    eventually("another primary to take rings", DEADLINE, async || queue.push(&rings(Lane::Bulk, [2])).await).await;
    let popped = in_time("the ring", queue.pop(Lane::Bulk, 9, DEADLINE)).await;
    assert_eq!(popped.expect("the new primary"), [job(2)]);
    listening(&backplane, &mut listeners).await;
    backplane.notifier.publish(&[news(3)]).await.expect("the new primary");
    while next(&mut listeners[0]).await != Notice::Event(news(3)) {}
}
