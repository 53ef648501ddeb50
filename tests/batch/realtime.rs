//! `batch_update` on `/ws`.

use crate::setup::{Setup, on_both, text};
use serde_json::json;
use std::rc::Rc;
use support::Socket;

on_both!(a_watcher_sees_a_batch_from_start_to_end () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(600).await;
    let token = s.program.token_for("agent").await;
    let url = s.api().client().socket_url(&format!("/ws?token={token}"));
    assert_eq!(Socket::try_open(&s.api().client().socket_url("/ws")).await.err(), Some(401));
    let mut socket = Socket::open(&url).await;
    let hello = socket.next().await.expect("a frame");
    assert_eq!(hello["type"], "connection_established");
    socket.send(&json!({ "type": "heartbeat" })).await;
    socket.wait_for("the ack", |f| (f["type"] == "heartbeat_ack").then_some(())).await;
    // What nothing reads is refused here too, and the socket goes on.
    for (sent, said) in [
        (json!({ "type": "heartbeat", "dat": {} }), "dat: is not known here; did you mean data?"),
        (json!({ "kind": "heartbeat" }), "type"),
        (json!([]), "not a frame"),
        (json!({ "type": "nope" }), "unknown type"),
    ] {
        socket.send(&sent).await;
        let told = socket.wait_for("a refusal", |f| (f["type"] == "error").then(|| text(&f["data"]["msg"]))).await;
        assert!(told.contains(said), "{sent}: {told}");
    }
    let batch = s.send(&ids, json!({ "ratePerMinute": 60_000 })).await;
    let mut processed = Vec::new();
    let last = socket.wait_for("the end", |frame| {
        if frame["type"] != "batch_update" || frame["data"]["id"] != batch.as_str() {
            return None;
        }
        assert!(frame["timestamp"].is_i64());
        processed.push(frame["data"]["processedCount"].as_i64().expect("a count"));
        frame["data"]["completedAt"].is_string().then(|| frame["data"].clone())
    }).await;
    assert_eq!((&last["status"], &last["successCount"]), (&json!("COMPLETED"), &json!(600)));
    assert!(processed.windows(2).all(|w| w[0] <= w[1]), "{processed:?}");
    // Who comes later is told of what is still going on.
    let waiting = s.send(&ids[..1], json!({ "scheduleAt": "2099-01-01T00:00:00Z" })).await;
    let mut late = Socket::open(&url).await;
    late.wait_for("the waiting batch", |f| (f["data"]["id"] == waiting.as_str()).then_some(())).await;
}));
