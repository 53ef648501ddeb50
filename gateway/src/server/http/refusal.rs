//! Refusals, in the envelope: `{detail}`.

use crate::sqlite::StoreError;
use listener::names;
use poem::error::NotFoundError;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{IntoResponse, Response};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::time::Duration;

pub(super) const JSON: &str = "application/json; charset=utf-8";

/// What a client is told to wait when the transport cannot send, or the store is away.
pub(super) const NOT_READY: Duration = Duration::from_secs(5);

/// How who asks shows that it may: RFC 9110, 11.6.1, wants it said. The scheme is the contract's own.
const CHALLENGE: &str = "Paceline-Signature";

/// One bad field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Issue {
    pub(super) loc: Vec<Cow<'static, str>>,
    pub(super) msg: Cow<'static, str>,
    pub(super) kind: &'static str,
}

impl Issue {
    /// A bad field or parameter of ours.
    pub(super) fn new(loc: &[&'static str], msg: &'static str, kind: &'static str) -> Self {
        Self { loc: loc.iter().map(|part| Cow::Borrowed(*part)).collect(), msg: msg.into(), kind }
    }

    /// A name that nothing reads.
    pub(super) fn unknown(within: &'static str, name: &str, known: &[&str]) -> Self {
        let loc = vec![within.into(), names::shown(name).into()];
        Self { loc, msg: names::unknown(name, known.iter().copied()).into(), kind: "extra_forbidden" }
    }
}

/// Why a request was not done.
#[derive(Debug)]
pub(super) enum Refusal {
    /// With a status and a reason, and how long to wait.
    Plain(StatusCode, String, Option<Duration>),
    /// Every bad field.
    Invalid(Vec<Issue>),
    /// The path takes none but these methods.
    Method(&'static [Method]),
    /// The body is packed, and is read as it comes.
    Coding,
}

/// What `Allow` says of a path with these methods.
pub(super) fn allow(methods: &[Method]) -> String {
    let head = methods.contains(&Method::GET).then_some("HEAD");
    methods.iter().map(Method::as_str).chain(head).collect::<Vec<_>>().join(", ")
}

impl Refusal {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::Plain(status, detail.into(), None)
    }

    pub(super) fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::Plain(StatusCode::SERVICE_UNAVAILABLE, detail.into(), Some(retry_after))
    }

    /// The message names a sender that is none of these.
    pub(super) fn no_sender(known: &[String]) -> Self {
        let loc = vec!["body".into(), "sender".into()];
        let msg = format!("no such sender here; known are {}", known.join(", "));
        Self::Invalid(vec![Issue { loc, msg: msg.into(), kind: "value_error" }])
    }

    pub(super) fn of(error: &poem::Error) -> Self {
        if error.is::<NotFoundError>() {
            return Self::new(StatusCode::NOT_FOUND, "there is no such path");
        }
        match error.status() {
            status if status.is_client_error() => Self::new(status, error.to_string()),
            status => {
                tracing::error!(%error, "a request failed");
                Self::new(status, "a fault of ours; the log has it")
            }
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full | StoreError::Away => Self::unavailable(error.to_string(), NOT_READY),
            // It may be written: what a 504 says to every backend, and a 500 does not. The same id again finds out.
            StoreError::Unsettled => Self::new(StatusCode::GATEWAY_TIMEOUT, error.to_string()),
            StoreError::Fault => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Plain(status, detail, retry_after) => {
                let mut response = answer(status, &json!({ "detail": detail }));
                if let Some(wait) = retry_after {
                    let seconds = wait.as_millis().div_ceil(1_000).max(1);
                    if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                        response.headers_mut().insert(header::RETRY_AFTER, value);
                    }
                }
                if status == StatusCode::UNAUTHORIZED {
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
                }
                response
            }
            Self::Invalid(issues) => {
                let detail: Vec<Value> = issues
                    .iter()
                    .map(|issue| json!({ "loc": issue.loc, "msg": issue.msg, "type": issue.kind }))
                    .collect();
                answer(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "detail": detail }))
            }
            Self::Method(methods) => {
                let detail = "the path does not take this method";
                let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, &json!({ "detail": detail }));
                if let Ok(value) = HeaderValue::from_str(&allow(methods)) {
                    response.headers_mut().insert(header::ALLOW, value);
                }
                response
            }
            Self::Coding => {
                let detail = "the body must come without a Content-Encoding";
                let mut response = answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, &json!({ "detail": detail }));
                response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
                response
            }
        }
    }
}

pub(super) fn answer(status: StatusCode, body: &Value) -> Response {
    Response::builder().status(status).content_type(JSON).body(body.to_string())
}
