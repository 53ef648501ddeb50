//! Request bodies: described by a type, read by [`Fields`](super::fields::Fields); and answers that are JSON already.

use super::refusal::{Kind, Refusal};
use bytes::Bytes;
use poem::{FromRequest, IntoResponse, Request, RequestBody, Response};
use poem_openapi::payload::{ParsePayload, Payload};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use std::marker::PhantomData;

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

/// Reads a body whole, up to [`MAX_BODY`].
pub(crate) async fn read(request: &Request, body: &mut RequestBody) -> Result<Bytes, Refusal> {
    if content_length(request).is_some_and(|length| length > MAX_BODY) {
        return Err(too_large());
    }
    let body = <poem::Body as FromRequest>::from_request(request, body)
        .await
        .map_err(|_| Refusal::new(Kind::Validation, "the body could not be read"))?;
    body.into_bytes_limit(MAX_BODY).await.map_err(|error| match error {
        poem::error::ReadBodyError::PayloadTooLarge => too_large(),
        _ => Refusal::new(Kind::Validation, "the body broke off before its end"),
    })
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
    pub(crate) fn new(text: String) -> Self {
        Self { text, schema: PhantomData }
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
