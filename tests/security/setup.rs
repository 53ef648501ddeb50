//! A running Paceline, and bytes that no well-behaved client sends.

use serde_json::Value;
use std::time::Duration;
use support::{Client, DEADLINE, Paceline, Program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What signs tokens where a test signs some itself.
pub(crate) const JWT_SECRET: &str = "a secret that only the tests here know";

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One process on SQLite that sends nothing to anybody.
pub(crate) struct Served {
    pub(crate) paceline: Paceline,
    pub(crate) program: Program,
}

impl Served {
    /// Starts it, without limits of requests unless `env` sets some.
    pub(crate) async fn start(env: &[(&str, &str)]) -> Self {
        let unlimited = ["LOGIN", "BATCH", "GENERAL"].map(|which| (format!("PACELINE_LIMIT_{which}_PER_MIN"), "0"));
        let mut program = Program::new(env!("CARGO_BIN_EXE_paceline")).env("PACELINE_JWT_SECRET", JWT_SECRET);
        for (name, value) in unlimited {
            program = program.env(name, value);
        }
        for (name, value) in env {
            program = program.env(*name, *value);
        }
        let paceline = program.start(&["serve"]).await;
        Self { paceline, program }
    }

    pub(crate) fn anyone(&self) -> Client {
        self.paceline.client()
    }

    /// A client with the token of a new user of this role.
    pub(crate) async fn client(&self, role: &str) -> Client {
        self.anyone().with_token(self.program.token_for(role).await)
    }

    /// A connection for raw bytes.
    pub(crate) async fn connect(&self) -> Raw {
        let address = self.paceline.url().trim_start_matches("http://");
        Raw(TcpStream::connect(address).await.expect("it listens"))
    }

    /// Sends bytes, and reads all that comes until the connection is closed.
    pub(crate) async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut raw = self.connect().await;
        raw.send(bytes).await;
        raw.rest().await
    }

    /// The most memory that the process has had, in MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.paceline.pid());
        let status = std::fs::read_to_string(path).expect("a process has a status");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        kib.map(|kib: u64| kib / 1024).expect("a process has a peak")
    }

    /// A number that the process tells of itself; 0 while it has not counted.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.anyone().metrics().await;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or(0.0)
    }

    /// Changes rows behind its back; how many.
    pub(crate) async fn sql(&self, sql: &str) -> u64 {
        self.program.execute(sql).await
    }

    /// The batch that an answer told of, once it has ended.
    pub(crate) async fn ended(&self, client: &Client, answer: Value) -> Value {
        let id = answer["data"]["id"].as_str().unwrap_or_else(|| panic!("no batch: {answer}")).to_owned();
        support::eventually("the batch to end", PATIENCE, async || {
            let batch = client.get(&format!("/batch/{id}")).await.expect(200)["data"].clone();
            if batch["completedAt"].is_string() { Ok(batch) } else { Err(batch.to_string()) }
        })
        .await
    }
}

/// A connection for raw bytes.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    /// Sends bytes; who has closed the connection does not get them.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.ok();
    }

    /// All that comes until the connection is closed or reset.
    pub(crate) async fn rest(&mut self) -> String {
        let mut all = Vec::new();
        let mut part = vec![0; 16 * 1024];
        loop {
            match timeout(DEADLINE, self.0.read(&mut part)).await {
                Ok(Ok(0) | Err(_)) => return String::from_utf8_lossy(&all).into_owned(),
                Ok(Ok(n)) => all.extend_from_slice(&part[..n]),
                Err(_) => panic!("the connection is still open; it said {:?}", String::from_utf8_lossy(&all)),
            }
        }
    }

    /// One answer: its head, and its body as long as its head says.
    pub(crate) async fn answer(&mut self) -> String {
        let mut all = Vec::new();
        let read = async {
            loop {
                let mut byte = [0];
                self.0.read_exact(&mut byte).await.expect("an answer");
                all.push(byte[0]);
                if all.ends_with(b"\r\n\r\n") {
                    break;
                }
            }
            let head = String::from_utf8_lossy(&all).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            self.0.read_exact(&mut body).await.expect("its body");
            all.extend_from_slice(&body);
        };
        timeout(DEADLINE, read).await.expect("an answer in time");
        String::from_utf8_lossy(&all).into_owned()
    }
}

/// The statuses of all answers in what a connection said.
pub(crate) fn statuses(said: &str) -> Vec<u16> {
    said.match_indices("HTTP/1.1 ")
        .filter_map(|(at, start)| said.get(at + start.len()..)?.get(..3)?.parse().ok())
        .collect()
}
