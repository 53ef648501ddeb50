//! What is about the process and the documents: health, metrics, OpenAPI, AsyncAPI.

mod document;
mod merged;
#[cfg(test)]
mod tests;

use crate::ReadyCheck;
use crate::foundation::guarded;
use crate::foundation::known::Operations;
use crate::foundation::refusal::{Kind, Refusal, bare};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poem::http::StatusCode;
use poem::http::header::CONTENT_SECURITY_POLICY;
use poem::web::{Html, Redirect};
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response, Route, get, handler};
use poem_openapi::{OpenApi, OpenApiService};
use serde_json::json;
use sha2::{Digest, Sha256};
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
pub(crate) fn observability(
    ready: ReadyCheck,
    metrics: impl Endpoint<Output = Response> + 'static,
) -> impl Endpoint<Output = Response> {
    let routes = Route::new()
        .at("/healthz", get(healthz))
        .at("/readyz", readyz(ready))
        .at("/metrics", metrics)
        .at("/*", not_found());
    let paths = ["/healthz", "/readyz", "/metrics"];
    strict(paths.iter().fold(Operations::default(), |all, path| all.and_get(path, &[])), routes)
}

/// Routes that take no parameter and no other name.
fn strict(operations: Operations, routes: Route) -> impl Endpoint<Output = Response> {
    let operations = Arc::new(operations);
    routes.around(move |routes, request| {
        let operations = operations.clone();
        async move { Ok(guarded(&operations, routes.as_ref(), request, bare).await) }
    })
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

/// What is pushed: the socket's frames and the stream's events, as an AsyncAPI document. It is written by hand; the tests'
/// sockets and streams hold each frame and event against it.
pub(crate) const ASYNCAPI: &str = include_str!("asyncapi.json");

/// A surface with a document.
pub(crate) struct Documented {
    /// Its name in addresses.
    name: &'static str,
    /// See [`merged::Part::prefix`].
    prefix: &'static str,
    /// What people call it.
    title: &'static str,
    pages: Pages,
}

impl Documented {
    /// A surface as its service describes it. Its name in addresses, what its components are called by where another
    /// surface has others of their names, and what people call it.
    pub(crate) fn of<T: OpenApi + 'static>(
        name: &'static str,
        prefix: &'static str,
        title: &'static str,
        service: &OpenApiService<T, ()>,
    ) -> Self {
        Self { name, prefix, title, pages: Pages::of(service) }
    }

    /// Its document, as a part of the whole.
    fn part(&self) -> merged::Part<'static> {
        let document = serde_json::from_str(&self.pages.json).unwrap_or_default();
        merged::Part { prefix: self.prefix, title: self.title, document }
    }
}

/// The surfaces' documents in one.
fn whole(surfaces: &[Documented]) -> serde_json::Value {
    merged::merged(&surfaces.iter().map(Documented::part).collect::<Vec<_>>())
}

fn document(json: String) -> impl Endpoint<Output = Response> {
    poem::endpoint::make_sync(move |_| {
        json.clone().with_content_type("application/json; charset=utf-8").into_response()
    })
}

/// What a page of ours would tell others about who reads it.
const FONTS: &str = r#"<link href="https://fonts.googleapis.com/css?family=Montserrat:300,400,700|Roboto:300,400,700" rel="stylesheet">"#;

/// A page that may do what its policy says.
fn page(html: String, policy: &str) -> Response {
    Html(html).with_header(CONTENT_SECURITY_POLICY, policy).into_response()
}

/// What a page may do: run the scripts that it came with, ask this server, and nothing else.
fn policy(html: &str) -> String {
    let hash = |script: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(script)));
    let hashes: Vec<String> = scripts(html).into_iter().map(hash).collect();
    let scripts = if hashes.is_empty() { "'none'".to_owned() } else { hashes.join(" ") };
    format!(
        "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; \
         connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The scripts of a page. What looks like one within another is none.
fn scripts(html: &str) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), html);
    while let Some((_, after)) = rest.split_once("<script")
        && let Some((_, after)) = after.split_once('>')
        && let Some((script, after)) = after.split_once("</script")
    {
        found.push(script);
        rest = after;
    }
    found
}

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
        let whole = |page: String| page.replace(&bare, &json).replace(FONTS, "");
        Self { docs: whole(service.swagger_ui_html()), redoc: whole(service.redoc_html()), json }
    }

    fn serve(self, (operations, routes): (Operations, Route), name: &str) -> (Operations, Route) {
        let Self { json, docs, redoc } = self;
        let page = |html: String| {
            let policy = policy(&html);
            poem::endpoint::make_sync(move |_| page(html.clone(), &policy))
        };
        let paths = [format!("/openapi/{name}.json"), format!("/docs/{name}"), format!("/redoc/{name}")];
        let operations = paths.iter().fold(operations, |all, path| all.and_get(path, &[]));
        let [document_at, docs_at, redoc_at] = paths;
        let routes = routes.at(document_at, document(json)).at(docs_at, page(docs)).at(redoc_at, page(redoc));
        (operations, routes)
    }
}

/// Health, metrics and the documents; everything else is not found.
pub(crate) fn endpoint(ready: ReadyCheck, surfaces: Vec<Documented>) -> impl Endpoint<Output = Response> {
    let mut operations = Operations::default();
    for path in ["/", "/healthz", "/readyz", "/docs", "/redoc", "/openapi.json", "/asyncapi.json"] {
        operations = operations.and_get(path, &[]);
    }
    let whole = whole(&surfaces).to_string();
    let indices = [("/docs", index("docs", &surfaces)), ("/redoc", index("redoc", &surfaces))];
    let routes = Route::new()
        .at("/healthz", get(healthz))
        .at("/openapi.json", document(whole))
        .at("/asyncapi.json", document(ASYNCAPI.to_owned()));
    let (operations, mut routes) =
        surfaces.into_iter().fold((operations, routes), |all, surface| surface.pages.serve(all, surface.name));
    for (path, html) in indices {
        routes = routes.at(path, poem::endpoint::make_sync(move |_| page(html.clone(), &policy(""))));
    }
    strict(operations, routes.at("/readyz", readyz(ready)).at("/*", home_or_not_found()))
}

/// The address without a path leads to the console; nothing else is found. In one endpoint, since the router's catch-all takes
/// `/` before a route of that name.
fn home_or_not_found() -> impl Endpoint<Output = Response> {
    poem::endpoint::make(|request: Request| async move {
        if request.original_uri().path() == "/" {
            return Ok(Redirect::see_other("/console").into_response());
        }
        not_found().call(request).await
    })
}

/// A page that leads to each document.
fn index(kind: &str, surfaces: &[Documented]) -> String {
    let links: String = surfaces
        .iter()
        .map(|Documented { name, title, .. }| {
            format!("<li><a href=\"/{kind}/{name}\">{title}</a> (<a href=\"/openapi/{name}.json\">OpenAPI</a>)</li>")
        })
        .collect();
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Paceline: API</title><body style=\"font:16px/1.5 system-ui;margin:3rem auto;max-width:40rem\">\
         <h1>Paceline</h1><p>The API's surfaces:</p><ul>{links}</ul>\
         <p>All of them in one document: <a href=\"/openapi.json\">OpenAPI</a>. What is pushed, over the socket and the \
         stream: <a href=\"/asyncapi.json\">AsyncAPI</a>.</p></body></html>"
    )
}
