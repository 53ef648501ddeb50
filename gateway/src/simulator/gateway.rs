//! The simulator as a whole gateway in memory: for a worker that has none, and forgotten with its process.

use super::SimulatorConfig;
use super::fate::{self, Later, REPLY, key_of};
use crate::server::Delivery;
use crate::transport::{Class, Inbound};
use crate::{Gateway, Identity, Outbound, Report, SIMULATOR, SendOutcome};
use faults::{Point, Side};
use parking_lot::Mutex;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

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

/// How long a sender that the network stopped is told to wait: here nobody can let it send again.
const STOPPED: Duration = Duration::from_secs(30);

/// How many ids are remembered: the newest. At some 60 bytes each this bounds the memory to 120 MB.
const REMEMBERED_IDS: usize = 2_000_000;

#[derive(Default)]
struct SeenIds {
    attempts: HashMap<u128, (u32, bool)>,
    order: VecDeque<u128>,
}

/// A gateway that sends nothing. Ids are remembered for as long as the process lives.
pub struct Simulator {
    config: SimulatorConfig,
    counters: Counters,
    known: Mutex<SeenIds>,
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
    pub fn new(config: SimulatorConfig, reports: mpsc::Sender<Delivery>) -> Self {
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

    fn take(&self, key: u128, message: &Outbound<'_>, later: &[(u64, Later)]) {
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
            self.plan_reports(key, message, later);
        }
    }

    /// Plans the reports about a message, one after the other.
    fn plan_reports(&self, key: u128, message: &Outbound<'_>, later: &[(u64, Later)]) {
        let (id, whatsapp_id) = (message.message_id.to_owned(), fate::network_id(key));
        let now = Instant::now();
        let ack = |level| Report::Ack { message_id: id.clone(), whatsapp_id: whatsapp_id.clone(), level };
        let report = |what: &Later| match what {
            Later::Sent => Report::Mapped { message_id: id.clone(), whatsapp_id: whatsapp_id.clone(), wa_id: None },
            Later::Delivered => ack(2),
            Later::Read => ack(3),
            Later::Played => ack(4),
            Later::Undelivered => {
                let refusal = fate::undelivered();
                Report::Failed { message_id: id.clone(), code: refusal.code, detail: refusal.detail }
            }
            Later::Replied => Report::Inbound(Inbound {
                from: message.to.to_owned(),
                text: REPLY.to_owned(),
                network_id: format!("{whatsapp_id}R"),
                kind: "text".into(),
                ..Inbound::default()
            }),
        };
        self.timers.add(later.iter().map(|(at, what)| (now + self.config.scaled(*at), report(what))).collect());
    }
}

#[async_trait::async_trait]
impl Gateway for Simulator {
    async fn send(&self, message: &Outbound<'_>) -> SendOutcome {
        let key = key_of(message.message_id);
        let fate = self.config.fate(key, self.attempt(key));
        if !fate.latency.is_zero() {
            tokio::time::sleep(fate.latency).await;
        }
        let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        if let Some(refusal) = fate.refusal {
            let (code, detail) = (refusal.code, refusal.detail);
            return match refusal.class {
                Class::Recipient | Class::Message | Class::NotNow => {
                    add(&self.counters.rejected);
                    SendOutcome::Rejected { code, detail }
                }
                Class::Later | Class::StopSender => {
                    add(&self.counters.throttled);
                    SendOutcome::Throttled { retry_after: refusal.retry_after.unwrap_or(STOPPED) }
                }
                Class::Trouble | Class::LaterForRecipient => {
                    add(&self.counters.failed);
                    SendOutcome::Failed { code, detail }
                }
            };
        }
        if let Err(error) = faults::hit(Point::Take(Side::Before)) {
            return SendOutcome::Failed { code: "gateway_500".into(), detail: error.to_string() };
        }
        self.take(key, message, &fate.later);
        if fate.lost || faults::hit(Point::Take(Side::After)).is_err() {
            add(&self.counters.unknown);
            return SendOutcome::Unknown { code: "gateway_timeout".into(), detail: "simulated lost answer".into() };
        }
        SendOutcome::Accepted
    }

    async fn check(&self) -> Result<(), String> {
        Ok(())
    }

    async fn identity(&self) -> Result<Option<Identity>, String> {
        Ok(Some(Identity { name: SIMULATOR.into(), transport: Some(SIMULATOR.into()) }))
    }
}

/// Reports that wait for their time.
#[derive(Default)]
struct Timers {
    heap: Mutex<BinaryHeap<Reverse<DueReport>>>,
    next: AtomicU64,
    changed: Arc<Notify>,
}

struct DueReport {
    at: Instant,
    /// Reports due at once leave in the order they were planned.
    order: u64,
    report: Report,
}

impl PartialEq for DueReport {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for DueReport {}
impl PartialOrd for DueReport {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for DueReport {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl Timers {
    fn add(&self, reports: Vec<(Instant, Report)>) {
        let mut heap = self.heap.lock();
        for (at, report) in reports {
            heap.push(Reverse(DueReport { at, order: self.next.fetch_add(1, Ordering::Relaxed), report }));
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
async fn deliver(timers: std::sync::Weak<Timers>, changed: Arc<Notify>, reports: mpsc::Sender<Delivery>) {
    loop {
        let Some(due) = timers.upgrade().map(|timers| timers.take_due()) else { return };
        match due {
            Ok(report) => {
                if reports.send(Delivery { report, taken: None }).await.is_err() {
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
                outcomes.push(
                    simulator
                        .send(&Outbound { to: "60123456789", text: "x", message_id: id, sender: None, gateway: None })
                        .await,
                );
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
                let message = Outbound { to: "1", text: "x", message_id: "same", sender: None, gateway: None };
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
        simulator.send(&Outbound { to: "1", text: "x", message_id: "m", sender: None, gateway: None }).await;
        let mut levels = Vec::new();
        for _ in 0..3 {
            levels.push(match rx.recv().await.expect("a report").report {
                Report::Mapped { .. } => 1,
                Report::Ack { level, .. } => level,
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(levels, [1, 2, 3]);
    }
}
