//! Meta's WhatsApp Cloud API, as far as a sender of texts sees it: the Graph API's `/{version}/{phone number id}/messages`,
//! and the webhooks that tell what became of a message and what customers write.
//!
//! It keeps apart what was posted from what it took, since the interesting failures lie between the two. Like Meta's, it
//! knows no idempotency: who posts a message twice has sent it twice, and [`CloudApi::duplicates`] tells. Faults are asked for
//! by the recipient's number ([`CloudFault`]), by a queue ([`CloudApi::next`]), or by limits ([`CloudOptions`]).

mod fault;
mod webhook;

pub use fault::{CloudFault, META_ERRORS, MetaError};
pub use webhook::{Ladder, WebhookDelivery};

use crate::DEADLINE;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
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
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use webhook::Job;

/// How many messages' webhooks are told at once.
const TELLERS: usize = 64;

/// The longest text and the longest callback data that Meta takes, in characters.
const MAX_TEXT: usize = 4_096;
const MAX_CALLBACK_DATA: usize = 512;

/// A limit with a burst: GCRA, one message each `every`, and `burst` at once.
#[derive(Clone, Copy, Debug)]
pub struct CloudLimit {
    /// The time for which a message uses the limit.
    pub every: Duration,
    /// How many may come at once.
    pub burst: u32,
}

/// How the emulator behaves.
#[derive(Clone, Debug)]
pub struct CloudOptions {
    /// The id of the number that sends.
    pub phone_number_id: String,
    /// The token that it takes.
    pub access_token: String,
    /// What it signs webhooks with.
    pub app_secret: String,
    /// The statuses that follow each message.
    pub ladder: Ladder,
    /// The first pause before a webhook is posted again that was not answered with a 2xx; it doubles up to 2 s.
    pub webhook_pause: Duration,
    /// What one recipient may get, else 131056. Meta's is one message in 6 s with bursts of 45.
    pub pair_limit: Option<CloudLimit>,
    /// What the number may send, else 130429. Meta's is 80 a second.
    pub number_limit: Option<CloudLimit>,
}

impl Default for CloudOptions {
    fn default() -> Self {
        Self {
            phone_number_id: "106540352242922".into(),
            access_token: "EAAemulatedAccessToken".into(),
            app_secret: "emulated-app-secret".into(),
            ladder: Ladder::default(),
            webhook_pause: Duration::from_millis(20),
            pair_limit: None,
            number_limit: None,
        }
    }
}

/// A message that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudMessage {
    /// The id that it got.
    pub network_id: String,
    /// The recipient, as it was posted.
    pub to: String,
    /// The text.
    pub text: String,
    /// `biz_opaque_callback_data`.
    pub callback_data: Option<String>,
}

/// A request to `/messages`, as it came.
#[derive(Clone, Debug)]
pub struct CloudPost {
    /// Its path.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; null if it is no JSON.
    pub body: Value,
}

/// What came of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The answer's status.
    pub status: u16,
    /// Whether it was the challenge and nothing else.
    pub echoed: bool,
}

/// Meta's Cloud API on a free port of 127.0.0.1. Dropping it closes the port and every connection, and ends its webhooks.
#[derive(Debug)]
pub struct CloudApi {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

type Body = BoxBody<Bytes, io::Error>;

struct Shared {
    options: CloudOptions,
    state: Mutex<State>,
    http: reqwest::Client,
    jobs: mpsc::UnboundedSender<Job>,
    tellers: Semaphore,
    changed: watch::Sender<()>,
    released: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    callback: Option<String>,
    ladder: Ladder,
    next: VecDeque<Option<CloudFault>>,
    posts: Vec<CloudPost>,
    messages: Vec<CloudMessage>,
    deliveries: Vec<WebhookDelivery>,
    /// What is still to be told.
    untold: usize,
    /// When a number's and each pair's limit is used up to.
    number_used: Option<Instant>,
    pairs_used: HashMap<String, Instant>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("CloudApi")
            .field("posts", &state.posts.len())
            .field("messages", &state.messages.len())
            .field("deliveries", &state.deliveries.len())
            .field("untold", &state.untold)
            .finish_non_exhaustive()
    }
}

impl CloudApi {
    /// The emulator with its usual ways.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        Self::with(CloudOptions::default()).await
    }

    /// An emulator with ways of its own.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn with(options: CloudOptions) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("the address of a bound listener");
        let http = reqwest::Client::builder().no_proxy().timeout(DEADLINE).build();
        let (jobs, to_tell) = mpsc::unbounded_channel();
        let state = State { ladder: options.ladder.clone(), ..State::default() };
        let shared = Arc::new(Shared {
            options,
            state: Mutex::new(state),
            http: http.expect("nothing in these settings depends on the machine"),
            jobs,
            tellers: Semaphore::new(TELLERS),
            changed: watch::Sender::new(()),
            released: watch::Sender::new(0),
        });
        let server = tokio::spawn(serve(listener, to_tell, shared.clone()));
        Self { shared, address, server }
    }

    /// Where it listens: what `base_url` is for a client.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How it behaves, with its id and secrets.
    #[must_use]
    pub fn options(&self) -> &CloudOptions {
        &self.shared.options
    }

    /// Where webhooks go from now on, also those that are being posted again. At first nobody is told anything.
    pub fn set_callback(&self, url: impl Into<String>) {
        self.shared.state.lock().callback = Some(url.into());
    }

    /// The statuses of the messages that are taken from now on.
    pub fn set_ladder(&self, ladder: Ladder) {
        self.shared.state.lock().ladder = ladder;
    }

    /// Decides the next posts, one each, whatever their numbers ask for; `None` is a post that is taken.
    pub fn next(&self, faults: impl IntoIterator<Item = Option<CloudFault>>) {
        self.shared.state.lock().next.extend(faults);
    }

    /// Lets go of all that hang now: their connections are closed.
    pub fn release(&self) {
        self.shared.released.send_modify(|generation| *generation += 1);
    }

    /// Verifies the callback, as Meta does when it is set.
    ///
    /// # Panics
    /// When there is no callback, or nobody answers there.
    pub async fn handshake(&self, verify_token: &str) -> Handshake {
        let callback = self.shared.state.lock().callback.clone().expect("a callback");
        let challenge = uuid::Uuid::new_v4().as_u128().to_string();
        let mut url: reqwest::Url = callback.parse().expect("an address");
        url.query_pairs_mut().extend_pairs([
            ("hub.mode", "subscribe"),
            ("hub.challenge", challenge.as_str()),
            ("hub.verify_token", verify_token),
        ]);
        let response = self.shared.http.get(url).send().await.expect("somebody at the callback");
        let status = response.status().as_u16();
        Handshake { status, echoed: response.text().await.is_ok_and(|text| text == challenge) }
    }

    /// A customer writes; the id of the message. `from` is digits.
    pub fn writes(&self, from: &str, name: &str, text: &str) -> String {
        self.writes_kind(from, name, "text", &json!({"body": text}))
    }

    /// A customer sends something of a kind, with the content that Meta has under the kind's name.
    pub fn writes_kind(&self, from: &str, name: &str, kind: &str, content: &Value) -> String {
        let (network_id, user_id) = (new_id(), Self::user_id(from));
        let message = json!({
            "from": from, "from_user_id": user_id, "id": network_id, "timestamp": webhook::now().to_string(),
            "type": kind, kind: content,
        });
        let contact = json!({"profile": {"name": name}, "wa_id": from, "user_id": user_id});
        self.tells(json!({"contacts": [contact], "messages": [message]}));
        network_id
    }

    /// The business-scoped id of a customer.
    #[must_use]
    pub fn user_id(from: &str) -> String {
        format!("ZZ.{}", from.chars().rev().collect::<String>())
    }

    /// Posts a webhook with any `value`; the number's metadata comes by itself.
    pub fn tells(&self, value: Value) {
        self.shared.enqueue(Job::Value(value));
    }

    /// `X-Hub-Signature-256` for a body, as this app signs it.
    #[must_use]
    pub fn signature(&self, body: &[u8]) -> String {
        webhook::sign(&self.shared.options.app_secret, body)
    }

    /// Every post so far, whatever became of it.
    #[must_use]
    pub fn posts(&self) -> Vec<CloudPost> {
        self.shared.state.lock().posts.clone()
    }

    /// Every message that was taken, in order.
    #[must_use]
    pub fn messages(&self) -> Vec<CloudMessage> {
        self.shared.state.lock().messages.clone()
    }

    /// How often a message with this callback data was taken.
    #[must_use]
    pub fn taken_of(&self, callback_data: &str) -> usize {
        let of = |message: &&CloudMessage| message.callback_data.as_deref() == Some(callback_data);
        self.shared.state.lock().messages.iter().filter(of).count()
    }

    /// The callback data that was taken more than once, with how often: messages that somebody got twice.
    #[must_use]
    pub fn duplicates(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for message in &self.shared.state.lock().messages {
            if let Some(data) = &message.callback_data {
                *counts.entry(data.clone()).or_default() += 1;
            }
        }
        counts.retain(|_, count| *count > 1);
        counts
    }

    /// Every webhook that was posted, each attempt.
    #[must_use]
    pub fn deliveries(&self) -> Vec<WebhookDelivery> {
        self.shared.state.lock().deliveries.clone()
    }

    /// Waits until all that was to be told is told.
    ///
    /// # Panics
    /// When [`DEADLINE`] passes before.
    pub async fn wait_until_told(&self) {
        self.wait_until("everything to be told", |api| api.shared.state.lock().untold == 0).await;
    }

    /// Waits until `condition` holds; it is asked at each post and each webhook.
    ///
    /// # Panics
    /// When [`DEADLINE`] passes before; the message has `what` and the counts.
    pub async fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let wait = async {
            // Subscribed before the first look, so that no change falls between the two.
            while !condition(self) {
                changed.changed().await.expect("the sender lives as long as the emulator");
            }
        };
        if tokio::time::timeout(DEADLINE, wait).await.is_err() {
            panic!("waited {DEADLINE:?} for {what}; there is {:?}", self.shared);
        }
    }
}

impl Drop for CloudApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, mut jobs: mpsc::UnboundedReceiver<Job>, shared: Arc<Shared>) {
    // Dropped with this task, and then every connection and every webhook with it.
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            // A connection that breaks before it is accepted is the sender's affair.
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                tasks.spawn(connection(stream, shared.clone()));
            },
            Some(job) = jobs.recv() => {
                let shared = shared.clone();
                tasks.spawn(async move {
                    let _teller = shared.tellers.acquire().await;
                    job.tell(shared.clone()).await;
                    shared.state.lock().untold -= 1;
                    shared.changed.send_replace(());
                });
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).ok();
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { shared.answer(request).await }
    });
    // It ends with an error whenever a fault says so.
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}

/// What was decided about a post.
enum Decision {
    Refused(Refused),
    Taken(CloudMessage, Option<CloudFault>),
    Fault(CloudFault),
}

/// An error that is answered, with its details and subcode.
struct Refused(MetaError, String, Option<i64>);

fn refused(code: i64, details: impl Into<String>) -> Refused {
    Refused(MetaError::of(code), details.into(), None)
}

impl Shared {
    fn enqueue(&self, job: Job) {
        self.state.lock().untold += 1;
        self.jobs.send(job).expect("the server lives as long as the emulator");
    }

    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (head, body) = request.into_parts();
        let raw = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let body = serde_json::from_slice(&raw).unwrap_or(Value::Null);
        let path = head.uri.path().to_owned();
        self.state.lock().posts.push(CloudPost {
            path: path.clone(),
            headers: head.headers.clone(),
            body: body.clone(),
        });
        let decision = match self.check(&head.method, &path, &head.headers, &body) {
            Ok(message) => self.decide(message),
            Err(refused) => Decision::Refused(refused),
        };
        self.changed.send_replace(());
        match decision {
            Decision::Refused(Refused(error, details, subcode)) => {
                Ok(json_response(error.status, &error.answer(&details, subcode)))
            }
            Decision::Taken(message, None | Some(CloudFault::Failed(_) | CloudFault::Silent)) => {
                Ok(json_response(200, &taken(&message)))
            }
            Decision::Taken(_, Some(fault)) | Decision::Fault(fault) => self.fault(fault).await,
        }
    }

    /// What the Graph API checks before it looks at the message, and what it asks of a message.
    fn check(&self, method: &Method, path: &str, headers: &HeaderMap, body: &Value) -> Result<CloudMessage, Refused> {
        let expected = format!("Bearer {}", self.options.access_token);
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if given != expected {
            // The Graph API repeats a token that it does not take.
            let token = given.strip_prefix("Bearer ").unwrap_or_default();
            return Err(refused(190, format!("Malformed access token {token}")));
        }
        let Some((version, id)) = path
            .strip_prefix('/')
            .and_then(|path| path.strip_suffix("/messages"))
            .and_then(|path| path.split_once('/'))
        else {
            return Err(refused(100, "Unknown path components"));
        };
        let numbered = version.strip_prefix('v').is_some_and(|version| version.parse::<f32>().is_ok());
        if *method != Method::POST || !numbered {
            return Err(refused(100, "Unsupported request"));
        }
        if id != self.options.phone_number_id {
            let details = format!("Unsupported post request. Object with ID '{id}' does not exist");
            return Err(Refused(MetaError::of(100), details, Some(33)));
        }
        let json = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
        if !json || body["messaging_product"] != "whatsapp" {
            return Err(refused(100, "Param messaging_product must be whatsapp"));
        }
        let Some(to) = body["to"].as_str() else { return Err(refused(131_008, "Param to is missing")) };
        let digits = to.strip_prefix('+').unwrap_or(to);
        if !(5..=20).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refused(131_009, "Param to is no phone number"));
        }
        if body["type"] != "text" {
            return Err(refused(131_051, "the emulator takes texts"));
        }
        let Some(text) = body["text"]["body"].as_str() else {
            return Err(refused(131_008, "Param text['body'] is missing"));
        };
        if !(1..=MAX_TEXT).contains(&text.chars().count()) {
            return Err(refused(100, "Param text['body'] must be at most 4096 characters long"));
        }
        let callback_data = match &body["biz_opaque_callback_data"] {
            Value::Null => None,
            Value::String(data) if data.chars().count() <= MAX_CALLBACK_DATA => Some(data.clone()),
            _ => return Err(refused(100, "Param biz_opaque_callback_data must be at most 512 characters long")),
        };
        Ok(CloudMessage { network_id: new_id(), to: to.to_owned(), text: text.to_owned(), callback_data })
    }

    /// Takes the message, or not. Before the answer: who hangs up meanwhile undoes nothing.
    fn decide(&self, message: CloudMessage) -> Decision {
        let mut state = self.state.lock();
        let fault = state.next.pop_front().unwrap_or_else(|| CloudFault::of_number(&message.to));
        if let Some(fault) = fault.filter(|fault| !fault.takes()) {
            return Decision::Fault(fault);
        }
        if let Some(code) = state.over_limit(&self.options, &message.to) {
            return Decision::Refused(refused(code, "too many messages"));
        }
        state.messages.push(message.clone());
        let (ladder, failure) = match fault {
            Some(CloudFault::Failed(code)) => (Ladder::at_once(["failed"]), Some(MetaError::of(code))),
            Some(CloudFault::Silent) => (Ladder::silent(), None),
            _ => (state.ladder.clone(), None),
        };
        drop(state);
        self.enqueue(Job::Statuses { message: message.clone(), ladder, failure });
        Decision::Taken(message, fault)
    }

    async fn fault(&self, fault: CloudFault) -> io::Result<Response<Body>> {
        match fault {
            CloudFault::Error { code, retry_after_s } => {
                let error = MetaError::of(code);
                let mut response = json_response(error.status, &error.answer(&format!("emulated {code}"), None));
                if let Some(seconds) = retry_after_s {
                    response.headers_mut().insert(RETRY_AFTER, seconds.into());
                }
                Ok(response)
            }
            CloudFault::Status(status) => Ok(response(status, "text/plain", "")),
            CloudFault::Hang => {
                let mut released = self.released.subscribe();
                released.changed().await.map_err(io::Error::other)?;
                Err(io::Error::other("emulated: released"))
            }
            CloudFault::Close | CloudFault::Drop => Err(io::Error::other("emulated: closed without an answer")),
            CloudFault::Cut => Ok(cut_response()),
            CloudFault::Rubbish => Ok(response(200, "text/html", "<html><body>Please log in</body></html>")),
            CloudFault::NoId => Ok(json_response(200, &json!({"messaging_product": "whatsapp", "messages": []}))),
            CloudFault::Failed(_) | CloudFault::Silent => unreachable!("these are answered as every message"),
        }
    }
}

impl State {
    /// The code of the limit that one more message would be over. Uses the limits up if it is over none.
    fn over_limit(&mut self, options: &CloudOptions, to: &str) -> Option<i64> {
        let now = Instant::now();
        let pair = allowed(options.pair_limit, self.pairs_used.get(to).copied(), now);
        let number = allowed(options.number_limit, self.number_used, now);
        match (pair, number) {
            (None, _) => Some(131_056),
            (_, None) => Some(130_429),
            (Some(pair), Some(number)) => {
                self.pairs_used.insert(to.to_owned(), pair);
                self.number_used = Some(number);
                None
            }
        }
    }
}

/// When the limit is used up to after one more message; `None` when that is too many.
fn allowed(limit: Option<CloudLimit>, used: Option<Instant>, now: Instant) -> Option<Instant> {
    let Some(CloudLimit { every, burst }) = limit else { return Some(now) };
    let from = used.map_or(now, |used| used.max(now));
    let used = from + every;
    (used <= now + every * burst).then_some(used)
}

fn new_id() -> String {
    format!("wamid.HBgL{}", uuid::Uuid::new_v4().simple().to_string().to_ascii_uppercase())
}

/// The account of a number, as Meta resolves it: Brazilian mobiles of most areas without their 9, Mexican ones with a 1.
fn account_of(digits: &str) -> String {
    match digits.as_bytes() {
        [b'5', b'5', b'3'..=b'9', _, b'9', ..] if digits.len() == 13 => format!("{}{}", &digits[..4], &digits[5..]),
        [b'5', b'2', ..] if digits.len() == 12 => format!("521{}", &digits[2..]),
        _ => digits.to_owned(),
    }
}

fn taken(message: &CloudMessage) -> Value {
    let account = account_of(message.to.trim_start_matches('+'));
    json!({
        "messaging_product": "whatsapp",
        "contacts": [{"input": message.to, "wa_id": account}],
        "messages": [{"id": message.network_id}],
    })
}

fn response(status: u16, kind: &str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed());
    *response.status_mut() = StatusCode::from_u16(status).expect("an HTTP status");
    response.headers_mut().insert(CONTENT_TYPE, kind.parse().expect("a header value"));
    response
}

fn json_response(status: u16, body: &Value) -> Response<Body> {
    response(status, "application/json; charset=UTF-8", body.to_string())
}

fn cut_response() -> Response<Body> {
    let half = stream::iter([Ok(Frame::data(Bytes::from_static(b"{\"messaging_product\":\"whatsapp\",\"mess")))]);
    // Not in the same breath: hyper sends the head and what it has of the body only when it must wait for more.
    let end = stream::once(async {
        tokio::task::yield_now().await;
        Err(io::Error::other("emulated: cut"))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(half.chain(end))));
    response.headers_mut().insert(CONTENT_LENGTH, 256.into());
    response
}
