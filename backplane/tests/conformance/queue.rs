//! Rings.

use crate::world::{World, in_time, job, on_all, ring, rings};
use domain::{JobRef, Lane};
use futures::FutureExt;
use futures::future::join_all;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::DEADLINE;

const NOW: Duration = Duration::ZERO;

on_all! {
    each_ring_is_popped_once_by_one_of_many,
    a_ring_that_waits_is_there_once,
    the_first_rung_is_the_first_popped,
    lanes_are_separate,
    a_popper_that_waits_is_woken,
    each_of_many_that_wait_gets_one,
    a_cancelled_wait_takes_nothing_later,
    nothing_after_the_wait_is_no_error,
    any_wait_is_taken,
}

async fn each_ring_is_popped_once_by_one_of_many(world: World) {
    const RINGS: usize = 600;
    let popped = Arc::new(AtomicUsize::new(0));
    let poppers = (0..6).map(|popper| {
        let (queue, popped) = (world.another().queue, popped.clone());
        tokio::spawn(async move {
            let mut mine = Vec::new();
            while popped.load(Ordering::SeqCst) < RINGS {
                let jobs = queue.pop(Lane::Bulk, 1 + popper, Duration::from_millis(50)).await.expect("a queue");
                popped.fetch_add(jobs.len(), Ordering::SeqCst);
                mine.extend(jobs);
            }
            mine
        })
    });
    let poppers: Vec<_> = poppers.collect();
    let pushers = (0..3).map(|pusher| {
        let queue = world.another().queue;
        async move {
            for group in 0..20 {
                let first = pusher * 200 + group * 10;
                queue.push(&rings(Lane::Bulk, first..first + 10)).await.expect("a queue");
            }
        }
    });
    join_all(pushers).await;
    let popped = in_time("every ring", join_all(poppers)).await;
    let jobs: Vec<JobRef> = popped.into_iter().flat_map(|mine| mine.expect("no panic")).collect();
    assert_eq!(jobs.len(), RINGS, "one was popped twice");
    assert_eq!(jobs.into_iter().collect::<HashSet<_>>(), (0..600).map(job).collect());
    assert_eq!(world.backplane.queue.depth(Lane::Bulk).await.expect("a queue"), 0);
}

async fn a_ring_that_waits_is_there_once(world: World) {
    let (queue, other) = (&world.backplane.queue, world.another().queue);
    let (a, b) = (ring(Lane::Bulk, 1), ring(Lane::Bulk, 2));
    queue.push(&[a, a, b]).await.expect("a queue");
    queue.push(&[b]).await.expect("a queue");
    // It keeps the place that it has.
    other.push(&[a]).await.expect("a queue");
    assert_eq!(queue.depth(Lane::Bulk).await.expect("a queue"), 2);
    assert_eq!(queue.pop(Lane::Bulk, 9, NOW).await.expect("a queue"), [a.job, b.job]);
    assert_eq!(queue.pop(Lane::Bulk, 9, NOW).await.expect("a queue"), []);
    // One that was popped is rung anew.
    other.push(&[a]).await.expect("a queue");
    assert_eq!(queue.pop(Lane::Bulk, 9, NOW).await.expect("a queue"), [a.job]);
}

async fn the_first_rung_is_the_first_popped(world: World) {
    let queue = &world.backplane.queue;
    // So many at once that more are rung while their microseconds are not over.
    queue.push(&rings(Lane::Default, (0..2_000).rev())).await.expect("a queue");
    for id in [5_000, 3_000, 4_000] {
        queue.push(&rings(Lane::Default, [id])).await.expect("a queue");
    }
    assert_eq!(queue.depth(Lane::Default).await.expect("a queue"), 2_003);
    let mut popped = Vec::new();
    while popped.len() < 2_003 {
        let jobs = in_time("rings", queue.pop(Lane::Default, 300, DEADLINE)).await.expect("a queue");
        assert!(jobs.len() <= 300, "more than asked for");
        popped.extend(jobs);
    }
    let expected: Vec<JobRef> = (0..2_000).rev().chain([5_000, 3_000, 4_000]).map(job).collect();
    assert_eq!(popped, expected);
}

async fn lanes_are_separate(world: World) {
    let queue = &world.backplane.queue;
    for (place, lane) in (1..).zip(Lane::ALL) {
        queue.push(&rings(lane, 0..place)).await.expect("a queue");
    }
    // All lanes in one call, one ring of each new; the same job may wait in several lanes.
    let all: Vec<_> = Lane::ALL.into_iter().flat_map(|lane| rings(lane, [0, 9])).collect();
    queue.push(&all).await.expect("a queue");
    for (place, lane) in (1..).zip(Lane::ALL) {
        assert_eq!(queue.depth(lane).await.expect("a queue"), place + 1);
    }
    for (place, lane) in (1..).zip(Lane::ALL) {
        let expected: Vec<JobRef> = (0..place).chain([9]).map(job).collect();
        assert_eq!(queue.pop(lane, 99, NOW).await.expect("a queue"), expected);
        assert_eq!(queue.pop(lane, 99, NOW).await.expect("a queue"), []);
    }
}

async fn a_popper_that_waits_is_woken(world: World) {
    let queue = world.another().queue;
    let mut pop = tokio::spawn(async move { queue.pop(Lane::Critical, 5, DEADLINE * 2).await });
    world.wait_for_poppers(1).await;
    // A ring of another lane wakes nobody.
    world.backplane.queue.push(&rings(Lane::Bulk, [1])).await.expect("a queue");
    assert!((&mut pop).now_or_never().is_none());
    world.backplane.queue.push(&rings(Lane::Critical, [2])).await.expect("a queue");
    assert_eq!(in_time("the ring", pop).await.expect("no panic").expect("a queue"), [job(2)]);
}

async fn each_of_many_that_wait_gets_one(world: World) {
    let pops: Vec<_> = (0..4)
        .map(|_| {
            let queue = world.backplane.queue.clone();
            tokio::spawn(async move { queue.pop(Lane::Default, 1, DEADLINE * 2).await })
        })
        .collect();
    world.wait_for_poppers(4).await;
    world.backplane.queue.push(&rings(Lane::Default, 0..4)).await.expect("a queue");
    let popped = in_time("a ring for each", join_all(pops)).await;
    let jobs: HashSet<JobRef> = popped.into_iter().flat_map(|pop| pop.expect("no panic").expect("a queue")).collect();
    assert_eq!(jobs, (0..4).map(job).collect());
}

async fn a_cancelled_wait_takes_nothing_later(world: World) {
    let queue = &world.backplane.queue;
    for round in 0..5 {
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.pop(Lane::Default, 1, DEADLINE * 2).await })
            })
            .collect();
        world.wait_for_poppers(3).await;
        for pop in waiting {
            pop.abort();
            assert!(pop.await.expect_err("it was waiting").is_cancelled());
        }
        // Redis knows of it when the connection has closed. A ring that comes before may be lost; the sweep finds it.
        world.wait_for_poppers(0).await;
        queue.push(&rings(Lane::Default, [round])).await.expect("a queue");
        let popped = in_time("the ring", queue.pop(Lane::Default, 9, DEADLINE)).await;
        assert_eq!(popped.expect("a queue"), [job(round)]);
    }
}

async fn nothing_after_the_wait_is_no_error(world: World) {
    let queue = &world.backplane.queue;
    assert_eq!(queue.pop(Lane::Bulk, 1, NOW).await.expect("a queue"), []);
    // A connection that was made for a short wait serves a longer one. (This is the test's one real wait.)
    assert_eq!(queue.pop(Lane::Bulk, 1, Duration::from_millis(5_500)).await.expect("a queue"), []);
    queue.push(&rings(Lane::Bulk, [1])).await.expect("a queue");
    assert_eq!(queue.pop(Lane::Bulk, 0, NOW).await.expect("a queue"), [], "none was asked for");
    assert_eq!(queue.pop(Lane::Bulk, 1, NOW).await.expect("a queue"), [job(1)]);
    queue.ping().await.expect("it answers");
    queue.push(&[]).await.expect("nothing is as easily pushed");
}

async fn any_wait_is_taken(world: World) {
    let queue = &world.backplane.queue;
    for (id, wait) in (0..).zip([NOW, Duration::from_nanos(1), Duration::from_secs(u64::from(u32::MAX)), Duration::MAX])
    {
        queue.push(&rings(Lane::Bulk, [id])).await.expect("a queue");
        let popped = in_time("the ring", queue.pop(Lane::Bulk, 1, wait)).await;
        assert_eq!(popped.expect("a queue"), [job(id)]);
    }
}

/// In memory the ring and the wake-up are two things: the second must not be lost with the popper that it woke.
#[tokio::test]
async fn a_wake_up_for_one_that_goes_away_goes_to_the_next() {
    let world = World::embedded().await;
    let queue = &world.backplane.queue;
    let mut first = Box::pin(queue.pop(Lane::Bulk, 1, DEADLINE));
    let mut second = Box::pin(queue.pop(Lane::Bulk, 1, DEADLINE));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    queue.push(&rings(Lane::Bulk, [1])).await.expect("a queue");
    drop(first);
    let popped = second.now_or_never().expect("it was woken in the first one's place");
    assert_eq!(popped.expect("a queue"), [job(1)]);
}

/// Another build, or a person, may have put anything there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_names_no_job_is_dropped() {
    let world = World::redis().await;
    let server = world.server.as_ref().expect("a Redis");
    for (score, member) in ["rubbish", "send_chunk:x", "nothing:1", ""].into_iter().enumerate() {
        let _added: i64 = server.command(redis::cmd("ZADD").arg("{paceline:rings:bulk}").arg(score).arg(member)).await;
    }
    let queue = &world.backplane.queue;
    queue.push(&rings(Lane::Bulk, [1])).await.expect("a queue");
    assert_eq!(queue.depth(Lane::Bulk).await.expect("a queue"), 5);
    assert_eq!(queue.pop(Lane::Bulk, 9, NOW).await.expect("a queue"), [job(1)]);
    assert_eq!(queue.depth(Lane::Bulk).await.expect("a queue"), 0);
}
