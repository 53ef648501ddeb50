//! Request bodies: described by a type, read by [`Fields`](super::fields::Fields); and answers that are JSON already.

use super::refusal::{Kind, Refusal};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::payload::{ParsePayload, Payload};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaResponse, MetaResponses, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions};
use std::marker::PhantomData;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The largest body.
pub(crate) const MAX_BODY: usize = 128 * 1024 * 1024;

/// The largest body of a request that has no list in it, and the largest one of whom nobody knows yet.
pub(crate) const SMALL_BODY: usize = 64 * 1024;

/// How many KiB of bodies are held in memory at once, over all requests; small ones are not counted.
const HELD_KIB: usize = 512 * 1024;

/// What is left of [`HELD_KIB`].
static TO_HOLD: Semaphore = Semaphore::const_new(HELD_KIB);

/// A JSON body of at most `MOST` bytes whose schema is `T`'s. Reading it is up to the handler.
pub(crate) struct JsonBody<T, const MOST: usize = MAX_BODY> {
    pub(crate) bytes: Bytes,
    schema: PhantomData<fn() -> T>,
}

/// A JSON body without a list.
pub(crate) type SmallBody<T> = JsonBody<T, SMALL_BODY>;

impl<T: Type, const MOST: usize> Payload for JsonBody<T, MOST> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn check_content_type(content_type: &str) -> bool {
        let mime = content_type.split(';').next().unwrap_or_default().trim();
        mime.eq_ignore_ascii_case("application/json") || mime.to_ascii_lowercase().ends_with("+json")
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type, const MOST: usize> ParsePayload for JsonBody<T, MOST> {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self { bytes: read(request, body, MOST).await?, schema: PhantomData })
    }
}

impl<'a, T: Type, const MOST: usize> ApiExtractor<'a> for JsonBody<T, MOST> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Self as Payload>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType { content_type: Self::CONTENT_TYPE, schema: <Self as Payload>::schema_ref() }],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        if request.content_type().is_some_and(Self::check_content_type) {
            return <Self as ParsePayload>::from_request(request, body).await;
        }
        Err(Refusal::new(Kind::UnsupportedMediaType, "the body must be application/json").into())
    }
}

/// A CSV file that is written while it is read.
pub(crate) struct CsvStream(pub(crate) poem::Body);

impl Payload for CsvStream {
    const CONTENT_TYPE: &'static str = "text/csv; charset=utf-8";

    fn schema_ref() -> MetaSchemaRef {
        <String as Type>::schema_ref()
    }
}

impl IntoResponse for CsvStream {
    fn into_response(self) -> Response {
        Response::builder().content_type(Self::CONTENT_TYPE).body(self.0)
    }
}

/// How much of a body that is too large is read all the same: a client that is still writing when the connection closes
/// would see it break instead of its answer.
pub(crate) const DRAIN: usize = MAX_BODY + 64 * 1024 * 1024;

/// The same for who may not ask at all.
pub(crate) const DRAIN_REFUSED: usize = 16 * 1024 * 1024;

/// For how long.
const DRAIN_FOR: Duration = Duration::from_secs(20);

/// Reads and drops up to `most` bytes of a body that is refused.
pub(crate) async fn drain(body: poem::Body, most: usize) {
    drain_chunks(&mut pin!(body.into_bytes_stream()), most).await;
}

async fn drain_chunks(chunks: &mut (impl Stream<Item = Result<Bytes, std::io::Error>> + Unpin), most: usize) {
    let mut left = most;
    let reading = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                return;
            }
        }
    };
    if tokio::time::timeout(DRAIN_FOR, reading).await.is_err() {
        tracing::debug!("a refused body did not end");
    }
}

/// A body in memory, and its share of what may be held.
struct HeldBody {
    bytes: BytesMut,
    /// What there is to be shared, in KiB.
    of: &'static Semaphore,
    share: Option<SemaphorePermit<'static>>,
    /// How many bytes there is room for.
    counted: usize,
}

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HeldBody {
    /// Takes a chunk, if the memory for it is there.
    fn push(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        let over = (self.bytes.len() + chunk.len()).saturating_sub(self.counted);
        if over > 0 {
            let kib = u32::try_from(over.div_ceil(1024).max(64)).unwrap_or(u32::MAX);
            let more = self.of.try_acquire_many(kib).map_err(|_| {
                Refusal::new(Kind::Unavailable, "too many large bodies are being read; nothing was written, try again")
            })?;
            self.counted += more.num_permits() * 1024;
            match &mut self.share {
                Some(share) => share.merge(more),
                None => self.share = Some(more),
            }
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }
}

/// Reads a body whole, up to so many bytes.
pub(crate) async fn read(request: &Request, body: &mut RequestBody, most: usize) -> Result<Bytes, Refusal> {
    let length = content_length(request);
    let body = body.take().map_err(|_| Refusal::new(Kind::Validation, "the body could not be read"))?;
    let mut chunks = pin!(body.into_bytes_stream());
    let to_drain = if most > SMALL_BODY { DRAIN } else { DRAIN_REFUSED };
    if length.is_some_and(|length| length > most) {
        drain_chunks(&mut chunks, to_drain).await;
        return Err(larger_than(most));
    }
    // What the client says of the length is believed as far as a body usually goes.
    let bytes = BytesMut::with_capacity(length.unwrap_or(0).min(16 * 1024 * 1024));
    let mut held = HeldBody { bytes, of: &TO_HOLD, share: None, counted: SMALL_BODY };
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::new(Kind::Validation, "the body broke off before its end"))?;
        let refused = match held.bytes.len() + chunk.len() > most {
            true => Err(larger_than(most)),
            false => held.push(&chunk),
        };
        if let Err(refusal) = refused {
            drop(held);
            drain_chunks(&mut chunks, to_drain - most.min(to_drain)).await;
            return Err(refusal);
        }
    }
    Ok(Bytes::from_owner(held))
}

/// What the request says that its body measures.
pub(crate) fn content_length(request: &Request) -> Option<usize> {
    request.header("content-length")?.parse().ok()
}

pub(crate) fn too_large() -> Refusal {
    larger_than(MAX_BODY)
}

fn larger_than(most: usize) -> Refusal {
    let size = match most / 1024 {
        kib @ ..1024 => format!("{kib} KiB"),
        kib => format!("{} MiB", kib / 1024),
    };
    Refusal::new(Kind::PayloadTooLarge, format!("the body is larger than {size}"))
}

/// An answer that is written as JSON already: an idempotency key may have it to repeat.
pub(crate) struct JsonText<T> {
    pub(crate) text: String,
    schema: PhantomData<fn() -> T>,
}

impl<T> JsonText<T> {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), schema: PhantomData }
    }
}

impl<T: Type> Payload for JsonText<T> {
    const CONTENT_TYPE: &'static str = "application/json; charset=utf-8";

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type> IntoResponse for JsonText<T> {
    fn into_response(self) -> Response {
        self.text.with_content_type(Self::CONTENT_TYPE).into_response()
    }
}

impl<T: Type> ApiResponse for JsonText<T> {
    fn meta() -> MetaResponses {
        let content = vec![MetaMediaType { content_type: Self::CONTENT_TYPE, schema: Self::schema_ref() }];
        let fine =
            MetaResponse { description: "", status: Some(200), status_range: None, content, headers: Vec::new() };
        MetaResponses { responses: vec![fine] }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_share_what_there_is() {
        let all: &'static Semaphore = Box::leak(Box::new(Semaphore::new(1_024)));
        let body = || HeldBody { bytes: BytesMut::new(), of: all, share: None, counted: SMALL_BODY };
        let chunk = vec![b'x'; SMALL_BODY];
        let mut held: Vec<HeldBody> = (0..2).map(|_| body()).collect();
        while held[0].push(&chunk).is_ok() {}
        assert_eq!((held[0].bytes.len(), all.available_permits()), (1024 * 1024 + SMALL_BODY, 0));
        assert!(held[1].push(&chunk).is_ok(), "a small one is not counted");
        assert_eq!(held[1].push(&chunk).map_err(|refusal| refusal.kind), Err(Kind::Unavailable));
        let kept = Bytes::from_owner(held.remove(0));
        let part = kept.slice(..10);
        drop(kept);
        assert_eq!(all.available_permits(), 0, "a part of it keeps it all");
        drop(part);
        assert_eq!(all.available_permits(), 1_024);
        assert!(held[0].push(&chunk).is_ok());
    }
}
