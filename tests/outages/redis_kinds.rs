//! A Redis Cluster whose master is killed, and a primary that Sentinels replace, each with a whole Paceline on it.

use crate::redis::BACK_TO_NORMAL;
use crate::setup::{PATIENCE, Split, accepted, within};
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use servers::{Process, Signal, free_port, tools};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use support::eventually;
use tempfile::TempDir;

/// How long one command may take.
const ANSWER: Duration = Duration::from_secs(10);

/// A `redis-server` with arguments of its own.
struct Node {
    // Before `dir`: the server ends before its files go.
    process: Process,
    port: u16,
    _dir: TempDir,
}

impl Node {
    /// Starts one. `arguments` gets its directory and port, and may be asked again when the port was taken.
    async fn start(arguments: impl Fn(&Path, u16, &mut Command) -> Result<()> + Send + 'static) -> Self {
        let starting = tokio::task::spawn_blocking(move || {
            for _ in 0..10 {
                let dir = tempfile::Builder::new().prefix("paceline-redis-").tempdir().context("no directory")?;
                let port = free_port()?;
                let mut command = Command::new(tools::redis_server()?);
                arguments(dir.path(), port, &mut command)?;
                let process = Process::spawn("Redis", command, Signal::Kill, Some(dir.path()))?;
                // A Sentinel says `+monitor` last, a server that it is ready.
                let up = |line: &str| {
                    (line.contains("Ready to accept connections") || line.contains("+monitor")).then_some(())
                };
                match process.log().wait_for(servers::PATIENCE, up) {
                    Some(()) => return Ok(Self { process, port, _dir: dir }),
                    None if process.log().contains("Address already in use") => {}
                    None => bail!("Redis did not start; its log ends:\n{}", process.log().tail(40)),
                }
            }
            bail!("ten ports in a row were taken while Redis started");
        });
        starting.await.expect("no panic").unwrap_or_else(|error| panic!("{error:#}"))
    }

    async fn server(more: Vec<String>) -> Self {
        Self::start(move |dir, port, command| {
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]).arg("--dir").arg(dir);
            command.args(["--repl-diskless-sync-delay", "0"]).args(&more);
            Ok(())
        })
        .await
    }

    /// Runs one command; the whole answer as text.
    async fn command(&self, line: &str) -> Result<String, String> {
        let (port, line) = (self.port, line.to_owned());
        let asking = tokio::task::spawn_blocking(move || -> Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(ANSWER))?;
            // What comes before the second answer is the first.
            stream.write_all(format!("{line}\r\nPING\r\n").as_bytes())?;
            let mut lines = Vec::new();
            for line in BufReader::new(stream).lines() {
                match line? {
                    end if end == "+PONG" => break,
                    line => lines.push(line),
                }
            }
            let answer = lines.join("\n");
            ensure!(!answer.starts_with('-'), "{line}: {answer}");
            Ok(answer)
        });
        asking.await.expect("no panic").map_err(|error| format!("{error:#}"))
    }

    async fn told(&self, line: &str) -> String {
        self.command(line).await.unwrap_or_else(|error| panic!("{error}"))
    }

    fn kill(&mut self) {
        self.process.kill9().expect("a child can be killed");
    }
}

/// Three masters, each with a replica; slots are shared out evenly.
async fn cluster() -> Vec<Node> {
    let start = |_| {
        Node::start(|dir, port, command| {
            // The bus would be on port + 10000, which may be somebody's.
            let bus = free_port()?.to_string();
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]).arg("--dir").arg(dir);
            command.args(["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1500"]);
            command.args(["--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0"]);
            Ok(())
        })
    };
    let nodes = futures::future::join_all((0..6).map(start)).await;
    let mut ids = Vec::new();
    for (nth, node) in nodes.iter().enumerate() {
        let id = node.told("CLUSTER MYID").await;
        ids.push(id.lines().nth(1).expect("an id").to_owned());
        node.told(&format!("CLUSTER SET-CONFIG-EPOCH {}", nth + 1)).await;
    }
    for (node, slots) in nodes.iter().zip(["0 5460", "5461 10922", "10923 16383"]) {
        node.told(&format!("CLUSTER ADDSLOTSRANGE {slots}")).await;
    }
    for node in &nodes[1..] {
        let myself = node.told("CLUSTER NODES").await;
        let address = myself.lines().find(|line| line.contains("myself")).expect("itself").split(' ').nth(1);
        let bus = address.and_then(|address| address.split(['@', ',']).nth(1)).expect("a bus").to_owned();
        nodes[0].told(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port)).await;
    }
    for (nth, replica) in nodes[3..].iter().enumerate() {
        eventually("a replica to know its master", PATIENCE, async || {
            replica.command(&format!("CLUSTER REPLICATE {}", ids[nth])).await
        })
        .await;
    }
    for node in &nodes {
        eventually("the Cluster to be whole", PATIENCE, async || {
            let info = node.command("CLUSTER INFO").await?;
            let known = node.command("CLUSTER NODES").await?;
            let replicas = known.lines().filter(|line| line.contains("slave")).count();
            let whole = info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:6") && replicas == 3;
            if whole { Ok(()) } else { Err(format!("{info}\n{known}")) }
        })
        .await;
    }
    for replica in &nodes[3..] {
        eventually("a replica to follow", PATIENCE, async || {
            let info = replica.command("INFO replication").await?;
            if info.contains("master_link_status:up") { Ok(()) } else { Err(info) }
        })
        .await;
    }
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_masters_are_killed_one_after_the_other() {
    let mut nodes = cluster().await;
    let urls: Vec<_> = nodes.iter().map(|node| format!("redis://127.0.0.1:{}", node.port)).collect();
    let w = Split::start(|cluster| cluster.redis_at(urls.join(",")).workers(2)).await;
    let ids = w.contacts(1_000).await;
    // The master of each lane's slot is among them.
    let mut batches = vec![w.send(&ids, 6_000).await];
    for master in 0..2 {
        w.gateway.wait_for(100 + master * 300).await;
        let before = Instant::now();
        nodes[master].kill();
        eventually("its replica to take over", PATIENCE, async || {
            let role = nodes[3 + master].command("ROLE").await?;
            if role.contains("master") { Ok(()) } else { Err(role) }
        })
        .await;
        within(Duration::from_secs(30), before, "the failover itself");
        let before = Instant::now();
        w.ready().await;
        let batch = accepted(w.try_send(&ids, json!({})).await.expect("an answer"));
        w.ended(&batch).await;
        within(BACK_TO_NORMAL, before, "until all is normal");
        batches.push(batch);
    }
    w.whole(&batches, 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_sentinels_replace() {
    let mut primary = Node::server(Vec::new()).await;
    let at = format!("127.0.0.1 {}", primary.port);
    let replica = Node::server(vec!["--replicaof".into(), at.clone()]).await;
    let sentinel = Node::start(move |dir, port, command| {
        let config = dir.join("sentinel.conf");
        let lines = [
            format!("port {port}"),
            "bind 127.0.0.1".into(),
            format!("dir {}", dir.display()),
            format!("sentinel monitor main {at} 1"),
            "sentinel down-after-milliseconds main 500".into(),
            "sentinel failover-timeout main 5000".into(),
        ];
        fs::write(&config, lines.join("\n") + "\n")?;
        command.arg(&config).arg("--sentinel");
        Ok(())
    })
    .await;
    eventually("the Sentinel to know the replica", PATIENCE, async || {
        let known = sentinel.command("SENTINEL REPLICAS main").await?;
        if known.contains(&replica.port.to_string()) { Ok(()) } else { Err(known) }
    })
    .await;
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port);
    let w = Split::start(|cluster| cluster.redis_at(url).workers(2)).await;
    let ids = w.contacts(1_000).await;
    let first = w.send(&ids, 12_000).await;
    w.gateway.wait_for(200).await;
    primary.kill();
    eventually("the replica to take over", PATIENCE, async || {
        let role = replica.command("ROLE").await?;
        if role.contains("master") { Ok(()) } else { Err(role) }
    })
    .await;
    let before = Instant::now();
    w.ready().await;
    let second = accepted(w.try_send(&ids, json!({})).await.expect("an answer"));
    w.ended(&second).await;
    within(BACK_TO_NORMAL, before, "until all is normal");
    w.whole(&[first, second], 1_000).await;
}
