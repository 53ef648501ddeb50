//! The simulator: a run can be repeated, and has the faults that were asked for, at the rates that were asked for.
//!
//! All times are virtual. The rates are those of fixed seeds, so what is within its bounds once is always.

use futures::future::join_all;
use gateway::{Gateway, Outbound, Report, SendOutcome, Simulator, SimulatorConfig, SimulatorStats};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::mpsc;

const MESSAGES: usize = 5_000;

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("message-{i}")).collect()
}

async fn send(simulator: &Simulator, id: &str) -> SendOutcome {
    simulator.send(&Outbound { to: "60123456789", text: "Hello", message_id: id, sender: None, gateway: None }).await
}

fn without_reports(config: SimulatorConfig) -> Simulator {
    Simulator::new(config, mpsc::channel(1).0)
}

/// What becomes of each message at its first attempt.
async fn outcomes(config: &SimulatorConfig, ids: &[String]) -> (HashMap<String, SendOutcome>, SimulatorStats) {
    let simulator = without_reports(config.clone());
    let mut outcomes = HashMap::new();
    for id in ids {
        outcomes.insert(id.clone(), send(&simulator, id).await);
    }
    (outcomes, simulator.stats())
}

fn share(outcomes: &HashMap<String, SendOutcome>, of: impl Fn(&SendOutcome) -> bool) -> f64 {
    outcomes.values().filter(|outcome| of(outcome)).count() as f64 / outcomes.len() as f64
}

/// Within four standard deviations of a share among so many.
fn about(found: f64, rate: f64, among: usize) -> bool {
    (found - rate).abs() <= 4.0 * (rate * (1.0 - rate) / among as f64).sqrt()
}

const REJECTED: fn(&SendOutcome) -> bool = |it| matches!(it, SendOutcome::Rejected { .. });
const THROTTLED: fn(&SendOutcome) -> bool = |it| matches!(it, SendOutcome::Throttled { .. });
const FAILED: fn(&SendOutcome) -> bool = |it| matches!(it, SendOutcome::Failed { .. });
const UNKNOWN: fn(&SendOutcome) -> bool = |it| matches!(it, SendOutcome::Unknown { .. });

#[tokio::test]
async fn each_fault_comes_at_its_rate() {
    let none = SimulatorConfig::default();
    for rate in [0.0, 0.01, 0.3, 1.0] {
        for (config, of) in [
            (SimulatorConfig { reject_rate: rate, ..none.clone() }, REJECTED),
            (SimulatorConfig { throttle_rate: rate, ..none.clone() }, THROTTLED),
            (SimulatorConfig { fail_rate: rate, ..none.clone() }, FAILED),
            (SimulatorConfig { unknown_rate: rate, ..none.clone() }, UNKNOWN),
        ] {
            let (outcomes, stats) = outcomes(&config, &ids(MESSAGES)).await;
            let found = share(&outcomes, of);
            assert!(about(found, rate, MESSAGES), "{found} instead of {rate}: {config:?}");
            let accepted = share(&outcomes, |it| *it == SendOutcome::Accepted);
            assert!((accepted + found - 1.0).abs() < 1e-9, "and no other fault: {config:?}");
            let counted = stats.rejected + stats.throttled + stats.failed + stats.unknown;
            assert_eq!(counted as f64 / MESSAGES as f64, found, "{stats:?}");
            // An answer that is lost is that of a message that was taken.
            let taken = share(&outcomes, |it| *it == SendOutcome::Accepted || UNKNOWN(it));
            assert!((stats.sent as f64 / MESSAGES as f64 - taken).abs() < 1e-9, "{stats:?}");
        }
    }
}

#[tokio::test]
async fn faults_come_together_each_among_what_the_ones_before_left() {
    let config = SimulatorConfig {
        reject_rate: 0.1,
        throttle_rate: 0.2,
        fail_rate: 0.3,
        unknown_rate: 0.4,
        throttle_ms: 1_234,
        ..SimulatorConfig::default()
    };
    let (outcomes, _) = outcomes(&config, &ids(MESSAGES)).await;
    let shares = [
        (REJECTED, 0.1),
        (THROTTLED, 0.9 * 0.2),
        (FAILED, 0.9 * 0.8 * 0.3),
        (UNKNOWN, 0.9 * 0.8 * 0.7 * 0.4),
        (|it: &SendOutcome| *it == SendOutcome::Accepted, 0.9 * 0.8 * 0.7 * 0.6),
    ];
    for (place, (of, rate)) in shares.into_iter().enumerate() {
        let found = share(&outcomes, of);
        assert!(about(found, rate, MESSAGES), "{place}: {found} instead of {rate}");
    }
    let waits = outcomes.values().filter_map(|outcome| match outcome {
        SendOutcome::Throttled { retry_after } => Some(*retry_after),
        _ => None,
    });
    assert!(waits.into_iter().all(|wait| wait == Duration::from_millis(1_234)));
}

#[tokio::test(start_paused = true)]
async fn a_run_is_the_same_twice_in_whatever_order_messages_come() {
    let config = SimulatorConfig {
        reject_rate: 0.2,
        throttle_rate: 0.2,
        fail_rate: 0.2,
        unknown_rate: 0.2,
        latency_min_ms: 1,
        latency_max_ms: 50,
        ..SimulatorConfig::default()
    };
    let ids = ids(500);
    let (first, stats) = outcomes(&config, &ids).await;
    let backwards: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(outcomes(&config, &backwards).await, (first.clone(), stats));
    let simulator = without_reports(config.clone());
    let at_once = join_all(ids.iter().map(|id| send(&simulator, id))).await;
    assert_eq!(ids.iter().cloned().zip(at_once).collect::<HashMap<_, _>>(), first);
    let other = SimulatorConfig { seed: 2, ..config };
    assert_ne!(outcomes(&other, &ids).await.0, first, "another seed, another run");
}

#[tokio::test]
async fn a_refusal_is_the_messages_and_the_rest_the_attempts() {
    let config = SimulatorConfig { reject_rate: 0.3, throttle_rate: 0.3, fail_rate: 0.3, ..SimulatorConfig::default() };
    let simulator = without_reports(config);
    for id in ids(500) {
        let mut attempts = Vec::new();
        while attempts.len() < 200 && attempts.last() != Some(&SendOutcome::Accepted) {
            attempts.push(send(&simulator, &id).await);
        }
        let rejected = attempts.iter().filter(|it| REJECTED(it)).count();
        if rejected == 0 {
            assert_eq!(attempts.last(), Some(&SendOutcome::Accepted), "{id} is taken in the end");
        } else {
            assert_eq!(rejected, 200, "{id} is never taken");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_is_taken_once_also_by_attempts_at_once() {
    for idempotent in [true, false] {
        let config =
            SimulatorConfig { idempotent, latency_min_ms: 1, latency_max_ms: 100, ..SimulatorConfig::default() };
        let simulator = without_reports(config);
        let outcomes = join_all((0..50).map(|_| send(&simulator, "same"))).await;
        assert!(outcomes.iter().all(|outcome| *outcome == SendOutcome::Accepted));
        let stats = simulator.stats();
        let expected = if idempotent { (1, 0, 49) } else { (50, 49, 0) };
        assert_eq!((stats.sent, stats.duplicates, stats.repeats), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_again_by_the_same_id() {
    let config = SimulatorConfig { unknown_rate: 0.5, ..SimulatorConfig::default() };
    let simulator = without_reports(config);
    let ids = ids(200);
    for id in &ids {
        while send(&simulator, id).await != SendOutcome::Accepted {}
    }
    let stats = simulator.stats();
    assert_eq!((stats.sent, stats.duplicates), (200, 0));
    assert!(stats.unknown > 0 && stats.repeats == stats.unknown, "{stats:?}");
}

/// Sends all and takes the reports of them, in virtual time.
async fn reports(config: &SimulatorConfig, ids: &[String]) -> Vec<(Duration, Report)> {
    let (tx, mut rx) = mpsc::channel(16);
    let start = tokio::time::Instant::now();
    let simulator = Simulator::new(config.clone(), tx);
    for id in ids {
        send(&simulator, id).await;
    }
    let mut reports = Vec::new();
    // Longer than all that a message's reports may take; what has not come by then does not come.
    let all = Duration::from_millis(
        config.ack_delay_max_ms * 2 + config.read_delay_max_ms + config.reply_delay_max_ms + 1_000,
    );
    while let Ok(Some(delivery)) = tokio::time::timeout(all, rx.recv()).await {
        reports.push((start.elapsed(), delivery.report));
    }
    reports
}

#[tokio::test(start_paused = true)]
async fn acks_come_at_their_rates_in_order_and_in_time() {
    let config = SimulatorConfig {
        acks: true,
        delivered_rate: 0.9,
        read_rate: 0.5,
        reply_rate: 0.2,
        ack_delay_max_ms: 2_000,
        read_delay_max_ms: 2_000,
        reply_delay_max_ms: 2_000,
        ..SimulatorConfig::default()
    };
    let count = 5_000;
    let reports = reports(&config, &ids(count)).await;
    assert!(reports.iter().map(|(at, _)| *at).is_sorted());
    assert!(reports.last().expect("reports").0 <= Duration::from_millis(4 * 2_000 + 100));

    let mut levels: HashMap<String, Vec<u8>> = HashMap::new();
    let mut replies = 0;
    for (_, report) in reports {
        match report {
            Report::Mapped { message_id, whatsapp_id, .. } => {
                assert!(!whatsapp_id.is_empty());
                levels.entry(message_id).or_default().push(1);
            }
            Report::Ack { message_id, level, .. } => levels.entry(message_id).or_default().push(level),
            Report::Inbound(inbound) => {
                assert_eq!(inbound.from, "60123456789");
                replies += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(levels.len(), count, "each got an id");
    assert!(levels.values().all(|levels| [1, 2, 3].starts_with(levels)), "in order, each once");
    let reached = |level| levels.values().filter(|levels| levels.contains(&level)).count();
    let (delivered, read) = (reached(2), reached(3));
    assert!(about(delivered as f64 / count as f64, 0.9, count), "{delivered} delivered");
    assert!(about(read as f64 / delivered as f64, 0.5, delivered), "{read} read");
    assert!(about(f64::from(replies) / read as f64, 0.2, read), "{replies} answered");
}

#[tokio::test(start_paused = true)]
async fn reports_are_the_same_twice() {
    let config = SimulatorConfig { acks: true, reply_rate: 0.5, fail_rate: 0.2, ..SimulatorConfig::default() };
    let ids = ids(300);
    let first = reports(&config, &ids).await;
    assert!(!first.is_empty());
    assert_eq!(reports(&config, &ids).await, first);
    assert_ne!(reports(&SimulatorConfig { seed: 7, ..config }, &ids).await, first);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_taken_is_not_reported_and_what_is_repeated_once() {
    let config = SimulatorConfig { acks: true, unknown_rate: 1.0, delivered_rate: 0.0, ..SimulatorConfig::default() };
    let (tx, mut rx) = mpsc::channel(16);
    let simulator = Simulator::new(config, tx);
    for _ in 0..3 {
        assert!(UNKNOWN(&send(&simulator, "m").await));
    }
    let first = rx.recv().await.expect("a report").report;
    assert!(matches!(first, Report::Mapped { .. }));
    assert!(tokio::time::timeout(Duration::from_secs(60), rx.recv()).await.is_err(), "one message, one id");
    let refuses = SimulatorConfig { acks: true, reject_rate: 1.0, ..SimulatorConfig::default() };
    assert_eq!(reports(&refuses, &ids(100)).await, []);
}

#[tokio::test(start_paused = true)]
async fn an_answer_takes_the_time_it_was_told_to() {
    let config = SimulatorConfig { latency_min_ms: 20, latency_max_ms: 40, ..SimulatorConfig::default() };
    let simulator = without_reports(config);
    let mut took = Vec::new();
    for id in ids(300) {
        let start = tokio::time::Instant::now();
        send(&simulator, &id).await;
        took.push(start.elapsed().as_millis());
    }
    assert_eq!((took.iter().min(), took.iter().max()), (Some(&20), Some(&40)));
}
