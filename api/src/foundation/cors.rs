//! Which pages of other origins may read answers: cross-origin resource sharing, as the Fetch standard has it.
//!
//! The library's middleware refuses a request whose `Origin` is not listed. A page of this server sends its own origin
//! with every POST, and a proxy may rename it: such requests are answered here like any other, and the browser alone
//! decides what a page may read. Credentials are never shared: the console's cookies open nothing to another origin's page.

use poem::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use poem::http::{HeaderMap, HeaderValue, Method, StatusCode};
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response};
use std::sync::Arc;

/// What a page may read of an answer beside what it always may.
const EXPOSED: &str = "Link, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, X-Request-Id, \
                       Idempotency-Replayed, Content-Disposition, Location";

/// The methods that there are.
const METHODS: &str = "GET, POST, PUT, PATCH, DELETE, OPTIONS";

/// For how long a browser may remember it, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Answers preflights of the listed origins, and lets their pages read everything else.
pub(crate) fn share<E: Endpoint<Output = Response> + 'static>(
    origins: &[String],
    endpoint: E,
) -> impl Endpoint<Output = Response> + use<E> {
    let origins: Arc<[String]> = origins.into();
    endpoint.around(move |endpoint, request| {
        let origins = origins.clone();
        async move {
            let origin = listed(&origins, request.headers()).cloned();
            let mut response = match preflight(&request) {
                true if origin.is_some() => answer_preflight(&request),
                _ => endpoint.call(request).await?,
            };
            let headers = response.headers_mut();
            headers.append(VARY, HeaderValue::from_static("Origin"));
            if let Some(origin) = origin {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
            }
            Ok(response)
        }
    })
}

/// The request's origin, if it is listed.
fn listed<'a>(origins: &[String], headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    origins.iter().any(|listed| listed == "*" || origin.as_bytes() == listed.as_bytes()).then_some(origin)
}

fn preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn answer_preflight(request: &Request) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    if let Some(asked) = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(method: Method, headers: &[(&str, &str)]) -> Response {
        let read_me = poem::endpoint::make_sync(|_| "read me".into_response());
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let shared = share(&["http://localhost:3000".to_owned()], read_me);
        shared.call(request.finish()).await.expect("an answer")
    }

    fn told<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
        answer.headers().get(name)?.to_str().ok()
    }

    #[tokio::test]
    async fn a_listed_origin_may_read_and_another_is_answered_without_leave() {
        let answer = ask(Method::GET, &[("origin", "http://localhost:3000")]).await;
        assert_eq!(told(&answer, "access-control-allow-origin"), Some("http://localhost:3000"));
        assert_eq!(answer.into_body().into_string().await.ok().as_deref(), Some("read me"));
        for other in ["http://localhost:3001", "https://localhost:3000", "null"] {
            let answer = ask(Method::GET, &[("origin", other)]).await;
            assert_eq!(told(&answer, "access-control-allow-origin"), None, "{other}");
            assert_eq!(told(&answer, "vary"), Some("Origin"));
            assert_eq!(answer.into_body().into_string().await.ok().as_deref(), Some("read me"));
        }
    }

    #[tokio::test]
    async fn a_preflight_is_answered_for_listed_origins() {
        let asking = [
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization, content-type"),
        ];
        let from = |origin| [&asking[..], &[("origin", origin)]].concat();
        let answer = ask(Method::OPTIONS, &from("http://localhost:3000")).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(told(&answer, "access-control-allow-headers"), Some("authorization, content-type"));
        let answer = ask(Method::OPTIONS, &from("http://elsewhere")).await;
        assert_eq!(answer.into_body().into_string().await.ok().as_deref(), Some("read me"));
    }
}
