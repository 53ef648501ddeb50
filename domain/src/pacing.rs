//! Pacing: when the next message may leave.
//!
//! A **slot** is a moment at which one message may leave. Slots are handed out by the generic cell rate algorithm
//! (GCRA, ITU-T I.371) in its "virtual scheduling" form: for each key (a batch, a sender) there is one number, the next
//! free slot. It lives in the key's row in the database and moves in the same transaction that claims the messages. So
//! the limit holds over all processes and across a restart by the ledger alone: it needs no Redis, cannot be emptied
//! with it, and a slot is never handed out for a message that was not claimed.
//!
//! With a burst of one, `n` slots of a key with interval `i` cover `n × i`: over any window at most
//! `rate × window + 1` slots. Slots that nobody asked for are gone: an idle key does not save up a burst.

use crate::time::Timestamp;

/// How far ahead slots are handed out. A chunk whose next slot is further off gives its place back.
pub const HORIZON_US: i64 = 1_000_000;

/// How long before its next slot a sleeping chunk is woken, so that it has claimed when the slot comes.
pub const WAKE_AHEAD_MS: i64 = 800;

/// The longest stretch of slots that a batch slower than its sender takes in one claim. Its messages are charged to the
/// sender as one run, while they leave at the batch's own, wider spacing; this bounds by how much the two can differ.
pub const SLOWER_BATCH_BLOCK_US: i64 = 50_000;

/// One key's pace: what its row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The time between two slots, in microseconds; 0 where there is no limit and only `next_slot_us` counts.
    pub interval_us: i64,
    /// The next slot that was not handed out yet, in microseconds since the epoch.
    pub next_slot_us: i64,
}

impl Pace {
    /// The pace of a rate a minute; `None` where there is no limit.
    #[must_use]
    pub fn per_minute(rate: Option<i64>, next_slot_us: i64) -> Option<Self> {
        let rate = rate.filter(|rate| *rate > 0)?;
        // Rounded up: a rate that does not divide a minute is kept, not passed.
        Some(Self { interval_us: (60_000_000 + rate - 1) / rate, next_slot_us })
    }
}

/// What a reservation gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// The slots, in microseconds since the epoch, in order. Fewer than asked for where the horizon ends.
    pub slots_us: Vec<i64>,
    /// The batch's next slot after this, where it has a limit.
    pub batch_next_us: Option<i64>,
    /// The sender's next slot after this, where it has a limit.
    pub sender_next_us: Option<i64>,
    /// The first slot that was not given: when to come again.
    pub next_us: i64,
}

/// Takes up to `wanted` slots that fit both paces, none later than [`HORIZON_US`] from `now`.
#[must_use]
pub fn reserve(now: Timestamp, batch: Option<Pace>, sender: Option<Pace>, wanted: usize) -> Reserved {
    let now_us = now.0.saturating_mul(1000);
    let start = [batch, sender].into_iter().flatten().map(|p| p.next_slot_us).fold(now_us, i64::max);
    let spacing = [batch, sender].into_iter().flatten().map(|p| p.interval_us).fold(0, i64::max);
    let mut count = i64::try_from(wanted).unwrap_or(i64::MAX);
    if start > now_us + HORIZON_US {
        count = 0;
    } else if spacing > 0 {
        count = count.min((now_us + HORIZON_US - start) / spacing + 1);
        if let (Some(batch), Some(sender)) = (batch, sender)
            && batch.interval_us > sender.interval_us
        {
            count = count.min((SLOWER_BATCH_BLOCK_US / batch.interval_us).max(1));
        }
    }
    let after = |pace: Option<Pace>| {
        pace.filter(|p| p.interval_us > 0).map(|p| {
            if count == 0 { p.next_slot_us } else { start.saturating_add(count.saturating_mul(p.interval_us)) }
        })
    };
    Reserved {
        slots_us: (0..count).map(|i| start + i * spacing).collect(),
        batch_next_us: after(batch),
        sender_next_us: after(sender),
        next_us: start + count * spacing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    const NOW_US: i64 = 1_000_000_000;

    #[test]
    fn without_a_limit_every_slot_is_now() {
        let got = reserve(NOW, None, None, 3);
        assert_eq!(got.slots_us, [NOW_US; 3]);
        assert_eq!((got.batch_next_us, got.sender_next_us), (None, None));
    }

    #[test]
    fn a_slow_batch_gets_one_slot_and_is_told_when_the_next_is() {
        let pace = Pace::per_minute(Some(20), 0);
        let got = reserve(NOW, pace, None, 10);
        assert_eq!(got.slots_us, [NOW_US]);
        assert_eq!(got.next_us, NOW_US + 3_000_000);
        assert_eq!(got.batch_next_us, Some(NOW_US + 3_000_000));
    }

    #[test]
    fn a_far_slot_is_not_taken_and_nothing_moves() {
        let pace = Some(Pace { interval_us: 1000, next_slot_us: NOW_US + HORIZON_US + 1 });
        let got = reserve(NOW, pace, None, 10);
        assert!(got.slots_us.is_empty());
        assert_eq!(got.batch_next_us, Some(NOW_US + HORIZON_US + 1));
        assert_eq!(got.next_us, NOW_US + HORIZON_US + 1);
    }

    proptest! {
        /// Many claims at arbitrary times by batches of one sender: no key ever gets more than rate × window + 1.
        #[test]
        fn no_window_holds_more_than_the_rate_allows(
            rate in 1i64..600_000,
            steps in prop::collection::vec((0i64..1_500, 1usize..400), 1..60),
        ) {
            let mut pace = Pace::per_minute(Some(rate), 0).expect("a rate");
            let mut now = NOW;
            let mut slots = Vec::new();
            for (wait_ms, wanted) in steps {
                now = Timestamp(now.0 + wait_ms);
                let got = reserve(now, Some(pace), None, wanted);
                prop_assert!(got.slots_us.iter().all(|s| *s >= now.0 * 1000 && *s <= now.0 * 1000 + HORIZON_US));
                pace.next_slot_us = got.batch_next_us.expect("paced");
                slots.extend(got.slots_us);
            }
            // Spaced by the interval everywhere, hence in every window.
            prop_assert!(slots.windows(2).all(|w| w[1] - w[0] >= pace.interval_us));
            prop_assert!(pace.interval_us * rate >= 60_000_000);
        }

        /// A hungry key loses nothing: claims that keep ahead of the clock get every slot.
        #[test]
        fn a_hungry_key_gets_all_of_its_rate(rate in 60i64..600_000) {
            let mut pace = Pace::per_minute(Some(rate), 0).expect("a rate");
            let mut slots = Vec::new();
            for tick in 0..40 {
                let got = reserve(Timestamp(NOW.0 + tick * 250), Some(pace), None, 1_000_000);
                pace.next_slot_us = got.batch_next_us.expect("paced");
                slots.extend(got.slots_us);
            }
            prop_assert!(slots.windows(2).all(|w| w[1] - w[0] == pace.interval_us));
        }

        #[test]
        fn the_stricter_of_two_paces_holds(batch in 1i64..100_000, sender in 1i64..100_000, wanted in 1usize..500) {
            let (b, s) = (Pace::per_minute(Some(batch), 0), Pace::per_minute(Some(sender), 0));
            let got = reserve(NOW, b, s, wanted);
            let strict = b.into_iter().chain(s).map(|p| p.interval_us).max().expect("two");
            prop_assert!(got.slots_us.windows(2).all(|w| w[1] - w[0] == strict));
            let n = i64::try_from(got.slots_us.len()).expect("few");
            prop_assert_eq!(got.batch_next_us, b.map(|p| NOW_US + n * p.interval_us));
            prop_assert_eq!(got.sender_next_us, s.map(|p| NOW_US + n * p.interval_us));
        }
    }
}
