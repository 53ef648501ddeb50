//! The outbox: what happens is written down by ids and words of our own, also what no stream shows yet.

use crate::reports::{Reporter, customer};
use crate::setup::{PATIENCE, Runs, Setup, on_both};
use serde_json::{Value, json};
use std::rc::Rc;
use support::{Reply, eventually};

async fn texts(s: &Setup, sql: &str) -> Vec<String> {
    match &s.runs {
        Runs::Embedded(_) => s.program.texts(sql).await,
        Runs::Split(cluster) => cluster.database.texts(sql).await,
    }
}

/// All events, in their order.
async fn events(s: &Setup) -> Vec<Value> {
    let kept = texts(s, "SELECT event FROM domain_events ORDER BY id").await;
    kept.iter().map(|event| serde_json::from_str(event).expect("JSON")).collect()
}

/// Their kinds, once there is one of the last kind.
async fn kinds(s: &Setup, last: &str) -> Vec<String> {
    eventually(last, PATIENCE, async || {
        let kinds: Vec<_> =
            events(s).await.iter().map(|event| event["kind"].as_str().expect("a kind").to_owned()).collect();
        if kinds.iter().any(|kind| kind == last) { Ok(kinds) } else { Err(kinds.join(", ")) }
    })
    .await
}

on_both!(what_people_do_is_an_event_without_their_words () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    reporter.inbox("60123456789", "Secret words", "in1").await;
    let begun = ["contact_created", "conversation_opened", "message_received"];
    assert_eq!(kinds(&s, "message_received").await, begun);
    let id = events(&s).await[0]["contact"].clone();
    let read = format!("/customers/{id}/read");
    for marked in [1, 0] {
        assert_eq!(s.admin.post(&read, &json!({})).await.expect(200)["marked"], marked);
    }
    let sent = s.admin.post("/messages/send", &json!({ "customer_id": id, "content": "An answer" })).await.expect(200);
    let all = kinds(&s, "message_acked").await;
    assert_eq!(all[3..], ["conversation_read", "reply_written", "message_acked"], "what was read already is not read again");
    let all = events(&s).await;
    let user = all[3]["user"].as_i64().expect("who read it");
    assert_eq!(all[4], json!({ "kind": "reply_written", "message": sent["id"], "author": user }));
    assert_eq!(all[5], json!({ "kind": "message_acked", "message": sent["id"], "level": 1 }));
    let whole = texts(&s, "SELECT event FROM domain_events").await.join("");
    for words in ["Secret", "answer", "60123456789", "Customer"] {
        assert!(!whole.contains(words), "{words} in {whole}");
    }
}));

on_both!(a_reply_that_fails_is_an_event () |s: Rc<Setup>| Box::pin(async move {
    let (refused, gone) = (customer(&s, "60123456789").await, customer(&s, "60123456780").await);
    s.gateway.script(|attempt| if attempt.to == "60123456780" { Reply::accept() } else { Reply::status(400) });
    let send = async |id: i64| s.admin.post("/messages/send", &json!({ "customer_id": id, "content": "Hi" })).await.expect(200);
    let failed = |message: &Value| json!({ "kind": "reply_failed", "message": message["id"], "status": "failed" });
    let message = send(refused).await;
    kinds(&s, "reply_failed").await;
    assert_eq!(events(&s).await.last(), Some(&failed(&message)));
    // Taken, and failed by the network later on.
    let message = send(gone).await;
    s.gateway.wait_for(1).await;
    let report = json!({ "backend_message_id": s.gateway.sent()[0].id, "code": "131026", "detail": "no account" });
    Reporter::of(&s).tell("/messages/failed", &report).await.expect(200);
    eventually("the failure", PATIENCE, async || {
        let all = events(&s).await;
        if all.contains(&failed(&message)) { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await;
}));

on_both!(what_was_resolved_is_opened_again_by_who_writes () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    reporter.inbox("60123456789", "Hi", "in1").await;
    let resolve = "UPDATE conversations SET status = 'resolved', resolved_at = 1";
    match &s.runs {
        Runs::Embedded(_) => drop(s.program.execute(resolve).await),
        Runs::Split(cluster) => cluster.database.execute(resolve).await,
    }
    for (text, id) in [("again", "in2"), ("and again", "in3")] {
        reporter.inbox("60123456789", text, id).await;
    }
    let opened = events(&s).await.iter().filter(|event| event["kind"] == "conversation_opened").count();
    assert_eq!(opened, 2, "when it began, and when it went on");
}));
