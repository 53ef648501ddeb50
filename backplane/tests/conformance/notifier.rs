//! News.

use crate::world::{World, in_time, listening, news, next, on_all};
use backplane::Notice;
use domain::batches::{BatchStatus, BatchSummary, BatchType};
use domain::{BatchId, Event, SessionId, Timestamp};

on_all! {
    everyone_hears_everything_in_order,
    news_arrives_as_it_was_told,
    a_slow_listener_misses_some_and_holds_up_nobody,
    nobody_needs_to_listen,
}

async fn everyone_hears_everything_in_order(world: World) {
    let other = world.another();
    let mut listeners =
        [world.backplane.notifier.subscribe(), world.backplane.notifier.subscribe(), other.notifier.subscribe()];
    listening(&world.backplane, &mut listeners).await;
    for group in 0..20 {
        let from = if group % 2 == 0 { &world.backplane } else { &other };
        let events: Vec<Event> = (0..5).map(|place| news(group * 5 + place)).collect();
        from.notifier.publish(&events).await.expect("a notifier");
    }
    for listener in &mut listeners {
        for number in 0..100 {
            assert_eq!(next(listener).await, Notice::Event(news(number)));
        }
    }
}

async fn news_arrives_as_it_was_told(world: World) {
    let mut listeners = [world.another().notifier.subscribe()];
    listening(&world.backplane, &mut listeners).await;
    let summary = BatchSummary {
        id: BatchId(i64::MAX),
        batch_type: BatchType::Send,
        status: BatchStatus::ALL[0],
        total: 1_000_000,
        succeeded: 1,
        failed: 2,
        skipped: 3,
        paused: true,
        version: 4,
        created_at: Timestamp(1_700_000_000_000),
        started_at: Some(Timestamp(1_700_000_000_001)),
        completed_at: None,
    };
    let told = [
        Event::BatchChanged(summary),
        Event::BatchControl(BatchId(1)),
        Event::SessionRevoked(SessionId(2)),
        Event::OutboxGrew(3),
    ];
    world.backplane.notifier.publish(&told).await.expect("a notifier");
    for event in told {
        assert_eq!(next(&mut listeners[0]).await, Notice::Event(event));
    }
}

async fn a_slow_listener_misses_some_and_holds_up_nobody(world: World) {
    const TOLD: i64 = 10_000;
    let mut listeners = [world.backplane.notifier.subscribe(), world.backplane.notifier.subscribe()];
    listening(&world.backplane, &mut listeners).await;
    let [quick, slow] = &mut listeners;
    for group in 0..100 {
        let events: Vec<Event> = (0..100).map(|place| news(group * 100 + place)).collect();
        in_time("the publisher's turn", world.backplane.notifier.publish(&events)).await.expect("a notifier");
        for event in events {
            assert_eq!(next(quick).await, Notice::Event(event), "one that keeps up misses nothing");
        }
    }
    let mut heard = Vec::new();
    let mut missed = 0;
    while heard.last() != Some(&(TOLD - 1)) {
        match next(slow).await {
            Notice::Event(Event::BatchControl(BatchId(number))) => heard.push(number),
            Notice::Missed => missed += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(missed, 1, "it is told once that some are missing");
    assert!(heard.len() < 10_000, "its memory is bounded");
    assert!(heard.is_sorted());
    // From then on it is as good as any.
    world.backplane.notifier.publish(&[news(TOLD)]).await.expect("a notifier");
    assert_eq!(next(slow).await, Notice::Event(news(TOLD)));
}

async fn nobody_needs_to_listen(world: World) {
    let notifier = &world.backplane.notifier;
    notifier.publish(&[news(1)]).await.expect("nobody listens");
    notifier.publish(&[]).await.expect("nothing is as easily told");
    let mut listeners = [notifier.subscribe(), notifier.subscribe()];
    listening(&world.backplane, &mut listeners).await;
    let [mut stays, goes] = listeners;
    drop(goes);
    notifier.publish(&[news(2)]).await.expect("a notifier");
    assert_eq!(next(&mut stays).await, Notice::Event(news(2)), "and nothing of what was told before it came");
}
