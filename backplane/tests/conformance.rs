//! One suite for both implementations of the three seams: what the rest of the system relies on, on whichever it runs.

use backplane::{Backplane, Decision, Limit, Notice};
use domain::{BatchId, Event, JobId, JobKind, JobRef, Lane, Ring};
use proptest::prelude::*;
use std::time::Duration;
use support::{DEADLINE, Redis, eventually};

const SOON: Duration = Duration::from_millis(10);

fn ring(lane: Lane, id: i64) -> Ring {
    Ring { lane, job: JobRef { kind: JobKind::Probe, id: JobId(id) } }
}

fn ids(jobs: &[JobRef]) -> Vec<i64> {
    jobs.iter().map(|job| job.id.0).collect()
}

fn on_redis(redis: &Redis) -> Backplane {
    Backplane::redis(redis.url()).expect("an address")
}

/// Each test on both.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod embedded {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let one = Backplane::embedded();
                super::$name(one.clone(), one).await;
            })*
        }

        mod redis {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let redis = Redis::start().await;
                // As two processes have it.
                super::$name(on_redis(&redis), on_redis(&redis)).await;
            })*
        }
    };
}

on_both! {
    rings_come_in_order_once_and_by_lane
    a_waiting_pop_is_woken
    many_poppers_share_the_rings
    news_reaches_every_listener
    a_limit_is_shared_and_says_when_to_come_again
}

async fn rings_come_in_order_once_and_by_lane(a: Backplane, b: Backplane) {
    a.queue.push(&[ring(Lane::Bulk, 3), ring(Lane::Bulk, 1), ring(Lane::Critical, 9)]).await.expect("pushed");
    a.queue.push(&[ring(Lane::Bulk, 3), ring(Lane::Bulk, 2)]).await.expect("pushed");
    a.queue.push(&[]).await.expect("nothing is fine");
    assert_eq!(b.queue.depth(Lane::Bulk).await.expect("there"), 3, "a ring that waits is there once");
    assert_eq!(ids(&b.queue.pop(Lane::Bulk, 2, SOON).await.expect("popped")), [3, 1], "the first rung comes first");
    assert_eq!(ids(&b.queue.pop(Lane::Bulk, 5, SOON).await.expect("popped")), [2]);
    assert_eq!(ids(&b.queue.pop(Lane::Default, 5, SOON).await.expect("popped")), [0; 0], "lanes are apart");
    assert_eq!(ids(&a.queue.pop(Lane::Critical, 5, SOON).await.expect("popped")), [9]);
    // What was taken may be rung again.
    a.queue.push(&[ring(Lane::Bulk, 3)]).await.expect("pushed");
    assert_eq!(ids(&b.queue.pop(Lane::Bulk, 1, SOON).await.expect("popped")), [3]);
    assert!(b.queue.pop(Lane::Bulk, 0, DEADLINE).await.expect("asked for none").is_empty());
    a.queue.ping().await.expect("answers");
}

async fn a_waiting_pop_is_woken(a: Backplane, b: Backplane) {
    let waiting = tokio::spawn(async move { b.queue.pop(Lane::Critical, 4, DEADLINE).await });
    tokio::task::yield_now().await;
    a.queue.push(&[ring(Lane::Critical, 7)]).await.expect("pushed");
    assert_eq!(ids(&waiting.await.expect("ends").expect("popped")), [7]);
}

async fn many_poppers_share_the_rings(a: Backplane, b: Backplane) {
    const RINGS: i64 = 2_000;
    let poppers: Vec<_> = (0..8)
        .map(|nth| {
            let queue = if nth % 2 == 0 { a.queue.clone() } else { b.queue.clone() };
            tokio::spawn(async move {
                let mut got = Vec::new();
                loop {
                    let jobs = queue.pop(Lane::Default, 7, DEADLINE).await.expect("popped");
                    // A ring of its own for each popper says that there are no more.
                    let (stop, jobs): (Vec<_>, Vec<_>) = ids(&jobs).into_iter().partition(|id| *id > RINGS);
                    got.extend(jobs);
                    if !stop.is_empty() {
                        for extra in &stop[1..] {
                            queue.push(&[ring(Lane::Default, *extra)]).await.expect("pushed");
                        }
                        return got;
                    }
                }
            })
        })
        .collect();
    for part in (1..=RINGS).collect::<Vec<_>>().chunks(100) {
        a.queue.push(&part.iter().map(|id| ring(Lane::Default, *id)).collect::<Vec<_>>()).await.expect("pushed");
    }
    for nth in 1..=8 {
        a.queue.push(&[ring(Lane::Default, RINGS + nth)]).await.expect("pushed");
    }
    let mut all = Vec::new();
    for popper in poppers {
        all.extend(popper.await.expect("ends"));
    }
    all.sort_unstable();
    assert_eq!(all, (1..=RINGS).collect::<Vec<_>>(), "each ring reaches one popper");
}

async fn news_reaches_every_listener(a: Backplane, b: Backplane) {
    let event = |id| Event::BatchControl(BatchId(id));
    let mut listeners = [a.notifier.subscribe(), b.notifier.subscribe(), b.notifier.subscribe()];
    // A listener on Redis hears from the moment it is connected; whoever needs more reads the database.
    for listener in &mut listeners {
        eventually("the listener to hear", DEADLINE, async || {
            a.notifier.publish(&[event(1)]).await.map_err(|e| e.to_string())?;
            match tokio::time::timeout(SOON, listener.recv()).await {
                Ok(Notice::Event(_)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    a.notifier.publish(&[event(2), event(3)]).await.expect("published");
    for listener in &mut listeners {
        let mut heard = Vec::new();
        while !heard.contains(&Notice::Event(event(3))) {
            heard.push(listener.recv().await);
        }
        heard.retain(|notice| *notice != Notice::Event(event(1)) && *notice != Notice::Missed);
        assert_eq!(heard, [Notice::Event(event(2)), Notice::Event(event(3))], "in order");
    }
    // Nobody waits for a listener that does not listen: it misses some, and is told so.
    let (mut slow, mut fast) = (b.notifier.subscribe(), b.notifier.subscribe());
    for batch in 0..60 {
        let many: Vec<_> = (0..100).map(|n| event(1_000 + batch * 100 + n)).collect();
        a.notifier.publish(&many).await.expect("published");
    }
    a.notifier.publish(&[event(4)]).await.expect("published");
    while fast.recv().await != Notice::Event(event(4)) {}
    assert_eq!(slow.recv().await, Notice::Missed, "6,000 unread pieces of news are more than are kept for anybody");
    while slow.recv().await != Notice::Event(event(4)) {}
}

async fn a_limit_is_shared_and_says_when_to_come_again(a: Backplane, b: Backplane) {
    let limit = Limit { per_minute: 3 };
    let mut said = Vec::new();
    for nth in 0..5 {
        let side = if nth % 2 == 0 { &a } else { &b };
        said.push(side.limiter.check("user:1", limit).await);
    }
    assert_eq!(said.iter().map(|d| d.allowed).collect::<Vec<_>>(), [true, true, true, false, false]);
    assert_eq!(said.iter().map(|d| d.remaining).collect::<Vec<_>>(), [2, 1, 0, 0, 0]);
    assert!(said.iter().all(|d| d.limit == 3 && d.reset_after <= Duration::from_secs(60)));
    assert!(said[3].retry_after > Duration::ZERO && said[3].retry_after <= Duration::from_secs(20), "{:?}", said[3]);
    assert!(a.limiter.check("user:2", limit).await.allowed, "keys are apart");
    for _ in 0..100 {
        assert!(a.limiter.check("user:1", Limit { per_minute: 0 }).await.allowed, "0 is no limit");
    }
    // Sixty a second: after the burst the next passes as soon as it was told.
    let fast = Limit { per_minute: 3_600 };
    let refused = loop {
        let said = a.limiter.check("user:3", fast).await;
        if !said.allowed {
            break said;
        }
    };
    assert!(refused.retry_after <= Duration::from_millis(17), "{refused:?}");
    eventually("the next place", DEADLINE, async || {
        let said = b.limiter.check("user:3", fast).await;
        if said.allowed { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Both limiters give the same answers to the same requests.
    #[test]
    fn both_limiters_agree(requests in prop::collection::vec((0u8..3, 1u32..6), 1..30), salt: u64) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("made");
        runtime.block_on(async {
            let redis = Redis::start().await;
            let (embedded, shared) = (Backplane::embedded(), on_redis(&redis));
            for (key, per_minute) in requests {
                // A key has one limit for all of its life.
                let key = format!("{salt}:{key}:{per_minute}");
                let outcome = |d: Decision| (d.allowed, d.limit, d.remaining);
                let limit = Limit { per_minute };
                let (one, other) = (embedded.limiter.check(&key, limit).await, shared.limiter.check(&key, limit).await);
                prop_assert_eq!(outcome(one), outcome(other), "{:?} {:?}", one, other);
            }
            Ok(())
        })?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_dies_is_told_of_and_comes_back() {
    let mut redis = Redis::start().await;
    let backplane = on_redis(&redis);
    let mut listener = backplane.notifier.subscribe();
    backplane.queue.push(&[ring(Lane::Bulk, 1), ring(Lane::Bulk, 2)]).await.expect("pushed");
    let waiting = {
        let queue = backplane.queue.clone();
        tokio::spawn(async move { queue.pop(Lane::Critical, 1, DEADLINE).await })
    };
    redis.kill9().await;
    assert!(waiting.await.expect("ends").is_err(), "a pop that waits learns of it");
    assert!(backplane.queue.ping().await.is_err());
    assert!(backplane.queue.push(&[ring(Lane::Bulk, 3)]).await.is_err());
    assert!(backplane.queue.pop(Lane::Bulk, 1, SOON).await.is_err());
    // A limit goes on within the process.
    let limit = Limit { per_minute: 2 };
    let mut allowed = Vec::new();
    for _ in 0..3 {
        allowed.push(backplane.limiter.check("while away", limit).await.allowed);
    }
    assert_eq!(allowed, [true, true, false]);
    redis.restart().await;
    eventually("the queue to be back", DEADLINE, async || {
        backplane.queue.push(&[ring(Lane::Bulk, 4)]).await.map_err(|e| e.to_string())
    })
    .await;
    let popped = backplane.queue.pop(Lane::Bulk, 9, DEADLINE).await.expect("popped");
    assert!(ids(&popped).contains(&4));
    // Who listened is told that something may have been missed, and hears again.
    let mut missed = false;
    eventually("the listener to hear again", DEADLINE, async || {
        backplane.notifier.publish(&[Event::BatchControl(BatchId(5))]).await.map_err(|e| e.to_string())?;
        while let Ok(notice) = tokio::time::timeout(SOON, listener.recv()).await {
            missed |= notice == Notice::Missed;
            if notice == Notice::Event(Event::BatchControl(BatchId(5))) {
                return Ok(());
            }
        }
        Err("nothing was heard".to_owned())
    })
    .await;
    assert!(missed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_loses_rings_and_nothing_else() {
    let mut redis = Redis::start().await;
    let backplane = on_redis(&redis);
    backplane.queue.push(&[ring(Lane::Bulk, 1)]).await.expect("pushed");
    redis.flushall().await;
    assert!(backplane.queue.pop(Lane::Bulk, 1, SOON).await.expect("answers").is_empty());
    backplane.queue.push(&[ring(Lane::Bulk, 1)]).await.expect("pushed");
    assert_eq!(ids(&backplane.queue.pop(Lane::Bulk, 1, DEADLINE).await.expect("popped")), [1]);
    // What is no ring, from whomever, is dropped and harms nothing.
    assert_eq!(redis.command("ZADD {paceline:rings:bulk} 1 rubbish").await, ":1");
    backplane.queue.push(&[ring(Lane::Bulk, 2)]).await.expect("pushed");
    assert_eq!(ids(&backplane.queue.pop(Lane::Bulk, 5, DEADLINE).await.expect("popped")), [2]);
}

#[test]
fn addresses_are_read_or_refused_without_their_passwords() {
    let runtime = tokio::runtime::Runtime::new().expect("made");
    let _in_it = runtime.enter();
    for good in [
        "redis://127.0.0.1:6379",
        "rediss://user:secret@cache.example:6380/2",
        "redis://10.0.0.1:7000,redis://10.0.0.2:7000",
        "redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/paceline",
    ] {
        assert!(Backplane::redis(good).is_ok(), "{good}");
    }
    for bad in ["", "http://127.0.0.1", "redis+sentinel://10.0.0.1:26379", "redis://:hush@[", "127.0.0.1:6379"] {
        let error = Backplane::redis(bad).expect_err(bad).to_string();
        assert!(!error.contains("hush"), "{error}");
    }
}
