//! When to try again: exponential backoff with full jitter.
//!
//! The delay before retry `n` (from 0) is uniform in `[0, min(cap, base × 2ⁿ)]`, the "full jitter" of Brooker,
//! *Exponential Backoff And Jitter* (AWS Architecture Blog, 2015): of the variants compared there it spreads a herd of
//! retries best. A floor keeps a retry from following its failure at once.

use rand::Rng;
use std::time::Duration;

/// How delays grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The bound of the first delay.
    pub base: Duration,
    /// The bound that is never passed.
    pub cap: Duration,
    /// No delay is shorter.
    pub floor: Duration,
}

impl Backoff {
    /// For a job whose handler met a passing error.
    pub const JOBS: Self =
        Self { base: Duration::from_secs(2), cap: Duration::from_secs(60), floor: Duration::from_millis(100) };

    /// For a job that met a database which is away: long enough not to be in its way, short enough to go on soon.
    pub const POSTPONED: Self =
        Self { base: Duration::from_secs(2), cap: Duration::from_secs(2), floor: Duration::from_millis(250) };

    /// For a message that the gateway did not take.
    pub const MESSAGES: Self =
        Self { base: Duration::from_secs(2), cap: Duration::from_secs(60), floor: Duration::from_millis(200) };

    /// The delay before retry number `retry`, counted from 0.
    #[must_use]
    pub fn delay(&self, retry: u32, rng: &mut impl Rng) -> Duration {
        let bound = self.base.saturating_mul(1u32.checked_shl(retry).unwrap_or(u32::MAX)).min(self.cap);
        let bound = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
        let floor = u64::try_from(self.floor.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(rng.random_range(0..=bound).max(floor))
    }
}

/// How often a message may be tried again after errors that may pass.
pub const MAX_MESSAGE_RETRIES: i64 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    proptest! {
        #[test]
        fn a_delay_stays_within_its_bounds(retry in 0u32..200, seed: u64) {
            let backoff = Backoff::MESSAGES;
            let delay = backoff.delay(retry, &mut StdRng::seed_from_u64(seed));
            let bound = backoff.base.saturating_mul(2u32.saturating_pow(retry)).min(backoff.cap);
            prop_assert!(delay >= backoff.floor && delay <= bound, "{delay:?}");
        }
    }

    #[test]
    fn delays_use_their_whole_range() {
        let mut rng = StdRng::seed_from_u64(1);
        let delays: Vec<_> = (0..1000).map(|_| Backoff::MESSAGES.delay(2, &mut rng).as_millis()).collect();
        assert!(delays.iter().any(|&d| d < 1000) && delays.iter().any(|&d| d > 7000));
    }
}
