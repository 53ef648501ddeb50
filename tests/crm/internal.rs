//! What the gateway tells is signed, and told again it changes nothing.

use crate::reports::{Reporter, history};
use crate::setup::on_both;
use crate::setup::{SECRET, Setup};
use gateway::{SIGNATURE_HEADER, Signer, TIMESTAMP_HEADER};
use serde_json::{Value, json};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};
use support::Method;

/// A report signed in the new form for `signed_for`, with the old form beside it or not, sent to `to`.
async fn report(s: &Setup, signed_for: &str, to: &str, old_form: bool) -> u16 {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()).expect("soon");
    let body = json!({ "message_id": "w", "ack": 2, "backend_message_id": "0190a000-0000-7000-8000-000000000001" })
        .to_string();
    let signer = Signer::new(SECRET.as_bytes()).expect("a secret").with_old_form(old_form);
    let signed = gateway::Request { method: "POST", target: signed_for, body: body.as_bytes() };
    let mut request = s.admin.request(Method::POST, to).header("content-type", "application/json");
    for (name, value) in signer.headers(now, &signed) {
        request = request.header(name, value);
    }
    s.api().client().send(request.body(body)).await.status
}

on_both!(what_is_signed_for_one_path_is_nothing_at_another () |s: Rc<Setup>| Box::pin(async move {
    assert_eq!(report(&s, "/messages/ack", "/messages/ack", false).await, 200);
    for (signed_for, to) in [
        ("/messages/map", "/messages/ack"),
        ("/messages/ack?a=2", "/messages/ack"),
        ("/messages/ACK", "/messages/ack"),
    ] {
        assert_eq!(report(&s, signed_for, to, false).await, 401, "{signed_for} at {to}");
        // For one release the old form is enough.
        assert_eq!(report(&s, signed_for, to, true).await, 200, "{signed_for} at {to}");
    }
}));

on_both!(the_old_form_can_be_switched_off (("PACELINE_GATEWAY_OLD_SIGNATURE", "false")) |s: Rc<Setup>| Box::pin(async move {
    assert_eq!(report(&s, "/messages/ack", "/messages/ack", false).await, 200);
    assert_eq!(report(&s, "/messages/ack", "/messages/ack", true).await, 200, "what else is sent is nothing to it");
    assert_eq!(report(&s, "/messages/map", "/messages/ack", true).await, 401, "the old form alone");
    let told = Reporter::of(&s).tell("/messages/ack", &json!({ "message_id": "w", "ack": 2 })).await.expect(401);
    assert!(told.to_string().contains("X-Paceline-Signature-V2"), "{told}");
    // The worker goes on: it signs in the new form.
    let ids = s.contacts(1).await;
    let batch = s.send(&ids, json!({})).await;
    s.ended(&batch).await;
    let attempt = s.gateway.attempts().pop().expect("an attempt");
    assert!(attempt.headers.contains_key("x-paceline-signature-v2") && !attempt.headers.contains_key(SIGNATURE_HEADER));
}));

on_both!(only_the_gateway_may_report () |s: Rc<Setup>| Box::pin(async move {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()).expect("soon");
    let body = json!({ "phone": "60123456789", "content": "Hello", "name": "N", "whatsapp_id": "in1" }).to_string();
    let signed = |secret: &str, at: i64| Signer::new(secret.as_bytes()).expect("a secret").sign(at, body.as_bytes());
    let client = s.api().client();
    let ask = |at: Option<i64>, signature: Option<String>| {
        let mut request = s.admin.request(Method::POST, "/messages/inbox").header("content-type", "application/json");
        if let Some(at) = at {
            request = request.header(TIMESTAMP_HEADER, at);
        }
        if let Some(signature) = signature {
            request = request.header(SIGNATURE_HEADER, signature);
        }
        client.send(request.body(body.clone()))
    };
    for (at, signature) in [
        (None, None),
        (Some(now), None),
        (None, Some(signed(SECRET, now))),
        (Some(now), Some(signed("another", now))),
        (Some(now - 600), Some(signed(SECRET, now - 600))),
        (Some(now + 600), Some(signed(SECRET, now + 600))),
        (Some(now), Some(signed(SECRET, now - 1))),
    ] {
        let refused = ask(at, signature).await.expect(401);
        assert!(refused["detail"].is_string(), "{refused}");
    }
    assert_eq!(s.admin.get("/customers/summary").await.expect(200), json!([]));
    ask(Some(now), Some(signed(SECRET, now))).await.expect(200);
}));

on_both!(what_a_network_writes_too_long_is_cut_and_not_refused () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let body = json!({ "phone": "60123456789", "content": "Hello", "name": "\u{1f600}".repeat(300),
        "whatsapp_id": "w".repeat(300), "message_type": "k".repeat(51),
        "identities": [{ "kind": "b".repeat(51), "value": "v".repeat(300) }] });
    for _ in 0..2 {
        assert_eq!(reporter.tell("/messages/inbox", &body).await.expect(200), json!({ "status": "ok" }));
    }
    // Who has no number that could be called is somebody all the same, and the same one.
    for id in ["in1", "in2"] {
        let body = json!({ "phone": "1234567890123456", "content": "Hi", "whatsapp_id": id });
        assert_eq!(reporter.tell("/messages/inbox", &body).await.expect(200), json!({ "status": "ok" }));
    }
    let summary = s.admin.get("/customers/summary").await.expect(200);
    let customers = summary.as_array().expect("a list");
    assert_eq!(customers.len(), 2, "{summary}");
    let named = customers.iter().find(|one| one["phone"] == json!("60123456789")).expect("the first");
    assert_eq!((&named["name"], &named["unread_count"]), (&json!("\u{1f600}".repeat(200)), &json!(1)));
    let found = history(&s, named["id"].as_i64().expect("a number")).await;
    assert_eq!(found[0]["message_type"], json!("k".repeat(40)));
}));

on_both!(a_message_that_is_told_twice_is_one () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let body = json!({ "phone": "60123456789", "content": "Hello", "name": "MK Gan", "whatsapp_id": "in1",
        "timestamp": "2025-09-23T14:30:00.000Z", "message_type": "image", "media": { "id": "m1" } });
    // Told by many at once, as by a gateway that did not hear the answer.
    let told = futures::future::join_all((0..8).map(|_| reporter.tell("/messages/inbox", &body))).await;
    for answer in told {
        assert_eq!(answer.expect(200), json!({ "status": "ok" }));
    }
    let summary = s.admin.get("/customers/summary").await.expect(200);
    assert_eq!(summary.as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&summary[0]["name"], &summary[0]["unread_count"], &summary[0]["last_timestamp"]),
        (&json!("MK Gan"), &json!(1), &json!("2025-09-23T14:30:00.000Z")),
    );
    let found = history(&s, summary[0]["id"].as_i64().expect("a number")).await;
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["message_type"], &found[0]["media"]), (&json!("image"), &json!({ "id": "m1" })));
}));

on_both!(a_customer_is_not_its_number () |s: Rc<Setup>| Box::pin(async move {
    let reporter = Reporter::of(&s);
    let bsuid = json!([{ "kind": "bsuid", "value": "MY.1234567890" }]);
    let tell = async |body: Value| reporter.tell("/messages/inbox", &body).await.expect(200);
    // Known by number and address, then by the address alone, then with the number again.
    tell(json!({ "phone": "60123456789", "content": "one", "whatsapp_id": "1", "identities": bsuid })).await;
    tell(json!({ "content": "two", "whatsapp_id": "2", "identities": bsuid })).await;
    tell(json!({ "phone": "60123456789", "content": "three", "whatsapp_id": "3" })).await;
    let summary = s.admin.get("/customers/summary").await.expect(200);
    assert_eq!(summary.as_array().map(Vec::len), Some(1), "{summary}");
    let id = summary[0]["id"].as_i64().expect("a number");
    assert_eq!(history(&s, id).await.len(), 3);
    let customer = s.admin.get(&format!("/customers/{id}")).await.expect(200);
    assert_eq!(
        customer["identities"],
        json!([{ "kind": "phone", "value": "60123456789" }, { "kind": "bsuid", "value": "MY.1234567890" }]),
    );
    // Who is known by an address alone is a customer too, and cannot be written to by number.
    tell(json!({ "content": "no number", "whatsapp_id": "4", "identities": [{ "kind": "bsuid", "value": "MY.2" }] })).await;
    let summary = s.admin.get("/customers/summary").await.expect(200);
    assert_eq!((&summary[0]["last_message"], &summary[0]["phone"]), (&json!("no number"), &Value::Null));
    let body = json!({ "customer_id": summary[0]["id"], "content": "Hello" });
    assert_eq!(s.admin.post("/messages/send", &body).await.expect(409)["detail"], "the customer has no phone number");
}));
