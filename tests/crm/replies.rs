//! Single messages: they leave at once, are tried again as long as it makes sense, and say why they did not leave.

use crate::reports::{Reporter, customer, history};
use crate::setup::on_both;
use crate::setup::{PATIENCE, Runs, Setup};
use serde_json::{Value, json};
use std::rc::Rc;
use std::time::Duration;
use support::{Method, Reply, eventually};

async fn reply(s: &Setup, customer: i64, content: &str) -> Value {
    s.admin.post("/messages/send", &json!({ "customer_id": customer, "content": content })).await.expect(200)
}

/// Waits until a message of the history is so.
async fn becomes(s: &Setup, customer: i64, message: &Value, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, PATIENCE, async || {
        let found = history(s, customer).await.into_iter().find(|m| m["id"] == message["id"]);
        match found {
            Some(found) if so(&found) => Ok(found),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

on_both!(a_reply_is_answered_at_once_and_sent_once () |s: Rc<Setup>| Box::pin(async move {
    let id = customer(&s, "60123456789").await;
    let body = json!({ "customer_id": id, "content": "Hello, how are you?" });
    let ask = || s.admin.request(Method::POST, "/messages/send").header("idempotency-key", "k1").json(&body);
    let sent = s.admin.send(ask()).await.expect(200);
    assert_eq!(
        (&sent["customer_id"], &sent["direction"], &sent["content"], &sent["ack"], &sent["whatsapp_id"], &sent["status"]),
        (&json!(id), &json!("outbound"), &json!("Hello, how are you?"), &json!(1), &Value::Null, &json!("queued")),
    );
    let again = s.admin.send(ask()).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.expect(200), sent);
    let done = becomes(&s, id, &sent, "sent", |m| m["status"] == "sent").await;
    assert_eq!(done["ack"], 1);
    s.gateway.wait_for(1).await;
    let attempts = s.gateway.sent();
    assert_eq!((attempts.len(), attempts[0].to.as_str(), attempts[0].text.as_str()), (1, "60123456789", "Hello, how are you?"));
    let summary = s.admin.get("/customers/summary").await.expect(200);
    assert_eq!(summary[0]["last_message"], "Hello, how are you?");
    s.audited().await;
}));

on_both!(what_may_pass_is_tried_again_and_what_cannot_is_not () |s: Rc<Setup>| Box::pin(async move {
    let mut ids = Vec::new();
    for i in 0..5 {
        ids.push(customer(&s, &format!("6012345678{i}")).await);
    }
    s.gateway.script(|attempt| match (attempt.to.as_str(), attempt.number) {
        ("60123456780", 1) => Reply::status(500),
        ("60123456781", _) => Reply::status(400),
        ("60123456782", 1) => Reply::close().taking_effect(),
        ("60123456783", 1) => Reply::status(429).retry_after(1),
        ("60123456784", _) => Reply::status(500),
        _ => Reply::accept(),
    });
    let mut messages = Vec::new();
    for id in &ids {
        messages.push(reply(&s, *id, "Hello").await);
    }
    for i in [0, 2, 3] {
        let done = becomes(&s, ids[i], &messages[i], "sent", |m| m["status"] == "sent").await;
        assert_eq!((&done["error_code"], &done["ack"]), (&Value::Null, &json!(1)), "{done}");
    }
    let refused = becomes(&s, ids[1], &messages[1], "refused", |m| m["status"] == "failed").await;
    assert_eq!((&refused["error_code"], &refused["error_message"]), (&json!("gateway_400"), &json!("scripted 400 Bad Request")));
    let failed = becomes(&s, ids[4], &messages[4], "given up", |m| m["status"] == "failed").await;
    assert_eq!(failed["error_code"], "gateway_500");
    let count = s.gateway.sent_by_recipient();
    for (to, times) in [("60123456780", 1), ("60123456782", 1), ("60123456783", 1)] {
        assert_eq!(count.get(to), Some(&times), "{to}");
    }
    let tried = |to: &str| s.gateway.attempts().iter().filter(|a| a.to == to).count();
    assert_eq!((tried("60123456781"), tried("60123456784")), (1, 4), "at most three retries, and none of what cannot pass");
    s.audited().await;
}));

on_both!(what_is_said_in_order_arrives_in_order () |s: Rc<Setup>| Box::pin(async move {
    let (id, other) = (customer(&s, "60123456789").await, customer(&s, "60123456780").await);
    // The first one has to come again: those behind it wait for it, and nobody else does.
    s.gateway.script(|attempt| if attempt.text == "0" && attempt.number <= 2 { Reply::status(500) } else { Reply::accept() });
    let mut last = Value::Null;
    for text in ["0", "1", "2", "3", "4"] {
        last = reply(&s, id, text).await;
    }
    let to_other = reply(&s, other, "at once").await;
    becomes(&s, other, &to_other, "sent", |m| m["status"] == "sent").await;
    becomes(&s, id, &last, "sent", |m| m["status"] == "sent").await;
    let sent = s.gateway.sent();
    let of = |to: &str| sent.iter().filter(|a| a.to == to).map(|a| a.text.clone()).collect::<Vec<_>>();
    assert_eq!(of("60123456789"), ["0", "1", "2", "3", "4"]);
    assert_eq!((of("60123456780").len(), sent[0].text.as_str()), (1, "at once"));
    s.audited().await;
}));

on_both!(a_gateway_that_is_away_delays_messages_and_loses_none () |s: Rc<Setup>| Box::pin(async move {
    let id = customer(&s, "60123456789").await;
    // More often than there are attempts: it is not the message that fails.
    s.gateway.script(|attempt| if attempt.number <= 6 { Reply::status(503).retry_after(0) } else { Reply::accept() });
    let message = reply(&s, id, "patience").await;
    let waiting = becomes(&s, id, &message, "why it waits", |m| m["error_code"].is_string() || m["status"] == "sent").await;
    assert!(waiting["status"] == "queued" && waiting["error_code"] == "throttled" || waiting["status"] == "sent", "{waiting}");
    becomes(&s, id, &message, "sent", |m| m["status"] == "sent" && m["error_code"].is_null()).await;
    assert_eq!(s.gateway.sent_count(), 1);
}));

on_both!(a_reply_does_not_wait_behind_a_campaign (("PACELINE_SENDER_RATE_PER_MIN", "600")) |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(2_000).await;
    let batch = s.send(&ids, json!({})).await;
    s.gateway.wait_for(5).await;
    let id = customer(&s, "60123456789").await;
    for i in 0..5 {
        reply(&s, id, &format!("reply {i}")).await;
    }
    s.gateway.wait_until("the replies", |gateway| gateway.sent().iter().filter(|a| a.to == "60123456789").count() == 5).await;
    // At ten a second the campaign has over three minutes to go: the replies did not wait for it.
    let replies: Vec<_> = s.gateway.sent().iter().filter(|a| a.to == "60123456789").map(|a| a.at).collect();
    assert!(replies[4] - replies[0] >= Duration::from_millis(350), "replies keep the sender's rate among themselves");
    assert_eq!(s.get(&batch).await["status"], "PROCESSING");
    s.admin.post(&format!("/batch/{batch}/cancel"), &json!({})).await.expect(200);
}));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_in_mid_reply_loses_and_doubles_nothing() {
    let mut s = Setup::split(&[]).await;
    let id = customer(&s, "60123456789").await;
    s.gateway.next([Reply::hang().taking_effect()]);
    let message = reply(&s, id, "once").await;
    s.gateway.wait_for(1).await;
    let Runs::Split(cluster) = &mut s.runs else { unreachable!("it was started split") };
    for worker in &mut cluster.workers {
        worker.kill9().await;
    }
    s.gateway.release();
    for worker in &mut cluster.workers {
        worker.relaunch().await;
    }
    becomes(&s, id, &message, "sent", |m| m["status"] == "sent").await;
    assert_eq!(s.gateway.sent_count(), 1);
    s.audited().await;
}

on_both!(a_failed_message_says_why_and_a_retry_sends_it_anew () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let ids = s.contacts(3).await;
    let batch = s.send(&ids, json!({})).await;
    s.ended(&batch).await;
    let sent = s.gateway.sent();
    let of = |phone: &str| sent.iter().find(|a| a.to == phone).expect("sent").id.clone();
    let (failed, delivered) = (of("60123000000"), of("60123000001"));
    let body = json!({ "backend_message_id": failed, "code": "131026", "detail": "Message undeliverable" });
    reporter.tell("/messages/failed", &body).await.expect(200);
    reporter.tell("/messages/failed", &body).await.expect(200);
    reporter.map(&json!(delivered), "wamid.1").await;
    reporter.ack("wamid.1", 2).await;
    let batch_now = s.get(&batch).await;
    assert_eq!((&batch_now["successCount"], &batch_now["failedCount"]), (&json!(2), &json!(1)), "{batch_now}");
    let customer: i64 = ids[0].parse().expect("a number");
    let message = history(&s, customer).await.remove(0);
    assert_eq!(
        (&message["status"], &message["error_code"], &message["error_message"]),
        (&json!("failed"), &json!("131026"), &json!("Message undeliverable")),
    );
    let items = s.items(&batch).await;
    assert_eq!((&items[0]["errorCode"], &items[0]["status"]), (&json!("131026"), &json!("failed")));
    // The gateway has that id for good: what is tried again is another message, and only that one.
    s.admin.post(&format!("/batch/{batch}/retry"), &json!({})).await.expect(200);
    s.ended(&batch).await;
    let sent = s.gateway.sent();
    assert_eq!((sent.len(), sent[3].to.as_str(), sent[3].id == failed), (4, "60123000000", false));
    let found = history(&s, customer).await;
    let statuses: Vec<_> = found.iter().map(|m| m["status"].as_str()).collect();
    assert_eq!(statuses, [Some("failed"), Some("sent")]);
    s.audited().await;
}));

on_both!(what_nobody_knew_and_then_failed_is_sent_anew () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let ids = s.contacts(1).await;
    s.gateway.next([Reply::close().taking_effect()]);
    let batch = s.send(&ids, json!({ "onUnknown": "hold" })).await;
    s.ended(&batch).await;
    let items = s.items(&batch).await;
    assert_eq!(items[0]["status"], "unknown");
    let first = s.gateway.sent()[0].id.clone();
    let body = json!({ "backend_message_id": first, "code": "131026", "detail": "Message undeliverable" });
    reporter.tell("/messages/failed", &body).await.expect(200);
    assert_eq!(s.items(&batch).await[0]["status"], "failed");
    // A gateway that reports on it has it: under the same id it would say that it has sent it already.
    s.admin.post(&format!("/batch/{batch}/retry"), &json!({})).await.expect(200);
    assert_eq!(s.ended(&batch).await["successCount"], json!(1));
    let sent = s.gateway.sent();
    assert_eq!((sent.len(), sent[1].id == first), (2, false));
    s.audited().await;
}));
