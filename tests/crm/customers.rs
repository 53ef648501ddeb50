//! Customers: making them, their lists, what is unread.

use crate::reports::{Reporter, customer, history};
use crate::setup::Setup;
use crate::setup::on_both;
use serde_json::{Value, json};
use std::rc::Rc;
use support::Method;

fn ids(list: &Value) -> Vec<i64> {
    list.as_array().expect("a list").iter().map(|row| row["id"].as_i64().expect("a number")).collect()
}

on_both!(a_customer_is_made_once_and_shown () |s: Rc<Setup>| Box::pin(async move {
    let made = s.admin.post("/customers/", &json!({ "name": "New Customer", "phone": "+60 12-345 6789" })).await;
    let made = made.expect(201);
    assert_eq!(
        (&made["name"], &made["phone"], &made["status"], &made["unread_count"], &made["extra_fields"], &made["remark"]),
        (&json!("New Customer"), &json!("60123456789"), &json!("new"), &json!(0), &json!({}), &Value::Null),
    );
    assert_eq!(made["identities"], json!([{ "kind": "phone", "value": "60123456789" }]));
    assert!(made["created_at"].as_str().is_some_and(|at| at.ends_with('Z')));
    let again = s.admin.post("/customers", &json!({ "name": "x", "phone": "60123456789" })).await;
    assert_eq!(again.expect(409), json!({ "detail": "a customer with this phone exists" }));

    let photo = json!({ "phone": "60123456789", "photo_url": "https://pps.whatsapp.net/v/1.jpg" });
    assert_eq!(s.admin.post("/customers/photo", &photo).await.expect(200)["photo_url"], photo["photo_url"]);
    s.admin.post("/customers/photo", &json!({ "phone": "60199999999", "photo_url": null })).await.expect(404);
    let summary = s.admin.get("/customers/summary").await.expect(200);
    assert_eq!(
        summary,
        json!([{ "id": made["id"], "name": "New Customer", "phone": "60123456789", "photo_url": photo["photo_url"],
            "status": "new", "last_message": null, "last_timestamp": null, "unread_count": 0 }]),
    );
    s.admin.get("/customers/999999").await.expect(404);

    // The same request twice under one key makes one customer.
    let body = json!({ "name": "Keyed", "phone": "60123456780", "status": "lead" });
    let ask = || s.admin.request(Method::POST, "/customers/").header("idempotency-key", "k1").json(&body);
    let first = s.admin.send(ask()).await.expect(201);
    let second = s.admin.send(ask()).await;
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    assert_eq!(second.expect(201), first);
}));

on_both!(lists_go_on_behind_their_cursors () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let made = s.contacts(7).await;
    // Three of them wrote: the last one first, then those without a message, the newest first.
    for (nth, who) in [3, 0, 5].into_iter().enumerate() {
        reporter.inbox(&format!("6012{:07}", 3_000_000 + who), &format!("message {nth}"), &format!("in{nth}")).await;
    }
    let id = |i: usize| made[i].parse::<i64>().expect("a number");
    let wanted = [id(5), id(0), id(3), id(6), id(4), id(2), id(1)];
    let whole = s.admin.get("/customers/summary").await;
    assert_eq!(whole.header("link"), None);
    let whole = whole.expect(200);
    assert_eq!(ids(&whole), wanted);
    assert_eq!((&whole[0]["last_message"], &whole[0]["unread_count"]), (&json!("message 2"), &json!(1)));
    for limit in [1, 2, 3, 6, 7] {
        let (mut found, mut next) = (Vec::new(), Some(format!("/customers/summary?limit={limit}")));
        while let Some(path) = next {
            let page = s.admin.get(&path).await;
            next = page.header("link").map(|link| link.split(['<', '>']).nth(1).expect("an address").to_owned());
            found.extend(ids(&page.expect(200)));
        }
        assert_eq!(found, wanted, "limit {limit}");
    }
    let page = s.admin.get("/customers/?limit=5").await;
    let link = page.header("link").expect("there are more").to_owned();
    assert_eq!(link, format!("</customers/?limit=5&after={}>; rel=\"next\"", id(4)));
    assert_eq!(ids(&page.expect(200)), (0..5).map(id).collect::<Vec<_>>());
    assert_eq!(ids(&s.admin.get(&format!("/customers/?after={}", id(4))).await.expect(200)), [id(5), id(6)]);
}));

on_both!(a_history_has_everything_and_reading_it_counts () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let who = s.contacts(1).await;
    let id: i64 = who[0].parse().expect("a number");
    let batch = s.send(&who, json!({})).await;
    s.ended(&batch).await;
    reporter.inbox("60123000000", "What is this?", "in1").await;
    reporter.inbox("60123000000", "Hello?", "in2").await;
    s.admin.post("/messages/send", &json!({ "customer_id": id, "content": "We are here." })).await.expect(200);
    let found = history(&s, id).await;
    let shape: Vec<_> = found.iter().map(|m| (m["direction"].as_str(), m["content"].as_str())).collect();
    assert_eq!(
        shape,
        [
            (Some("outbound"), Some("Hello Contact 0")),
            (Some("inbound"), Some("What is this?")),
            (Some("inbound"), Some("Hello?")),
            (Some("outbound"), Some("We are here.")),
        ],
    );
    assert_eq!((&found[0]["batch_id"], &found[3]["batch_id"]), (&json!(batch), &Value::Null));
    assert_eq!((&found[1]["ack"], &found[1]["whatsapp_id"]), (&json!(2), &json!("in1")));
    // Backwards, in pages.
    let page = s.admin.get(&format!("/messages/{id}?limit=2&before={}", found[3]["id"])).await;
    let link = page.header("link").expect("there is more").to_owned();
    assert!(link.contains("rel=\"prev\""), "{link}");
    assert_eq!(page.expect(200), json!([found[1], found[2]]));
    let page = s.admin.get(link.split(['<', '>']).nth(1).expect("an address")).await;
    assert_eq!(page.header("link"), None);
    assert_eq!(page.expect(200), json!([found[0]]));

    assert_eq!(s.admin.get(&format!("/customers/{id}")).await.expect(200)["unread_count"], 2);
    let read = s.admin.post(&format!("/customers/{id}/read"), &json!({})).await.expect(200);
    assert_eq!(read, json!({ "customer_id": id, "marked": 2, "unread_count": 0 }));
    let read = s.admin.post(&format!("/customers/{id}/read"), &json!({})).await.expect(200);
    assert_eq!(read["marked"], 0);
    assert_eq!(history(&s, id).await[2]["ack"], 3);
    s.admin.post("/customers/999999/read", &json!({})).await.expect(404);
    s.audited().await;
}));

on_both!(a_deleted_customer_leaves_nothing_to_read () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let id = customer(&s, "60123456789").await;
    reporter.inbox("60123456789", "my secret", "in1").await;
    let batch = s.admin.post("/batch/delete", &json!({ "contactIds": [id.to_string()] })).await.expect(202);
    s.ended(batch["data"]["id"].as_str().expect("an id")).await;
    s.admin.get(&format!("/messages/{id}")).await.expect(404);
    s.admin.get(&format!("/customers/{id}")).await.expect(404);
    assert_eq!(s.admin.get("/customers/summary").await.expect(200), json!([]));
    // Whoever writes from the number is somebody new.
    reporter.inbox("60123456789", "hello again", "in2").await;
    let summary = s.admin.get("/customers/summary").await.expect(200);
    assert_eq!((ids(&summary).len(), ids(&summary)[0] == id), (1, false));
}));
