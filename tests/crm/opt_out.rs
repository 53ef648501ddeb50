//! Opting out: by a word, by a user; and what batches make of it.

use crate::reports::{Reporter, history};
use crate::setup::Setup;
use crate::setup::on_both;
use serde_json::{Value, json};
use std::rc::Rc;

on_both!(who_says_stop_gets_no_more_campaigns_until_start () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let ids = s.contacts(2).await;
    reporter.inbox("60123000000", " Stop! ", "in1").await;
    s.gateway.wait_for(1).await;
    let answered = s.gateway.sent();
    assert_eq!((answered[0].to.as_str(), answered[0].text.contains("START")), ("60123000000", true));
    // Said again, there is nothing new to be said.
    reporter.inbox("60123000000", "STOP", "in2").await;

    let list = s.admin.get("/suppressions").await.expect(200);
    assert_eq!(list["meta"]["count"], 1);
    let row = &list["data"][0];
    assert_eq!((&row["phone"], &row["reason"], &row["word"], &row["contactId"]), (&json!("60123000000"), &json!("word"), &json!("STOP"), &json!(ids[0])));
    let customer: i64 = ids[0].parse().expect("a number");
    let found = history(&s, customer).await;
    assert_eq!(row["messageId"].as_str(), Some(found[0]["id"].to_string().as_str()), "the message that said so");

    let batch = s.send(&ids, json!({})).await;
    let done = s.ended(&batch).await;
    assert_eq!((&done["successCount"], &done["skippedCount"], &done["failedCount"]), (&json!(1), &json!(1), &json!(0)));
    let items = s.items(&batch).await;
    assert_eq!((&items[0]["status"], &items[0]["errorCode"]), (&json!("skipped"), &json!("suppressed")));
    // A person's reply is no campaign.
    s.admin.post("/messages/send", &json!({ "customer_id": customer, "content": "As you wish." })).await.expect(200);
    s.gateway.wait_until("the reply", |gateway| gateway.sent().iter().any(|a| a.text == "As you wish.")).await;

    reporter.inbox("60123000000", "start", "in3").await;
    s.gateway.wait_until("the answer", |gateway| gateway.sent().iter().any(|a| a.text.contains("STOP to end"))).await;
    let batch = s.send(&ids, json!({})).await;
    assert_eq!(s.ended(&batch).await["successCount"], 2);
    assert_eq!(s.admin.get("/suppressions").await.expect(200)["meta"]["count"], 0);
    let trail = s.admin.get("/suppressions?ended=true&phone=60123000000").await.expect(200);
    let row = &trail["data"][0];
    assert_eq!((&row["endedReason"], &row["endedWord"]), (&json!("word"), &json!("START")));
    let answers = s.gateway.sent().iter().filter(|a| a.text.contains("Answer START")).count();
    assert_eq!(answers, 1, "it is confirmed once");
    s.audited().await;
}));

on_both!(a_number_stays_suppressed_whoever_has_it () |s: Rc<Setup>| Box::pin(async move {
    // Before there is a contact of the number, and when it is imported, deleted and imported again.
    let body = json!({ "phones": ["+60 12-300 0001", "60123000001", "60129999999"] });
    let made = s.admin.post("/suppressions", &body).await.expect(200);
    assert_eq!(made["data"].as_array().map(Vec::len), Some(2), "{made}");
    for _ in 0..2 {
        let ids = s.contacts(2).await;
        let customer = s.admin.get(&format!("/customers/{}", ids[1])).await.expect(200);
        assert!(customer["suppressed_at"].is_string(), "{customer}");
        let batch = s.send(&ids, json!({})).await;
        assert_eq!(s.ended(&batch).await["skippedCount"], 1);
        let gone = s.admin.post("/batch/delete", &json!({ "contactIds": ids })).await.expect(202);
        s.ended(gone["data"]["id"].as_str().expect("an id")).await;
    }
    let ended = s.admin.delete("/suppressions?phone=%2B60123000001").await.expect(200);
    assert_eq!((&ended["data"]["endedReason"], &ended["data"]["reason"]), (&json!("user"), &json!("user")));
    s.admin.delete("/suppressions?phone=60123000001").await.expect(404);
    let ids = s.contacts(2).await;
    let batch = s.send(&ids, json!({})).await;
    assert_eq!(s.ended(&batch).await["successCount"], 2);
    let bad = s.admin.post("/suppressions", &json!({ "phones": ["60123000001", "x", ""] })).await.expect(400);
    let fields: Vec<&Value> = bad["error"]["details"].as_array().expect("details").iter().map(|d| &d["field"]).collect();
    assert_eq!(fields, ["phones[2]", "phones[1]"]);
}));

on_both!(one_who_stops_in_mid_campaign_is_skipped_from_then_on () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let ids = s.contacts(40).await;
    let batch = s.send(&ids, json!({ "ratePerMinute": 300 })).await;
    s.gateway.wait_for(1).await;
    reporter.inbox("60123000039", "退订", "in1").await;
    let done = s.ended(&batch).await;
    assert_eq!((&done["successCount"], &done["skippedCount"]), (&json!(39), &json!(1)), "{done}");
    assert!(s.gateway.sent().iter().all(|a| a.to != "60123000039" || a.text.contains("START")));
    s.audited().await;
}));

on_both!(the_network_knows_of_a_wish_too () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let ids = s.contacts(1).await;
    let batch = s.send(&ids, json!({})).await;
    s.ended(&batch).await;
    let body = json!({ "backend_message_id": s.gateway.sent()[0].id, "code": "131050", "detail": "User has stopped marketing messages" });
    reporter.tell("/messages/failed", &body).await.expect(200);
    let list = s.admin.get("/suppressions").await.expect(200);
    assert_eq!((&list["data"][0]["reason"], &list["data"][0]["phone"]), (&json!("network"), &json!("60123000000")));
    s.admin.post(&format!("/batch/{batch}/retry"), &json!({})).await.expect(200);
    let done = s.ended(&batch).await;
    assert_eq!((&done["skippedCount"], &done["failedCount"]), (&json!(1), &json!(0)), "{done}");
    s.audited().await;
}));
