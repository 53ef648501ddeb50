//! What surfaces have in common: refusals, request bodies, who asks, how often, and doing things once.

pub(crate) mod accept;
pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod coalesce;
pub(crate) mod coding;
pub(crate) mod cors;
pub(crate) mod country;
pub(crate) mod fields;
pub(crate) mod guard;
pub(crate) mod idempotency;
pub(crate) mod known;
pub(crate) mod limits;
pub(crate) mod origin;
pub(crate) mod param;
pub(crate) mod refusal;
pub(crate) mod schema;
pub(crate) mod search;
pub(crate) mod time;
pub(crate) mod timing;

use known::{AskedOperation, Operations};
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, IntoResponse, Request, Response};
use refusal::{Kind, Refusal, Within};
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
        let standing = limits::TightestLimit::default();
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

/// The answer to a request whose method decides it: one that nobody knows, one that the path does not have, and
/// `OPTIONS`, which asks which it has.
pub(crate) fn by_method(
    operations: &Operations,
    request: &Request,
    envelope: impl FnOnce(&Refusal) -> Response,
) -> Option<Response> {
    match operations.allow(request) {
        Ok(None) => None,
        Ok(Some(allow)) => Some(StatusCode::NO_CONTENT.with_header(header::ALLOW, allow).into_response()),
        Err(refusal) => Some(envelope(&refusal)),
    }
}

/// Runs the endpoint of a surface; what is wrong with the address, with the names in it and with the body's coding, its
/// errors and its panics become refusals for `envelope` to write.
pub(crate) async fn guarded<E: Endpoint>(
    operations: &Operations,
    endpoint: &E,
    mut request: Request,
    envelope: impl Fn(&Refusal) -> Response,
) -> Response {
    if request.uri().path_and_query().is_some_and(|whole| whole.as_str().len() > MAX_URI) {
        return envelope(&Refusal::new(Kind::UriTooLong, format!("the address is longer than {MAX_URI} bytes")));
    }
    if let Some(response) = by_method(operations, &request, &envelope) {
        return response;
    }
    if let Err(refusal) = well_formed(&mut request) {
        return envelope(&refusal);
    }
    if let Some(asked) = operations.find(&request) {
        if asked.takes_no_body()
            && let Err(refusal) = without_body(&asked, &mut request).await
        {
            return envelope(&refusal);
        }
        let unknown = asked.bad_params(request.uri().query().unwrap_or_default());
        if !unknown.is_empty() {
            let refusal = Refusal::invalid(unknown).within(Within::Query);
            return envelope(&with_the_rest(endpoint, request, refusal).await);
        }
    }
    caught(endpoint, request, envelope).await
}

/// What a request's head must be for any operation.
fn well_formed(request: &mut Request) -> Result<(), Refusal> {
    if *request.method() == Method::PUT && request.headers().contains_key(header::CONTENT_RANGE) {
        // RFC 9110, 14.5: who takes it for the whole would keep a part.
        return Err(Refusal::field("Content-Range", "is not taken: a PUT replaces the whole"));
    }
    coding::unpack(request)
}

/// Refuses what a body says where none is read; one that says nothing is passed over.
async fn without_body(asked: &AskedOperation<'_>, request: &mut Request) -> Result<(), Refusal> {
    let headers = request.headers();
    if body::content_length(request) == Some(0)
        || !(headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING))
    {
        return Ok(());
    }
    let came = request.take_body().into_bytes_limit(body::SMALL_BODY).await;
    let nothing = |text: &[u8]| text.is_empty() || text == b"null";
    match came {
        Ok(bytes) if nothing(bytes.trim_ascii()) => Ok(()),
        Ok(bytes) => {
            let refusal = Refusal::new(Kind::Validation, "no body is read here");
            let fields = fields::Fields::parse(&bytes).map_err(|_| refusal)?;
            let stray: Vec<_> = fields.names().take(known::MAX_UNKNOWN).map(|name| asked.stray_field(name)).collect();
            if stray.is_empty() { Ok(()) } else { Err(Refusal::invalid(stray)) }
        }
        Err(_) => Err(Refusal::new(Kind::Validation, "no body is read here")),
    }
}

/// A refusal of parameters with all else that is wrong with them. Only who asks for something is asked on: nothing is
/// done for a request that is refused.
async fn with_the_rest(endpoint: &impl Endpoint, request: Request, mut refusal: Refusal) -> Refusal {
    use futures::FutureExt;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return refusal;
    }
    let Ok(Err(error)) = AssertUnwindSafe(endpoint.call(request)).catch_unwind().await else { return refusal };
    let rest = Refusal::from_error(error);
    match rest.kind {
        Kind::AuthRequired | Kind::PermissionDenied | Kind::RateLimited => rest,
        Kind::Validation if rest.within != Within::Path => {
            let named = refusal.details.clone();
            let more = rest.details.into_iter().filter(|bad| named.iter().all(|known| known.field != bad.field));
            refusal.details.extend(more);
            Refusal::invalid(refusal.details).within(Within::Query)
        }
        _ => refusal,
    }
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
