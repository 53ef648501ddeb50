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

/// The largest body.
pub(crate) const MAX_BODY: usize = 128 * 1024 * 1024;

/// A JSON body whose schema is `T`'s. Reading it is up to the handler.
pub(crate) struct JsonBody<T> {
    pub(crate) bytes: Bytes,
    schema: PhantomData<fn() -> T>,
}

impl<T: Type> Payload for JsonBody<T> {
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

impl<T: Type> ParsePayload for JsonBody<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self { bytes: read(request, body).await?, schema: PhantomData })
    }
}

impl<'a, T: Type> ApiExtractor<'a> for JsonBody<T> {
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

/// Reads a body whole, up to [`MAX_BODY`].
pub(crate) async fn read(request: &Request, body: &mut RequestBody) -> Result<Bytes, Refusal> {
    let length = content_length(request);
    let body = body.take().map_err(|_| Refusal::new(Kind::Validation, "the body could not be read"))?;
    let mut chunks = pin!(body.into_bytes_stream());
    if length.is_some_and(|length| length > MAX_BODY) {
        drain_chunks(&mut chunks, DRAIN).await;
        return Err(too_large());
    }
    // What the client says of the length is believed as far as a body usually goes.
    let mut bytes = BytesMut::with_capacity(length.unwrap_or(0).min(16 * 1024 * 1024));
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::new(Kind::Validation, "the body broke off before its end"))?;
        if bytes.len() + chunk.len() > MAX_BODY {
            drain_chunks(&mut chunks, DRAIN - MAX_BODY).await;
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// What the request says that its body measures.
pub(crate) fn content_length(request: &Request) -> Option<usize> {
    request.header("content-length")?.parse().ok()
}

pub(crate) fn too_large() -> Refusal {
    Refusal::new(Kind::PayloadTooLarge, format!("the body is larger than {} MiB", MAX_BODY / 1024 / 1024))
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
