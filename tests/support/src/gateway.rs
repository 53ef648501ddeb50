//! A WhatsApp gateway that does what the test says and remembers everything.
//!
//! It keeps apart what was asked (attempts) from what took effect (messages sent), because the interesting failures lie
//! between the two: an answer that was lost after the message had gone out. By default it is idempotent, as the
//! contract wants it: an id that took effect once takes no effect again. [`Gateway::forgetful`] is one that is not.

use crate::DEADLINE;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// One request to `/send`, as it came.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// `backend_message_id`.
    pub id: String,
    /// The recipient's number.
    pub to: String,
    /// The message.
    pub text: String,
    /// The sender that it names.
    pub sender: Option<String>,
    /// Which attempt for this id it is, from 1.
    pub number: u32,
    /// When it had arrived.
    pub at: Instant,
    /// Its headers, for signatures and secrets.
    pub headers: HeaderMap,
    /// Its body before it was parsed, for signatures.
    pub raw: Bytes,
}

/// What the gateway does with an attempt.
#[derive(Clone, Debug)]
pub struct Reply {
    answer: Answer,
    effect: bool,
    delay: Duration,
}

#[derive(Clone, Debug)]
enum Answer {
    Json { status: StatusCode, body: Value, retry_after_s: Option<u64> },
    Rubbish,
    Cut,
    Close,
    Hang,
}

impl Reply {
    const fn new(answer: Answer, effect: bool) -> Self {
        Self { answer, effect, delay: Duration::ZERO }
    }

    /// 202, and the message goes out.
    #[must_use]
    pub fn accept() -> Self {
        let body = json!({"status": "accepted", "message": "Message queued for sending"});
        Self::new(Answer::Json { status: StatusCode::ACCEPTED, body, retry_after_s: None }, true)
    }

    /// A refusal with this status; nothing goes out.
    ///
    /// # Panics
    /// When it is no HTTP status.
    #[must_use]
    #[track_caller]
    pub fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("an HTTP status");
        let body = json!({"detail": format!("scripted {status}")});
        Self::new(Answer::Json { status, body, retry_after_s: None }, false)
    }

    /// 202 with a page of HTML for a body, as a proxy in between might say; nothing goes out.
    #[must_use]
    pub const fn rubbish() -> Self {
        Self::new(Answer::Rubbish, false)
    }

    /// The head of a 202 and half a body, then the connection is closed; nothing goes out.
    #[must_use]
    pub const fn cut() -> Self {
        Self::new(Answer::Cut, false)
    }

    /// The connection is closed without an answer; nothing goes out.
    #[must_use]
    pub const fn close() -> Self {
        Self::new(Answer::Close, false)
    }

    /// No answer until [`Gateway::release`], which then closes the connection; nothing goes out.
    #[must_use]
    pub const fn hang() -> Self {
        Self::new(Answer::Hang, false)
    }

    /// The message goes out, whatever the answer says. `Reply::close().taking_effect()` is the send whose outcome the
    /// sender cannot know.
    #[must_use]
    pub const fn taking_effect(mut self) -> Self {
        self.effect = true;
        self
    }

    /// With a `Retry-After` header, in seconds. Means nothing for answers without a status of their own.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        if let Answer::Json { retry_after_s, .. } = &mut self.answer {
            *retry_after_s = Some(seconds);
        }
        self
    }

    /// With this reason. Means nothing for answers without a body of their own.
    #[must_use]
    pub fn saying(mut self, detail: &str) -> Self {
        if let Answer::Json { body, .. } = &mut self.answer {
            *body = json!({ "detail": detail });
        }
        self
    }

    /// Answers so much later. The message, if any, goes out at once.
    #[must_use]
    pub const fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

type Script = Arc<dyn Fn(&Attempt) -> Reply + Send + Sync>;
type Body = BoxBody<Bytes, io::Error>;

/// A gateway on a free port of 127.0.0.1. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

struct Shared {
    idempotent: bool,
    state: Mutex<State>,
    changed: watch::Sender<()>,
    released: watch::Sender<u64>,
}

struct State {
    script: Script,
    next: VecDeque<Reply>,
    attempts: Vec<Attempt>,
    attempts_by_id: HashMap<String, u32>,
    sent: Vec<Attempt>,
    sent_by_id: HashMap<String, u32>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Gateway")
            .field("idempotent", &self.idempotent)
            .field("attempts", &state.attempts.len())
            .field("sent", &state.sent.len())
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway that keeps the contract: an id that went out once does not go out again.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        Self::listen(true).await
    }

    /// A gateway that sends whatever it accepts, also what it has sent before.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn forgetful() -> Self {
        Self::listen(false).await
    }

    async fn listen(idempotent: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("the address of a bound listener");
        let state = State {
            script: Arc::new(|_| Reply::accept()),
            next: VecDeque::new(),
            attempts: Vec::new(),
            attempts_by_id: HashMap::new(),
            sent: Vec::new(),
            sent_by_id: HashMap::new(),
        };
        let shared = Arc::new(Shared {
            idempotent,
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            released: watch::Sender::new(0),
        });
        let server = tokio::spawn(serve(listener, shared.clone()));
        Self { shared, address, server }
    }

    /// Where it listens, like `http://127.0.0.1:3002`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on decides every attempt, after those of [`Gateway::next`] are used up. At first all are accepted.
    /// The script must not call the gateway.
    pub fn script(&self, script: impl Fn(&Attempt) -> Reply + Send + Sync + 'static) {
        self.shared.state.lock().script = Arc::new(script);
    }

    /// Decides the next attempts, one each, in the order in which they arrive.
    pub fn next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.state.lock().next.extend(replies);
    }

    /// Lets go of all that hang now: their connections are closed.
    pub fn release(&self) {
        self.shared.released.send_modify(|generation| *generation += 1);
    }

    /// Every attempt so far, in the order of arrival.
    #[must_use]
    pub fn attempts(&self) -> Vec<Attempt> {
        self.shared.state.lock().attempts.clone()
    }

    /// How many attempts there were for an id.
    #[must_use]
    pub fn attempts_of(&self, id: &str) -> u32 {
        self.shared.state.lock().attempts_by_id.get(id).copied().unwrap_or(0)
    }

    /// Every message that went out, in order.
    #[must_use]
    pub fn sent(&self) -> Vec<Attempt> {
        self.shared.state.lock().sent.clone()
    }

    /// How many messages went out.
    #[must_use]
    pub fn sent_count(&self) -> usize {
        self.shared.state.lock().sent.len()
    }

    /// How often the message with this id went out.
    #[must_use]
    pub fn sent_of(&self, id: &str) -> u32 {
        self.shared.state.lock().sent_by_id.get(id).copied().unwrap_or(0)
    }

    /// How many messages went out to each recipient. What a customer sees: more than one for one batch is a message
    /// sent twice, whatever its id.
    #[must_use]
    pub fn sent_by_recipient(&self) -> HashMap<String, u32> {
        let mut counts = HashMap::new();
        for message in &self.shared.state.lock().sent {
            *counts.entry(message.to.clone()).or_default() += 1;
        }
        counts
    }

    /// Waits until at least `count` messages went out.
    ///
    /// # Panics
    /// When [`DEADLINE`] passes before.
    pub async fn wait_for(&self, count: usize) {
        self.wait_until(&format!("{count} messages sent"), |gateway| gateway.sent_count() >= count).await;
    }

    /// Waits until at least `count` attempts arrived, whatever became of them.
    ///
    /// # Panics
    /// When [`DEADLINE`] passes before.
    pub async fn wait_for_attempts(&self, count: usize) {
        let enough = |gateway: &Self| gateway.shared.state.lock().attempts.len() >= count;
        self.wait_until(&format!("{count} attempts"), enough).await;
    }

    /// Waits until `condition` holds; it is asked at each attempt.
    ///
    /// # Panics
    /// When [`DEADLINE`] passes before; the message has `what` and the counts.
    pub async fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let wait = async {
            // Subscribed before the first look, so that no change falls between the two.
            while !condition(self) {
                changed.changed().await.expect("the sender lives as long as the gateway");
            }
        };
        if tokio::time::timeout(DEADLINE, wait).await.is_err() {
            panic!("waited {DEADLINE:?} for {what}; there is {:?}", self.shared);
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and then every connection with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // A connection that breaks before it is accepted is the sender's affair.
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
    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (head, body) = request.into_parts();
        let raw = body.collect().await.map_err(io::Error::other)?.to_bytes();
        match (&head.method, head.uri.path()) {
            (&Method::POST, "/send") => self.send(head.headers, raw).await,
            (&Method::GET, "/status") => {
                Ok(json_response(StatusCode::OK, &json!({"ready": true, "need_qr": false, "session_active": true})))
            }
            (&Method::GET, "/qr") => Ok(json_response(StatusCode::OK, &json!({"qr": null, "ready": true}))),
            _ => Ok(json_response(StatusCode::NOT_FOUND, &json!({"detail": "not found"}))),
        }
    }

    async fn send(&self, headers: HeaderMap, raw: Bytes) -> io::Result<Response<Body>> {
        let parsed: Value = serde_json::from_slice(&raw).unwrap_or(Value::Null);
        let field = |name: &str| parsed[name].as_str().map(str::to_owned);
        let (Some(id), Some(to), Some(text)) = (field("backend_message_id"), field("to"), field("message")) else {
            return Ok(json_response(StatusCode::UNPROCESSABLE_ENTITY, &json!({"detail": "not as in the contract"})));
        };
        // Before the reply is decided: a caller that hangs up while the reply is delayed must not undo the effect.
        let sender = field("sender");
        let reply = self.decide(Attempt { id, to, text, sender, number: 0, at: Instant::now(), headers, raw });
        self.changed.send_replace(());
        if !reply.delay.is_zero() {
            tokio::time::sleep(reply.delay).await;
        }
        match reply.answer {
            Answer::Json { status, body, retry_after_s } => {
                let mut response = json_response(status, &body);
                if let Some(seconds) = retry_after_s {
                    response.headers_mut().insert(RETRY_AFTER, seconds.into());
                }
                Ok(response)
            }
            Answer::Rubbish => Ok(rubbish_response()),
            Answer::Cut => Ok(cut_response()),
            Answer::Close => Err(io::Error::other("scripted: closed without an answer")),
            Answer::Hang => {
                let mut released = self.released.subscribe();
                released.changed().await.map_err(io::Error::other)?;
                Err(io::Error::other("scripted: released"))
            }
        }
    }

    /// Remembers the attempt, asks the script and lets the message go out if it is to.
    fn decide(&self, mut attempt: Attempt) -> Reply {
        let mut state = self.state.lock();
        let number = state.attempts_by_id.entry(attempt.id.clone()).or_default();
        *number += 1;
        attempt.number = *number;
        state.attempts.push(attempt.clone());
        let reply = match state.next.pop_front() {
            Some(reply) => reply,
            None => {
                let script = state.script.clone();
                script(&attempt)
            }
        };
        if reply.effect {
            let sent = state.sent_by_id.entry(attempt.id.clone()).or_default();
            if *sent == 0 || !self.idempotent {
                *sent += 1;
                state.sent.push(attempt);
            }
        }
        reply
    }
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

fn json_response(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, "application/json".parse().expect("a header value"));
    response
}

fn rubbish_response() -> Response<Body> {
    let mut response = Response::new(full("<html><body>Please log in to the hotel's network</body></html>"));
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(CONTENT_TYPE, "text/html".parse().expect("a header value"));
    response
}

fn cut_response() -> Response<Body> {
    let half = stream::iter([Ok(Frame::data(Bytes::from_static(b"{\"status\": \"acc")))]);
    // Not in the same breath: hyper sends the head and what it has of the body only when it must wait for more.
    let end = stream::once(async {
        tokio::task::yield_now().await;
        Err(io::Error::other("scripted: cut"))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(half.chain(end))));
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(CONTENT_LENGTH, 64.into());
    response
}
