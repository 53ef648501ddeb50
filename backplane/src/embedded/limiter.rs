//! Limits in memory, by governor.

use crate::{Decision, Limit, Limiter};
use async_trait::async_trait;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

type Keyed = RateLimiter<String, DefaultKeyedStateStore<String>, DefaultClock, StateInformationMiddleware>;

/// After this many checks, keys that are full again are forgotten.
const SHRINK_EVERY: u64 = 10_000;

#[derive(Default)]
pub(crate) struct EmbeddedLimiter {
    by_limit: Mutex<HashMap<u32, Arc<Keyed>>>,
    checks: AtomicU64,
}

impl EmbeddedLimiter {
    fn keyed(&self, per_minute: NonZeroU32) -> Arc<Keyed> {
        let mut by_limit = self.by_limit.lock();
        let keyed = by_limit.entry(per_minute.get()).or_insert_with(|| {
            Arc::new(RateLimiter::keyed(Quota::per_minute(per_minute)).with_middleware::<StateInformationMiddleware>())
        });
        keyed.clone()
    }

    pub(crate) fn check_now(&self, key: &str, limit: Limit) -> Decision {
        let Some(per_minute) = NonZeroU32::new(limit.per_minute) else { return Decision::UNLIMITED };
        let keyed = self.keyed(per_minute);
        if self.checks.fetch_add(1, Ordering::Relaxed) % SHRINK_EVERY == SHRINK_EVERY - 1 {
            let all: Vec<Arc<Keyed>> = self.by_limit.lock().values().cloned().collect();
            for keyed in all {
                keyed.retain_recent();
                keyed.shrink_to_fit();
            }
        }
        let interval = Duration::from_secs(60) / per_minute.get();
        match keyed.check_key(&key.to_owned()) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                Decision {
                    allowed: true,
                    limit: per_minute.get(),
                    remaining,
                    reset_after: interval * (per_minute.get() - remaining),
                    retry_after: Duration::ZERO,
                }
            }
            Err(not_until) => {
                let retry_after = not_until.wait_time_from(DefaultClock::default().now());
                Decision {
                    allowed: false,
                    limit: per_minute.get(),
                    remaining: 0,
                    // When the next may pass, all but one interval of the minute is used up.
                    reset_after: interval * (per_minute.get() - 1) + retry_after,
                    retry_after,
                }
            }
        }
    }
}

#[async_trait]
impl Limiter for EmbeddedLimiter {
    async fn check(&self, key: &str, limit: Limit) -> Decision {
        self.check_now(key, limit)
    }
}
