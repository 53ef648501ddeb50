//! Limits.

use crate::server::Server;
use crate::world::{World, on_all};
use backplane::{Backplane, Decision, Limit, Limiter};
use futures::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

on_all! {
    a_limit_counts_down_and_tells_when_the_next_may_pass,
    keys_and_limits_are_apart,
    none_is_no_limit,
    a_limit_holds_over_all_who_share_it,
    what_was_used_up_comes_back,
}

fn per_minute(per_minute: u32) -> Limit {
    Limit { per_minute }
}

/// How many have come back since `start`, at most. Two tests in a row need no more than a moment, but nobody promises it.
fn come_back(limit: Limit, start: Instant) -> u32 {
    u32::try_from(start.elapsed().as_micros() * u128::from(limit.per_minute) / 60_000_000).unwrap_or(u32::MAX)
}

async fn a_limit_counts_down_and_tells_when_the_next_may_pass(world: World) {
    let (limit, interval) = (per_minute(5), Duration::from_secs(12));
    let start = Instant::now();
    for used in 1..=5 {
        let said = world.backplane.limiter.check("key", limit).await;
        assert!(said.allowed, "{said:?}");
        assert_eq!((said.limit, said.retry_after), (5, Duration::ZERO));
        assert!((5 - used..=5 - used + come_back(limit, start)).contains(&said.remaining), "{said:?}");
        assert!(said.reset_after <= interval * used && !said.reset_after.is_zero(), "{said:?}");
    }
    let said = world.backplane.limiter.check("key", limit).await;
    if come_back(limit, start) == 0 {
        assert!(!said.allowed, "{said:?}");
        assert_eq!((said.limit, said.remaining), (5, 0));
        assert!(!said.retry_after.is_zero() && said.retry_after <= interval, "{said:?}");
        // The next may pass when one of five has come back; the other four are then still used up.
        let until_one = said.reset_after - said.retry_after;
        assert!(until_one.abs_diff(interval * 4) < Duration::from_millis(1), "{said:?}");
        // A refusal uses nothing up.
        let again = world.backplane.limiter.check("key", limit).await;
        assert!(again.retry_after <= said.retry_after, "{again:?}");
    }
}

async fn keys_and_limits_are_apart(world: World) {
    let limiter = &world.backplane.limiter;
    for key in ["a", "b", "", "a:b", "a}", "{", "ä\u{0}\r\n", &"long".repeat(1_000)] {
        assert!(limiter.check(key, per_minute(1)).await.allowed, "{key:?}");
        // The same key under another limit is another count.
        let said = limiter.check(key, per_minute(3)).await;
        assert!(said.allowed && said.remaining == 2, "{key:?}: {said:?}");
    }
}

async fn none_is_no_limit(world: World) {
    for _ in 0..100 {
        let said = world.backplane.limiter.check("key", per_minute(0)).await;
        assert!(said.allowed && said.limit == 0 && said.retry_after.is_zero(), "{said:?}");
    }
    for _ in 0..100 {
        let said = world.backplane.limiter.check("key", per_minute(u32::MAX)).await;
        assert!(said.allowed && said.limit == u32::MAX, "{said:?}");
    }
}

async fn a_limit_holds_over_all_who_share_it(world: World) {
    let limit = per_minute(7);
    let start = Instant::now();
    let processes: Vec<Backplane> = (0..3).map(|_| world.another()).collect();
    let checks = (0..60).map(|i| {
        let limiter = processes[i % 3].limiter.clone();
        tokio::spawn(async move { limiter.check("shared", limit).await.allowed })
    });
    let checks = join_all(checks).await;
    let allowed = checks.into_iter().filter(|check| *check.as_ref().expect("no panic")).count();
    let most = 7 + come_back(limit, start) as usize;
    assert!((7..=most).contains(&allowed), "{allowed} passed");
}

async fn what_was_used_up_comes_back(world: World) {
    let limit = per_minute(600);
    let start = Instant::now();
    let mut passed = 0;
    let refused = loop {
        let said = world.backplane.limiter.check("key", limit).await;
        if !said.allowed {
            break said;
        }
        passed += 1;
        assert!(passed <= 600 + come_back(limit, start), "{passed} passed");
    };
    assert!(passed >= 600, "only {passed} passed");
    assert!(refused.retry_after <= Duration::from_millis(100), "{refused:?}");
    // Whoever comes when told to, passes.
    tokio::time::sleep(refused.retry_after).await;
    assert!(world.backplane.limiter.check("key", limit).await.allowed);
}

/// A sequence of requests: which key, and its limit.
fn sequences() -> impl Strategy<Value = Vec<(usize, u32)>> {
    prop::collection::vec((0..3_usize, 1..5_u32), 1..40)
}

async fn verdicts(limiter: &Arc<dyn Limiter>, prefix: usize, sequence: &[(usize, u32)]) -> Vec<Decision> {
    let mut said = Vec::new();
    for (key, limit) in sequence {
        said.push(limiter.check(&format!("{prefix}:{key}"), per_minute(*limit)).await);
    }
    said
}

/// In memory and on Redis, the same requests get the same answers: those of a count that goes down to nothing.
#[test]
fn the_same_requests_get_the_same_verdicts() {
    let runtime = Runtime::new().expect("a runtime");
    let (server, embedded) = (runtime.block_on(Server::single()), Backplane::embedded());
    let on_redis = Backplane::redis(&server.url).expect("the server's own URL");
    let case = std::cell::Cell::new(0_usize);
    let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&sequences(), |sequence| {
            // Keys of its own for each case, also while a failure is made smaller.
            case.set(case.get() + 1);
            let start = Instant::now();
            let one = runtime.block_on(verdicts(&embedded.limiter, case.get(), &sequence));
            let other = runtime.block_on(verdicts(&on_redis.limiter, case.get(), &sequence));
            // With at most four a minute nothing comes back before a quarter of it is over.
            prop_assume!(come_back(per_minute(4), start) == 0);
            let mut used: HashMap<(usize, u32), u32> = HashMap::new();
            for ((asked, one), other) in sequence.iter().zip(&one).zip(&other) {
                let used = used.entry(*asked).or_default();
                let allowed = *used < asked.1;
                *used += u32::from(allowed);
                let expected = (allowed, asked.1, asked.1 - *used);
                prop_assert_eq!((one.allowed, one.limit, one.remaining), expected, "in memory");
                prop_assert_eq!((other.allowed, other.limit, other.remaining), expected, "on Redis");
                // The times differ by what the run itself took, and in memory are rounded up to whole intervals.
                let interval = Duration::from_secs(60) / asked.1;
                prop_assert!(one.retry_after.abs_diff(other.retry_after) <= start.elapsed(), "{one:?} {other:?}");
                prop_assert!(one.reset_after.abs_diff(other.reset_after) <= interval, "{one:?} {other:?}");
            }
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}
