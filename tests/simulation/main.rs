//! Deterministic simulation of the ledger: several workers, a scheduler, users and a gateway over the real steps of the
//! domain on a real database, with a manual clock, in an order that a seed decides.
//!
//! Every transaction may be rolled back, or committed without anybody hearing of it; workers die and freeze at any point
//! between two of them and wake with what they believed; rings are lost, doubled, late and out of order; the gateway is
//! away, answers 500, 429 or nothing. SQLite has one writer, so whole transactions are the smallest steps there are, and
//! an order of them is a whole interleaving. When the faults end, everything has to come to its end by itself.
//!
//! On PostgreSQL transactions are open at the same time; what their locks do to one another is played in [`concurrent`].
//!
//! A seed that fails is printed: `PACELINE_TEST_SEED=123 cargo xtask test --test simulation` plays it again, with a
//! trace. `PACELINE_TEST_SEEDS=100000` plays so many.

mod concurrent;
mod end;
mod gateway;
mod ledger;
mod luck;
mod scenarios;
mod seen;
mod sessions;
mod users;
mod worker;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use world::World;

/// Where seeds begin, and how many are played by default.
const FIRST: u64 = 1;
const SEEDS: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: expected a number, not {text:?}")))
}

/// Plays one seed on a thread's own ledger and returns its trace.
#[expect(clippy::print_stdout, reason = "what a person needs to play it again")]
fn play(runtime: &tokio::runtime::Runtime, world: &mut World, seed: u64) -> Vec<String> {
    let played = catch_unwind(AssertUnwindSafe(|| runtime.block_on(world.play(seed))));
    if let Err(panic) = played {
        let trace = world.trace();
        let tail = if number("PACELINE_TEST_SEED").is_some() { 0 } else { trace.len().saturating_sub(60) };
        println!("seed {seed} failed after {} moves; the last of them:\n{}", trace.len(), trace[tail..].join("\n"));
        println!("again: PACELINE_TEST_SEED={seed} cargo xtask test --test simulation");
        resume_unwind(panic);
    }
    world.trace().to_vec()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn nothing_is_lost_or_sent_twice_in_any_order() {
    if let Some(seed) = number("PACELINE_TEST_SEED") {
        let runtime = runtime();
        let mut world = runtime.block_on(World::new());
        for line in play(&runtime, &mut world, seed) {
            println!("{line}");
        }
        return;
    }
    let end = FIRST + number("PACELINE_TEST_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(FIRST);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let totals = std::thread::scope(|scope| {
        let players: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let runtime = runtime();
                    let mut world = runtime.block_on(World::new());
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end {
                            return world.seen;
                        }
                        play(&runtime, &mut world, seed);
                    }
                })
            })
            .collect();
        players.into_iter().map(|player| player.join()).collect::<Vec<_>>()
    });
    let mut seen = seen::Seen::default();
    for total in totals {
        seen.add(&total.unwrap_or_else(|panic| resume_unwind(panic)));
    }
    println!("{} seeds: {seen:?}", end - FIRST);
    if end - FIRST >= SEEDS {
        // A simulation in which nothing goes wrong shows nothing.
        seen.everything_happened();
    }
}

#[test]
fn a_seed_is_played_the_same_way_twice() {
    let runtime = runtime();
    let mut world = runtime.block_on(World::new());
    let first = play(&runtime, &mut world, 7);
    let mut other = runtime.block_on(World::new());
    play(&runtime, &mut other, 8);
    assert_eq!(play(&runtime, &mut other, 7), first, "what was played before changes nothing");
    assert!(first.len() > 50, "{first:?}");
}
