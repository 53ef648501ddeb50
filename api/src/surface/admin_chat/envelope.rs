//! `{code, msg, data, timestamp}`.

use crate::foundation::refusal::{Kind, Refusal};
use domain::Timestamp;
use poem::{IntoResponse, Response};
use serde_json::json;

/// The contract's code of a refusal. `token`: whether the request showed one.
const fn code(kind: Kind, token: bool) -> u16 {
    match kind {
        Kind::Validation
        | Kind::MethodNotAllowed
        | Kind::NotAcceptable
        | Kind::UriTooLong
        | Kind::UnsupportedMediaType
        | Kind::UnsupportedCoding
        | Kind::Unprocessable => 4000,
        Kind::AuthRequired if token => 4002,
        Kind::AuthRequired => 4001,
        Kind::PermissionDenied => 4003,
        Kind::NotFound => 4004,
        Kind::Conflict => 4009,
        Kind::PayloadTooLarge => 4013,
        Kind::RateLimited => 4029,
        Kind::Internal | Kind::NotImplemented | Kind::Unavailable => 5000,
    }
}

/// A refusal in this surface's envelope.
pub(super) fn refuse(refusal: &Refusal, token: bool, now: Timestamp) -> Response {
    let body = json!({ "code": code(refusal.kind, token), "msg": refusal.message, "data": null, "timestamp": now.to_rfc3339() });
    let mut response = body.to_string().with_content_type("application/json; charset=utf-8").into_response();
    response.set_status(refusal.kind.status());
    refusal.headers(&mut response);
    response
}
