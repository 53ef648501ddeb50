//! How often a client may ask.

use super::refusal::{Kind, Refusal};
use crate::App;
use backplane::{Decision, Limit};
use poem::Response;
use poem::http::HeaderValue;

/// Counts a request under a key; a refusal when it is one too many.
pub(crate) async fn check(app: &App, key: &str, per_minute: u32) -> Result<Decision, Refusal> {
    let decision = app.backplane.limiter.check(key, Limit { per_minute }).await;
    if decision.allowed {
        return Ok(decision);
    }
    metrics::counter!("paceline_http_limited_total").increment(1);
    let mut refusal = Refusal::new(Kind::RateLimited, format!("more than {} requests a minute", decision.limit));
    refusal.limited = Some(Box::new(decision));
    Err(refusal)
}

/// Tells the client where it stands.
pub(crate) fn tell(response: &mut Response, decision: &Decision) {
    if decision.limit == 0 {
        return;
    }
    let headers = response.headers_mut();
    headers.insert("ratelimit-limit", HeaderValue::from(decision.limit));
    headers.insert("ratelimit-remaining", HeaderValue::from(decision.remaining));
    headers.insert("ratelimit-reset", HeaderValue::from(decision.reset_after.as_secs_f64().ceil() as u64));
}
