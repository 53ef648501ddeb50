//! Many batches at once: none waits for another's end, whatever its size and its pace. What came first is told by the order
//! in which messages reach the gateway, so that a slow machine changes nothing.

use crate::setup::{Runs, Setup, on_both};
use futures::{StreamExt, stream};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{DEADLINE, Gateway, Reply, eventually};

/// Recipients of a chunk, and how many chunks of a batch are open at once.
const CHUNK: usize = 500;
const OPEN: usize = 4;

async fn send(s: &Setup, ids: &[String], name: &str, rate: Option<u32>) -> String {
    let mut body = json!({ "content": name });
    if let Some(rate) = rate {
        body["ratePerMinute"] = json!(rate);
    }
    s.send(ids, body).await
}

on_both!(a_large_batch_goes_ahead_of_nobody_for_more_than_its_open_chunks () |s: Rc<Setup>| Box::pin(async move {
    const LARGE: usize = 8_000;
    const SMALL: usize = 300;
    let ids = s.contacts(LARGE).await;
    // How many messages of the large batch are out, and how many were when the first of each of the others came.
    let (out, out_before) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(HashMap::new())));
    let (counted, first) = (out.clone(), out_before.clone());
    s.gateway.script(move |attempt| {
        if attempt.text == "large" {
            counted.fetch_add(1, Ordering::SeqCst);
            // Not faster than requests can come: the small ones are to meet it under way.
            return Reply::accept().after(Duration::from_millis(50));
        }
        let so_far = counted.load(Ordering::SeqCst);
        first.lock().expect("no panic in here").entry(attempt.text.clone()).or_insert(so_far);
        Reply::accept()
    });
    let large = send(&s, &ids, "large", None).await;
    s.gateway.wait_for(CHUNK).await;
    let mut rng = StdRng::seed_from_u64(20_261_121);
    let asked: Vec<(String, usize, Option<u32>)> = (0..SMALL)
        .map(|nth| {
            let rate = rng.random_bool(0.7).then(|| rng.random_range(300..=60_000));
            (format!("small {nth}"), rng.random_range(1..=3), rate)
        })
        .collect();
    // Each: its id, its name, its size, and how much of the large one was out when it was accepted.
    let small: Vec<(String, String, usize, usize)> = stream::iter(asked)
        .map(async |(name, size, rate)| {
            let id = send(&s, &ids[..size], &name, rate).await;
            (id, name, size, out.load(Ordering::SeqCst))
        })
        .buffer_unordered(8)
        .collect()
        .await;
    for (id, name, size, _) in &small {
        let done = s.ended(id).await;
        assert_eq!((&done["status"], &done["successCount"]), (&json!("COMPLETED"), &json!(size)), "{name}: {done}");
    }
    let done = s.ended(&large).await;
    assert_eq!((&done["status"], &done["successCount"]), (&json!("COMPLETED"), &json!(LARGE)), "{done}");
    s.audited().await;
    let out_before = out_before.lock().expect("no panic in there");
    let ahead = |name: &str, when_accepted: usize| out_before[name].saturating_sub(when_accepted);
    let most = small.iter().map(|(_, name, _, when_accepted)| ahead(name, *when_accepted)).max();
    println!("at most {most:?} messages of the large batch went ahead of a small one");
    // What is open goes ahead of it; the same again for the time between its commit and its ring.
    assert!(most.is_some_and(|most| most <= 2 * OPEN * CHUNK), "{most:?} messages of the large batch went ahead");
}));

on_both!(nobody_waits_for_the_end_of_those_that_are_slow () |s: Rc<Setup>| Box::pin(async move {
    // Far more than the places of a lane, each at a message in 750 ms: slow enough to wait most of the time, and too fast
    // to sleep as a row in between.
    const SLOW: usize = 40;
    const RECIPIENTS: usize = 60;
    let ids = s.contacts(RECIPIENTS).await;
    let mut batches = Vec::new();
    for nth in 0..SLOW {
        batches.push(send(&s, &ids, &format!("slow {nth}"), Some(80)).await);
    }
    let begun = |gateway: &Gateway| gateway.attempts().into_iter().map(|attempt| attempt.text).collect::<HashSet<_>>();
    s.gateway.wait_until("a message of each batch", |gateway| begun(gateway).len() == SLOW).await;
    for id in &batches {
        assert_eq!(s.get(id).await["completedAt"], json!(null), "one had ended before another began");
    }
    for id in &batches {
        s.admin.patch(&format!("/batch/{id}"), &json!({ "ratePerMinute": 60_000 })).await.expect(200);
    }
    for id in &batches {
        let done = s.ended(id).await;
        assert_eq!((&done["status"], &done["successCount"]), (&json!("COMPLETED"), &json!(RECIPIENTS)), "{done}");
    }
    s.audited().await;
}));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_are_old_are_thrown_away_in_one_pass() {
    // More than three transactions take. The next pass is a minute later, which is when this gives up.
    const OLD: usize = 70;
    let mut s = Setup::split(&[]).await;
    let ids = s.contacts(1).await;
    for nth in 0..OLD {
        let batch = send(&s, &ids, &format!("old {nth}"), None).await;
        s.ended(&batch).await;
    }
    let Runs::Split(cluster) = &mut s.runs else { unreachable!() };
    cluster.database.execute("UPDATE batches SET completed_at = 1 WHERE type = 'SEND'").await;
    cluster.scheduler.restart().await;
    eventually("the old ones to be gone", DEADLINE, async || {
        let left = s.admin.get("/batch?type=SEND").await.expect(200)["meta"]["count"].clone();
        if left == json!(0) { Ok(()) } else { Err(left) }
    })
    .await;
    assert_eq!(s.admin.get("/batch?type=IMPORT").await.expect(200)["meta"]["count"], 1, "what is not old stays");
}
