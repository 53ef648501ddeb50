//! What is refused, and how.

use crate::setup::Setup;
use crate::setup::on_both;
use serde_json::{Value, json};
use std::rc::Rc;
use support::Method;

fn places(refused: &Value) -> Vec<String> {
    let issues = refused["detail"].as_array().unwrap_or_else(|| panic!("no list: {refused}"));
    issues
        .iter()
        .map(|issue| {
            assert!(issue["msg"].is_string() && issue["type"].is_string(), "{issue}");
            let loc = issue["loc"].as_array().expect("a list");
            loc.iter().map(|part| part.as_str().expect("a word")).collect::<Vec<_>>().join(".")
        })
        .collect()
}

on_both!(refusals_name_every_field_in_the_contracts_form () |s: Rc<Setup>| Box::pin(async move {
    let bad = s.admin.post("/customers/", &json!({ "phone": "x", "status": "" })).await.expect(422);
    assert_eq!(places(&bad), ["body.name", "body.phone", "body.status"]);
    let bad = s.admin.post("/messages/send", &json!({ "customer_id": "7", "content": "" })).await.expect(422);
    assert_eq!(places(&bad), ["body.customer_id", "body.content"]);
    let bad = s.admin.get("/customers/summary?limit=0&after=x").await.expect(422);
    assert_eq!(places(&bad), ["query.limit", "query.after"]);
    assert_eq!(places(&s.admin.get("/messages/abc").await.expect(422)), ["path.customer_id"]);
    let raw = s.admin.request(Method::POST, "/messages/send").header("content-type", "application/json").body("{");
    assert_eq!(places(&s.admin.send(raw).await.expect(422)), ["body"]);
    for (path, status, method) in [
        ("/messages/999999", 404, Method::GET),
        ("/customers/nobody/else", 404, Method::GET),
        ("/customers/summary", 405, Method::DELETE),
        ("/messages/send", 405, Method::PUT),
    ] {
        let answer = s.admin.send(s.admin.request(method, path)).await;
        if status == 405 {
            assert!(answer.header("allow").is_some(), "{path}");
        }
        assert!(answer.expect(status)["detail"].is_string(), "{path}");
    }
    let form = s.admin.request(Method::POST, "/customers/").header("content-type", "text/plain").body("x");
    assert!(s.admin.send(form).await.expect(415)["detail"].is_string());
    let long = json!({ "customer_id": 1, "content": "x".repeat(70_000) });
    assert!(s.admin.post("/messages/send", &long).await.expect(413)["detail"].is_string());
    let anyone = s.api().client();
    for path in ["/customers/", "/customers/summary", "/messages/1", "/messages/events/stream"] {
        assert!(anyone.get(path).await.expect(401)["detail"].is_string(), "{path}");
    }
    let guest = anyone.with_token(s.program.token_for("guest").await);
    assert!(guest.post("/messages/send", &json!({ "customer_id": 1, "content": "x" })).await.expect(403)["detail"].is_string());
    crate::reports::customer(&s, "60123456789").await;
    assert_eq!(guest.get("/customers/summary").await.expect(200)[0]["phone"], "+60 123****6789");
    s.admin.post("/suppressions", &json!({ "phones": ["60123456789"] })).await.expect(200);
    assert_eq!(guest.get("/suppressions").await.expect(200)["data"][0]["phone"], "+60 123****6789");
}));

on_both!(numbers_are_told_to_people_and_to_prometheus () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(3).await;
    let batch = s.send(&ids, json!({})).await;
    s.ended(&batch).await;
    crate::reports::Reporter::of(&s).inbox("60123000000", "hi", "in1").await;
    let anyone = s.api().client();
    let numbers = anyone.get("/metrics").await.expect(200);
    assert_eq!(
        (&numbers["messages_sent_total"], &numbers["messages_received_total"], &numbers["active_customers"]),
        (&json!(3), &json!(1), &json!(3)),
    );
    assert!(numbers["uptime_seconds"].is_u64() && numbers["average_response_time_ms"].is_f64(), "{numbers}");
    for accept in ["application/json, text/plain, */*", "text/plain;q=0, */*", "text/plain;q=0.4, application/json;q=0.5"] {
        let answer = anyone.send(anyone.request(Method::GET, "/metrics").header("accept", accept)).await;
        assert_eq!(answer.header("vary").map(|vary| vary.contains("Accept")), Some(true), "{accept}");
        assert!(answer.expect(200)["uptime_seconds"].is_u64(), "{accept}");
    }
    let neither = anyone.send(anyone.request(Method::GET, "/metrics").header("accept", "image/png, */*;q=0")).await;
    assert!(neither.expect(406)["detail"].is_string());
    for accept in ["text/plain", "application/json;q=0, */*", "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"] {
        let answer = anyone.send(anyone.request(Method::GET, "/metrics").header("accept", accept)).await;
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
        assert!(answer.text.contains("paceline_http_seconds"), "{accept}");
    }
}));

on_both!(pages_of_listed_origins_may_read () |s: Rc<Setup>| Box::pin(async move {
    for (origin, may) in [("http://localhost:3000", true), ("http://127.0.0.1:3000", true), ("http://evil.example", false)] {
        let ask = |method, path| s.admin.request(method, path).header("origin", origin);
        let answer = s.admin.send(ask(Method::GET, "/customers/summary")).await;
        assert_eq!(answer.header("access-control-allow-origin"), may.then_some(origin));
        answer.expect(200);
        let preflight = ask(Method::OPTIONS, "/messages/send")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization");
        let answer = s.api().client().send(preflight).await;
        // Anybody is told the methods; only a listed origin is told that its pages may use them.
        assert_eq!(answer.header("access-control-allow-origin"), may.then_some(origin));
        assert_eq!(answer.header("access-control-allow-methods").is_some(), may, "{origin}");
    }
}));

on_both!(an_open_crm_takes_anybody (("PACELINE_CRM_OPEN", "true")) |s: Rc<Setup>| Box::pin(async move {
    let anyone = s.api().client();
    let made = anyone.post("/customers/", &json!({ "name": "A", "phone": "60123456789" })).await.expect(201);
    anyone.post("/messages/send", &json!({ "customer_id": made["id"], "content": "Hello" })).await.expect(200);
    s.gateway.wait_for(1).await;
    // The gateway's paths stay closed, and so do the other surfaces; a bad token is no token.
    anyone.post("/messages/inbox", &json!({ "phone": "60123456789", "content": "x", "name": "n" })).await.expect(401);
    anyone.get("/batch").await.expect(401);
    anyone.with_token("nonsense").get("/customers/").await.expect(401);
}));

#[tokio::test]
async fn an_open_crm_is_not_shown_to_the_network() {
    let program = support::Program::new(env!("CARGO_BIN_EXE_paceline")).env("PACELINE_CRM_OPEN", "true");
    let output = program.output(&["serve", "--listen", "0.0.0.0:0"], "").await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("crm_open"), "{output:?}");
}
