//! Limits in Redis: GCRA in one script, by Redis's own clock. While Redis is away each process counts for itself: a limit
//! neither vanishes nor locks people out. A Redis that does not answer costs a request at most [`ANSWER`], and then for
//! [`REST`] nothing.

use super::server::{Server, within};
use crate::embedded::EmbeddedLimiter;
use crate::{BackplaneError, Decision, Limit, Limiter};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a request waits for the verdict.
const ANSWER: Duration = Duration::from_secs(1);

/// How long after a failure Redis is not asked.
const REST: Duration = Duration::from_secs(1);

/// KEYS[1]: the key's theoretical arrival time in microseconds. ARGV: microseconds per request, burst. Returns allowed,
/// remaining, microseconds until nothing is used up, microseconds until the next may pass.
const GCRA: &str = r"
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local tat = tonumber(redis.call('GET', KEYS[1])) or now
if tat < now then tat = now end
local new = tat + interval
local early = new - burst * interval
if early > now then return {0, 0, tat - now, early - now} end
redis.call('SET', KEYS[1], string.format('%.0f', new), 'PX', math.ceil((new - now) / 1000))
return {1, math.floor((now - early) / interval), new - now, 0}
";

pub(crate) struct RedisLimiter {
    server: Arc<Server>,
    fallback: EmbeddedLimiter,
    failed_at: Mutex<Option<Instant>>,
}

impl RedisLimiter {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Self { server, fallback: EmbeddedLimiter::default(), failed_at: Mutex::default() }
    }

    async fn ask(&self, key: &str, limit: Limit) -> Result<Decision, BackplaneError> {
        let mut call = redis::pipe();
        call.cmd("EVAL")
            .arg(GCRA)
            .arg(1)
            // The limit is in it: a key under another limit is another count, as in memory.
            .arg(format!("{{paceline:limit:{}:{key}}}", limit.per_minute))
            .arg((60_000_000 / limit.per_minute).max(1))
            .arg(limit.per_minute);
        let ((allowed, remaining, reset_us, retry_us),): ((i64, u32, u64, u64),) =
            within(ANSWER, self.server.run(&call)).await?;
        Ok(Decision {
            allowed: allowed == 1,
            limit: limit.per_minute,
            remaining,
            reset_after: Duration::from_micros(reset_us),
            retry_after: Duration::from_micros(retry_us),
        })
    }
}

#[async_trait]
impl Limiter for RedisLimiter {
    async fn check(&self, key: &str, limit: Limit) -> Decision {
        if limit.per_minute == 0 {
            return Decision::UNLIMITED;
        }
        let rests = self.failed_at.lock().is_some_and(|at| at.elapsed() < REST);
        if !rests {
            match self.ask(key, limit).await {
                Ok(decision) => return decision,
                Err(error) => {
                    *self.failed_at.lock() = Some(Instant::now());
                    tracing::debug!(%error, "limits counted in this process alone");
                }
            }
        }
        metrics::counter!("paceline_limiter_fallback_total").increment(1);
        self.fallback.check_now(key, limit)
    }
}
