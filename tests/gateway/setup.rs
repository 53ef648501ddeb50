//! A running gateway, its backend, and somebody who knows the secret.

use gateway::{SIGNATURE_HEADER, Signer, TIMESTAMP_HEADER};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};
use support::{Backend, Client, Method, Paceline, Program, ReceivedReport, Response, eventually};

pub(crate) const SECRET: &str = "the gateway's secret";

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) backend: Backend,
    pub(crate) gateway: Paceline,
    pub(crate) program: Program,
}

pub(crate) fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after it");
    i64::try_from(since.as_secs()).expect("fits")
}

pub(crate) fn signature(at: i64, body: &[u8]) -> String {
    Signer::new(SECRET.as_bytes()).expect("a secret").sign(at, body)
}

/// A request with a signature.
pub(crate) fn signed(client: &Client, method: Method, path: &str, body: &str) -> reqwest::RequestBuilder {
    let at = now_s();
    let request = client.request(method, path).header(TIMESTAMP_HEADER, at);
    let request = request.header(SIGNATURE_HEADER, signature(at, body.as_bytes()));
    request.header("content-type", "application/json").body(body.to_owned())
}

/// A recipient of its own for each id: those to one recipient leave one after the other.
pub(crate) fn recipient(id: &str) -> String {
    // FNV-1a: the same in every run.
    let hash =
        id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("6012{:09}", hash % 1_000_000_000)
}

/// A send's body.
pub(crate) fn message(id: &str) -> String {
    json!({ "to": recipient(id), "message": format!("Hello {id}"), "backend_message_id": id }).to_string()
}

impl World {
    /// A gateway with acks that come at once.
    pub(crate) async fn start(env: &[(&str, &str)]) -> Self {
        let backend = Backend::start().await;
        let usual = [
            ("PACELINE_GATEWAY_LISTEN", "127.0.0.1:0"),
            ("PACELINE_GATEWAY_SECRET", SECRET),
            ("PACELINE_SQLITE_SYNCHRONOUS", "normal"),
            ("PACELINE_SIMULATOR_ACK_DELAY_MAX_MS", "5"),
            ("PACELINE_SIMULATOR_READ_DELAY_MAX_MS", "5"),
            ("PACELINE_SIMULATOR_REPLY_DELAY_MAX_MS", "5"),
        ];
        let program = Program::new(env!("CARGO_BIN_EXE_paceline")).env("PACELINE_BACKEND_URL", backend.url());
        let program = usual.iter().chain(env).fold(program, |program, (name, value)| program.env(*name, *value));
        let gateway = program.start(&["gateway"]).await;
        Self { backend, gateway, program }
    }

    pub(crate) async fn try_send(&self, id: &str) -> reqwest::Result<Response> {
        let client = self.gateway.client();
        client.try_send(signed(&client, Method::POST, "/send", &message(id))).await
    }

    pub(crate) async fn send(&self, id: &str) -> Response {
        self.try_send(id).await.expect("an answer")
    }

    /// Sends, and insists.
    pub(crate) async fn accept(&self, id: &str) {
        assert_eq!(self.send(id).await.expect(202)["status"], json!("accepted"));
    }

    /// What the network says that it did.
    pub(crate) async fn stats(&self) -> Value {
        self.gateway.client().get("/sim/stats").await.expect(200)
    }

    /// Waits until the network has sent so many, and says what it did.
    pub(crate) async fn sent(&self, count: usize) -> Value {
        eventually(&format!("{count} messages to be sent"), PATIENCE, async || {
            let stats = self.stats().await;
            if stats["sent"] == json!(count) { Ok(stats) } else { Err(stats.to_string()) }
        })
        .await
    }

    /// Waits until the backend has been told this of a message.
    pub(crate) async fn told(&self, about: &str, story: &[&str]) {
        let what = format!("{about} to be told as {story:?}");
        eventually(&what, PATIENCE, async || {
            let told = self.backend.story(about);
            if told == story { Ok(()) } else { Err(format!("{told:?}\n{}", self.gateway.log().tail(20))) }
        })
        .await;
    }

    /// A number of the gateway's metrics.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.gateway.client().get("/metrics").await.text;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or_default()
    }
}

/// Whether a report was signed with the secret, by a clock that is right.
pub(crate) fn is_signed(told: &ReceivedReport) -> bool {
    let header = |name: &str| told.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let signer = Signer::new(SECRET.as_bytes()).expect("a secret");
    signer.verify(now_s(), header(TIMESTAMP_HEADER), &told.raw, header(SIGNATURE_HEADER)).is_ok()
        && !header(gateway::REQUEST_SIGNATURE_HEADER).is_empty()
}
