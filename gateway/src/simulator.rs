//! A gateway that sends nothing: seeded, so that a run can be repeated.
//!
//! What becomes of a message is decided by the seed, the message's id and the number of the attempt, not by the order
//! in which messages come: the same campaign meets the same faults however many workers send it. (With ids that differ
//! from run to run, as ours do, the rates repeat and not the single faults.)

use crate::{Gateway, Outbound, Report, SendOutcome};
use faults::{Point, Side};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

/// How the simulator behaves. All rates are fractions from 0 to 1; all times are milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulatorConfig {
    /// What decides everything.
    pub seed: u64,
    /// The shortest answer time.
    pub latency_min_ms: u64,
    /// The longest answer time.
    pub latency_max_ms: u64,
    /// Messages that are refused for good: the number is not on WhatsApp.
    pub reject_rate: f64,
    /// Attempts that fail with an error that passes.
    pub fail_rate: f64,
    /// Attempts that are told to wait.
    pub throttle_rate: f64,
    /// How long they are told to wait.
    pub throttle_ms: u64,
    /// Attempts that are taken and whose answer is lost.
    pub unknown_rate: f64,
    /// Whether to report acks at all.
    pub acks: bool,
    /// Messages that are delivered.
    pub delivered_rate: f64,
    /// Delivered messages that are read.
    pub read_rate: f64,
    /// The longest time to the next ack.
    pub ack_delay_max_ms: u64,
    /// Read messages that are answered.
    pub reply_rate: f64,
    /// Whether the same id is taken only once, as the contract asks.
    pub idempotent: bool,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            latency_min_ms: 0,
            latency_max_ms: 0,
            reject_rate: 0.0,
            fail_rate: 0.0,
            throttle_rate: 0.0,
            throttle_ms: 1_000,
            unknown_rate: 0.0,
            acks: false,
            delivered_rate: 0.97,
            read_rate: 0.6,
            ack_delay_max_ms: 3_000,
            reply_rate: 0.02,
            idempotent: true,
        }
    }
}

impl SimulatorConfig {
    /// Checks ranges.
    ///
    /// # Errors
    /// The field and what it takes.
    pub fn validate(&self) -> Result<(), String> {
        let rates = [
            ("reject_rate", self.reject_rate),
            ("fail_rate", self.fail_rate),
            ("throttle_rate", self.throttle_rate),
            ("unknown_rate", self.unknown_rate),
            ("delivered_rate", self.delivered_rate),
            ("read_rate", self.read_rate),
            ("reply_rate", self.reply_rate),
        ];
        if let Some((name, _)) = rates.iter().find(|(_, rate)| !(0.0..=1.0).contains(rate)) {
            return Err(format!("simulator.{name} must be from 0 to 1"));
        }
        if self.latency_min_ms > self.latency_max_ms {
            return Err("simulator.latency_min_ms must not be above simulator.latency_max_ms".into());
        }
        Ok(())
    }
}

/// What the simulator "sent".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SimulatorStats {
    /// Messages that it took, each id once unless it is not idempotent.
    pub sent: u64,
    /// Ids that it would have sent twice: sends of a known id to a gateway that is not idempotent.
    pub duplicates: u64,
    /// Sends of a known id that it took and did not send again.
    pub repeats: u64,
    /// Messages that it refused.
    pub rejected: u64,
    /// Attempts that it let fail.
    pub failed: u64,
    /// Attempts that it told to wait.
    pub throttled: u64,
    /// Answers that it lost.
    pub unknown: u64,
}

#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    duplicates: AtomicU64,
    repeats: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    throttled: AtomicU64,
    unknown: AtomicU64,
}

/// How many ids are remembered: the newest. At some 60 bytes each this bounds the memory to 120 MB.
const REMEMBERED_IDS: usize = 2_000_000;

#[derive(Default)]
struct Known {
    attempts: HashMap<u128, (u32, bool)>,
    order: VecDeque<u128>,
}

/// A gateway that sends nothing. Ids are remembered for as long as the process lives.
pub struct Simulator {
    config: SimulatorConfig,
    counters: Counters,
    known: Mutex<Known>,
    timers: Arc<Timers>,
}

impl std::fmt::Debug for Simulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Simulator {
    /// A simulator whose reports go to `reports`. Must be called within a Tokio runtime: one task delivers them.
    #[must_use]
    pub fn new(config: SimulatorConfig, reports: mpsc::Sender<Report>) -> Self {
        let timers = Arc::new(Timers::default());
        if config.acks {
            tokio::spawn(deliver(Arc::downgrade(&timers), timers.changed.clone(), reports));
        }
        Self { config, counters: Counters::default(), known: Mutex::default(), timers }
    }

    /// What it "sent" so far.
    #[must_use]
    pub fn stats(&self) -> SimulatorStats {
        let c = &self.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SimulatorStats {
            sent: get(&c.sent),
            duplicates: get(&c.duplicates),
            repeats: get(&c.repeats),
            rejected: get(&c.rejected),
            failed: get(&c.failed),
            throttled: get(&c.throttled),
            unknown: get(&c.unknown),
        }
    }

    /// The number of this attempt, counted from 0.
    fn attempt(&self, key: u128) -> u32 {
        let mut known = self.known.lock();
        let seen = known.attempts.get(&key).copied();
        let attempt = seen.map_or(0, |(n, _)| n.saturating_add(1));
        known.attempts.insert(key, (attempt, seen.is_some_and(|(_, taken)| taken)));
        if seen.is_none() {
            known.order.push_back(key);
            if known.order.len() > REMEMBERED_IDS
                && let Some(oldest) = known.order.pop_front()
            {
                known.attempts.remove(&oldest);
            }
        }
        attempt
    }

    /// Marks the message as taken, and says whether it was before. In one step: of several attempts at once, one is the
    /// first.
    fn mark_taken(&self, key: u128) -> bool {
        self.known.lock().attempts.get_mut(&key).is_some_and(|(_, taken)| std::mem::replace(taken, true))
    }

    fn take(&self, key: u128, message: &Outbound<'_>, rng: &mut ChaCha8Rng) {
        let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        let taken_before = self.mark_taken(key);
        if taken_before && self.config.idempotent {
            add(&self.counters.repeats);
            return;
        }
        if taken_before {
            add(&self.counters.duplicates);
        }
        add(&self.counters.sent);
        if self.config.acks {
            self.plan_reports(message, rng);
        }
    }

    /// Plans the reports about a message, one after the other.
    fn plan_reports(&self, message: &Outbound<'_>, rng: &mut ChaCha8Rng) {
        let id = message.message_id.to_owned();
        let whatsapp_id = format!("wamid.SIM{}", id.replace('-', ""));
        let mut at = Instant::now();
        let mut reports = Vec::new();
        let mut plan = |report: Report, rng: &mut ChaCha8Rng| {
            at += Duration::from_millis(rng.random_range(0..=self.config.ack_delay_max_ms));
            reports.push((at, report));
        };
        let ack = |level| Report::Ack { message_id: id.clone(), whatsapp_id: whatsapp_id.clone(), level };
        plan(Report::Mapped { message_id: id.clone(), whatsapp_id: whatsapp_id.clone() }, rng);
        if rng.random_bool(self.config.delivered_rate) {
            plan(ack(2), rng);
            if rng.random_bool(self.config.read_rate) {
                plan(ack(3), rng);
                if rng.random_bool(self.config.reply_rate) {
                    let text = "Thanks!".to_owned();
                    plan(
                        Report::Inbound { from: message.to.to_owned(), text, whatsapp_id: format!("{whatsapp_id}R") },
                        rng,
                    );
                }
            }
        }
        self.timers.add(reports);
    }
}

fn key_of(message_id: &str) -> u128 {
    let digest = Sha256::digest(message_id);
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(key)
}

#[async_trait::async_trait]
impl Gateway for Simulator {
    async fn send(&self, message: &Outbound<'_>) -> SendOutcome {
        let config = &self.config;
        let key = key_of(message.message_id);
        let attempt = self.attempt(key);
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&key.to_be_bytes());
        seed[16..24].copy_from_slice(&config.seed.to_be_bytes());
        let mut fate = ChaCha8Rng::from_seed(seed);
        // A refusal is the message's; the rest is the attempt's.
        let rejected = fate.random_bool(config.reject_rate);
        seed[24..28].copy_from_slice(&attempt.to_be_bytes());
        // Apart from the message's own: its first attempt must not draw the same numbers again.
        seed[28] = 1;
        let mut rng = ChaCha8Rng::from_seed(seed);
        if config.latency_max_ms > 0 {
            let latency = rng.random_range(config.latency_min_ms..=config.latency_max_ms);
            tokio::time::sleep(Duration::from_millis(latency)).await;
        }
        let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        if rejected {
            add(&self.counters.rejected);
            let detail = "the number is not on WhatsApp".to_owned();
            return SendOutcome::Rejected { code: "not_on_whatsapp".into(), detail };
        }
        if rng.random_bool(config.throttle_rate) {
            add(&self.counters.throttled);
            return SendOutcome::Throttled { retry_after: Duration::from_millis(config.throttle_ms) };
        }
        if rng.random_bool(config.fail_rate) {
            add(&self.counters.failed);
            return SendOutcome::Failed { code: "gateway_500".into(), detail: "simulated failure".into() };
        }
        let unknown = rng.random_bool(config.unknown_rate);
        if let Err(error) = faults::hit(Point::Take(Side::Before)) {
            return SendOutcome::Failed { code: "gateway_500".into(), detail: error.to_string() };
        }
        self.take(key, message, &mut rng);
        if unknown || faults::hit(Point::Take(Side::After)).is_err() {
            add(&self.counters.unknown);
            return SendOutcome::Unknown { code: "gateway_timeout".into(), detail: "simulated lost answer".into() };
        }
        SendOutcome::Accepted
    }

    async fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Reports that wait for their time.
#[derive(Default)]
struct Timers {
    heap: Mutex<BinaryHeap<Reverse<Due>>>,
    next: AtomicU64,
    changed: Arc<Notify>,
}

struct Due {
    at: Instant,
    /// Reports due at once leave in the order they were planned.
    order: u64,
    report: Report,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl Timers {
    fn add(&self, reports: Vec<(Instant, Report)>) {
        let mut heap = self.heap.lock();
        for (at, report) in reports {
            heap.push(Reverse(Due { at, order: self.next.fetch_add(1, Ordering::Relaxed), report }));
        }
        drop(heap);
        self.changed.notify_one();
    }

    /// What is due, or when the next is.
    fn take_due(&self) -> Result<Report, Option<Instant>> {
        let mut heap = self.heap.lock();
        match heap.peek() {
            Some(Reverse(due)) if due.at <= Instant::now() => heap.pop().map(|Reverse(due)| due.report).ok_or(None),
            Some(Reverse(due)) => Err(Some(due.at)),
            None => Err(None),
        }
    }
}

/// Delivers reports at their time until the simulator or the receiver is gone. A slow receiver is waited for: reports
/// then come late, and wait in memory as planned ones do.
async fn deliver(timers: std::sync::Weak<Timers>, changed: Arc<Notify>, reports: mpsc::Sender<Report>) {
    loop {
        let Some(due) = timers.upgrade().map(|timers| timers.take_due()) else { return };
        match due {
            Ok(report) => {
                if reports.send(report).await.is_err() {
                    return;
                }
            }
            Err(next) => {
                let until = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
                tokio::select! {
                    () = changed.notified() => {}
                    () = tokio::time::sleep_until(until) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome_of(config: &SimulatorConfig, ids: &[&str]) -> impl Future<Output = Vec<SendOutcome>> {
        let (tx, _rx) = mpsc::channel(1);
        let simulator = Simulator::new(config.clone(), tx);
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        async move {
            let mut outcomes = Vec::new();
            for id in &ids {
                outcomes.push(simulator.send(&Outbound { to: "60123456789", text: "x", message_id: id }).await);
            }
            outcomes
        }
    }

    #[tokio::test]
    async fn the_same_seed_gives_the_same_run() {
        let config = SimulatorConfig { reject_rate: 0.3, fail_rate: 0.3, unknown_rate: 0.3, ..Default::default() };
        let ids: Vec<String> = (0..200).map(|i| format!("m{i}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let first = outcome_of(&config, &ids).await;
        assert_eq!(first, outcome_of(&config, &ids).await);
        assert_ne!(first, outcome_of(&SimulatorConfig { seed: 2, ..config }, &ids).await);
        assert!(first.contains(&SendOutcome::Accepted));
    }

    #[tokio::test]
    async fn an_id_is_sent_once() {
        let (tx, _rx) = mpsc::channel(1);
        for idempotent in [true, false] {
            let simulator = Simulator::new(SimulatorConfig { idempotent, ..Default::default() }, tx.clone());
            for _ in 0..3 {
                let message = Outbound { to: "1", text: "x", message_id: "same" };
                assert_eq!(simulator.send(&message).await, SendOutcome::Accepted);
            }
            let stats = simulator.stats();
            let expected = if idempotent { (1, 0, 2) } else { (3, 2, 0) };
            assert_eq!((stats.sent, stats.duplicates, stats.repeats), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn acks_come_in_order() {
        let (tx, mut rx) = mpsc::channel(100);
        let config =
            SimulatorConfig { acks: true, delivered_rate: 1.0, read_rate: 1.0, reply_rate: 0.0, ..Default::default() };
        let simulator = Simulator::new(config, tx);
        simulator.send(&Outbound { to: "1", text: "x", message_id: "m" }).await;
        let mut levels = Vec::new();
        for _ in 0..3 {
            levels.push(match rx.recv().await.expect("a report") {
                Report::Mapped { .. } => 1,
                Report::Ack { level, .. } => level,
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(levels, [1, 2, 3]);
    }

    #[test]
    fn a_rate_out_of_range_is_named() {
        let config = SimulatorConfig { read_rate: 1.5, ..Default::default() };
        assert_eq!(config.validate(), Err("simulator.read_rate must be from 0 to 1".into()));
    }
}
