//! The gateway's paths.
//!
//! `/status` is open; `/qr` and `/send` need the shared secret's signature, and so does `/sim/messages`, the only place
//! where texts and numbers are shown. `/sim/stats` has nothing but counts. `/webhook` is the transport's: it knows how its
//! network signs. `/openapi.json` says all that to machines: it is written by hand, and a test holds it to [`PATHS`].

use super::Server;
use super::store::{Accepted, NewMessage};
use crate::sqlite::StoreError;
use crate::transport::HookRequest;
use crate::{SIGNATURE_HEADER, Signer, TIMESTAMP_HEADER};
use futures::FutureExt;
use futures::future::BoxFuture;
use poem::endpoint::BoxEndpoint;
use poem::error::NotFoundError;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Body, Endpoint, EndpointExt, IntoResponse, Request, Response, Route};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::Instrument;

/// Makes the text that Prometheus reads.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the paths need beside the server.
#[derive(Clone)]
pub struct HttpSettings {
    /// Checks who asks.
    pub signer: Signer,
    /// For `/metrics`.
    pub render_metrics: RenderMetrics,
}

impl std::fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpSettings")
    }
}

/// The largest body of a request of ours.
const MAX_BODY: usize = 64 * 1024;

/// The largest body of a network's request: Meta's are up to 3 MiB.
const MAX_HOOK: usize = 3 * 1024 * 1024;

/// How much of a body that is too large is read all the same, so that the client sees the answer.
const DRAIN: usize = 4 * 1024 * 1024;

/// The longest message, in characters: WhatsApp's.
const MAX_MESSAGE: usize = 4_096;

/// The longest name of a message.
const MAX_ID: usize = 255;

/// What a client is told to wait when the transport cannot send, or the store is away.
const NOT_READY: Duration = Duration::from_secs(5);

/// How many messages `/sim/messages` shows at once, at most and when nobody says.
const PAGE_MAX: i64 = 1_000;
const PAGE: i64 = 100;

/// One bad field.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Issue {
    loc: Vec<&'static str>,
    msg: &'static str,
    kind: &'static str,
}

/// Why a request was not done.
#[derive(Debug)]
enum Refusal {
    /// With a status and a reason, and how long to wait.
    Plain(StatusCode, String, Option<Duration>),
    /// Every bad field.
    Invalid(Vec<Issue>),
    /// The path takes none but these methods.
    Method(&'static [Method]),
}

impl Refusal {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::Plain(status, detail.into(), None)
    }

    fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::Plain(StatusCode::SERVICE_UNAVAILABLE, detail.into(), Some(retry_after))
    }

    fn of(error: &poem::Error) -> Self {
        if error.is::<NotFoundError>() {
            return Self::new(StatusCode::NOT_FOUND, "there is no such path");
        }
        match error.status() {
            status if status.is_client_error() => Self::new(status, error.to_string()),
            status => {
                tracing::error!(%error, "a request failed");
                Self::new(status, "a fault of ours; the log has it")
            }
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full | StoreError::Away => Self::unavailable(error.to_string(), NOT_READY),
            // The same id again finds out.
            StoreError::Unsettled | StoreError::Fault => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Plain(status, detail, retry_after) => {
                let mut response = answer(status, &json!({ "detail": detail }));
                if let Some(wait) = retry_after {
                    let seconds = wait.as_millis().div_ceil(1_000).max(1);
                    if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                        response.headers_mut().insert(header::RETRY_AFTER, value);
                    }
                }
                response
            }
            Self::Invalid(issues) => {
                let detail: Vec<Value> = issues
                    .iter()
                    .map(|issue| json!({ "loc": issue.loc, "msg": issue.msg, "type": issue.kind }))
                    .collect();
                answer(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "detail": detail }))
            }
            Self::Method(methods) => {
                let detail = "the path does not take this method";
                let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, &json!({ "detail": detail }));
                let head = methods.contains(&Method::GET).then_some("HEAD");
                let allow: Vec<&str> = methods.iter().map(Method::as_str).chain(head).collect();
                if let Ok(value) = HeaderValue::from_str(&allow.join(", ")) {
                    response.headers_mut().insert(header::ALLOW, value);
                }
                response
            }
        }
    }
}

const JSON: &str = "application/json; charset=utf-8";

fn answer(status: StatusCode, body: &Value) -> Response {
    Response::builder().status(status).content_type(JSON).body(body.to_string())
}

type Answered = Result<Response, Refusal>;

#[derive(Clone)]
struct App {
    server: Arc<Server>,
    settings: HttpSettings,
}

/// A path that is served.
struct Path {
    at: &'static str,
    /// What it takes; HEAD wherever it takes GET.
    methods: &'static [Method],
    answer: fn(App, Request) -> BoxFuture<'static, Answered>,
}

const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];

/// All paths.
static PATHS: [Path; 10] = [
    Path { at: "/status", methods: GET, answer: |app, request| status(app, request).boxed() },
    Path { at: "/qr", methods: GET, answer: |app, request| qr(app, request).boxed() },
    Path { at: "/send", methods: POST, answer: |app, request| send(app, request).boxed() },
    Path { at: "/webhook", methods: &[Method::GET, Method::POST], answer: |app, request| hook(app, request).boxed() },
    Path { at: "/sim/messages", methods: GET, answer: |app, request| sim_messages(app, request).boxed() },
    Path { at: "/sim/stats", methods: GET, answer: |app, request| sim_stats(app, request).boxed() },
    Path { at: "/healthz", methods: GET, answer: |app, request| healthz(app, request).boxed() },
    Path { at: "/readyz", methods: GET, answer: |app, request| readyz(app, request).boxed() },
    Path { at: "/metrics", methods: GET, answer: |app, request| render(app, request).boxed() },
    Path { at: "/openapi.json", methods: GET, answer: |app, request| openapi(app, request).boxed() },
];

/// What the paths are, for machines.
const OPENAPI: &str = include_str!("openapi.json");

impl Path {
    /// Answers; refusals are in the envelope.
    async fn call(&self, app: App, mut request: Request) -> Response {
        if request.method() == Method::HEAD {
            // The server leaves the body out.
            request.set_method(Method::GET);
        }
        let answered = if self.methods.contains(request.method()) {
            (self.answer)(app, request).await
        } else {
            Err(Refusal::Method(self.methods))
        };
        answered.unwrap_or_else(IntoResponse::into_response)
    }
}

/// All paths, for all methods.
pub(crate) fn routes(server: Arc<Server>, settings: HttpSettings) -> BoxEndpoint<'static> {
    let app = App { server, settings };
    let routes = PATHS.iter().fold(Route::new(), |routes, path| {
        let app = app.clone();
        let call = move |request| {
            let app = app.clone();
            async move { Ok::<_, poem::Error>(path.call(app, request).await) }
        };
        routes.at(path.at, poem::endpoint::make(call))
    });
    routes.around(outermost).boxed()
}

/// A request's name: the client's, if it is 1 to 64 of `[A-Za-z0-9._-]`, or one of ours.
fn request_id(request: &Request) -> String {
    let given = request.header("x-request-id");
    let fine = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    given.filter(fine).map_or_else(|| format!("{:032x}", rand::random::<u128>()), str::to_owned)
}

/// Around everything: names the request, turns errors and panics into refusals, counts.
async fn outermost(endpoint: Arc<impl Endpoint>, request: Request) -> poem::Result<Response> {
    let id = request_id(&request);
    let span = tracing::info_span!("request", %id, method = %request.method(), path = request.uri().path());
    let (began, method) = (Instant::now(), request.method().to_string());
    let called = AssertUnwindSafe(endpoint.call(request)).catch_unwind().instrument(span).await;
    let mut response = match called {
        Ok(Ok(output)) => output.into_response(),
        Ok(Err(error)) => Refusal::of(&error).into_response(),
        Err(_) => {
            tracing::error!("a request panicked; the log has its place");
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "a fault of ours; the log has it").into_response()
        }
    };
    metrics::histogram!("paceline_http_seconds", "method" => method, "status" => response.status().as_str().to_owned())
        .record(began.elapsed().as_secs_f64());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert("x-request-id", value);
    }
    Ok(response)
}

/// Reads a body whole, up to so many bytes.
async fn read(body: Body, most: usize) -> Result<Vec<u8>, Refusal> {
    use futures::StreamExt;
    let mut chunks = std::pin::pin!(body.into_bytes_stream());
    let (mut bytes, mut seen) = (Vec::new(), 0_usize);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "the body broke off before its end"))?;
        seen = seen.saturating_add(chunk.len());
        if seen > most.saturating_add(DRAIN) {
            break;
        }
        if seen <= most {
            bytes.extend_from_slice(&chunk);
        }
    }
    if seen > most {
        let detail = format!("the body is larger than {} KiB", most / 1024);
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(bytes)
}

impl App {
    /// Checks the signature over a body.
    fn signed(&self, request: &Request, body: &[u8]) -> Result<(), Refusal> {
        let refuse = |detail: &str| Refusal::new(StatusCode::UNAUTHORIZED, detail);
        let (Some(timestamp), Some(signature)) = (request.header(TIMESTAMP_HEADER), request.header(SIGNATURE_HEADER))
        else {
            return Err(refuse("a signature is required: X-Paceline-Signature and X-Paceline-Timestamp"));
        };
        let now = (self.server.store.now)().div_euclid(1_000);
        self.settings.signer.verify(now, timestamp, body, signature).map_err(|error| refuse(&error.to_string()))
    }
}

async fn status(app: App, _: Request) -> Answered {
    let session = app.server.transport.session();
    let ready = session.ready && app.server.takes_messages().await;
    let body = json!({ "ready": ready, "need_qr": session.need_qr, "session_active": session.active });
    Ok(answer(StatusCode::OK, &body))
}

async fn qr(app: App, request: Request) -> Answered {
    app.signed(&request, b"")?;
    let session = app.server.transport.session();
    Ok(answer(StatusCode::OK, &json!({ "qr": session.qr, "ready": session.ready })))
}

async fn healthz(_: App, _: Request) -> Answered {
    Ok(answer(StatusCode::OK, &json!({ "status": "ok" })))
}

async fn openapi(_: App, _: Request) -> Answered {
    Ok(Response::builder().content_type(JSON).body(OPENAPI))
}

async fn readyz(app: App, _: Request) -> Answered {
    let word = |there| if there { "ok" } else { "away" };
    let (store, transport) = (app.server.store.is_there().await, app.server.transport.session().ready);
    let status = if store { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(answer(status, &json!({ "store": word(store), "transport": word(transport) })))
}

async fn render(app: App, _: Request) -> Answered {
    app.server.measure().await;
    let text = (app.settings.render_metrics)();
    Ok(Response::builder().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}

/// `/send`'s fields as they came.
#[derive(Deserialize)]
struct SendFields<'a> {
    #[serde(borrow)]
    to: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    backend_message_id: Option<&'a RawValue>,
}

/// How a backend may name a message.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Number(i64),
    Text(String),
}

/// What `/send` was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SendAsk {
    to: String,
    message: String,
    id: String,
    numeric: bool,
}

/// Reads a send; every bad field is named.
fn read_send(body: &[u8]) -> Result<SendAsk, Refusal> {
    // A list of the fields' values would be taken as well.
    let fields: Option<SendFields<'_>> =
        serde_json::from_slice(body).ok().filter(|_| body.trim_ascii_start().starts_with(b"{"));
    let Some(fields) = fields else {
        let issue = Issue { loc: vec!["body"], msg: "must be a JSON object", kind: "json_invalid" };
        return Err(Refusal::Invalid(vec![issue]));
    };
    let mut issues = Vec::new();
    let mut take =
        |name: &'static str, raw: Option<&RawValue>, msg: &'static str, read: &dyn Fn(&str) -> Option<String>| {
            let issue = |msg, kind| Issue { loc: vec!["body", name], msg, kind };
            match raw.filter(|raw| raw.get() != "null") {
                None => issues.push(issue("is required", "missing")),
                Some(raw) => match read(raw.get()) {
                    Some(value) => return value,
                    None => issues.push(issue(msg, "value_error")),
                },
            }
            String::new()
        };
    let text = |raw: &str| serde_json::from_str::<String>(raw).ok();
    let to = take("to", fields.to, "must be 7 to 15 digits without +", &|raw| text(raw).filter(|to| is_number(to)));
    let message = take("message", fields.message, "must be a text of 1 to 4096 characters", &|raw| {
        text(raw).filter(|message| is_message(message))
    });
    let named = "must be an integer or a text of 1 to 255 visible ASCII characters";
    let numeric = std::cell::Cell::new(false);
    let id = take("backend_message_id", fields.backend_message_id, named, &|raw| match serde_json::from_str(raw) {
        Ok(Named::Number(number)) => {
            numeric.set(true);
            Some(number.to_string())
        }
        Ok(Named::Text(id)) => Some(id).filter(|id| is_id(id)),
        Err(_) => None,
    });
    if issues.is_empty() {
        Ok(SendAsk { to, message, id, numeric: numeric.get() })
    } else {
        Err(Refusal::Invalid(issues))
    }
}

pub(crate) fn is_number(to: &str) -> bool {
    (7..=15).contains(&to.len()) && to.bytes().all(|b| b.is_ascii_digit())
}

pub(crate) fn is_message(message: &str) -> bool {
    !message.is_empty() && message.chars().count() <= MAX_MESSAGE && !message.contains('\0')
}

pub(crate) fn is_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

async fn send(app: App, mut request: Request) -> Answered {
    let is_json =
        |mime: &str| mime.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json");
    let body = read(request.take_body(), MAX_BODY).await?;
    app.signed(&request, &body)?;
    if !request.content_type().is_some_and(is_json) {
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json"));
    }
    let SendAsk { to, message, id, numeric } = read_send(&body)?;
    if !app.server.transport.session().ready {
        return Err(Refusal::unavailable("the gateway is not ready to send", NOT_READY));
    }
    let sender = app.server.sender.clone();
    let accepted = app.server.store.accept(NewMessage { id, numeric, sender, recipient: to, body: message }).await?;
    let outcome = match &accepted {
        Accepted::Fresh => "fresh",
        Accepted::Known => "known",
        Accepted::Capped { .. } => "capped",
        Accepted::Stopped { .. } => "stopped",
    };
    metrics::counter!("paceline_gateway_accepts_total", "outcome" => outcome).increment(1);
    match accepted {
        Accepted::Fresh | Accepted::Known => {
            let body = json!({ "status": "accepted", "message": "Message queued for sending" });
            Ok(answer(StatusCode::ACCEPTED, &body))
        }
        Accepted::Capped { retry_after } => {
            let detail = "the sender has sent as many messages as it may in a day".to_owned();
            Err(Refusal::Plain(StatusCode::TOO_MANY_REQUESTS, detail, Some(retry_after)))
        }
        Accepted::Stopped { retry_after, code } => {
            Err(Refusal::unavailable(format!("the network stopped the sender: {code}"), retry_after))
        }
    }
}

async fn hook(app: App, mut request: Request) -> Answered {
    let body = read(request.take_body(), MAX_HOOK).await?;
    let query: Vec<(String, String)> = request.params().unwrap_or_default();
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    let asked =
        HookRequest { method: request.method().as_str(), query: &query, headers: &headers, body: body.as_slice() };
    let Some(answered) = app.server.transport.hook(&asked).await else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "this transport has no webhook"));
    };
    if !answered.events.is_empty() {
        // Told again by the network, if it is not durable.
        app.server.store.heard(answered.events).await?;
    }
    let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Ok(Response::builder().status(status).content_type("text/plain; charset=utf-8").body(answered.body))
}

fn no_simulator() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "this transport is not the simulator")
}

/// A page's place and size, as they came.
#[derive(Deserialize)]
struct PageFields {
    limit: Option<String>,
    cursor: Option<String>,
}

/// What page is asked for: after which place, and how many; every bad field is named.
fn read_page(request: &Request) -> Result<(i64, i64), Refusal> {
    let issue = |loc, msg| Issue { loc, msg, kind: "value_error" };
    let fields: PageFields = request
        .params()
        .map_err(|_| Refusal::Invalid(vec![issue(vec!["query"], "must have limit and cursor once at most")]))?;
    let number = |field: Option<String>, usual| field.map_or(Some(usual), |text| text.parse::<i64>().ok());
    let cursor = number(fields.cursor, 0);
    let limit = number(fields.limit, PAGE).filter(|limit| (1..=PAGE_MAX).contains(limit));
    let bad_limit = limit.is_none().then(|| issue(vec!["query", "limit"], "must be an integer from 1 to 1000"));
    let bad_cursor = cursor.is_none().then(|| issue(vec!["query", "cursor"], "must be an integer"));
    match (cursor, limit) {
        (Some(cursor), Some(limit)) => Ok((cursor, limit)),
        _ => Err(Refusal::Invalid(bad_limit.into_iter().chain(bad_cursor).collect())),
    }
}

async fn sim_messages(app: App, request: Request) -> Answered {
    app.signed(&request, b"")?;
    let simulator = app.server.simulator.as_ref().ok_or_else(no_simulator)?;
    let (cursor, limit) = read_page(&request)?;
    let messages = simulator.messages(cursor, limit).await?;
    let next = messages.last().filter(|_| i64::try_from(messages.len()) == Ok(limit)).map(|last| last.seq);
    Ok(answer(StatusCode::OK, &json!({ "messages": messages, "next_cursor": next })))
}

async fn sim_stats(app: App, _: Request) -> Answered {
    let simulator = app.server.simulator.as_ref().ok_or_else(no_simulator)?;
    let stats = simulator.stats().await?;
    Ok(answer(StatusCode::OK, &json!(stats)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn bad(body: &str) -> Vec<&'static str> {
        match read_send(body.as_bytes()) {
            Err(Refusal::Invalid(issues)) => issues.iter().filter_map(|issue| issue.loc.last().copied()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_bad_field_of_a_send_is_named() {
        assert_eq!(bad("{}"), ["to", "message", "backend_message_id"]);
        assert_eq!(bad("[]"), ["body"]);
        assert_eq!(bad("nothing"), ["body"]);
        assert_eq!(bad("[\"60123456789\", \"Hi\", 1]"), ["body"]);
        let long = "x".repeat(4_097);
        for (to, message, id) in [
            ("\"+60123456789\"", "\"\"", "\"\""),
            ("\"123456\"", "7", "1.5"),
            ("\"1234567890123456\"", "null", "\"a b\""),
            ("60123456789", &format!("\"{long}\""), "[1]"),
            ("\"6012345678\\u0000\"", "\"a\\u0000\"", "\"\u{e9}\""),
        ] {
            let body = format!("{{\"to\": {to}, \"message\": {message}, \"backend_message_id\": {id}}}");
            assert_eq!(bad(&body), ["to", "message", "backend_message_id"], "{body}");
        }
    }

    #[test]
    fn a_message_is_named_by_a_number_or_a_text() {
        let read = |id: &str| {
            let body =
                format!("{{\"to\": \"60123456789\", \"message\": \"Hi \u{1f600}\", \"backend_message_id\": {id}}}");
            read_send(body.as_bytes()).map(|ask| (ask.id, ask.numeric)).expect("taken")
        };
        assert_eq!(read("17"), ("17".into(), true));
        assert_eq!(read("\"17\""), ("17".into(), false));
    }

    #[test]
    fn every_bad_field_of_a_page_is_named() {
        let read = |query: &str| {
            let uri = format!("/sim/messages{query}").parse().expect("an address");
            read_page(&Request::builder().uri(uri).finish())
        };
        let bad = |query: &str| match read(query) {
            Err(Refusal::Invalid(issues)) => issues.into_iter().map(|issue| issue.loc).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(read("").expect("a page"), (0, 100));
        assert_eq!(read("?limit=1000&cursor=-7").expect("a page"), (-7, 1_000));
        assert_eq!(bad("?limit=1001"), [["query", "limit"]]);
        assert_eq!(bad("?limit=&cursor=x"), [["query", "limit"], ["query", "cursor"]]);
        assert_eq!(bad("?cursor=9223372036854775808"), [["query", "cursor"]]);
        assert_eq!(bad("?limit=1&limit=2"), [["query"]]);
    }

    #[test]
    fn the_document_has_every_path_and_no_other() {
        let document: Value = serde_json::from_str(OPENAPI).expect("JSON");
        assert_eq!(document["info"]["version"], json!(env!("CARGO_PKG_VERSION")));
        let described: BTreeSet<(String, String)> = (document["paths"].as_object().expect("paths").iter())
            .flat_map(|(at, methods)| {
                let methods = methods.as_object().expect("methods").keys();
                methods.map(|method| (at.clone(), method.to_uppercase()))
            })
            .collect();
        let served: BTreeSet<(String, String)> =
            (PATHS.iter()).flat_map(|path| path.methods.iter().map(|m| (path.at.to_owned(), m.to_string()))).collect();
        assert_eq!(described, served);
    }

    #[test]
    fn the_document_refers_to_nothing_that_it_has_not_and_has_the_bounds() {
        fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str));
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(values) => values.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document: Value = serde_json::from_str(OPENAPI).expect("JSON");
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in &found {
            let place = reference.strip_prefix('#').expect("within the document");
            assert!(document.pointer(place).is_some(), "{reference}");
        }
        for (kind, parts) in document["components"].as_object().expect("components") {
            // Schemes are named, not referred to.
            for name in parts.as_object().expect("parts").keys().filter(|_| kind != "securitySchemes") {
                assert!(
                    found.contains(format!("#/components/{kind}/{name}").as_str()),
                    "nothing refers to {kind} {name}"
                );
            }
        }
        let send = &document["components"]["schemas"]["Send"]["properties"];
        assert_eq!(send["message"]["maxLength"], json!(MAX_MESSAGE));
        assert_eq!(send["backend_message_id"]["oneOf"][1]["pattern"], json!(format!("^[!-~]{{1,{MAX_ID}}}$")));
        let limit = &document["paths"]["/sim/messages"]["get"]["parameters"][0]["schema"];
        assert_eq!((&limit["maximum"], &limit["default"]), (&json!(PAGE_MAX), &json!(PAGE)));
    }
}
