//! `{success, data}` and `{success, error, request_id}`.

use crate::foundation::refusal::{Code, Refusal};
use poem::{IntoResponse, Response};
use poem_openapi::payload::Json;
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::types::{ParseFromJSON, ToJSON, Type};
use poem_openapi::{ApiResponse, Object};

/// An answer with data.
#[derive(Debug, Object)]
pub(super) struct Success<T: Type + ParseFromJSON + ToJSON> {
    /// True.
    success: bool,
    /// What was asked for.
    data: T,
}

impl<T: Type + ParseFromJSON + ToJSON> Success<T> {
    pub(super) fn new(data: T) -> Json<Self> {
        Json(Self { success: true, data })
    }
}

/// One bad field.
#[derive(Debug, Object)]
struct FieldProblem {
    /// The field.
    field: String,
    /// What is wrong with it.
    message: String,
}

/// Why a request was not done.
#[derive(Debug, Object)]
struct Problem {
    /// A stable word.
    code: Code,
    /// For people.
    message: String,
    /// Every bad field.
    details: Vec<FieldProblem>,
}

/// A refusal.
#[derive(Debug, Object)]
pub(super) struct Refused {
    /// False.
    success: bool,
    /// Why.
    error: Problem,
    /// The request, for the log.
    request_id: String,
}

fn refused(refusal: &Refusal, request_id: &str) -> Refused {
    let details = refusal.details.iter();
    Refused {
        success: false,
        error: Problem {
            code: refusal.kind.code(),
            message: refusal.message.clone(),
            details: details.map(|d| FieldProblem { field: d.field.clone(), message: d.message.clone() }).collect(),
        },
        request_id: request_id.to_owned(),
    }
}

/// A refusal in this surface's envelope.
pub(super) fn refuse(refusal: &Refusal, request_id: &str) -> Response {
    let mut response = Json(refused(refusal, request_id)).into_response();
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

/// The refusals that any operation may answer with: for the document.
#[derive(ApiResponse)]
#[allow(dead_code, reason = "for the document alone")]
enum Refusals {
    /// A field or the body is wrong.
    #[oai(status = 400)]
    Invalid(Json<Refused>),
    /// Wrong credentials, no token, or one that does not stand.
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
    /// It makes no sense in the present state: somebody else was quicker, or has the name.
    #[oai(status = 409)]
    Conflict(Json<Refused>),
    /// The body is too large.
    #[oai(status = 413)]
    PayloadTooLarge(Json<Refused>),
    /// The body's content type is not supported.
    #[oai(status = 415)]
    UnsupportedMediaType(Json<Refused>),
    /// Too many requests; `Retry-After` says when to come again.
    #[oai(status = 429)]
    RateLimited(Json<Refused>),
    /// A fault of ours.
    #[oai(status = 500)]
    Internal(Json<Refused>),
    /// The database is away.
    #[oai(status = 503)]
    Unavailable(Json<Refused>),
}
