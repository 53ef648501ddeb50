//! Bare answers, and `{detail}`.

use crate::foundation::refusal::{Kind, Refusal, bare};
use poem::http::StatusCode;
use poem::{IntoResponse, Response};
use poem_openapi::payload::Json;
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::{ApiResponse, Object};

/// The header whose value is checked like a field.
const KEY: &str = "Idempotency-Key";

/// One bad field.
#[derive(Debug, Object)]
#[oai(rename = "ValidationIssue")]
struct Issue {
    /// Where it is: `body`, `query`, `path` or `header`, then its name.
    loc: Vec<String>,
    /// What is wrong with it.
    msg: String,
    /// A stable word.
    #[oai(rename = "type")]
    kind: String,
}

/// Every bad field.
#[derive(Debug, Object)]
#[oai(rename = "ValidationRefusal")]
struct Invalid {
    /// The fields.
    detail: Vec<Issue>,
}

/// Why a request was not done.
#[derive(Debug, Object)]
#[oai(rename = "Refusal")]
struct Refused {
    /// For people.
    detail: String,
}

/// A refusal on its way to the envelope.
#[derive(Debug)]
pub(super) struct Rejection(Refusal);

/// A refusal in this surface's envelope.
pub(super) fn refuse(refusal: &Refusal) -> Response {
    let invalid = matches!(refusal.kind, Kind::Validation | Kind::Unprocessable);
    let mut response = if invalid { Json(Invalid::of(refusal)).into_response() } else { bare(refusal) };
    response.set_status(if invalid { StatusCode::UNPROCESSABLE_ENTITY } else { refusal.kind.status() });
    refusal.headers(&mut response);
    response
}

impl Invalid {
    fn of(refusal: &Refusal) -> Self {
        let issue = |place: &str, field: Option<&str>, msg: &str| Issue {
            loc: [Some(place), field].into_iter().flatten().map(str::to_owned).collect(),
            msg: msg.to_owned(),
            kind: "value_error".into(),
        };
        let detail = match (refusal.kind, refusal.details.as_slice()) {
            // The one thing that is well-formed and still cannot be done.
            (Kind::Unprocessable, _) => vec![issue("header", Some(KEY), &refusal.message)],
            (_, []) => vec![issue(refusal.within.name(), None, &refusal.message)],
            (_, details) => details
                .iter()
                .map(|bad| {
                    // Whoever checks the header's form names it, wherever the other fields are.
                    let place = if bad.field == KEY { "header" } else { refusal.within.name() };
                    issue(place, Some(&bad.field), &bad.message)
                })
                .collect(),
        };
        Self { detail }
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

impl ApiResponse for Rejection {
    fn meta() -> MetaResponses {
        Refusals::meta()
    }

    fn register(registry: &mut Registry) {
        Refusals::register(registry);
    }
}

/// The refusals that any operation may answer with: for the document.
#[derive(ApiResponse)]
#[allow(dead_code, reason = "for the document alone")]
enum Refusals {
    /// No token or signature, or one that does not stand.
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
    /// It contradicts what is there.
    #[oai(status = 409)]
    Conflict(Json<Refused>),
    /// The body is too large.
    #[oai(status = 413)]
    PayloadTooLarge(Json<Refused>),
    /// The body must be application/json.
    #[oai(status = 415)]
    UnsupportedMediaType(Json<Refused>),
    /// A field or a parameter is wrong.
    #[oai(status = 422)]
    Invalid(Json<Invalid>),
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
