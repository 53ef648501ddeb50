//! The gateway over HTTP.

use crate::connections::{self, ConnectionError, Connections};
use crate::requests::{self, bounded, bounded_to};
use crate::server::StoredPage;
use crate::signature::{Request, Signer, TOLERANCE, target};
use crate::{GATEWAY_HEADER, Gateway, Identity, MISDIRECTED, NO_SENDER_WAIT, Outbound, SendOutcome};
use http_body_util::{BodyExt, Full};
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap};
use reqwest::{Client, Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, timeout, timeout_at};

/// How to reach a gateway.
#[derive(Clone)]
pub struct ClientSettings {
    /// Where it is; `/send` and `/status` are below.
    pub url: String,
    /// The shared secret.
    pub secret: String,
    /// Whether requests are signed in the old form too, for a gateway of the release before.
    pub old_signature: bool,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a whole request may take.
    pub timeout: Duration,
    /// How many connections are kept for use again.
    pub pool: usize,
    /// What time it is, in seconds since the epoch: part of what is signed. A gateway takes no signature that is minutes off.
    pub clock: Clock,
}

/// Tells the time, in seconds since the epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

impl ClientSettings {
    /// The usual: 2 s to connect, 10 s for all, and the machine's own clock.
    #[must_use]
    pub fn new(url: impl Into<String>, secret: impl Into<String>, pool: usize) -> Self {
        Self {
            url: url.into(),
            secret: secret.into(),
            old_signature: true,
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(10),
            pool,
            clock: Arc::new(machine_seconds),
        }
    }
}

impl fmt::Debug for ClientSettings {
    /// Without the secret; and without the URL, which may have another.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSettings")
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

/// Why a client was not made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("the gateway's URL is not an http:// or https:// address")]
    Url,
    /// There is no secret to sign with.
    #[error("the gateway's shared secret is missing")]
    NoSecret,
    /// The HTTP client's.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// A gateway over HTTP.
#[derive(Clone)]
pub struct HttpGateway {
    client: Client,
    /// What messages are sent over, where the address allows it.
    direct: Option<Arc<Connections>>,
    /// How long a whole request may take.
    timeout: Duration,
    clock: Clock,
    signer: Signer,
    send: Url,
    /// The path of `send`, as it stands in requests.
    send_target: String,
    status: Url,
    messages: Url,
}

impl fmt::Debug for HttpGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpGateway")
    }
}

#[derive(Serialize)]
struct SendBody<'a> {
    to: &'a str,
    message: &'a str,
    backend_message_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a str>,
}

#[derive(Deserialize)]
struct Detail {
    detail: String,
}

/// The answer of `/status`, as far as it matters here.
#[derive(Deserialize)]
struct Status {
    ready: bool,
    #[serde(default)]
    need_qr: bool,
    #[serde(default)]
    gateway_id: Option<String>,
    #[serde(default)]
    transport: Option<String>,
}

/// How long the rest of an answer is waited for whose head has said it all.
const REST_OF_ANSWER: Duration = Duration::from_secs(1);

/// The most of a page of messages that is read: a thousand, whose names are as long as may be.
const MAX_PAGE: usize = 2 * 1024 * 1024;

/// The most of a reason that is kept.
const MAX_DETAIL: usize = 300;

/// The longest name that a gateway may have.
const MAX_NAME: usize = 64;

/// What messages are sent as.
const JSON: &str = "application/json";

/// What a 429 without `Retry-After` means.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// How long a sender waits after an answer that our signature is not taken.
const UNAUTHORIZED_WAIT: Duration = Duration::from_secs(30);

impl HttpGateway {
    /// A client with its own pool of connections.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn new(settings: &ClientSettings) -> Result<Self, ClientError> {
        let base = requests::base(&settings.url)?;
        let client = requests::client(settings.connect_timeout, settings.timeout, settings.pool)?;
        let send = base.join("send").map_err(|_| ClientError::Url)?;
        Ok(Self {
            client,
            direct: Connections::to(&send, settings.connect_timeout, settings.pool).map(Arc::new),
            timeout: settings.timeout,
            clock: settings.clock.clone(),
            signer: Signer::new(settings.secret.as_bytes())
                .ok_or(ClientError::NoSecret)?
                .with_old_form(settings.old_signature),
            send_target: target(&send),
            send,
            status: base.join("status").map_err(|_| ClientError::Url)?,
            messages: base.join("messages").map_err(|_| ClientError::Url)?,
        })
    }

    /// What the gateway has of the messages behind a place, in the order in which they came: `limit` at most, 1 to 1,000.
    /// `None`: it is a gateway that does not say.
    ///
    /// # Errors
    /// Why it could not be asked, for people.
    pub async fn kept(&self, after: i64, limit: i64) -> Result<Option<StoredPage>, String> {
        let timestamp = (self.clock)();
        let mut url = self.messages.clone();
        url.query_pairs_mut().append_pair("cursor", &after.to_string()).append_pair("limit", &limit.to_string());
        let signed = Request { method: "GET", target: &target(&url), body: b"" };
        let headers = self.signer.headers(timestamp, &signed);
        let asked = requests::with(self.client.get(url), headers);
        let answer = asked.send().await.map_err(|error| reason(&error))?;
        match answer.status() {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(None),
            status if status.is_success() => {
                let page: StoredPage = serde_json::from_slice(&bounded_to(answer, MAX_PAGE).await)
                    .map_err(|_| "its list of messages is not that of a gateway".to_owned())?;
                let seqs = std::iter::once(after).chain(page.messages.iter().map(|kept| kept.seq));
                if !seqs.is_sorted_by(|one, next| one < next) {
                    return Err("its list of messages is not in order".into());
                }
                Ok(Some(page))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(refused_signature(&GatewayAnswer::of(answer).await, timestamp))
            }
            status => Err(format!("it answers {status} when it is asked what it has")),
        }
    }
}

#[async_trait::async_trait]
impl Gateway for HttpGateway {
    async fn send(&self, message: &Outbound<'_>) -> SendOutcome {
        let Outbound { to, text, message_id, sender, .. } = *message;
        let body = SendBody { to, message: text, backend_message_id: message_id, sender };
        let body = match serde_json::to_vec(&body) {
            Ok(body) => body,
            Err(error) => return SendOutcome::Rejected { code: "unserialisable".into(), detail: error.to_string() },
        };
        let timestamp = (self.clock)();
        let signed = Request { method: "POST", target: &self.send_target, body: &body };
        let mut headers = self.signer.headers(timestamp, &signed);
        if let Some(gateway) = message.gateway {
            headers.push((GATEWAY_HEADER, gateway.to_owned()));
        }
        let answer = match &self.direct {
            Some(connections) => self.ask_directly(connections, headers, body).await,
            None => self.ask(headers, body).await,
        };
        match answer {
            Ok(answer) => judge(&answer, timestamp),
            Err(outcome) => outcome,
        }
    }

    async fn check(&self) -> Result<(), String> {
        match self.status().await? {
            Some(Status { ready: true, .. }) => Ok(()),
            Some(Status { need_qr: true, .. }) => Err("it waits for its QR code to be scanned".into()),
            Some(Status { .. }) => Err("it says that it is not ready".into()),
            None => Err("its answer is not that of a gateway".into()),
        }
    }

    async fn identity(&self) -> Result<Option<Identity>, String> {
        let Some(Status { gateway_id, transport, .. }) = self.status().await? else { return Ok(None) };
        let is_name =
            |name: &String| (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
        Ok(gateway_id.filter(&is_name).map(|name| Identity { name, transport: transport.filter(&is_name) }))
    }
}

impl HttpGateway {
    /// What it says of itself; `None`: what it says is no gateway's.
    async fn status(&self) -> Result<Option<Status>, String> {
        let answer = self.client.get(self.status.clone()).send().await.map_err(|error| reason(&error))?;
        match answer.status() {
            // There is somebody, who knows no such path.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(None),
            status if status.is_success() => Ok(serde_json::from_slice(&bounded(answer).await).ok()),
            status => Err(format!("it answers {status}")),
        }
    }
}

impl HttpGateway {
    /// Asks for a message by the client that can do everything.
    async fn ask(&self, headers: Vec<(&'static str, String)>, body: Vec<u8>) -> Result<GatewayAnswer, SendOutcome> {
        let request = self.client.post(self.send.clone()).header(CONTENT_TYPE, JSON);
        match requests::with(request, headers).body(body).send().await {
            Ok(response) => Ok(GatewayAnswer::of(response).await),
            // Before the connection stood nothing was written; after it, nobody knows.
            Err(error) if error.is_connect() || error.is_builder() => {
                Err(SendOutcome::Unreachable { detail: reason(&error) })
            }
            Err(error) if error.is_timeout() => {
                Err(SendOutcome::Unknown { code: "gateway_timeout".into(), detail: reason(&error) })
            }
            Err(error) => Err(SendOutcome::Unknown { code: "gateway_broke_off".into(), detail: reason(&error) }),
        }
    }

    /// The same over connections of our own.
    async fn ask_directly(
        &self,
        connections: &Connections,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    ) -> Result<GatewayAnswer, SendOutcome> {
        let until = Instant::now() + self.timeout;
        let request = hyper::Request::post(&self.send_target).header(CONTENT_TYPE, JSON);
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let request = match request.body(Full::new(body.into())) {
            Ok(request) => request,
            Err(error) => return Err(SendOutcome::Unreachable { detail: error.to_string() }),
        };
        match timeout_at(until, connections.ask(request)).await {
            Ok(Ok((response, connection))) => {
                let answer = GatewayAnswer::of_direct(response, until).await;
                connections.give_back(connection);
                Ok(answer)
            }
            Ok(Err(ConnectionError::Unreachable)) => Err(SendOutcome::Unreachable { detail: UNREACHABLE.into() }),
            Ok(Err(ConnectionError::BrokeOff)) => {
                Err(SendOutcome::Unknown { code: "gateway_broke_off".into(), detail: BROKE_OFF.into() })
            }
            Err(_) => Err(SendOutcome::Unknown { code: "gateway_timeout".into(), detail: TIMED_OUT.into() }),
        }
    }
}

/// What a gateway answered to a message.
struct GatewayAnswer {
    status: StatusCode,
    headers: HeaderMap,
    /// As much of it as is read, and came in time.
    body: Vec<u8>,
}

impl GatewayAnswer {
    async fn of(mut response: Response) -> Self {
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        // Read to the end, so that the connection can be used again. A success is known already, so not for long.
        let body = match status.is_success() {
            true => timeout(REST_OF_ANSWER, bounded(response)).await.unwrap_or_default(),
            false => bounded(response).await,
        };
        Self { status, headers, body }
    }

    async fn of_direct(response: connections::Response, until: Instant) -> Self {
        let (head, mut rest) = response.into_parts();
        let until = if head.status.is_success() { until.min(Instant::now() + REST_OF_ANSWER) } else { until };
        let mut body = Vec::new();
        while let Ok(Some(Ok(frame))) = timeout_at(until, rest.frame()).await {
            let Ok(data) = frame.into_data() else { continue };
            if body.len() + data.len() > requests::MAX_ANSWER {
                break;
            }
            body.extend_from_slice(&data);
        }
        Self { status: head.status, headers: head.headers, body }
    }
}

/// What the gateway's answer to a request, signed at that time, says of the message.
fn judge(answer: &GatewayAnswer, timestamp: i64) -> SendOutcome {
    let status = answer.status;
    if status.is_success() {
        return SendOutcome::Accepted;
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        // Ours is the wrong secret or clock, and the message is fine: it waits, with its sender, until somebody mends that.
        tracing::error!("{}", refused_signature(answer, timestamp));
        return SendOutcome::Throttled { retry_after: UNAUTHORIZED_WAIT };
    }
    if status == StatusCode::UNPROCESSABLE_ENTITY && lacks_sender(&answer.body) {
        // The message is fine: it waits, with its sender, until the gateway is given that.
        tracing::error!("the gateway has no sender of the name that a message has; add it to its gateway_senders");
        return SendOutcome::Throttled { retry_after: NO_SENDER_WAIT };
    }
    let retry_after = requests::retry_after(&answer.headers);
    let detail = detail(status, &answer.body);
    let code = format!("gateway_{}", status.as_u16());
    match (status, retry_after) {
        (StatusCode::TOO_MANY_REQUESTS, after) => {
            SendOutcome::Throttled { retry_after: after.unwrap_or(RETRY_AFTER_DEFAULT) }
        }
        (StatusCode::SERVICE_UNAVAILABLE, Some(retry_after)) => SendOutcome::Throttled { retry_after },
        // It is another one than the one that was asked for, and has not looked at the message.
        (StatusCode::MISDIRECTED_REQUEST, _) => SendOutcome::Unreachable { detail: MISDIRECTED.into() },
        // A proxy's words for a gateway that broke off or did not answer in time: it may have taken the message first.
        (StatusCode::REQUEST_TIMEOUT | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT, _) => {
            SendOutcome::Unknown { code, detail }
        }
        (status, _) if status.is_client_error() => SendOutcome::Rejected { code, detail },
        // Where it points to was not asked. That is somebody in between, and not this message's fault.
        (status, _) if status.is_server_error() || status.is_redirection() => SendOutcome::Failed { code, detail },
        _ => SendOutcome::Unknown { code, detail: format!("an answer that no gateway gives: {status}") },
    }
}

/// Whether the sender is all that a gateway does not take of a message.
fn lacks_sender(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Issues {
        detail: Vec<Issue>,
    }
    #[derive(Deserialize)]
    struct Issue {
        loc: Vec<String>,
    }
    serde_json::from_slice(body)
        .is_ok_and(|Issues { detail }| !detail.is_empty() && detail.iter().all(|issue| issue.loc == ["body", "sender"]))
}

/// What to say of a signature that is not taken: the secret is another, or a clock is wrong, and then whose.
fn refused_signature(answer: &GatewayAnswer, ours: i64) -> String {
    let status = answer.status;
    let date = answer
        .headers
        .get(DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| httpdate::parse_http_date(date).ok());
    let theirs = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
    let ahead = theirs.and_then(|theirs| i64::try_from(theirs.as_secs()).ok()).map(|theirs| theirs - ours);
    let said = detail(status, &answer.body);
    match ahead.filter(|ahead| ahead.unsigned_abs() > TOLERANCE.as_secs()) {
        Some(ahead) => format!(
            "the gateway does not take our signature ({status}): its clock is {} s {} ours, and more than {} s are not \
             taken; set the clocks by NTP",
            ahead.abs(),
            if ahead > 0 { "ahead of" } else { "behind" },
            TOLERANCE.as_secs()
        ),
        None => format!(
            "the gateway does not take our signature ({status}); is gateway_secret the same on both sides? It says: {said}"
        ),
    }
}

/// The gateway's reason. Control characters go: no person reads them, and PostgreSQL stores no NUL.
fn detail(status: StatusCode, body: &[u8]) -> String {
    match serde_json::from_slice::<Detail>(body) {
        Ok(Detail { detail }) => detail.chars().filter(|c| !c.is_control()).take(MAX_DETAIL).collect(),
        Err(_) => format!("the gateway answered {status}"),
    }
}

const UNREACHABLE: &str = "the gateway could not be reached";
const TIMED_OUT: &str = "the gateway did not answer in time";
const BROKE_OFF: &str = "the connection to the gateway broke off";

fn reason(error: &reqwest::Error) -> String {
    let text = if error.is_connect() {
        UNREACHABLE
    } else if error.is_timeout() {
        TIMED_OUT
    } else {
        BROKE_OFF
    };
    text.to_owned()
}

fn machine_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}
