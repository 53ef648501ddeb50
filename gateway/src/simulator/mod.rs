//! A network that sends nothing: seeded, so that a run can be repeated.
//!
//! What becomes of a message is decided by the seed, the message's id and the number of the attempt, not by the order
//! in which messages come (`fate`): the same campaign meets the same faults however many workers send it. (With ids that
//! differ from run to run, as ours do, the rates repeat and not the single faults.)
//!
//! One core, two who remember: [`SimulatedNetwork`] is a [`Transport`](crate::transport::Transport) with a file of its own,
//! for it is another party than the gateway and does not forget what it took when that one is killed; [`Simulator`] is a
//! whole [`Gateway`](crate::Gateway) in memory, for a worker without any.

mod fate;
mod gateway;
mod network;

pub use gateway::{Simulator, SimulatorStats};
pub use network::{NetworkStats, SimulatedMessage, SimulatedNetwork};

use serde::{Deserialize, Serialize};

/// How the simulator behaves. All rates are fractions from 0 to 1; all times are milliseconds of its own time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulatorConfig {
    /// What decides everything.
    pub seed: u64,
    /// How much faster its time goes: at 3,600 an hour of its answers, acks and replies passes in a second.
    pub time_scale: f64,
    /// The shortest answer time.
    pub latency_min_ms: u64,
    /// The longest answer time.
    pub latency_max_ms: u64,
    /// Messages that are refused for good: the number is not on WhatsApp.
    pub reject_rate: f64,
    /// Messages that are refused for good for what they say.
    pub message_rate: f64,
    /// Messages whose recipient gets none today.
    pub not_now_rate: f64,
    /// Attempts that fail with an error that passes.
    pub fail_rate: f64,
    /// Attempts that are told to wait.
    pub throttle_rate: f64,
    /// How long they are told to wait.
    pub throttle_ms: u64,
    /// Attempts at which the network blocks the sender.
    pub stop_rate: f64,
    /// Attempts that are taken and whose answer is lost.
    pub unknown_rate: f64,
    /// How many messages a minute it takes before it tells who sends to wait; 0: any.
    pub rate_per_minute: u32,
    /// Whether to report acks at all.
    pub acks: bool,
    /// Taken messages that turn out not to be deliverable.
    pub undelivered_rate: f64,
    /// Messages that are delivered.
    pub delivered_rate: f64,
    /// Delivered messages that are read.
    pub read_rate: f64,
    /// Read messages that are played.
    pub played_rate: f64,
    /// Read messages that are answered.
    pub reply_rate: f64,
    /// The longest time until the network has it, and until it is delivered.
    pub ack_delay_max_ms: u64,
    /// The longest time from then until it is read.
    pub read_delay_max_ms: u64,
    /// The longest time from then until it is played.
    pub played_delay_max_ms: u64,
    /// The longest time from then until it is answered.
    pub reply_delay_max_ms: u64,
    /// Whether the same id is taken only once, as the contract asks.
    pub idempotent: bool,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            time_scale: 1.0,
            latency_min_ms: 0,
            latency_max_ms: 0,
            reject_rate: 0.0,
            message_rate: 0.0,
            not_now_rate: 0.0,
            fail_rate: 0.0,
            throttle_rate: 0.0,
            throttle_ms: 1_000,
            stop_rate: 0.0,
            unknown_rate: 0.0,
            rate_per_minute: 0,
            acks: false,
            undelivered_rate: 0.0,
            delivered_rate: 0.97,
            read_rate: 0.6,
            played_rate: 0.0,
            reply_rate: 0.02,
            ack_delay_max_ms: 3_000,
            read_delay_max_ms: 3_000,
            played_delay_max_ms: 3_000,
            reply_delay_max_ms: 3_000,
            idempotent: true,
        }
    }
}

/// The longest time that may be configured: a month.
const MAX_MS: u64 = 31 * 24 * 3600 * 1000;

impl SimulatorConfig {
    /// Checks ranges.
    ///
    /// # Errors
    /// The field and what it takes.
    pub fn validate(&self) -> Result<(), String> {
        let rates = [
            ("reject_rate", self.reject_rate),
            ("message_rate", self.message_rate),
            ("not_now_rate", self.not_now_rate),
            ("fail_rate", self.fail_rate),
            ("throttle_rate", self.throttle_rate),
            ("stop_rate", self.stop_rate),
            ("unknown_rate", self.unknown_rate),
            ("undelivered_rate", self.undelivered_rate),
            ("delivered_rate", self.delivered_rate),
            ("read_rate", self.read_rate),
            ("played_rate", self.played_rate),
            ("reply_rate", self.reply_rate),
        ];
        if let Some((name, _)) = rates.iter().find(|(_, rate)| !(0.0..=1.0).contains(rate)) {
            return Err(format!("simulator.{name} must be from 0 to 1"));
        }
        let times = [
            ("latency_max_ms", self.latency_max_ms),
            ("throttle_ms", self.throttle_ms),
            ("ack_delay_max_ms", self.ack_delay_max_ms),
            ("read_delay_max_ms", self.read_delay_max_ms),
            ("played_delay_max_ms", self.played_delay_max_ms),
            ("reply_delay_max_ms", self.reply_delay_max_ms),
        ];
        if let Some((name, _)) = times.iter().find(|(_, ms)| *ms > MAX_MS) {
            return Err(format!("simulator.{name} must be at most {MAX_MS}"));
        }
        if self.latency_min_ms > self.latency_max_ms {
            return Err("simulator.latency_min_ms must not be above simulator.latency_max_ms".into());
        }
        if !(1.0..=1_000_000.0).contains(&self.time_scale) {
            return Err("simulator.time_scale must be from 1 to 1000000".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_out_of_range_is_named() {
        let config = SimulatorConfig { read_rate: 1.5, ..Default::default() };
        assert_eq!(config.validate(), Err("simulator.read_rate must be from 0 to 1".into()));
        for time_scale in [0.0, 0.5, f64::NAN, f64::INFINITY] {
            let config = SimulatorConfig { time_scale, ..Default::default() };
            assert_eq!(config.validate(), Err("simulator.time_scale must be from 1 to 1000000".into()));
        }
    }
}
