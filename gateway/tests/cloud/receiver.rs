//! The smallest server that gives a transport's hook its requests.

use bytes::Bytes;
use gateway::CloudApi;
use gateway::transport::{Event, HookRequest, Transport};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Listens on a free port of 127.0.0.1. Dropping it closes the port.
pub(crate) struct Receiver {
    pub(crate) url: String,
    heard: Arc<Mutex<Heard>>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Heard {
    events: Vec<Event>,
    /// How many events cannot be stored: their webhooks are answered with 503.
    full: usize,
}

impl Receiver {
    pub(crate) async fn start(transport: Arc<CloudApi>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/webhook", listener.local_addr().expect("an address"));
        let heard = Arc::new(Mutex::new(Heard::default()));
        let kept = heard.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (transport, heard) = (transport.clone(), kept.clone());
                let service = service_fn(move |request| {
                    let (transport, heard) = (transport.clone(), heard.clone());
                    async move { Ok::<_, Infallible>(answer(&transport, &heard, request).await) }
                });
                // It ends with an error whenever the emulator hangs up.
                tokio::spawn(async move {
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok()
                });
            }
        });
        Self { url, heard, server }
    }

    /// The next webhooks with events cannot be stored, so many times.
    pub(crate) fn is_full(&self, times: usize) {
        self.heard.lock().expect("no test panics with it").full = times;
    }

    /// Every event that was stored, in order.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.heard.lock().expect("no test panics with it").events.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(transport: &CloudApi, heard: &Mutex<Heard>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let url = reqwest::Url::parse(&format!("http://here{}", head.uri)).expect("an address");
    let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers: Vec<_> = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let body = body.collect().await.expect("a body").to_bytes();
    let request = HookRequest { method: head.method.as_str(), query: &query, headers: &headers, body: &body };
    let answer = transport.hook(&request).await.expect("the Cloud API has a webhook");
    let mut heard = heard.lock().expect("no test panics with it");
    let events = if answer.tells { transport.read(&body).events } else { Vec::new() };
    let status = if !events.is_empty() && heard.full > 0 {
        heard.full -= 1;
        503
    } else {
        heard.events.extend(events);
        answer.status
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(status).expect("an HTTP status");
    response
}
