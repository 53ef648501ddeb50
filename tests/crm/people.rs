//! One person under several spellings, numbers and addresses: a reply reaches the customer that was written to, and two who
//! turn out to be one are merged with all that both had.

use crate::reports::{Reporter, customer, history};
use crate::setup::on_both;
use crate::setup::{Setup, accepted};
use serde_json::{Value, json};
use std::rc::Rc;
use support::Events;

/// What people write, and what the network calls the account.
const SPELLINGS: [(&str, &str); 5] = [
    ("5531987654321", "553187654321"),
    ("5585998765432", "558598765432"),
    ("525512345678", "5215512345678"),
    ("5491123456789", "541123456789"),
    ("541134567890", "5491134567890"),
];

async fn everybody(s: &Setup) -> Vec<Value> {
    s.admin.get("/customers/summary").await.expect(200).as_array().expect("a list").clone()
}

async fn found(s: &Setup, query: &str) -> Vec<i64> {
    let list = s.admin.get(&format!("/customers?{query}")).await.expect(200);
    list.as_array().expect("a list").iter().map(|one| one["id"].as_i64().expect("a number")).collect()
}

fn texts(history: &[Value]) -> Vec<&str> {
    history.iter().map(|message| message["content"].as_str().unwrap_or("?")).collect()
}

on_both!(a_reply_reaches_the_customer_who_was_written_to () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    for (n, (written, account)) in SPELLINGS.into_iter().enumerate() {
        let id = customer(&s, written).await;
        reporter.inbox(account, "a reply", &format!("in{n}")).await;
        reporter.inbox(written, "another", &format!("more{n}")).await;
        assert_eq!(texts(&history(&s, id).await), ["a reply", "another"], "{written}");
        let shown = s.admin.get(&format!("/customers/{id}")).await.expect(200);
        assert_eq!((&shown["phone"], &shown["unread_count"]), (&json!(written), &json!(2)), "it stays as it was written");
        // The library may write a Mexican number as people do already: then there is no other spelling to keep.
        let addresses = shown["identities"].as_array().expect("a list");
        assert_eq!(addresses[0], json!({ "kind": "phone", "value": written }));
        if !written.starts_with("52") {
            assert_eq!(addresses[1..], [json!({ "kind": "wa_id", "value": account })]);
        }
        // By either spelling it is found, and not made again.
        assert_eq!(found(&s, &format!("phone=%2B{account}")).await, [id]);
        assert_eq!(found(&s, &format!("search={written}")).await, [id]);
        let photo = json!({ "phone": written, "photo_url": "https://example.com/p.jpg" });
        assert_eq!(s.admin.post("/customers/photo", &photo).await.expect(200)["id"], json!(id));
    }
    assert_eq!(everybody(&s).await.len(), SPELLINGS.len());
    s.admin.post("/customers/", &json!({ "name": "N", "phone": "541123456789" })).await.expect(409);
    // A customer who wrote first, and is written to as people write it.
    reporter.inbox("553587654321", "hello", "first").await;
    assert_eq!(found(&s, "phone=5535987654321").await.len(), 1);
    s.admin.post("/customers/", &json!({ "name": "N", "phone": "5535987654321" })).await.expect(409);
}));

on_both!(a_wish_holds_for_every_spelling () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let mut ids = Vec::new();
    for (n, (written, account)) in SPELLINGS.into_iter().enumerate() {
        ids.push(customer(&s, written).await.to_string());
        reporter.inbox(account, "STOP", &format!("stop{n}")).await;
    }
    let batch = s.send(&ids, json!({})).await;
    assert_eq!(s.ended(&batch).await["skippedCount"], json!(SPELLINGS.len()));
    assert!(s.items(&batch).await.iter().all(|item| item["errorCode"] == "suppressed"));
    // The trail is one trail, and one who says START in the other spelling is written to again.
    for (n, (written, _)) in SPELLINGS.into_iter().enumerate() {
        let trail = s.admin.get(&format!("/suppressions?phone={written}")).await.expect(200);
        assert_eq!(trail["meta"]["count"], 1, "{trail}");
        reporter.inbox(written, "START", &format!("start{n}")).await;
    }
    let batch = s.send(&ids, json!({})).await;
    assert_eq!(s.ended(&batch).await["successCount"], json!(SPELLINGS.len()));
    // One that is suppressed by hand, before anybody has the number.
    s.admin.post("/suppressions", &json!({ "phones": ["+5491145678901"] })).await.expect(200);
    let id = customer(&s, "541145678901").await;
    assert!(s.admin.get(&format!("/customers/{id}")).await.expect(200)["suppressed_at"].is_string());
    s.admin.delete("/suppressions?phone=541145678901").await.expect(200);
    assert!(s.admin.get(&format!("/customers/{id}")).await.expect(200)["suppressed_at"].is_null());
}));

// Customers of whom nobody knew that they are one: the network says so in its answer to a message.
on_both!(an_account_that_the_network_names_makes_two_customers_one () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let kept = customer(&s, "60123456780").await;
    reporter.inbox("60111111111", "from the other number", "in1").await;
    let gone = found(&s, "phone=60111111111").await[0];
    let tag = |id: i64, tag: &str| json!({ "contactIds": [id.to_string()], "tags": [tag], "operation": "add" });
    for (id, name) in [(kept, "one"), (gone, "two")] {
        let batch = accepted(s.admin.post("/batch/tags", &tag(id, name)).await.expect(202));
        s.ended(&batch).await;
    }
    let batch = s.send(&[gone.to_string()], json!({})).await;
    s.ended(&batch).await;
    s.admin.post("/suppressions", &json!({ "phones": ["+60111111111"] })).await.expect(200);

    let mut stream = Events::open(&s.admin, None).await;
    let sent = s.admin.post("/messages/send", &json!({ "customer_id": kept, "content": "Hello" })).await.expect(200);
    s.gateway.wait_for(2).await;
    let uuid = s.gateway.sent().iter().find(|sent| sent.to == "60123456780").expect("sent").id.clone();
    let map = json!({ "backend_id": uuid, "whatsapp_id": "wamid.A", "wa_id": "60111111111" });
    // Told by many at once, and again.
    for answer in futures::future::join_all((0..6).map(|_| reporter.tell("/messages/map", &map))).await {
        answer.expect(200);
    }
    loop {
        let event = stream.next().await;
        if event.data["type"] == "customer_merged" {
            assert_eq!((&event.data["customer_id"], &event.data["merged_id"]), (&json!(kept), &json!(gone)));
            break;
        }
    }
    assert_eq!(sent["customer_id"], json!(kept));
    let all = everybody(&s).await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((&all[0]["id"], &all[0]["unread_count"]), (&json!(kept), &json!(1)));
    // Links to the one that is gone find the one that stayed.
    let one = s.admin.get(&format!("/customers/{gone}")).await.expect(200);
    assert_eq!((&one["id"], &one["phone"]), (&json!(kept), &json!("60123456780")));
    assert!(one["suppressed_at"].is_string(), "a wish of either number holds");
    for id in [kept, gone] {
        assert_eq!(texts(&history(&s, id).await), ["from the other number", "Hello Customer", "Hello"]);
    }
    let contact = s.admin.get(&format!("/contacts/{gone}")).await.expect(200);
    assert_eq!((&contact["data"]["id"], &contact["data"]["tags"]), (&json!(kept.to_string()), &json!(["one", "two"])));
    let got = s.admin.get(&format!("/contacts/{gone}/batches")).await.expect(200);
    let types: Vec<&str> = got["data"].as_array().expect("a list").iter().map(|b| b["type"].as_str().expect("a word")).collect();
    assert_eq!(types, ["SEND", "TAG", "TAG"]);
    // Either number is this customer's from now on, in lookups, at inbound and in imports.
    assert_eq!(found(&s, "phone=60111111111").await, [kept]);
    reporter.inbox("60111111111", "and again", "in2").await;
    assert_eq!(history(&s, kept).await.len(), 4);
    let import = json!({ "contacts": [{ "phoneE164": "+60111111111", "name": "Another name" }] });
    let batch = accepted(s.admin.post("/batch/import", &import).await.expect(202));
    assert_eq!(s.ended(&batch).await["skippedCount"], 1);
    // Who is named by both ids gets a message once; and a batch that names the one that is gone writes to the other.
    s.admin.delete("/suppressions?phone=60111111111").await.expect(200);
    let batch = s.send(&[kept.to_string(), gone.to_string()], json!({})).await;
    let done = s.ended(&batch).await;
    assert_eq!((&done["successCount"], &done["skippedCount"]), (&json!(1), &json!(1)), "{done}");
    // A dry run says the same as what is then done.
    let both = json!({ "contactIds": [kept.to_string(), gone.to_string()], "tags": ["three"], "operation": "add" });
    let plan = s.admin.post("/batch/tags?dryRun=true", &both).await.expect(200)["data"].clone();
    assert_eq!((&plan["changeCount"], &plan["excluded"][0]["reason"]), (&json!(1), &json!("duplicate")), "{plan}");
    let done = s.ended(&accepted(s.admin.post("/batch/tags", &both).await.expect(202))).await;
    assert_eq!((&done["successCount"], &done["skippedCount"]), (&json!(1), &json!(1)), "{done}");
    let reply = s.admin.post("/messages/send", &json!({ "customer_id": gone, "content": "Bye" })).await.expect(200);
    assert_eq!(reply["customer_id"], json!(kept));
    assert_eq!(s.admin.post(&format!("/customers/{gone}/read"), &json!({})).await.expect(200)["marked"], json!(2));
    s.audited().await;
}));

on_both!(an_account_told_before_its_message_was_written_is_kept () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let id = customer(&s, "60123456780").await;
    s.gateway.next([support::Reply::hang().taking_effect()]);
    let batch = s.send(&[id.to_string()], json!({})).await;
    s.gateway.wait_for(1).await;
    let uuid = s.gateway.sent()[0].id.clone();
    let map = json!({ "backend_id": uuid, "whatsapp_id": "wamid.A", "wa_id": "60199999999" });
    assert_eq!(reporter.tell("/messages/map", &map).await.expect(200), json!({ "status": "kept" }));
    s.gateway.release();
    s.ended(&batch).await;
    support::eventually("the account", crate::setup::PATIENCE, async || {
        let found = found(&s, "phone=60199999999").await;
        if found == [id] { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    // What is no number says nothing, and costs nobody the map.
    let sent = s.admin.post("/messages/send", &json!({ "customer_id": id, "content": "Hello" })).await.expect(200);
    s.gateway.wait_for(2).await;
    let map = json!({ "backend_id": sent["id"], "whatsapp_id": "wamid.B", "wa_id": "nobody" });
    reporter.tell("/messages/map", &map).await.expect(200);
    assert_eq!(s.admin.get(&format!("/customers/{id}")).await.expect(200)["identities"].as_array().map(Vec::len), Some(2));
}));

on_both!(a_number_and_an_address_of_two_customers_make_them_one () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let address = json!([{ "kind": "bsuid", "value": "MY.1" }]);
    let tell = async |body: Value| reporter.tell("/messages/inbox", &body).await.expect(200);
    tell(json!({ "content": "without a number", "whatsapp_id": "1", "identities": address, "name": "Ann" })).await;
    let first = everybody(&s).await[0]["id"].as_i64().expect("a number");
    tell(json!({ "phone": "60123456789", "content": "without the address", "whatsapp_id": "2" })).await;
    assert_eq!(everybody(&s).await.len(), 2);
    let both = json!({ "phone": "60123456789", "content": "with both", "whatsapp_id": "3", "identities": address });
    for answer in futures::future::join_all((0..6).map(|_| reporter.tell("/messages/inbox", &both))).await {
        answer.expect(200);
    }
    let all = everybody(&s).await;
    assert_eq!(all.len(), 1, "{all:?}");
    let one = &all[0];
    assert_eq!((&one["id"], &one["name"], &one["phone"]), (&json!(first), &json!("Ann"), &json!("60123456789")));
    assert_eq!(one["unread_count"], 3);
    assert_eq!(texts(&history(&s, first).await), ["without a number", "without the address", "with both"]);
    // Two who have a number each stay two: a number may have been given to somebody else. The address goes along.
    let other = customer(&s, "60123456700").await;
    tell(json!({ "phone": "60123456700", "content": "moved", "whatsapp_id": "4", "identities": address })).await;
    assert_eq!(everybody(&s).await.len(), 2);
    tell(json!({ "content": "by the address", "whatsapp_id": "5", "identities": address })).await;
    assert_eq!(texts(&history(&s, other).await), ["moved", "by the address"]);
}));

on_both!(customers_are_found () |s: Rc<Setup>| Box::pin(async move {
    let make = async |name: &str, phone: &str| {
        let made = s.admin.post("/customers/", &json!({ "name": name, "phone": phone })).await.expect(201);
        made["id"].as_i64().expect("a number")
    };
    let zoe = make("Zoë Ann Lee", "60123456789").await;
    let ann = make("ANN 100% Tan", "8613812345678").await;
    let bob = make("Bob", "14155552671").await;
    for (query, wanted) in [
        ("search=ann", vec![zoe, ann]),
        ("search=ZO%C3%8B", vec![zoe]),
        ("search=zo%C3%AB+ann", vec![zoe]),
        ("search=100%25", vec![ann]),
        ("search=%25", vec![ann]),
        ("search=_", vec![]),
        ("search=%2B60+12-345+6789", vec![zoe]),
        ("search=0123456789", vec![zoe]),
        ("phone=0060123456789", vec![zoe]),
        ("phone=13812345678", vec![ann]),
        ("phone=%28415%29+555-2671", vec![bob]),
        ("phone=2345", vec![zoe, ann]),
        ("phone=60123456780", vec![]),
        ("search=nobody", vec![]),
        ("search=", vec![zoe, ann, bob]),
        ("tag=vip", vec![]),
    ] {
        assert_eq!(found(&s, query).await, wanted, "{query}");
    }
    let ids = json!([zoe.to_string(), bob.to_string()]);
    let tags = json!({ "contactIds": ids, "tags": ["vip"], "operation": "add" });
    s.ended(&accepted(s.admin.post("/batch/tags", &tags).await.expect(202))).await;
    assert_eq!(found(&s, "tag=vip").await, [zoe, bob]);
    assert_eq!(found(&s, "tag=VIP&search=bob").await, [bob]);
    let page = s.admin.get("/customers?tag=vip&limit=1").await;
    let link = page.header("link").expect("there is more").to_owned();
    assert_eq!(link, format!("</customers/?limit=1&after={zoe}&tag=vip>; rel=\"next\""));
    assert_eq!(found(&s, &format!("limit=1&after={zoe}&tag=vip")).await, [bob]);
    for (query, field) in [("phone=Ann", "phone"), ("phone=12", "phone"), ("tag=a%00b", "tag")] {
        let refused = s.admin.get(&format!("/customers?{query}")).await.expect(422);
        assert_eq!(refused["detail"][0]["loc"], json!(["query", field]), "{query}");
    }
    let guest = s.api().client().with_token(s.program.token_for("guest").await);
    let seen = guest.get("/customers?search=zo").await.expect(200);
    assert_eq!(seen[0]["phone"], "+60 123****6789");
}));
