//! A pace that four workers keep together while they come and go.

use crate::setup::{Runs, Setup};
use serde_json::json;
use std::time::Duration;

/// Messages a minute, and the time between two of them.
const RATE: u32 = 3_000;
const INTERVAL: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: a minute at a set pace"]
async fn four_workers_two_of_them_killed() {
    let mut s = Setup::split(&[]).await;
    let ids = s.contacts(3_000).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(s.program.elsewhere().start(&["worker"]).await);
    }
    let batch = s.send(&ids, json!({ "ratePerMinute": RATE })).await;
    s.gateway.wait_for(600).await;
    others[0].kill9().await;
    s.gateway.wait_for(1_200).await;
    let Runs::Split(cluster) = &mut s.runs else { unreachable!() };
    cluster.workers[0].kill9().await;
    s.gateway.wait_for(1_600).await;
    others[0].restart().await;
    cluster.workers[0].restart().await;
    let done = s.ended(&batch).await;
    assert_eq!(done["successCount"], json!(3_000), "{done}");
    // What was promised, free of what the network and a busy machine add: no two slots are closer than the rate allows,
    // whoever handed them out, and so no window holds too many.
    let Runs::Split(cluster) = &s.runs else { unreachable!() };
    let mut ledger = cluster.database.connect().await;
    let slots: Vec<i64> = sqlx::query_scalar("SELECT slot_us FROM batch_items WHERE batch_id = $1 ORDER BY slot_us")
        .bind(batch.parse::<i64>().expect("a number"))
        .fetch_all(&mut ledger)
        .await
        .expect("the slots");
    assert_eq!(slots.len(), 3_000);
    let interval_us = i64::try_from(INTERVAL.as_micros()).expect("small");
    assert!(slots.windows(2).all(|two| two[1] - two[0] >= interval_us), "two slots are closer than the rate allows");
    let (used, there_were) = (slots.len(), (slots[slots.len() - 1] - slots[0]) / interval_us + 1);
    // How many a machine loses to two deaths depends on it; `paceline bench pace` measures it.
    println!("{used} of {there_were} slots were used");
    let mut at: Vec<_> = s.gateway.attempts().iter().map(|attempt| attempt.at).collect();
    at.sort();
    // Over any window of a second: what the rate allows, one for the burst, and what a busy machine delivers late, which
    // is never more than what it had held back. Nothing is caught up.
    let allowed = 50 + 1 + 25;
    for (first, from) in at.iter().enumerate() {
        let within = at[first..].iter().take_while(|to| **to - *from < Duration::from_secs(1)).count();
        assert!(within <= allowed, "{within} messages within a second from message {first} on");
    }
    let total = at[at.len() - 1] - at[0];
    let slots = u32::try_from(at.len() - 1).expect("few");
    assert!(total + Duration::from_secs(1) >= INTERVAL * slots, "{slots} messages within {total:?}");
    s.audited().await;
}
