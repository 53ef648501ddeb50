//! The Redis servers that the suite needs beside the plain one: a Cluster of one node, and a primary with a Sentinel.

use anyhow::{Context, Result, bail};
use servers::{PATIENCE, Process, Signal, free_port, tools};
use std::path::Path;
use std::process::Command;
use support::{DEADLINE, Redis, eventually};
use tempfile::TempDir;

/// A running server.
pub(crate) struct Server {
    pub(crate) url: String,
    /// For one that can be killed, emptied and frozen.
    pub(crate) redis: Option<Redis>,
    _cluster: Option<Node>,
}

impl Server {
    pub(crate) async fn single() -> Self {
        let redis = Redis::start().await;
        Self { url: redis.url().to_owned(), redis: Some(redis), _cluster: None }
    }

    pub(crate) async fn cluster() -> Self {
        let node = Node::start(|dir, port, command| {
            // The bus would be on port + 10000, which may be somebody's.
            let bus = free_port()?.to_string();
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
            command.args(["--cluster-enabled", "yes", "--cluster-port", &bus]).arg("--dir").arg(dir);
            Ok(())
        })
        .await;
        // Two addresses, as a Cluster has several; here it is twice the same.
        let url = format!("redis://127.0.0.1:{0},redis://127.0.0.1:{0}", node.port);
        node.command(redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(16_383)).await.expect("all slots");
        // It refuses writes for a moment after its start.
        eventually("the Cluster to be whole", DEADLINE, async || {
            let state = node.text(redis::cmd("CLUSTER").arg("INFO")).await?;
            if state.contains("cluster_state:ok") { Ok(()) } else { Err(state) }
        })
        .await;
        Self { url, redis: None, _cluster: Some(node) }
    }

    /// The address of one node.
    fn node_url(&self) -> &str {
        self.url.split(',').next().unwrap_or_default()
    }

    /// One command to it.
    pub(crate) async fn command<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> T {
        query(self.node_url(), command).await.expect("Redis answers")
    }

    /// Waits until exactly so many clients wait for a ring.
    pub(crate) async fn wait_for_blocked(&self, count: u64) {
        let wanted = format!("blocked_clients:{count}");
        eventually(&wanted, DEADLINE, async || {
            let clients: String = self.command(redis::cmd("INFO").arg("clients")).await;
            if clients.lines().any(|line| line == wanted) { Ok(()) } else { Err(clients) }
        })
        .await;
    }
}

async fn query<T: redis::FromRedisValue>(url: &str, command: &redis::Cmd) -> redis::RedisResult<T> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    command.query_async(&mut connection).await
}

/// A `redis-server` with arguments of its own, on a free port of 127.0.0.1.
pub(crate) struct Node {
    // Before `dir`: the server ends before its files go.
    process: Process,
    pub(crate) port: u16,
    _dir: TempDir,
}

impl Node {
    /// Starts one. `arguments` gets its directory and port, and may be asked again when the port was taken.
    pub(crate) async fn start(arguments: impl Fn(&Path, u16, &mut Command) -> Result<()> + Send + 'static) -> Self {
        let starting = tokio::task::spawn_blocking(move || {
            for _ in 0..10 {
                if let Some(node) = Self::try_start(&arguments)? {
                    return Ok(node);
                }
            }
            bail!("ten ports in a row were taken while Redis started");
        });
        starting.await.expect("no panic").unwrap_or_else(|error: anyhow::Error| panic!("{error:#}"))
    }

    fn try_start(arguments: &impl Fn(&Path, u16, &mut Command) -> Result<()>) -> Result<Option<Self>> {
        let dir = tempfile::Builder::new().prefix("paceline-redis-").tempdir().context("no temporary directory")?;
        let port = free_port()?;
        let mut command = Command::new(tools::redis_server()?);
        arguments(dir.path(), port, &mut command)?;
        let process = Process::spawn("Redis", command, Signal::Kill, Some(dir.path()))?;
        // A Sentinel says `+monitor` last, a server that it is ready. Whoever ends before has not got its port.
        let started =
            |line: &str| (line.contains("Ready to accept connections") || line.contains("+monitor")).then_some(());
        match process.log().wait_for(PATIENCE, started) {
            Some(()) => Ok(Some(Self { process, port, _dir: dir })),
            None if process.log().contains("Address already in use") => Ok(None),
            None => bail!("Redis did not start; its log ends:\n{}", process.log().tail(40)),
        }
    }

    pub(crate) fn kill(mut self) {
        self.process.kill9().expect("a child can be killed");
    }

    async fn command(&self, command: &redis::Cmd) -> redis::RedisResult<redis::Value> {
        query(&format!("redis://127.0.0.1:{}", self.port), command).await
    }

    pub(crate) async fn text(&self, command: &redis::Cmd) -> Result<String, String> {
        query(&format!("redis://127.0.0.1:{}", self.port), command).await.map_err(|error| error.to_string())
    }

    /// What a Sentinel says of a primary's replicas.
    pub(crate) async fn replicas(&self, primary: &str) -> Result<String, String> {
        let answer = self.command(redis::cmd("SENTINEL").arg("REPLICAS").arg(primary)).await;
        answer.map(|value| format!("{value:?}")).map_err(|error| error.to_string())
    }
}
