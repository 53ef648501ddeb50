//! What becomes of an attempt: drawn from the seed, the message's id and the number of the attempt, and nothing else.

use super::SimulatorConfig;
use crate::transport::{Class, Refusal};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// What becomes of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// How long the answer takes.
    pub(super) latency: Duration,
    /// Why it is not taken.
    pub(super) refusal: Option<Refusal>,
    /// It is taken, and the answer is lost.
    pub(super) lost: bool,
    /// What is told of it later, if it is taken: so many milliseconds after it was, in order.
    pub(super) later: Vec<(u64, Later)>,
}

/// What is told of a message later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Later {
    Sent,
    Delivered,
    Read,
    Played,
    Undelivered,
    Replied,
}

/// What a recipient answers.
pub(super) const REPLY: &str = "Thanks!";

/// A message's id as a number.
pub(super) fn key_of(message_id: &str) -> u128 {
    let digest = Sha256::digest(message_id);
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(key)
}

/// The network's id of a message.
pub(super) fn network_id(key: u128) -> String {
    format!("wamid.SIM{key:032x}")
}

/// That a taken message was not delivered.
pub(super) fn undelivered() -> Refusal {
    refusal(Class::Recipient, "undeliverable", "the message could not be delivered", None)
}

fn refusal(class: Class, code: &str, detail: &str, retry_after: Option<Duration>) -> Refusal {
    Refusal { class, code: code.into(), detail: detail.into(), retry_after }
}

impl SimulatorConfig {
    /// So much of the simulator's time, in ours.
    pub(super) fn scaled(&self, ms: u64) -> Duration {
        Duration::from_millis(ms).div_f64(self.time_scale.max(1.0))
    }

    /// What becomes of an attempt, counted from 0.
    pub(super) fn fate(&self, key: u128, attempt: u32) -> Fate {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&key.to_be_bytes());
        seed[16..24].copy_from_slice(&self.seed.to_be_bytes());
        let mut of_message = ChaCha8Rng::from_seed(seed);
        seed[24..28].copy_from_slice(&attempt.to_be_bytes());
        // Apart from the message's own: its first attempt must not draw the same numbers again.
        seed[28] = 1;
        let mut rng = ChaCha8Rng::from_seed(seed);
        let latency = match self.latency_max_ms {
            0 => Duration::ZERO,
            most => self.scaled(rng.random_range(self.latency_min_ms..=most)),
        };
        let refusal = self.refusal(&mut of_message, &mut rng);
        let lost = refusal.is_none() && rng.random_bool(self.unknown_rate);
        let later = if refusal.is_none() { self.later(&mut rng) } else { Vec::new() };
        Fate { latency, refusal, lost, later }
    }

    /// A refusal for good is the message's; one that passes is the attempt's.
    fn refusal(&self, of_message: &mut ChaCha8Rng, rng: &mut ChaCha8Rng) -> Option<Refusal> {
        if of_message.random_bool(self.reject_rate) {
            return Some(refusal(Class::Recipient, "not_on_whatsapp", "the number is not on WhatsApp", None));
        }
        if of_message.random_bool(self.message_rate) {
            return Some(refusal(Class::Message, "message_not_taken", "simulated: the message is not allowed", None));
        }
        if of_message.random_bool(self.not_now_rate) {
            return Some(refusal(Class::NotNow, "not_now", "simulated: this person gets no more messages today", None));
        }
        if rng.random_bool(self.throttle_rate) {
            let wait = Some(self.scaled(self.throttle_ms));
            return Some(refusal(Class::Later, "too_fast", "simulated: the sender is too fast", wait));
        }
        if rng.random_bool(self.stop_rate) {
            return Some(refusal(Class::StopSender, "sender_blocked", "simulated: the sender is blocked", None));
        }
        rng.random_bool(self.fail_rate).then(|| refusal(Class::Trouble, "gateway_500", "simulated failure", None))
    }

    fn later(&self, rng: &mut ChaCha8Rng) -> Vec<(u64, Later)> {
        let (mut at, mut later) = (0, Vec::new());
        let mut then = |rng: &mut ChaCha8Rng, most, what| {
            at += rng.random_range(0..=most);
            later.push((at, what));
        };
        if !self.acks {
            // Who cannot be asked twice must at least say what it has.
            if !self.idempotent {
                then(rng, 0, Later::Sent);
            }
            return later;
        }
        then(rng, self.ack_delay_max_ms, Later::Sent);
        if rng.random_bool(self.undelivered_rate) {
            then(rng, self.ack_delay_max_ms, Later::Undelivered);
        } else if rng.random_bool(self.delivered_rate) {
            then(rng, self.ack_delay_max_ms, Later::Delivered);
            if rng.random_bool(self.read_rate) {
                then(rng, self.read_delay_max_ms, Later::Read);
                if rng.random_bool(self.played_rate) {
                    then(rng, self.played_delay_max_ms, Later::Played);
                }
                if rng.random_bool(self.reply_rate) {
                    then(rng, self.reply_delay_max_ms, Later::Replied);
                }
            }
        }
        later
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_fate_is_its_seeds_alone_and_in_order(seed: u64, key: u128, attempt in 0_u32..5) {
            let config = SimulatorConfig {
                seed, acks: true, fail_rate: 0.3, unknown_rate: 0.3, reply_rate: 0.5, undelivered_rate: 0.1,
                latency_max_ms: 50, ..Default::default()
            };
            let fate = config.fate(key, attempt);
            prop_assert_eq!(&fate, &config.fate(key, attempt));
            prop_assert!(fate.later.is_sorted_by_key(|(at, _)| *at));
            prop_assert!(fate.refusal.is_none() || (fate.later.is_empty() && !fate.lost));
        }
    }

    #[test]
    fn rates_are_met() {
        let config = SimulatorConfig { reject_rate: 0.1, fail_rate: 0.2, ..Default::default() };
        let classes: Vec<Option<Class>> =
            (0..10_000).map(|n| config.fate(key_of(&n.to_string()), 0).refusal.map(|r| r.class)).collect();
        let of = |class| classes.iter().filter(|found| **found == Some(class)).count();
        assert!((900..1_100).contains(&of(Class::Recipient)), "{}", of(Class::Recipient));
        assert!((1_650..1_950).contains(&of(Class::Trouble)), "{}: a fifth of the rest", of(Class::Trouble));
    }

    #[test]
    fn an_hour_passes_in_a_second() {
        let config = SimulatorConfig { time_scale: 3_600.0, ..Default::default() };
        assert_eq!(config.scaled(3_600_000), Duration::from_secs(1));
    }
}
