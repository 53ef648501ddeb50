//! `{ok, data, meta}` and `{ok, error}`.

use crate::foundation::refusal::{Code, Refusal};
use poem::{IntoResponse, Response};
use poem_openapi::payload::Json;
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::types::{ParseFromJSON, ToJSON, Type};
use poem_openapi::{ApiResponse, Object};

/// An answer with data.
#[derive(Debug, Object)]
pub(super) struct Envelope<T: Type + ParseFromJSON + ToJSON> {
    /// True.
    pub(super) ok: bool,
    /// What was asked for.
    pub(super) data: T,
}

impl<T: Type + ParseFromJSON + ToJSON> Envelope<T> {
    pub(super) fn new(data: T) -> Json<Self> {
        Json(Self { ok: true, data })
    }
}

/// An answer that is a page of a counted list.
#[derive(Debug, Object)]
pub(super) struct Listed<T: Type + ParseFromJSON + ToJSON> {
    /// True.
    pub(super) ok: bool,
    /// The page.
    pub(super) data: Vec<T>,
    /// About the whole list.
    pub(super) meta: Count,
}

/// How many there are.
#[derive(Debug, Object)]
pub(super) struct Count {
    /// All that match the filter.
    #[oai(validator(minimum(value = "0")))]
    pub(super) count: i64,
}

/// An answer that is a page of a list that is read on and on.
#[derive(Debug, Object)]
pub(super) struct Paged<T: Type + ParseFromJSON + ToJSON> {
    /// True.
    pub(super) ok: bool,
    /// The page.
    pub(super) data: Vec<T>,
    /// Where to go on.
    pub(super) meta: Cursor,
}

/// Where a list goes on.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct Cursor {
    /// The `cursor` of the next page; null after the last.
    #[oai(validator(pattern = "^[0-9]{1,18}$"))]
    pub(super) next_cursor: Option<String>,
}

/// An answer that is a message for people.
#[derive(Debug, Object)]
pub(super) struct Confirmation {
    /// True.
    pub(super) ok: bool,
    /// What was done.
    pub(super) message: String,
}

/// One bad field.
#[derive(Debug, Object)]
pub(super) struct Detail {
    /// The field, as `contactIds[3]`.
    pub(super) field: String,
    /// What is wrong with it.
    pub(super) message: String,
}

/// Why a request was not done.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct Reason {
    /// A stable word.
    pub(super) code: Code,
    /// For people.
    pub(super) message: String,
    /// Every bad field.
    pub(super) details: Option<Vec<Detail>>,
}

/// A refusal.
#[derive(Debug, Object)]
pub(super) struct Refused {
    /// False.
    pub(super) ok: bool,
    /// Why.
    pub(super) error: Reason,
}

fn refused(refusal: &Refusal) -> Refused {
    let details = refusal
        .details
        .iter()
        .map(|d| Detail { field: d.field.clone(), message: d.message.clone() })
        .collect::<Vec<_>>();
    Refused {
        ok: false,
        error: Reason {
            code: refusal.kind.code(),
            message: refusal.message.clone(),
            details: (!details.is_empty()).then_some(details),
        },
    }
}

/// A refusal in this surface's envelope.
pub(super) fn refuse(refusal: &Refusal) -> Response {
    let mut response = Json(refused(refusal)).into_response();
    response.set_status(refusal.kind.status());
    refusal.headers(&mut response);
    response
}

/// A refusal on its way to the envelope, described in the document by [`Refusals`].
#[derive(Debug)]
pub(super) struct Rejection(Refusal);

impl ApiResponse for Rejection {
    fn meta() -> MetaResponses {
        Refusals::meta()
    }

    fn register(registry: &mut Registry) {
        Refusals::register(registry);
    }
}

impl From<Rejection> for poem::Error {
    fn from(failure: Rejection) -> Self {
        failure.0.into()
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl From<sea_orm::DbErr> for Rejection {
    fn from(error: sea_orm::DbErr) -> Self {
        Self(error.into())
    }
}

/// The refusals that any operation may answer with: for the document.
#[derive(ApiResponse)]
#[allow(dead_code, reason = "for the document alone")]
enum Refusals {
    /// A field, a parameter, a header or the body is wrong.
    #[oai(status = 400)]
    Invalid(Json<Refused>),
    /// No token, or one that does not stand.
    #[oai(status = 401)]
    AuthRequired(Json<Refused>),
    /// The caller's role does not permit it.
    #[oai(status = 403)]
    PermissionDenied(Json<Refused>),
    /// There is no such thing.
    #[oai(status = 404)]
    NotFound(Json<Refused>),
    /// The path has no such method.
    #[oai(status = 405)]
    MethodNotAllowed(Json<Refused>),
    /// It makes no sense in the present state.
    #[oai(status = 409)]
    Conflict(Json<Refused>),
    /// The body is larger than 128 MiB.
    #[oai(status = 413)]
    PayloadTooLarge(Json<Refused>),
    /// The body's content type is not one of this operation's.
    #[oai(status = 415)]
    UnsupportedMediaType(Json<Refused>),
    /// The Idempotency-Key was used for another request.
    #[oai(status = 422)]
    Unprocessable(Json<Refused>),
    /// Too many requests; `Retry-After` says when to come again.
    #[oai(status = 429)]
    RateLimited(Json<Refused>),
    /// A fault of ours.
    #[oai(status = 500)]
    Internal(Json<Refused>),
    /// The database is away or the disk is full; nothing was written.
    #[oai(status = 503)]
    Unavailable(Json<Refused>),
}
