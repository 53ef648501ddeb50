//! Which pages of other origins may read answers: cross-origin resource sharing, as the Fetch standard has it.
//!
//! The library's middleware refuses a request whose `Origin` is not listed. A page of this server sends its own origin
//! with every POST, and a proxy may rename it: such requests are answered here like any other, and the browser alone
//! decides what a page may read. There are no cookies, so no credentials are shared.

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
    use poem::test::TestClient;

    fn client() -> TestClient<impl Endpoint<Output = Response>> {
        let endpoint = poem::endpoint::make_sync(|_| "read me".into_response());
        TestClient::new(share(&["http://localhost:3000".to_owned()], endpoint))
    }

    #[tokio::test]
    async fn a_listed_origin_may_read_and_another_is_answered_without_leave() {
        let answer = client().get("/").header("origin", "http://localhost:3000").send().await;
        answer.assert_header("access-control-allow-origin", "http://localhost:3000");
        answer.assert_text("read me").await;
        for other in ["http://localhost:3001", "https://localhost:3000", "null"] {
            let answer = client().get("/").header("origin", other).send().await;
            assert!(!answer.0.headers().contains_key("access-control-allow-origin"), "{other}");
            answer.assert_header("vary", "Origin");
            answer.assert_text("read me").await;
        }
    }

    #[tokio::test]
    async fn a_preflight_is_answered_for_listed_origins() {
        let client = client();
        let ask = |origin: &'static str| {
            client
                .options("/")
                .header("origin", origin)
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization, content-type")
                .send()
        };
        let answer = ask("http://localhost:3000").await;
        answer.assert_status(StatusCode::NO_CONTENT);
        answer.assert_header("access-control-allow-headers", "authorization, content-type");
        ask("http://elsewhere").await.assert_text("read me").await;
    }
}
