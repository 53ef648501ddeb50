//! A receiver that answers at once, or a little later, and a bare load generator for it.

use anyhow::{Result, bail};
use futures::{StreamExt, stream};
use poem::listener::TcpAcceptor;
use poem::{EndpointExt, Route, Server};
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// A receiver of `/send` on a free port of this machine.
pub(super) struct Sink {
    url: String,
    arrivals: Arc<Mutex<Vec<Instant>>>,
}

impl Sink {
    /// Starts a receiver that answers after `delay`.
    pub(super) async fn start(delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let arrived = arrivals.clone();
        let answer = poem::endpoint::make(move |mut request| {
            arrived.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
            async move {
                let body = request.take_body().into_bytes().await;
                drop(body);
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                let text = r#"{"status":"accepted","message":"Message queued for sending"}"#;
                Ok::<_, poem::Error>(poem::Response::builder().status(poem::http::StatusCode::ACCEPTED).body(text))
            }
        });
        let (answer, reports) = (answer.boxed(), poem::endpoint::make_sync(|_| "ok").boxed());
        let routes = Route::new()
            .at("/send", answer)
            .at("/messages/:report", reports)
            .at("/", poem::endpoint::make_sync(|_| "ok").boxed());
        let acceptor = TcpAcceptor::from_tokio(listener)?;
        tokio::spawn(async move {
            if let Err(error) = Server::new_with_acceptor(acceptor).run(routes).await {
                tracing::error!(%error, "the receiver ended");
            }
        });
        Ok(Self { url, arrivals })
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// How many messages came since [`arrivals`](Self::arrivals) was asked last.
    pub(super) fn arrived(&self) -> usize {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// When messages came, since this was asked last.
    pub(super) fn arrivals(&self) -> Vec<Instant> {
        std::mem::take(&mut self.arrivals.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn client(connections: usize) -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().pool_max_idle_per_host(connections).tcp_nodelay(true).no_proxy().build()?)
}

/// Requests a second that a bare generator gets, with as many in flight.
pub(super) async fn generate(url: &str, count: usize, in_flight: usize) -> Result<f64> {
    let client = client(in_flight)?;
    let url = format!("{url}/send");
    let began = Instant::now();
    let failed = stream::iter(0..count)
        .map(|i| {
            let body = json!({ "to": "60123000000", "message": "Hello Contact", "backend_message_id": i.to_string() });
            let request = client.post(&url).json(&body);
            tokio::spawn(async move { request.send().await?.bytes().await })
        })
        .buffer_unordered(in_flight)
        .filter(|done| futures::future::ready(!matches!(done, Ok(Ok(_)))))
        .count()
        .await;
    if failed > 0 {
        bail!("{failed} of the generator's requests failed");
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

/// GET requests a second.
pub(super) async fn get(url: &str, token: Option<&str>, count: usize, in_flight: usize) -> Result<f64> {
    let client = client(in_flight)?;
    let began = Instant::now();
    let failed = stream::iter(0..count)
        .map(|_| {
            let request = client.get(url);
            let request = token.iter().fold(request, |request, token| request.bearer_auth(token));
            tokio::spawn(async move {
                let answer = request.send().await?.error_for_status()?;
                answer.bytes().await
            })
        })
        .buffer_unordered(in_flight)
        .filter(|done| futures::future::ready(!matches!(done, Ok(Ok(_)))))
        .count()
        .await;
    if failed > 0 {
        bail!("{failed} of {count} reads failed");
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}
