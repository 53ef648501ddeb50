//! How often a client may ask.

use super::refusal::{Kind, Refusal};
use crate::App;
use backplane::{Decision, Limit};
use parking_lot::Mutex;
use poem::Request;
use poem::http::{HeaderMap, HeaderValue};
use std::sync::Arc;

/// Counts a request under a key; a refusal when it is one too many.
pub(crate) async fn check(app: &App, key: &str, per_minute: u32) -> Result<Decision, Refusal> {
    let decision = app.backplane.limiter.check(key, Limit { per_minute }).await;
    if decision.allowed {
        return Ok(decision);
    }
    Err(over(decision))
}

/// The refusal of a request that was one too many.
pub(crate) fn over(decision: Decision) -> Refusal {
    metrics::counter!("paceline_http_limited_total").increment(1);
    let mut refusal = Refusal::new(Kind::RateLimited, format!("more than {} requests a minute", decision.limit));
    refusal.limited = Some(Box::new(decision));
    refusal
}

/// Tells the client where it stands.
pub(crate) fn tell(headers: &mut HeaderMap, decision: &Decision) {
    if decision.limit == 0 {
        return;
    }
    headers.insert("ratelimit-limit", HeaderValue::from(decision.limit));
    headers.insert("ratelimit-remaining", HeaderValue::from(decision.remaining));
    headers.insert("ratelimit-reset", HeaderValue::from(decision.reset_after.as_secs_f64().ceil() as u64));
}

/// What the limiter said in the course of a request: the tightest of its limits is told with the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct TightestLimit(Arc<Mutex<Option<Decision>>>);

impl TightestLimit {
    /// Makes a note for the answer, if the request has a place for it.
    pub(crate) fn note(request: &Request, decision: Decision) {
        let Some(standing) = request.extensions().get::<Self>() else { return };
        let mut tightest = standing.0.lock();
        let looser = |known: &Decision| known.limit != 0 && known.remaining <= decision.remaining;
        if decision.limit != 0 && !tightest.as_ref().is_some_and(looser) {
            *tightest = Some(decision);
        }
    }

    /// Tells the client what was noted, unless its refusal has done so.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        if let Some(decision) = self.0.lock().as_ref()
            && !headers.contains_key("ratelimit-limit")
        {
            tell(headers, decision);
        }
    }
}
