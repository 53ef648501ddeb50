//! A backend that takes a gateway's reports as the test says and remembers them in order.

use crate::DEADLINE;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::RETRY_AFTER;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A report, as it came.
#[derive(Clone, Debug)]
pub struct ReceivedReport {
    /// Its path.
    pub path: String,
    /// Its body.
    pub body: Value,
    /// The body before it was parsed, for signatures.
    pub raw: Bytes,
    /// Its headers.
    pub headers: HeaderMap,
}

impl ReceivedReport {
    /// The message that it is about; for what a customer wrote: the writer.
    #[must_use]
    pub fn about(&self) -> String {
        let names = ["backend_message_id", "backend_id", "phone"];
        let id = names.iter().map(|name| &self.body[*name]).find(|value| !value.is_null());
        id.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)).unwrap_or_default()
    }

    /// What it tells: `map`, `ack 2`, `seen`, `failed code`, `inbox`.
    #[must_use]
    pub fn what(&self) -> String {
        match self.path.as_str() {
            "/messages/ack" => format!("ack {}", self.body["ack"]),
            "/messages/failed" => format!("failed {}", self.body["code"].as_str().unwrap_or_default()),
            path => path.rsplit('/').next().unwrap_or_default().to_owned(),
        }
    }
}

/// What the backend does with a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// It takes it.
    Take,
    /// It refuses it with a status.
    Refuse(u16),
    /// It refuses it with a status and a `Retry-After` in seconds.
    RefuseFor(u16, u64),
    /// It takes it, and breaks off before it answers.
    TakeAndCut,
    /// It breaks off.
    Cut,
    /// It takes nothing and never answers.
    Hang,
}

type Script = Arc<dyn Fn(&ReceivedReport) -> Taking + Send + Sync>;

struct State {
    script: Script,
    asked: Vec<ReceivedReport>,
    taken: Vec<ReceivedReport>,
}

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

/// A backend on 127.0.0.1.
pub struct Backend {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: Option<JoinHandle<()>>,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("Backend")
            .field("asked", &state.asked.len())
            .field("taken", &state.taken.len())
            .finish_non_exhaustive()
    }
}

impl Backend {
    /// A backend on a free port, which takes everything.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("the address of a bound listener");
        let state = State { script: Arc::new(|_| Taking::Take), asked: Vec::new(), taken: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: watch::Sender::new(()) });
        let server = Some(tokio::spawn(serve(listener, shared.clone())));
        Self { shared, address, server }
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Decides every report from now on.
    pub fn script(&self, script: impl Fn(&ReceivedReport) -> Taking + Send + Sync + 'static) {
        self.shared.state.lock().script = Arc::new(script);
    }

    /// Closes the port and every connection; what it took it remembers.
    pub async fn leave(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            // Ended with an error, because it was aborted.
            server.await.ok();
        }
    }

    /// Listens again, where it did.
    ///
    /// # Panics
    /// When the port was taken by somebody else.
    pub async fn come_back(&mut self) {
        self.leave().await;
        let listener = TcpListener::bind(self.address).await.expect("the port it had");
        self.server = Some(tokio::spawn(serve(listener, self.shared.clone())));
    }

    /// Everything that it was asked to take, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<ReceivedReport> {
        self.shared.state.lock().asked.clone()
    }

    /// Everything that it took, in order.
    #[must_use]
    pub fn taken(&self) -> Vec<ReceivedReport> {
        self.shared.state.lock().taken.clone()
    }

    /// What it was told of a message, in order, without what it was told again.
    #[must_use]
    pub fn story(&self, about: &str) -> Vec<String> {
        let mut story: Vec<String> = Vec::new();
        for told in self.shared.state.lock().taken.iter().filter(|told| told.about() == about) {
            if !story.contains(&told.what()) {
                story.push(told.what());
            }
        }
        story
    }

    /// Waits until `condition` holds; it is asked at each report.
    ///
    /// # Panics
    /// When [`DEADLINE`] passes before.
    pub async fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let wait = async {
            while !condition(self) {
                changed.changed().await.expect("the sender lives as long as the backend");
            }
        };
        if tokio::time::timeout(DEADLINE, wait).await.is_err() {
            panic!("waited {DEADLINE:?} for {what}; there is {self:?}");
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn(connection(stream, shared.clone()));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).ok();
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { shared.answer(request).await }
    });
    // It ends with an error whenever the script says so.
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let raw = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let body = serde_json::from_slice(&raw).unwrap_or(Value::Null);
        let told = ReceivedReport { path: head.uri.path().to_owned(), body, raw, headers: head.headers };
        let taking = {
            let mut state = self.state.lock();
            state.asked.push(told.clone());
            let script = state.script.clone();
            let taking = script(&told);
            if matches!(taking, Taking::Take | Taking::TakeAndCut) {
                state.taken.push(told);
            }
            taking
        };
        self.changed.send_replace(());
        let (status, retry_after) = match taking {
            Taking::Take => (200, None),
            Taking::Refuse(status) => (status, None),
            Taking::RefuseFor(status, seconds) => (status, Some(seconds)),
            Taking::Cut | Taking::TakeAndCut => return Err(io::Error::other("scripted: closed without an answer")),
            Taking::Hang => std::future::pending().await,
        };
        let mut response = Response::new(Full::new(Bytes::from_static(b"{\"detail\": \"scripted\"}")));
        *response.status_mut() = StatusCode::from_u16(status).map_err(io::Error::other)?;
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        Ok(response)
    }
}
