//! What surfaces have in common: refusals, request bodies, who asks, how often, and doing things once.

pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod coalesce;
pub(crate) mod cors;
pub(crate) mod fields;
pub(crate) mod idempotency;
pub(crate) mod limits;
pub(crate) mod param;
pub(crate) mod refusal;
pub(crate) mod schema;
pub(crate) mod time;
pub(crate) mod timing;

use poem::http::{HeaderMap, HeaderName, HeaderValue, header};
use poem::{Endpoint, IntoResponse, Request, Response};
use refusal::{Kind, Refusal};
use std::panic::AssertUnwindSafe;
use std::time::Instant;
use tracing::Instrument;

/// The header that names a request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The most bytes of an address, its query among them.
const MAX_URI: usize = 8 * 1024;

/// What every answer says to browsers, unless it says something else itself: nothing of it is kept, guessed, framed,
/// run, or told to others. Which other origins' pages may read it is said elsewhere (`cors`).
const FOR_BROWSERS: [(HeaderName, HeaderValue); 4] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
];

fn tell_browsers(headers: &mut HeaderMap) {
    for (name, value) in FOR_BROWSERS {
        headers.entry(name).or_insert(value);
    }
}

/// A request's name: the client's, if it is 1 to 64 of `[A-Za-z0-9._-]`, or one of ours.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

impl RequestId {
    fn of(request: &Request) -> Self {
        let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
        let fine = |id: &&str| {
            (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        Self(given.filter(fine).map_or_else(|| uuid::Uuid::now_v7().simple().to_string(), str::to_owned))
    }
}

/// Around everything: names the request, and counts and logs its end. A surface has turned errors into its own
/// envelope before they get here.
pub(crate) fn outermost(endpoint: impl Endpoint + 'static) -> impl Endpoint<Output = Response> {
    poem::EndpointExt::around(endpoint, |endpoint, mut request| async move {
        let id = RequestId::of(&request);
        let standing = limits::Standing::default();
        // For what stands beside the surfaces, which knows the header and not the type.
        if let Ok(value) = HeaderValue::from_str(&id.0) {
            request.headers_mut().insert(REQUEST_ID, value);
        }
        request.extensions_mut().insert(id.clone());
        request.extensions_mut().insert(standing.clone());
        let span = tracing::info_span!("request", id = %id.0, method = %request.method(), path = request.uri().path());
        let began = Instant::now();
        let method = request.method().clone();
        let mut response = caught(endpoint.as_ref(), request, refusal::bare).instrument(span.clone()).await;
        standing.tell(response.headers_mut());
        tell_browsers(response.headers_mut());
        let status = response.status();
        timing::add(began.elapsed());
        metrics::histogram!("paceline_http_seconds", "method" => method.to_string(), "status" => status.as_str().to_owned())
            .record(began.elapsed().as_secs_f64());
        span.in_scope(|| tracing::debug!(status = status.as_u16(), elapsed = ?began.elapsed(), "answered"));
        if let Ok(value) = HeaderValue::from_str(&id.0) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        Ok(response)
    })
}

/// Runs the endpoint of a surface; what is wrong with the address, its errors and its panics become refusals for
/// `envelope` to write.
pub(crate) async fn guarded<E: Endpoint>(
    endpoint: &E,
    request: Request,
    envelope: impl FnOnce(&Refusal) -> Response,
) -> Response {
    if request.uri().path_and_query().is_some_and(|whole| whole.as_str().len() > MAX_URI) {
        return envelope(&Refusal::new(Kind::UriTooLong, format!("the address is longer than {MAX_URI} bytes")));
    }
    caught(endpoint, request, envelope).await
}

async fn caught<E: Endpoint>(endpoint: &E, request: Request, envelope: impl FnOnce(&Refusal) -> Response) -> Response {
    use futures::FutureExt;
    match AssertUnwindSafe(endpoint.call(request)).catch_unwind().await {
        Ok(Ok(output)) => output.into_response(),
        Ok(Err(error)) => envelope(&Refusal::from_error(error)),
        Err(_) => {
            tracing::error!("a request panicked; the log has its place");
            envelope(&Refusal::internal())
        }
    }
}

/// Does work to its end, also when nobody waits for it any more: a handler is dropped where it stands when its
/// connection is reset, and what it began would be left half done.
pub(crate) async fn to_its_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work.in_current_span()).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Nobody aborts it; so the runtime ends, and everything with it.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::to_its_end;
    use futures::FutureExt;
    use std::sync::Arc;
    use tokio::sync::{Notify, oneshot};

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_done_to_its_end() {
        let (go_on, (done, is_done)) = (Arc::new(Notify::new()), oneshot::channel());
        let work = {
            let go_on = go_on.clone();
            async move {
                go_on.notified().await;
                done.send("done").expect("the test waits");
            }
        };
        let mut handler = Box::pin(to_its_end(work));
        assert!(handler.as_mut().now_or_never().is_none(), "it waits");
        drop(handler);
        go_on.notify_one();
        assert_eq!(is_done.await.ok(), Some("done"));
    }

    #[tokio::test]
    #[should_panic(expected = "in the work")]
    async fn a_panic_of_the_work_is_the_handlers() {
        to_its_end(async { panic!("in the work") }).await;
    }
}
