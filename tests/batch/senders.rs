//! Senders: which one a message names, its stop, its cap a day and its pace, over all processes.

use crate::setup::{PATIENCE, Runs, Setup, accepted, on_both, text};
use serde_json::{Value, json};
use std::rc::Rc;
use support::eventually;

impl Setup {
    /// Makes a sender and returns its number.
    async fn sender(&self, body: Value) -> String {
        text(&self.admin.post("/senders", &body).await.expect(201)["data"]["id"])
    }

    async fn change(&self, id: &str, body: Value) -> Value {
        self.admin.patch(&format!("/senders/{id}"), &body).await.expect(200)["data"].clone()
    }

    /// A number of the ledger's.
    async fn waiting(&self, sql: &str) -> i64 {
        match &self.runs {
            Runs::Embedded(_) => self.program.number(sql).await,
            Runs::Split(cluster) => cluster.database.number(sql).await,
        }
    }

    async fn reply(&self, customer: &str, content: &str) {
        let body = json!({ "customer_id": customer.parse::<i64>().expect("a number"), "content": content });
        self.admin.post("/messages/send", &body).await.expect(200);
    }
}

/// The names that the messages with a text were sent under; the default sender is not named.
fn named(s: &Setup, part: &str) -> Vec<Option<String>> {
    s.gateway.sent().into_iter().filter(|sent| sent.text.contains(part)).map(|sent| sent.sender).collect()
}

on_both!(each_message_names_its_sender () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(6).await;
    s.sender(json!({ "name": "shop" })).await;
    let shop = s.send(&ids[..3], json!({ "content": "from the shop", "sender": "shop" })).await;
    let plain = s.send(&ids[3..], json!({ "content": "from us" })).await;
    assert_eq!(s.ended(&shop).await["sender"], json!("shop"));
    assert_eq!(s.ended(&plain).await["sender"], json!("default"));
    assert_eq!(named(&s, "from the shop"), vec![Some("shop".to_owned()); 3]);
    assert_eq!(named(&s, "from us"), vec![None; 3]);
    // A reply leaves from the sender that wrote to its customer.
    s.reply(&ids[0], "reply to the shop's").await;
    s.reply(&ids[3], "reply to ours").await;
    s.gateway.wait_for(8).await;
    assert_eq!(named(&s, "reply to the shop's"), [Some("shop".to_owned())]);
    assert_eq!(named(&s, "reply to ours"), [None]);
    s.audited().await;
}));

on_both!(a_stopped_sender_lets_nothing_leave_and_goes_on_at_once () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(20).await;
    let shop = s.sender(json!({ "name": "shop", "paused": true })).await;
    let held = s.send(&ids, json!({ "content": "held", "sender": "shop" })).await;
    let free = s.send(&ids[..5], json!({ "content": "free" })).await;
    s.ended(&free).await;
    let batch = s.wait(&held, "the hold", |batch| batch["status"] == "PROCESSING").await;
    assert_eq!(batch["holds"][0]["code"], json!("sender_stopped"), "{batch}");
    assert_eq!((&batch["limitedBy"], &batch["effectiveRatePerMinute"]), (&json!("sender"), &json!(0)));
    assert!(batch["estimatedCompletionAt"].is_null(), "{batch}");
    let list = s.admin.get("/senders").await.expect(200);
    let states: Vec<_> = list["data"].as_array().expect("a list").iter().map(|one| text(&one["state"])).collect();
    assert_eq!((states, &list["meta"]["count"]), (vec!["active".to_owned(), "paused".to_owned()], &json!(2)));
    // Replies neither: the conversation is the shop's once it wrote.
    let body = json!({ "contactIds": ids, "content": "x", "sender": "shop" });
    let dry = s.admin.post("/batch/send?dryRun=true", &body).await.expect(200);
    let warns = dry["data"]["warnings"].as_array().is_some_and(|all| all.iter().any(|w| w["code"] == "sender_stopped"));
    assert!(warns, "{dry}");
    assert!(named(&s, "held").is_empty());
    let changed = s.change(&shop, json!({ "paused": false })).await;
    assert_eq!((&changed["state"], &changed["reason"]), (&json!("active"), &Value::Null));
    assert_eq!(s.ended(&held).await["successCount"], json!(20));
    s.change(&shop, json!({ "paused": true })).await;
    s.reply(&ids[19], "a reply").await;
    let waits = async || s.waiting("SELECT count(*) FROM jobs WHERE kind = 'deliver' AND error = 'sender_stopped'").await;
    eventually("the reply to be held", PATIENCE, async || match waits().await {
        1 => Ok(()),
        other => Err(other),
    }).await;
    assert!(named(&s, "a reply").is_empty());
    s.change(&shop, json!({ "paused": false })).await;
    s.gateway.wait_for(26).await;
    assert_eq!(named(&s, "a reply"), [Some("shop".to_owned())]);
    s.audited().await;
}));

on_both!(no_more_leave_in_a_day_than_the_cap_lets () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(30).await;
    // Some are not taken at first: what did not leave is not counted.
    s.gateway.script(|a| if a.to.ends_with('7') && a.number == 1 { support::Reply::status(500) } else { support::Reply::accept() });
    let shop = s.sender(json!({ "name": "shop", "dailyCap": 8 })).await;
    let first = s.send(&ids[..15], json!({ "content": "capped", "sender": "shop" })).await;
    let second = s.send(&ids[15..], json!({ "content": "capped", "sender": "shop" })).await;
    eventually("the cap", PATIENCE, async || {
        let list = s.admin.get("/senders").await.expect(200);
        let one = &list["data"][1];
        if one["state"] == "capped" { Ok(()) } else { Err(one.to_string()) }
    }).await;
    s.gateway.wait_for(8).await;
    let batches = [s.get(&first).await, s.get(&second).await];
    assert!(batches.iter().any(|batch| batch["holds"][0]["code"] == "sender_cap" && batch["holds"][0]["until"].is_string()));
    assert_eq!(named(&s, "capped").len(), 8);
    let raised = s.change(&shop, json!({ "dailyCap": 20, "ratePerMinute": 6_000 })).await;
    assert_eq!((&raised["dailyCap"], &raised["usedToday"]), (&json!(20), &json!(8)));
    s.gateway.wait_for(20).await;
    let lifted = s.change(&shop, json!({ "dailyCap": null, "ratePerMinute": null })).await;
    assert_eq!((&lifted["dailyCap"], &lifted["rateIsDefault"]), (&Value::Null, &json!(true)));
    assert_eq!(s.ended(&first).await["successCount"], json!(15));
    assert_eq!(s.ended(&second).await["successCount"], json!(15));
    assert_eq!(named(&s, "capped").len(), 30);
    s.audited().await;
}));

on_both!(a_changed_rate_holds_with_the_next_claim () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(200).await;
    let slow = s.sender(json!({ "name": "slow", "ratePerMinute": 1 })).await;
    let batch = s.send(&ids, json!({ "content": "slow", "sender": "slow" })).await;
    s.gateway.wait_for(1).await;
    // At one a minute the others would take hours.
    s.change(&slow, json!({ "ratePerMinute": 600_000 })).await;
    assert_eq!(s.ended(&batch).await["successCount"], json!(200));
    s.audited().await;
}));

on_both!(what_is_wrong_with_a_sender_is_named () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(1).await;
    let fields = |answer: Value| -> Vec<String> {
        let details = answer["error"]["details"].as_array().cloned().unwrap_or_default();
        details.iter().map(|detail| text(&detail["field"])).collect()
    };
    let body = json!({ "contactIds": ids, "content": "x", "sender": "nobody" });
    assert_eq!(fields(s.admin.post("/batch/send", &body).await.expect(400)), ["sender"]);
    assert_eq!(fields(s.admin.post("/batch/send?dryRun=true", &body).await.expect(400)), ["sender"]);
    for (body, bad) in [
        (json!({}), "name"),
        (json!({ "name": "a b" }), "name"),
        (json!({ "name": "ok", "dailyCap": 0 }), "dailyCap"),
        (json!({ "name": "ok", "ratePerMinute": "9" }), "ratePerMinute"),
        (json!({ "name": "ok", "rate": 9 }), "rate"),
    ] {
        assert_eq!(fields(s.admin.post("/senders", &body).await.expect(400)), [bad], "{body}");
    }
    s.admin.post("/senders", &json!({ "name": "default" })).await.expect(409);
    for (body, bad) in [(json!({}), "body"), (json!({ "name": "x" }), "name"), (json!({ "paused": 1 }), "paused")] {
        let named = fields(s.admin.patch("/senders/1", &body).await.expect(400));
        assert!(named.iter().any(|field| field == bad), "{body}: {named:?}");
    }
    s.admin.patch("/senders/99", &json!({ "paused": true })).await.expect(404);
    for role in ["supervisor", "agent"] {
        let client = s.admin.with_token(s.program.token_for(role).await);
        client.get("/senders").await.expect(200);
        client.post("/senders", &json!({ "name": "x" })).await.expect(403);
        client.patch("/senders/1", &json!({ "paused": true })).await.expect(403);
    }
    // What a cancelled batch left goes on from its sender.
    s.sender(json!({ "name": "shop", "paused": true })).await;
    let batch = s.send(&ids, json!({ "sender": "shop" })).await;
    s.admin.post(&format!("/batch/{batch}/cancel"), &json!({})).await.expect(200);
    let rest = eventually("the remainder", PATIENCE, async || {
        let answer = s.admin.post("/batch/send", &json!({ "remainderOf": batch })).await;
        if answer.status == 202 { Ok(accepted(answer.body)) } else { Err(answer.text) }
    }).await;
    assert_eq!(s.get(&rest).await["sender"], json!("shop"));
}));
