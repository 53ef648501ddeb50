//! The CRM's surface: `/customers`, `/messages`, `/webhooks`, `/metrics`. Answers are bare JSON, errors are `{detail}`.

mod access;
mod customers;
mod envelope;
mod internal;
mod messages;
mod wire;

use crate::foundation::coalesce::Coalesced;
use crate::foundation::refusal::{Kind, Refusal};
use crate::foundation::{auth, body, guarded, limits, timing};
use crate::{App, RenderMetrics, realtime};
use access::Asker;
use domain::messages::tally::{self, Tally};
use poem::endpoint::BoxEndpoint;
use poem::http::{Method, Uri, header};
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response};
use poem_openapi::OpenApiService;
use poem_openapi::payload::Json;
use std::sync::Arc;
use std::time::Duration;

type Routes = (customers::CustomerRoutes, messages::MessageRoutes, internal::InternalRoutes);

/// The surface's document and routes.
pub(crate) fn service(app: Arc<App>) -> OpenApiService<Routes, ()> {
    OpenApiService::new(
        (
            customers::CustomerRoutes { app: app.clone() },
            messages::MessageRoutes { app: app.clone() },
            internal::InternalRoutes { app },
        ),
        "Paceline: WhatsApp CRM",
        env!("CARGO_PKG_VERSION"),
    )
    .description(concat!(
        "Customers, their messages as they come and go, and what the gateway reports.\n\n",
        "Decided: two spellings of one number are one customer. Two customers who turn out to be one are merged: the older ",
        "stays, with everything that both had, the stream tells `{type: \"customer_merged\", customer_id, merged_id}`, and ",
        "the other's number still finds the one that stayed, wherever a customer is named.",
    ))
    .server("/")
}

/// The surface: who asks, how often, then the route, then its envelope.
pub(crate) fn endpoint(app: Arc<App>) -> Arc<BoxEndpoint<'static>> {
    let numbers = Arc::new(numbers(app.clone()).boxed());
    let routes = service(app.clone());
    crate::shared(routes.around(move |routes, request| {
        let (app, numbers) = (app.clone(), numbers.clone());
        async move {
            Ok(match kind_of(request.uri().path()) {
                Use::Metrics => answer(&app, &numbers, Use::Metrics, request).await,
                kind => answer(&app, routes.as_ref(), kind, request).await,
            })
        }
    }))
}

/// Who a path of this surface is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Frontend,
    Stream,
    Internal,
    Metrics,
}

fn kind_of(path: &str) -> Use {
    match path.trim_end_matches('/') {
        "/metrics" => Use::Metrics,
        "/messages/events/stream" => Use::Stream,
        "/messages/inbox" | "/messages/ack" | "/messages/map" | "/messages/failed" => Use::Internal,
        path if path.starts_with("/webhooks") => Use::Internal,
        _ => Use::Frontend,
    }
}

async fn answer(app: &App, routes: &impl Endpoint, kind: Use, mut request: Request) -> Response {
    // The contract writes it with the slash, and the library routes it without.
    if request.uri().path() == "/customers/" {
        let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
        if let Ok(uri) = format!("/customers{query}").parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    let path = request.uri().path().to_owned();
    if matches!(kind, Use::Frontend | Use::Stream) {
        match admit(app, &request, kind).await {
            Ok(asker) => {
                request.extensions_mut().insert(asker);
            }
            Err(refusal) => {
                body::drain(request.into_body(), body::DRAIN_REFUSED).await;
                return envelope::refuse(&refusal);
            }
        }
    }
    let refuse = |refusal: &Refusal| {
        let mut refusal = refusal.clone();
        if refusal.kind == Kind::MethodNotAllowed {
            refusal.allow = Some(allowed(&path).into());
        }
        envelope::refuse(&refusal)
    };
    guarded(routes, request, refuse).await
}

async fn admit(app: &App, request: &Request, kind: Use) -> Result<Asker, Refusal> {
    let asker = match kind {
        Use::Stream => Asker::of(app, realtime::token(request).as_deref()).await?,
        Use::Frontend | Use::Internal | Use::Metrics => Asker::of(app, auth::bearer(request)).await?,
    };
    let key = format!("general:{}", asker.user());
    limits::Standing::note(request, limits::check(app, &key, app.settings.general_per_minute).await?);
    Ok(asker)
}

/// The methods of a path, for `Allow`.
fn allowed(path: &str) -> &'static str {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["customers"] => "GET, POST",
        ["customers", "photo"] | ["customers", _, "read"] | ["webhooks", ..] => "POST",
        ["messages", "send" | "inbox" | "ack" | "map" | "failed"] => "POST",
        _ => "GET",
    }
}

/// The process's numbers as Prometheus reads them.
pub(crate) fn metrics(render: RenderMetrics) -> impl Endpoint<Output = Response> {
    poem::endpoint::make_sync(move |_| prometheus(&render))
}

fn prometheus(render: &RenderMetrics) -> Response {
    render().with_content_type("text/plain; version=0.0.4; charset=utf-8").into_response()
}

/// Whether a client asks for what Prometheus reads.
fn wants_text(request: &Request) -> bool {
    let accept = request.header(header::ACCEPT).unwrap_or_default();
    accept.split(',').any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("text/plain") || kind.eq_ignore_ascii_case("application/openmetrics-text")
    })
}

/// Within what a customer is active who wrote or was written to.
const ACTIVE: Duration = Duration::from_secs(86_400);

/// `/metrics`: JSON, or Prometheus's text for who asks for it.
fn numbers(app: Arc<App>) -> impl Endpoint<Output = Response> {
    let reads: Arc<Coalesced<(), Result<Counts, Refusal>>> = Arc::default();
    poem::endpoint::make(move |request: Request| {
        let (app, reads) = (app.clone(), reads.clone());
        async move {
            if !matches!(*request.method(), Method::GET | Method::HEAD) {
                return Err(Refusal::new(Kind::MethodNotAllowed, "the path has no such method").into());
            }
            if wants_text(&request) {
                return Ok(prometheus(&app.observed.render_metrics));
            }
            let asked = app.clone();
            let Counts { sent, received, active } = reads.get((), move || async move { counts(&asked).await }).await?;
            let numbers = wire::Numbers {
                messages_sent_total: sent,
                messages_received_total: received,
                active_customers: active,
                average_response_time_ms: timing::average_ms(),
                uptime_seconds: app.started.elapsed().as_secs(),
            };
            Ok::<_, poem::Error>(Json(numbers).into_response())
        }
    })
}

/// What is counted in the database.
#[derive(Clone, Copy, Debug)]
struct Counts {
    sent: i64,
    received: i64,
    active: i64,
}

async fn counts(app: &App) -> Result<Counts, Refusal> {
    let db = app.db.read();
    let since = app.clock.now().minus(ACTIVE);
    Ok(Counts {
        sent: tally::total(db, Tally::Sent).await?,
        received: tally::total(db, Tally::Received).await?,
        active: domain::contacts::customers::active_since(db, since).await?,
    })
}
