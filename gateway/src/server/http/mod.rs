//! The gateway's paths.
//!
//! `/status` is open; `/qr`, `/send` and `/messages` need the shared secret's signature, and so does `/sim/messages`, the
//! only place where texts and numbers are shown. `/sim/stats` has nothing but counts. `/webhook` is the transport's: it
//! knows how its network signs. `/openapi.json` says all that to machines: it is written by hand, and a test holds it to
//! [`PATHS`].

mod asks;
mod refusal;

use self::asks::{PAGE_FIELDS, SendAsk, nothing, only, read_page, read_send};
use self::refusal::{JSON, NOT_READY, Refusal, allow, answer};
use super::Server;
use super::store::{Accepted, NewMessage};
use crate::sqlite::StoreError;
use crate::transport::HookRequest;
use crate::{GATEWAY_HEADER, Identity, MISDIRECTED, Request as Signed, Signer};
use futures::FutureExt;
use futures::future::BoxFuture;
use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Body, Endpoint, EndpointExt, IntoResponse, Request, Response, Route};
use serde_json::json;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;
use tracing::Instrument;

pub(crate) use self::asks::{is_id, is_message, is_number};

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
static PATHS: [Path; 11] = [
    Path { at: "/status", methods: GET, answer: |app, request| status(app, request).boxed() },
    Path { at: "/qr", methods: GET, answer: |app, request| qr(app, request).boxed() },
    Path { at: "/send", methods: POST, answer: |app, request| send(app, request).boxed() },
    Path { at: "/messages", methods: GET, answer: |app, request| messages(app, request).boxed() },
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
        let method = request.method();
        if *method == Method::OPTIONS {
            return StatusCode::NO_CONTENT.with_header(header::ALLOW, allow(self.methods)).into_response();
        }
        let answered = if self.methods.contains(method) {
            match self.strict(&mut request).await {
                Ok(()) => (self.answer)(app, request).await,
                Err(refusal) => Err(refusal),
            }
        } else if KNOWN.contains(method) || method.as_str() == "QUERY" {
            // QUERY is a registered method that no path here has.
            Err(Refusal::Method(self.methods))
        } else {
            Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "this server does not know the method"))
        };
        answered.unwrap_or_else(IntoResponse::into_response)
    }

    /// Refuses what the path does not read. What a network sends is its own: of that nothing is refused for its name.
    async fn strict(&self, request: &mut Request) -> Result<(), Refusal> {
        let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
        if !request.headers().get_all(header::CONTENT_ENCODING).iter().all(plain) {
            return Err(Refusal::Coding);
        }
        let known = match self.at {
            "/webhook" => return Ok(()),
            "/messages" | "/sim/messages" => PAGE_FIELDS,
            _ => &[],
        };
        only(request.uri().query().unwrap_or_default(), known)?;
        if self.methods == GET {
            nothing(&read(request.take_body(), MAX_BODY).await?)?;
        }
        Ok(())
    }
}

/// The methods that there are; one that is not among them is not implemented anywhere.
const KNOWN: [Method; 6] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::TRACE];

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
        let now = (self.server.store.now)().div_euclid(1_000);
        let target = request.original_uri().path_and_query().map_or("/", |target| target.as_str());
        let signed = Signed { method: request.method().as_str(), target, body };
        self.settings
            .signer
            .verify_request(now, &signed, |name| request.header(name))
            .map_err(|error| Refusal::new(StatusCode::UNAUTHORIZED, error.to_string()))
    }
}

async fn status(app: App, _: Request) -> Answered {
    let session = app.server.transport.session();
    let ready = session.ready && app.server.takes_messages().await;
    let Identity { name, transport } = &app.server.identity;
    let body = json!({
        "ready": ready, "need_qr": session.need_qr, "session_active": session.active,
        "gateway_id": name, "transport": transport,
    });
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

async fn send(app: App, mut request: Request) -> Answered {
    let is_json =
        |mime: &str| mime.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json");
    let body = read(request.take_body(), MAX_BODY).await?;
    app.signed(&request, &body)?;
    if !request.content_type().is_some_and(is_json) {
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json"));
    }
    let SendAsk { to, message, id, numeric, sender } = read_send(&body)?;
    // Whoever asked for another gateway must not take this one for it.
    if request.header(GATEWAY_HEADER).is_some_and(|asked| !asked.is_empty() && asked != app.server.identity.name) {
        return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, MISDIRECTED));
    }
    if !app.server.transport.session().ready {
        return Err(Refusal::unavailable("the gateway is not ready to send", NOT_READY));
    }
    let Some(sender) = app.server.sender_named(sender.as_deref()).map(str::to_owned) else {
        return Err(Refusal::no_sender(&app.server.settings.senders));
    };
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
    if answered.tells {
        // Told again by the network, if it is not durable.
        app.server.hear(body).await?;
    }
    let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Ok(Response::builder().status(status).content_type("text/plain; charset=utf-8").body(answered.body))
}

fn no_simulator() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "this transport is not the simulator")
}

async fn messages(app: App, request: Request) -> Answered {
    app.signed(&request, b"")?;
    let (cursor, limit) = read_page(&request)?;
    let page = app.server.store.kept(cursor, limit).await.map_err(|error| {
        tracing::warn!(%error, "the store cannot be read");
        Refusal::from(StoreError::Away)
    })?;
    Ok(answer(StatusCode::OK, &json!(page)))
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
    use super::asks::{MAX_ID, MAX_MESSAGE, PAGE, PAGE_MAX};
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

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
        let parameters = document["components"]["parameters"].as_object().expect("parameters").keys();
        let named: BTreeSet<&str> = parameters.map(String::as_str).collect();
        assert!(PAGE_FIELDS.iter().all(|name| named.contains(name)), "{named:?}");
        assert_eq!(document["components"]["schemas"]["Send"]["additionalProperties"], json!(false));
        let limit = &document["components"]["parameters"]["limit"]["schema"];
        assert_eq!((&limit["maximum"], &limit["default"]), (&json!(PAGE_MAX), &json!(PAGE)));
    }
}
