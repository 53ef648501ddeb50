//! The CRM's surface: `/customers`, `/messages`, `/webhooks`, `/metrics`. Answers are bare JSON, errors are `{detail}`.

mod access;
mod customers;
mod envelope;
mod events;
mod internal;
mod messages;
mod wire;

use crate::foundation::accept::{Wanted, wanted};
use crate::foundation::coalesce::Coalesced;
use crate::foundation::guard::Guard;
use crate::foundation::known::Operations;
use crate::foundation::refusal::{Kind, Refusal};
use crate::foundation::{auth, body, by_method, guarded, limits, timing};
use crate::{App, RenderMetrics, realtime};
use access::Asker;
use domain::messages::tally::{self, Tally};
use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderValue, Uri, header};
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response};
use poem_openapi::OpenApiService;
use poem_openapi::payload::Json;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use events::CrmEvents;

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
    .description(
        "Customers, their messages as they come and go, and what the gateway reports.\n\n\
         Decided:\n\
         - A field or a parameter that is not in this document is refused with 422 like any other bad one, `loc` naming \
         it: the original's form of several bad fields has this status alone. `to` of `/webhooks/whatsapp/seen` is taken \
         and not read.\n\
         - `/metrics` follows `Accept` with its qualities. Of two forms that are wanted as much, the one that is named more \
         closely, then JSON; 406 where neither is wanted.\n\
         - A body may come with `Content-Encoding: gzip`; a signature is of what it unpacks to.\n\
         - Two spellings of one number are one customer. Two customers who turn out to be one are merged: the older stays, \
         with everything that both had, the stream tells `{type: \"customer_merged\", customer_id, merged_id}`, and the \
         other's number still finds the one that stayed, wherever a customer is named.",
    )
    .server("/")
}

/// The surface: who asks, how often, then the route, then its envelope.
pub(crate) fn endpoint(app: Arc<App>) -> Arc<BoxEndpoint<'static>> {
    let numbers = Arc::new(numbers(app.clone()).boxed());
    let routes = service(app.clone());
    let operations = Arc::new(Operations::of::<Routes>().and_get("/metrics", &[]));
    crate::shared(routes.around(move |routes, request| {
        let (app, numbers, operations) = (app.clone(), numbers.clone(), operations.clone());
        async move {
            Ok(match request.uri().path().trim_end_matches('/') {
                "/metrics" => answer(&app, &operations, &numbers, request).await,
                _ => answer(&app, &operations, routes.as_ref(), request).await,
            })
        }
    }))
}

async fn answer(app: &App, operations: &Operations, routes: &impl Endpoint, mut request: Request) -> Response {
    if let Some(response) = by_method(operations, &request, envelope::refuse) {
        return response;
    }
    // The contract writes it with the slash, and the library routes it without.
    if request.uri().path() == "/customers/" {
        let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
        if let Ok(uri) = format!("/customers{query}").parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    if !opens_itself(operations, &request) {
        match admit(app, operations, &request).await {
            Ok(asker) => {
                request.extensions_mut().insert(asker);
            }
            Err(refusal) => {
                body::drain(request.into_body(), body::DRAIN_REFUSED).await;
                return envelope::refuse(&refusal);
            }
        }
    }
    guarded(operations, routes, request, envelope::refuse).await
}

/// Whether nobody has to show a token for it: it is for everybody, or the gateway's, whose signature is checked with the
/// body. What is not there is as all that is beside it.
fn opens_itself(operations: &Operations, request: &Request) -> bool {
    match operations.find(request).and_then(|asked| asked.guard().cloned()) {
        Some(guard) => guard == Guard::Everybody || guard.wants(access::SIGNATURE),
        None => operations.all_below_want(request, access::SIGNATURE),
    }
}

async fn admit(app: &App, operations: &Operations, request: &Request) -> Result<Asker, Refusal> {
    let asker = match operations.find(request).is_some_and(|asked| asked.takes("token")) {
        true => Asker::of(app, realtime::token(request).as_deref()).await?,
        false => Asker::of(app, auth::bearer(request)).await?,
    };
    let key = format!("general:{}", asker.user());
    limits::TightestLimit::note(request, limits::check(app, &key, app.settings.general_per_minute).await?);
    operations.permit(request, |permission| asker.needs(permission))?;
    Ok(asker)
}

/// The process's numbers as Prometheus reads them.
pub(crate) fn metrics(render: RenderMetrics) -> impl Endpoint<Output = Response> {
    poem::endpoint::make_sync(move |_| prometheus(&render))
}

fn prometheus(render: &RenderMetrics) -> Response {
    render().with_content_type("text/plain; version=0.0.4; charset=utf-8").into_response()
}

/// What the numbers may be told as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    /// What Prometheus reads.
    Text,
}

impl Form {
    /// The form that a client wants most; `None`: it takes neither. Of two that it wants as much it gets the one that it
    /// named more closely, and else JSON: `application/json, text/plain, */*` is what JavaScript's clients send.
    fn wanted(request: &Request) -> Option<Self> {
        let of = |media_type| wanted(request, media_type).filter(|wanted: &Wanted| wanted.quality > 0);
        // Prometheus's newer format is not written; who names it reads the older one as well.
        let text = of("text/plain").max(of("application/openmetrics-text").filter(|wanted| wanted.closeness == 2));
        match (of("application/json"), text) {
            (None, None) => None,
            (json, text) if text > json => Some(Self::Text),
            _ => Some(Self::Json),
        }
    }
}

/// Within what a customer is active who wrote or was written to.
const ACTIVE: Duration = Duration::from_secs(86_400);

/// `/metrics`: JSON, or Prometheus's text for who asks for it.
fn numbers(app: Arc<App>) -> impl Endpoint<Output = Response> {
    let reads: Arc<Coalesced<(), Result<Counts, Refusal>>> = Arc::default();
    poem::endpoint::make(move |request: Request| {
        let (app, reads) = (app.clone(), reads.clone());
        async move {
            let differs = |mut response: Response| {
                response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
                response
            };
            match Form::wanted(&request) {
                Some(Form::Json) => {}
                Some(Form::Text) => return Ok(differs(prometheus(&app.observed.render_metrics))),
                None => {
                    let message = "the numbers are there as application/json and as text/plain alone";
                    return Err(Refusal::new(Kind::NotAcceptable, message).into());
                }
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
            Ok::<_, poem::Error>(differs(Json(numbers).into_response()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_come_in_the_form_that_is_wanted_most() {
        let of = |accept: &str| Form::wanted(&Request::builder().header("accept", accept).finish());
        let (json, text) = (Some(Form::Json), Some(Form::Text));
        for (accept, form) in [
            ("*/*", json),
            ("application/json, text/plain, */*", json),
            ("text/plain, application/json", json),
            ("text/plain, */*", text),
            ("text/plain", text),
            ("text/*", text),
            ("application/openmetrics-text", text),
            ("application/*", json),
            ("application/json;q=0.1, text/plain;q=0.2", text),
            ("text/plain;q=0.9, application/json", json),
            ("text/plain;q=0.9, */*;q=0.1", text),
            ("text/plain;q=0, */*", json),
            ("text/plain;q=0, application/json;q=0.5, */*", json),
            ("application/json;q=0, */*", text),
            ("application/json;q=0, */*;q=0.1", text),
            ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", json),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                text,
            ),
            ("image/png", None),
            ("*/*;q=0", None),
            ("application/json;q=0", None),
        ] {
            assert_eq!(of(accept), form, "{accept}");
        }
        assert_eq!(Form::wanted(&Request::default()), json);
    }
}
