//! Redis killed, emptied, frozen, swallowed by the network, and not there at all.

use crate::world::{World, in_time, job, listening, news, next, rings};
use backplane::{Backplane, Limit, Notice, Subscription};
use domain::Lane;
use std::time::Duration;
use support::{DEADLINE, Proxy, Redis, eventually};

const NOW: Duration = Duration::ZERO;
const LIMIT: Limit = Limit { per_minute: 3 };

async fn world() -> (Backplane, Redis) {
    let World { backplane, server } = World::redis().await;
    (backplane, server.and_then(|server| server.redis).expect("a Redis"))
}

/// The backplane works, by all that it does.
async fn works(backplane: &Backplane, lane: Lane) {
    in_time("an answer", backplane.queue.ping()).await.expect("it answers");
    in_time("a push", backplane.queue.push(&rings(lane, [77]))).await.expect("it takes a ring");
    assert_eq!(in_time("a pop", backplane.queue.pop(lane, 9, NOW)).await.expect("it has a ring"), [job(77)]);
    in_time("a publication", backplane.notifier.publish(&[news(77)])).await.expect("it tells");
}

/// Every call answers, and says that it could not.
async fn fails(backplane: &Backplane) {
    let queue = &backplane.queue;
    in_time("ping's error", queue.ping()).await.expect_err("no Redis");
    in_time("push's error", queue.push(&rings(Lane::Bulk, [1]))).await.expect_err("no Redis");
    in_time("depth's error", queue.depth(Lane::Bulk)).await.expect_err("no Redis");
    in_time("pop's error", queue.pop(Lane::Bulk, 1, NOW)).await.expect_err("no Redis");
    in_time("publish's error", backplane.notifier.publish(&[news(1)])).await.expect_err("no Redis");
    // Limits neither vanish nor lock people out.
    let key = format!("alone:{:p}", backplane.limiter);
    for place in 0..4 {
        let said = in_time("a verdict", backplane.limiter.check(&key, LIMIT)).await;
        assert_eq!(said.allowed, place < 3, "{said:?}");
    }
}

/// Waits until both count together.
async fn limits_are_shared(one: &Backplane, other: &Backplane) {
    let mut turn = 0;
    eventually("limits to be shared again", DEADLINE, async || {
        turn += 1;
        let key = format!("shared:{turn}");
        let first = one.limiter.check(&key, LIMIT).await;
        let second = other.limiter.check(&key, LIMIT).await;
        if (first.remaining, second.remaining) == (2, 1) { Ok(()) } else { Err(format!("{first:?} {second:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_was_killed_is_an_error_until_it_is_back() {
    let (backplane, mut redis) = world().await;
    let mut listeners = [backplane.notifier.subscribe()];
    listening(&backplane, &mut listeners).await;
    works(&backplane, Lane::Bulk).await;
    let waiting = backplane.queue.clone();
    let waiting = tokio::spawn(async move { waiting.pop(Lane::Critical, 1, DEADLINE * 2).await });

    redis.kill9().await;
    in_time("the waiting popper's error", waiting).await.expect("no panic").expect_err("no Redis");
    fails(&backplane).await;

    redis.restart().await;
    // At once: what broke is not asked a second time.
    works(&backplane, Lane::Bulk).await;
    assert_eq!(in_time("news", told_that_some_are_missing(&mut listeners[0])).await, Notice::Missed);
    listening(&backplane, &mut listeners).await;
    limits_are_shared(&backplane, &Backplane::redis(redis.url()).expect("its URL")).await;
}

async fn told_that_some_are_missing(listener: &mut Subscription) -> Notice {
    loop {
        let notice = next(listener).await;
        if notice == Notice::Missed {
            return notice;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_that_nobody_saw_is_no_error() {
    let (backplane, mut redis) = world().await;
    // Connections of all kinds, several of those for pops.
    let pops: Vec<_> = (0..3)
        .map(|_| {
            let queue = backplane.queue.clone();
            tokio::spawn(async move { queue.pop(Lane::Default, 1, DEADLINE * 2).await })
        })
        .collect();
    eventually("three pops at once", DEADLINE, async || {
        // Rung as often as it takes: one that waits has a connection of its own by then.
        backplane.queue.push(&rings(Lane::Default, 0..3)).await.map_err(|error| error.to_string())?;
        if pops.iter().all(tokio::task::JoinHandle::is_finished) { Ok(()) } else { Err("some wait".to_owned()) }
    })
    .await;
    for pop in pops {
        pop.await.expect("no panic").expect("a ring");
    }
    for lane in [Lane::Bulk, Lane::Critical] {
        redis.restart().await;
        works(&backplane, lane).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_has_lost_rings_and_nothing_else() {
    let (backplane, mut redis) = world().await;
    let mut listeners = [backplane.notifier.subscribe()];
    listening(&backplane, &mut listeners).await;
    let queue = backplane.queue.clone();
    let waiting = tokio::spawn(async move { queue.pop(Lane::Critical, 1, DEADLINE * 2).await });
    let queue = &backplane.queue;
    queue.push(&rings(Lane::Bulk, 0..10)).await.expect("a queue");
    assert_eq!(backplane.limiter.check("key", LIMIT).await.remaining, 2);

    redis.flushall().await;
    assert_eq!(queue.depth(Lane::Bulk).await.expect("a queue"), 0);
    assert_eq!(queue.pop(Lane::Bulk, 9, NOW).await.expect("a queue"), []);
    // The sweep rings again, for the same jobs; and who waited through it is woken.
    queue.push(&rings(Lane::Bulk, 0..10)).await.expect("a queue");
    assert_eq!(queue.pop(Lane::Bulk, 99, NOW).await.expect("a queue"), (0..10).map(job).collect::<Vec<_>>());
    queue.push(&rings(Lane::Critical, [1])).await.expect("a queue");
    assert_eq!(in_time("the ring", waiting).await.expect("no panic").expect("a queue"), [job(1)]);
    assert_eq!(backplane.limiter.check("key", LIMIT).await.remaining, 2, "counted anew");
    backplane.notifier.publish(&[news(5)]).await.expect("a notifier");
    assert_eq!(next(&mut listeners[0]).await, Notice::Event(news(5)), "subscriptions are no keys");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_redis_is_an_error_until_it_thaws() {
    let (backplane, mut redis) = world().await;
    works(&backplane, Lane::Bulk).await;
    redis.freeze().await;
    fails(&backplane).await;
    redis.thaw().await;
    // What was sent to it while it was frozen it does now: a ring may be there that its pusher counts as lost.
    eventually("it to work again", DEADLINE, async || backplane.queue.ping().await).await;
    works(&backplane, Lane::Critical).await;
    limits_are_shared(&backplane, &Backplane::redis(redis.url()).expect("its URL")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_network_swallowed_is_given_up() {
    let (_, redis) = world().await;
    let proxy = Proxy::before(redis.url()).await;
    let backplane = Backplane::redis(&proxy.url(redis.url())).expect("the proxy's URL");
    let mut listeners = [backplane.notifier.subscribe()];
    listening(&backplane, &mut listeners).await;
    works(&backplane, Lane::Bulk).await;

    proxy.lose();
    in_time("push's error", backplane.queue.push(&rings(Lane::Bulk, [1]))).await.expect_err("nothing arrives");
    in_time("pop's error", backplane.queue.pop(Lane::Bulk, 1, NOW)).await.expect_err("nothing arrives");
    // New connections come through: who listens finds out without anybody telling it anything.
    works(&backplane, Lane::Bulk).await;
    assert_eq!(in_time("news", told_that_some_are_missing(&mut listeners[0])).await, Notice::Missed);
    listening(&backplane, &mut listeners).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_later_is_used_when_it_comes() {
    let (_, mut redis) = world().await;
    redis.kill9().await;
    let backplane = Backplane::redis(redis.url()).expect("its URL");
    let mut listeners = [backplane.notifier.subscribe()];
    fails(&backplane).await;
    assert!(backplane::redis_info(redis.url()).await.is_err());
    redis.restart().await;
    works(&backplane, Lane::Default).await;
    listening(&backplane, &mut listeners).await;
    let info = backplane::redis_info(redis.url()).await.expect("it answers");
    assert!(info.version.starts_with(|c: char| c.is_ascii_digit()), "{info:?}");
    assert_eq!((info.maxmemory_policy.as_str(), info.append_only), ("noeviction", false));
}

#[tokio::test]
async fn no_error_has_the_password() {
    for url in ["redis://:hunter2@127.0.0.1:1", "redis://:hunter2@127.0.0.1:1,redis://:hunter2@127.0.0.1:1"] {
        let backplane = Backplane::redis(url).expect("an address");
        let error = in_time("the error", backplane.queue.ping()).await.expect_err("nobody listens there");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}
