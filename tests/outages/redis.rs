//! Redis emptied, killed, away, silent and slow. It holds rings alone, so nothing is lost with it but time.

use crate::setup::{PATIENCE, Split, accepted, not_ready, readiness, text, within};
use serde_json::json;
use std::time::{Duration, Instant};
use support::{RedisOptions, Way, eventually};

/// After Redis is back, all is as it was within this time.
pub(crate) const BACK_TO_NORMAL: Duration = Duration::from_secs(10);

/// All is normal: every process is ready, and a new batch is done at once, which without rings takes some seconds.
async fn back_to_normal(w: &Split, ids: &[String], since: Instant) -> String {
    w.ready().await;
    let batch = accepted(w.try_send(ids, json!({})).await.expect("an answer"));
    w.ended(&batch).await;
    within(BACK_TO_NORMAL, since, "until all is normal");
    batch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emptied_in_mid_campaign() {
    let mut w = Split::start(|cluster| cluster.workers(2)).await;
    let ids = w.contacts(1_500).await;
    let batch = w.send(&ids, 30_000).await;
    for sent in [100, 300, 500, 700, 900, 1_100] {
        w.gateway.wait_for(sent).await;
        w.runs.redis.flushall().await;
    }
    w.whole(&[batch], 1_500).await;
}

async fn killed(options: RedisOptions) {
    let mut w = Split::start(|cluster| cluster.redis_with(options).workers(2)).await;
    let ids = w.contacts(1_500).await;
    let batch = w.send(&ids, 30_000).await;
    for sent in [200, 500, 800] {
        w.gateway.wait_for(sent).await;
        w.runs.redis.kill9().await;
        w.runs.redis.restart().await;
    }
    let after = back_to_normal(&w, &ids, Instant::now()).await;
    w.whole(&[batch, after], 1_500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_empty_when_it_is_back() {
    killed(RedisOptions { append_only: false }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_back_with_its_files() {
    killed(RedisOptions { append_only: true }).await;
}

/// Away while a batch of 600 at this pace, in messages a minute, is accepted and ends.
async fn away_for(pace: u32, batch_within: Duration) {
    let mut w = Split::start(|cluster| cluster.workers(2)).await;
    let ids = w.contacts(600).await;
    let first = w.send(&ids, 6_000).await;
    w.gateway.wait_for(100).await;
    w.runs.redis.kill9().await;
    not_ready(&w.runs.api, "queue").await;
    // What was accepted goes on, and more is accepted: the work is found in the database.
    let before = Instant::now();
    let second = w.send(&ids, pace).await;
    within(Duration::from_secs(5), before, "an acceptance without Redis");
    w.ended(&second).await;
    within(batch_within, before, "a batch of 600 without Redis");
    assert!(w.counted("paceline_queue_fallback_total").await > 0.0, "by asking the database");
    assert!(w.runs.api.client().get("/healthz").await.status == 200, "no reason to start it again");
    let before = Instant::now();
    w.runs.redis.restart().await;
    let third = back_to_normal(&w, &ids, before).await;
    w.whole(&[first, second, third], 600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn away_for_a_while() {
    away_for(60_000, Duration::from_secs(30)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: Redis is away for a minute"]
async fn away_for_a_minute() {
    away_for(600, Duration::from_secs(75)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_and_silent() {
    let w = Split::start(|cluster| cluster.proxied()).await;
    let ids = w.contacts(300).await;
    let mut batches = vec![w.send(&ids, 6_000).await];
    w.gateway.wait_for(50).await;
    for turn in 0..2 {
        for links in &w.runs.links {
            match turn {
                0 => links.redis.stall(),
                // It takes every ring and does what it is told, and nobody hears of it.
                _ => links.redis.half_open(Way::Back),
            }
        }
        not_ready(&w.runs.api, "queue").await;
        let before = Instant::now();
        batches.push(w.send(&ids, 60_000).await);
        within(Duration::from_secs(5), before, "an acceptance without Redis");
        w.ended(&batches[turn + 1]).await;
        within(Duration::from_secs(45), before, "a batch of 300 without Redis");
        let before = Instant::now();
        w.runs.links.iter().for_each(|links| links.redis.pass());
        batches.push(back_to_normal(&w, &ids, before).await);
    }
    w.whole(&batches, 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_away() {
    let w = Split::start(|cluster| cluster.proxied()).await;
    let ids = w.contacts(300).await;
    w.runs.links.iter().for_each(|links| links.redis.latency(Duration::from_secs(1)));
    let batch = w.send(&ids, 6_000).await;
    let before = Instant::now();
    w.ended(&batch).await;
    within(Duration::from_secs(30), before, "a batch of 300 over a slow Redis");
    w.runs.links.iter().for_each(|links| links.redis.pass());
    let after = back_to_normal(&w, &ids, Instant::now()).await;
    w.whole(&[batch, after], 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_reach_of_one_worker_and_of_the_scheduler() {
    let w = Split::start(|cluster| cluster.proxied().workers(2)).await;
    let ids = w.contacts(600).await;
    w.runs.worker_links(0).redis.cut();
    w.runs.scheduler_links().redis.cut();
    not_ready(&w.runs.workers[0], "queue").await;
    let batch = w.send(&ids, 20_000).await;
    w.gateway.wait_for(100).await;
    // Now nobody can ring the other one any more; both ask the database.
    w.runs.worker_links(1).redis.reset();
    w.runs.api_links().redis.reset();
    let second = w.send(&ids, 20_000).await;
    w.ended(&second).await;
    let before = Instant::now();
    w.runs.links.iter().for_each(|links| links.redis.pass());
    let third = back_to_normal(&w, &ids, before).await;
    let (status, body) = readiness(&w.runs.workers[0]).await.expect("it answers");
    assert_eq!((status, text(&body["queue"]).as_str()), (200, "ok"), "{body}");
    w.whole(&[batch, second, third], 600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full() {
    let mut w = Split::start(|cluster| cluster).await;
    let ids = w.contacts(300).await;
    // It answers, and takes no ring: OOM.
    assert_eq!(w.runs.redis.command("CONFIG SET maxmemory 1").await, "+OK");
    let before = Instant::now();
    let batch = w.send(&ids, 6_000).await;
    w.ended(&batch).await;
    within(Duration::from_secs(45), before, "a batch of 300 over a full Redis");
    assert_eq!(w.runs.redis.command("CONFIG SET maxmemory 0").await, "+OK");
    let after = back_to_normal(&w, &ids, Instant::now()).await;
    eventually("rings to be taken", PATIENCE, async || match w.runs.redis.command("DBSIZE").await {
        answer if answer.starts_with(':') => Ok(()),
        answer => Err(answer),
    })
    .await;
    w.whole(&[batch, after], 300).await;
}
