//! What is about the process and the documents: health, metrics, OpenAPI.

mod document;

use crate::foundation::refusal::{Kind, Refusal, bare};
use crate::{App, Observed, ReadyCheck, surface};
use poem::http::StatusCode;
use poem::web::Html;
use poem::{Endpoint, EndpointExt, IntoResponse, Response, Route, get, handler};
use poem_openapi::{OpenApi, OpenApiService};
use serde_json::json;
use std::sync::Arc;

fn json_response(status: StatusCode, body: &serde_json::Value) -> Response {
    let mut response = body.to_string().with_content_type("application/json; charset=utf-8").into_response();
    response.set_status(status);
    response
}

/// The process is up.
#[handler]
fn healthz() -> Response {
    json_response(StatusCode::OK, &json!({ "status": "ok" }))
}

fn not_found() -> impl Endpoint<Output = Response> {
    poem::endpoint::make_sync(|_| bare(&Refusal::new(Kind::NotFound, "no such path")))
}

/// `/healthz`, `/readyz` and `/metrics` of a process without an API.
pub(crate) fn observability(observed: Observed) -> impl Endpoint<Output = Response> {
    Route::new()
        .at("/healthz", get(healthz))
        .at("/readyz", readyz(observed.ready))
        .at("/metrics", surface::crm::metrics(observed.render_metrics))
        .at("/*", not_found())
        .map_to_response()
}

/// Whether everything that the process needs is there.
fn readyz(check: ReadyCheck) -> impl Endpoint<Output = Response> {
    poem::endpoint::make(move |_| {
        let parts = check();
        async move {
            let parts = parts.await;
            let fine = parts.iter().all(|(_, fine)| *fine);
            let mut body = json!({ "status": if fine { "ready" } else { "not ready" } });
            for (name, fine) in parts {
                body[name] = if fine { "ok" } else { "away" }.into();
            }
            let status = if fine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            Ok::<_, poem::Error>(json_response(status, &body))
        }
    })
}

const DOCUMENTS: [(&str, &str); 2] =
    [("/openapi/batch.json", "Batch operations"), ("/openapi/support-desk.json", "Support desk")];

/// One surface's document, as JSON and as two kinds of pages.
struct Pages {
    json: String,
    docs: String,
    redoc: String,
}

impl Pages {
    fn of<T: OpenApi + 'static>(service: &OpenApiService<T, ()>) -> Self {
        let bare = service.spec();
        let json = document::complete(&bare);
        let whole = |page: String| page.replace(&bare, &json);
        Self { docs: whole(service.swagger_ui_html()), redoc: whole(service.redoc_html()), json }
    }

    fn serve(self, routes: Route, name: &str) -> Route {
        let Self { json, docs, redoc } = self;
        let page = |html: String| poem::endpoint::make_sync(move |_| Html(html.clone()).into_response());
        routes
            .at(
                format!("/openapi/{name}.json"),
                poem::endpoint::make_sync(move |_| {
                    json.clone().with_content_type("application/json; charset=utf-8").into_response()
                }),
            )
            .at(format!("/docs/{name}"), page(docs))
            .at(format!("/redoc/{name}"), page(redoc))
    }
}

/// Health, metrics and the documents; everything else is not found.
pub(crate) fn endpoint(app: Arc<App>) -> impl Endpoint<Output = Response> {
    let mut routes = Route::new().at("/healthz", get(healthz));
    routes = Pages::of(&surface::batch::service(app.clone())).serve(routes, "batch");
    routes = Pages::of(&surface::support_desk::service(app.clone())).serve(routes, "support-desk");
    for (path, kind) in [("/docs", "docs"), ("/redoc", "redoc")] {
        routes = routes.at(path, poem::endpoint::make_sync(move |_| Html(index(kind)).into_response()));
    }
    routes.at("/readyz", readyz(app.observed.ready.clone())).at("/*", not_found()).map_to_response()
}

/// A page that leads to each surface's document.
fn index(kind: &str) -> String {
    let links: String = DOCUMENTS
        .iter()
        .map(|(document, title)| {
            let name = document.trim_start_matches("/openapi/").trim_end_matches(".json");
            format!("<li><a href=\"/{kind}/{name}\">{title}</a> (<a href=\"{document}\">OpenAPI</a>)</li>")
        })
        .collect();
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Paceline: API</title><body style=\"font:16px/1.5 system-ui;margin:3rem auto;max-width:40rem\">\
         <h1>Paceline</h1><p>The API's surfaces:</p><ul>{links}</ul></body></html>"
    )
}
