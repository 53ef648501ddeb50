//! Refusals: what went wrong, before a surface's envelope is put around it.

use backplane::{Decision, NotTaken};
use domain::db::Trouble;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::Enum;
use sea_orm::DbErr;
use serde_json::json;

/// One bad field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    pub(crate) field: String,
    pub(crate) message: String,
}

/// The kinds of refusals, each with its status and its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Validation,
    AuthRequired,
    PermissionDenied,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    Conflict,
    PayloadTooLarge,
    UriTooLong,
    UnsupportedMediaType,
    UnsupportedCoding,
    Unprocessable,
    RateLimited,
    Internal,
    NotImplemented,
    Unavailable,
}

/// The stable word that says what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename = "ErrorCode", rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Code {
    /// Something about the request is wrong; `details` names the fields.
    ValidationError,
    /// A token is required.
    AuthRequired,
    /// The role does not permit it.
    PermissionDenied,
    /// There is no such thing, path or method.
    ResourceNotFound,
    /// It makes no sense in the present state.
    Conflict,
    /// The body is too large.
    PayloadTooLarge,
    /// Too many requests.
    RateLimitExceeded,
    /// A fault of ours.
    InternalError,
}

impl Kind {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Validation => StatusCode::BAD_REQUEST,
            Self::AuthRequired => StatusCode::UNAUTHORIZED,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::Conflict => StatusCode::CONFLICT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::UnsupportedMediaType | Self::UnsupportedCoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The code in the envelopes of the batch surface and the support desk.
    pub(crate) const fn code(self) -> Code {
        match self {
            Self::Validation
            | Self::UriTooLong
            | Self::UnsupportedMediaType
            | Self::UnsupportedCoding
            | Self::Unprocessable
            | Self::NotAcceptable => Code::ValidationError,
            Self::AuthRequired => Code::AuthRequired,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::NotFound | Self::MethodNotAllowed | Self::NotImplemented => Code::ResourceNotFound,
            Self::Conflict => Code::Conflict,
            Self::PayloadTooLarge => Code::PayloadTooLarge,
            Self::RateLimited => Code::RateLimitExceeded,
            Self::Internal | Self::Unavailable => Code::InternalError,
        }
    }

    fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::AuthRequired,
            StatusCode::FORBIDDEN => Self::PermissionDenied,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::CONFLICT => Self::Conflict,
            StatusCode::PAYLOAD_TOO_LARGE => Self::PayloadTooLarge,
            StatusCode::URI_TOO_LONG => Self::UriTooLong,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::TOO_MANY_REQUESTS => Self::RateLimited,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            status if status.is_client_error() => Self::Validation,
            _ => Self::Internal,
        }
    }
}

/// The part of a request that bad fields are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    Body,
    Query,
    Path,
}

impl Within {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Query => "query",
            Self::Path => "path",
        }
    }
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    pub(crate) details: Vec<FieldError>,
    /// Where the details' fields are.
    pub(crate) within: Within,
    pub(crate) limited: Option<Box<Decision>>,
    /// For a wrong method: the right ones.
    pub(crate) allow: Option<String>,
}

impl Refusal {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), details: Vec::new(), within: Within::Body, limited: None, allow: None }
    }

    pub(crate) fn invalid(details: Vec<FieldError>) -> Self {
        let message = match details.as_slice() {
            [one] => format!("{}: {}", one.field, one.message),
            _ => format!("{} fields are wrong", details.len()),
        };
        Self { details, ..Self::new(Kind::Validation, message) }
    }

    pub(crate) fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// The same, with its fields in that part of the request.
    pub(crate) fn within(self, within: Within) -> Self {
        Self { within, ..self }
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(Kind::NotFound, format!("no such {what}"))
    }

    pub(crate) fn internal() -> Self {
        Self::new(Kind::Internal, "something went wrong; the log knows more by the request's id")
    }

    /// An error of the framework: its status says what it was; its words may say more than a client should read.
    pub(crate) fn from_error(error: poem::Error) -> Self {
        if let Some(refusal) = error.downcast_ref::<Self>() {
            return refusal.clone();
        }
        let kind = Kind::of(error.status());
        let message = match kind {
            Kind::NotFound => "no such path".into(),
            Kind::MethodNotAllowed => "the path has no such method".into(),
            Kind::UnsupportedMediaType => "the content type is not supported here".into(),
            Kind::PayloadTooLarge => "the body is too large".into(),
            Kind::UriTooLong => "the address is too long".into(),
            Kind::AuthRequired => "a valid token is required".into(),
            Kind::Validation
            | Kind::PermissionDenied
            | Kind::NotAcceptable
            | Kind::UnsupportedCoding
            | Kind::Conflict
            | Kind::Unprocessable
            | Kind::RateLimited
            | Kind::NotImplemented
            | Kind::Unavailable => error.to_string(),
            Kind::Internal => {
                tracing::error!(%error, "a request failed");
                return Self::internal();
            }
        };
        Self::new(kind, message)
    }

    /// The headers that go with any envelope.
    pub(crate) fn headers(&self, response: &mut Response) {
        let headers = response.headers_mut();
        if let Some(limited) = &self.limited {
            let seconds = limited.retry_after.as_secs() + u64::from(limited.retry_after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
            super::limits::tell(headers, limited);
        }
        if self.kind == Kind::AuthRequired {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.kind == Kind::UnsupportedCoding {
            // This header tells it from a wrong content type, which has the same status.
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(super::coding::TAKEN));
        }
        if self.kind == Kind::Unavailable {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(2u64));
        }
        if let Some(allow) = self.allow.as_ref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
            headers.insert(header::ALLOW, allow);
        }
    }
}

impl poem::error::ResponseError for Refusal {
    fn status(&self) -> StatusCode {
        self.kind.status()
    }
}

/// The database's errors: which of them a client may wait out.
impl From<NotTaken> for Refusal {
    fn from(error: NotTaken) -> Self {
        match error {
            NotTaken::Busy => {
                Self::new(Kind::Unavailable, "too many reports are waiting; nothing was written, try again")
            }
            NotTaken::Panicked => {
                tracing::error!(%error, "a report was not taken");
                Self::internal()
            }
            NotTaken::Database(error) => Self::from(&*error),
        }
    }
}

impl From<DbErr> for Refusal {
    fn from(error: DbErr) -> Self {
        Self::from(&error)
    }
}

impl From<&DbErr> for Refusal {
    fn from(error: &DbErr) -> Self {
        tracing::error!(%error, "the database did not take a request");
        if Trouble::is_unsettled(error) {
            return Self::new(
                Kind::Unavailable,
                "the database broke off while it committed; look whether it was done, or ask again with the same Idempotency-Key",
            );
        }
        match Trouble::of(error) {
            Trouble::DiskFull => Self::new(Kind::Unavailable, "the disk is full; nothing was written"),
            Trouble::Away | Trouble::TooLong => {
                Self::new(Kind::Unavailable, "the database is away or busy; nothing was written, try again")
            }
            Trouble::Conflict => {
                Self::new(Kind::Unavailable, "another request was in the way; nothing was written, try again")
            }
            Trouble::Fault => Self::internal(),
        }
    }
}

/// A refusal outside of any surface.
pub(crate) fn bare(refusal: &Refusal) -> Response {
    let body = json!({ "detail": refusal.message }).to_string();
    let mut response = body.with_content_type("application/json; charset=utf-8").into_response();
    response.set_status(refusal.kind.status());
    refusal.headers(&mut response);
    response
}
