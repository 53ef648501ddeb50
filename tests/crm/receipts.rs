//! Maps, acks, read receipts: in any order, any number of times.

use crate::reports::{Reporter, customer, history};
use crate::setup::Setup;
use crate::setup::on_both;
use serde_json::{Value, json};
use std::rc::Rc;

/// Sends a reply, and returns the customer, the message and its id at the gateway.
async fn sent(s: &Setup, phone: &str) -> (i64, Value, Value) {
    let id = customer(s, phone).await;
    let before = s.gateway.sent_count();
    let message = s.admin.post("/messages/send", &json!({ "customer_id": id, "content": "Hello" })).await.expect(200);
    s.gateway.wait_for(before + 1).await;
    let uuid = s.gateway.sent().iter().find(|a| a.to == phone).expect("sent").id.clone();
    (id, message, json!(uuid))
}

async fn state(s: &Setup, customer: i64) -> (i64, String, Value) {
    let message = history(s, customer).await.remove(0);
    (
        message["ack"].as_i64().expect("a number"),
        message["status"].as_str().expect("a word").into(),
        message["whatsapp_id"].clone(),
    )
}

on_both!(acks_rise_and_never_go_back () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let (id, message, uuid) = sent(&s, "60123456780").await;
    // By its number, as the original has it.
    reporter.map(&message["id"], "wamid.A").await;
    reporter.map(&uuid, "wamid.A").await;
    for (ack, then) in [(2, 2), (3, 3), (2, 3), (1, 3), (4, 4), (3, 4)] {
        assert_eq!(reporter.ack("wamid.A", ack).await, json!({ "status": "ok" }));
        assert_eq!(state(&s, id).await.0, then);
    }
    assert_eq!(state(&s, id).await, (4, "read".into(), json!("wamid.A")));
    // The network's id is this message's; another cannot have it, and this one has no other.
    let (_, _, other) = sent(&s, "60123456781").await;
    let claim = json!({ "backend_id": other, "whatsapp_id": "wamid.A" });
    reporter.tell("/messages/map", &claim).await.expect(409);
    reporter.tell("/messages/map", &json!({ "backend_id": uuid, "whatsapp_id": "wamid.B" })).await.expect(409);
    reporter.tell("/messages/map", &json!({ "backend_id": 999_999, "whatsapp_id": "wamid.C" })).await.expect(404);
}));

on_both!(an_ack_before_its_map_is_kept () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let (id, _, uuid) = sent(&s, "60123456780").await;
    assert_eq!(reporter.ack("wamid.A", 3).await, json!({ "status": "kept" }));
    assert_eq!(reporter.ack("wamid.A", 2).await, json!({ "status": "kept" }));
    assert!(state(&s, id).await.0 < 2);
    reporter.map(&uuid, "wamid.A").await;
    assert_eq!(state(&s, id).await, (3, "read".into(), json!("wamid.A")));
}));

on_both!(a_read_receipt_reads () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let (id, _, uuid) = sent(&s, "60123456780").await;
    let seen = json!({ "backend_message_id": uuid, "whatsapp_id": "wamid.A", "delay_ms": 5_000, "to": "60123456780" });
    for _ in 0..2 {
        reporter.tell("/webhooks/whatsapp/seen", &seen).await.expect(200);
        assert_eq!(state(&s, id).await, (3, "read".into(), json!("wamid.A")));
    }
}));

on_both!(what_was_told_of_a_message_before_it_was_written_is_kept () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let ids = s.contacts(2).await;
    // The gateway tells of a batch's message before it has answered for it.
    s.gateway.next([support::Reply::hang().taking_effect(), support::Reply::hang().taking_effect()]);
    let batch = s.send(&ids, json!({})).await;
    s.gateway.wait_for(2).await;
    let attempts = s.gateway.sent();
    let of = |phone: &str| attempts.iter().find(|a| a.to == phone).expect("sent").id.clone();
    assert_eq!(reporter.map(&json!(of("60123000000")), "wamid.A").await, json!({ "status": "kept" }));
    reporter.ack("wamid.A", 2).await;
    let failed = json!({ "backend_message_id": of("60123000001"), "code": "131026", "detail": "undeliverable" });
    assert_eq!(reporter.tell("/messages/failed", &failed).await.expect(200), json!({ "status": "kept" }));
    s.gateway.release();
    let done = s.ended(&batch).await;
    assert_eq!((&done["successCount"], &done["failedCount"]), (&json!(1), &json!(1)), "{done}");
    assert_eq!(state(&s, ids[0].parse().expect("a number")).await, (2, "delivered".into(), json!("wamid.A")));
    let (_, status, _) = state(&s, ids[1].parse().expect("a number")).await;
    assert_eq!(status, "failed");
    s.audited().await;
}));

on_both!(nobody_knows_until_the_network_says_so () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let ids = s.contacts(1).await;
    let batch = s.send(&ids, json!({})).await;
    s.ended(&batch).await;
    let uuid = s.gateway.sent()[0].id.clone();
    let body = json!({ "backend_message_id": uuid, "code": "outcome_unknown", "detail": "the gateway stopped" });
    reporter.tell("/messages/failed", &body).await.expect(200);
    assert_eq!(s.items(&batch).await[0]["status"], "unknown");
    assert_eq!(s.get(&batch).await["failedCount"], 1);
    s.audited().await;
    reporter.map(&json!(uuid), "wamid.A").await;
    assert_eq!(s.items(&batch).await[0]["status"], "succeeded");
    assert_eq!(s.get(&batch).await["successCount"], 1);
    s.audited().await;
}));
