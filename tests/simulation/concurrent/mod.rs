//! The same steps on PostgreSQL, in transactions that are really open at the same time.
//!
//! Everybody has a connection and asks for a turn before each statement and each commit. A seed decides whose turn it is,
//! and the next one comes when everybody asks again or waits for a lock of somebody else: so a seed decides in which order
//! statements take their locks, and the same seed takes them in the same order again, as far as the database itself does
//! not decide (which of two waits first gets a lock, and whom it ends to break a deadlock).
//!
//! What must hold: a worker's word and its heartbeat wait for nobody, whatever a step of its own or of another holds; no
//! step fails for good; and when all is done, the ledger agrees with itself.

mod actor;
mod conductor;
mod parts;

use super::number;
use conductor::Stage;
use futures::FutureExt;
use std::panic::{AssertUnwindSafe, resume_unwind};

/// How many seeds are played by default: each takes a second or so.
const SEEDS: u64 = 12;

#[expect(clippy::print_stdout, reason = "what a person needs to play it again")]
async fn play(stage: &mut Stage, seed: u64) {
    if let Err(panic) = AssertUnwindSafe(stage.play(seed)).catch_unwind().await {
        let trace = stage.trace();
        let tail = if number("PACELINE_TEST_SEED").is_some() { 0 } else { trace.len().saturating_sub(60) };
        println!(
            "seed {seed} failed on PostgreSQL after {} turns; the last of them:\n{}",
            trace.len(),
            trace[tail..].join("\n")
        );
        println!("again: PACELINE_TEST_SEED={seed} cargo xtask test --test simulation on_postgresql");
        resume_unwind(panic);
    }
}

#[test]
fn no_order_of_locks_does_harm_on_postgresql() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let mut stage = Stage::new().await;
        if let Some(seed) = number("PACELINE_TEST_SEED") {
            play(&mut stage, seed).await;
            println!("{}", stage.trace().join("\n"));
            return;
        }
        let seeds = number("PACELINE_TEST_SEEDS").unwrap_or(SEEDS);
        for seed in 1..=seeds {
            play(&mut stage, seed).await;
        }
        println!("{seeds} seeds: {:?}", stage.seen);
        if seeds >= SEEDS {
            stage.seen.everything_happened();
        }
    });
}
