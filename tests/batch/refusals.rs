//! Bad input: refused in the envelope, every bad field at once, nothing written.

use crate::setup::{Setup, on_both};
use serde_json::{Value, json};
use std::rc::Rc;

fn fields(refused: &Value) -> Vec<String> {
    let details = refused["error"]["details"].as_array().cloned().unwrap_or_default();
    details.iter().map(|d| d["field"].as_str().expect("a field").to_owned()).collect()
}

on_both!(bad_requests_are_refused_whole () |s: Rc<Setup>| Box::pin(async move {
    let bad = json!({ "contactIds": ["1", 2], "content": "{{ nope }}", "ratePerMinute": 0, "jitterMs": 600_001,
        "scheduleAt": "soon", "onUnknown": "maybe" });
    let refused = s.admin.post("/batch/send", &bad).await.expect(400);
    assert_eq!(refused["ok"], json!(false));
    assert_eq!(refused["error"]["code"], "VALIDATION_ERROR");
    assert_eq!(fields(&refused), ["content", "ratePerMinute", "jitterMs", "scheduleAt", "onUnknown", "contactIds[1]"]);
    for (path, body, expected) in [
        ("/batch/send", json!({}), vec!["content", "contactIds"]),
        ("/batch/send", json!({ "contactIds": [], "content": "" }), vec!["content", "contactIds"]),
        ("/batch/send", json!({ "contactIds": ["1"], "templateId": "77" }), vec!["templateId"]),
        ("/batch/send", json!({ "contactIds": ["1"], "content": "{{ name | nope }}" }), vec!["content"]),
        ("/batch/send", json!({ "audience": {}, "content": "x" }), vec!["audience"]),
        ("/batch/tags", json!({ "contactIds": ["1"], "tags": [], "operation": "swap" }), vec!["tags", "operation"]),
        ("/batch/delete", json!({ "contactIds": "all" }), vec!["contactIds"]),
        ("/batch/import", json!({ "contacts": [{ "phoneE164": 5 }, {}] }), vec!["contacts[0]", "contacts[1]"]),
        ("/templates", json!({ "name": "", "content": "{{ name" }), vec!["name", "content"]),
    ] {
        let refused = s.admin.post(path, &body).await.expect(400);
        assert_eq!(fields(&refused), expected, "{path} {body}");
    }
    let later = json!({ "contactIds": ["1"], "content": "x", "scheduleAt": "2099-01-01T00:00:00Z" });
    let id = crate::setup::accepted(s.admin.post("/batch/send", &later).await.expect(202));
    let refused = s.admin.patch(&format!("/batch/{id}"), &json!({})).await.expect(400);
    assert_eq!(fields(&refused), ["body"]);
    s.admin.post(&format!("/batch/{id}/cancel"), &json!({})).await.expect(200);
    let refused = s.admin.get("/batch?type=NOPE&status=x&limit=201&offset=-1").await.expect(400);
    assert_eq!(fields(&refused), ["type", "status", "limit", "offset"]);
    s.admin.get("/batch/stats?createdAfter=yesterday").await.expect(400);
    for path in ["/batch/99", "/batch/abc", "/batch/99/items", "/batch/1/nope", "/templates/9"] {
        let refused = s.admin.get(path).await.expect(404);
        assert_eq!(refused["error"]["code"], "RESOURCE_NOT_FOUND", "{path}");
    }
    let wrong = s.admin.delete("/batch/send").await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    let raw = async |content_type: &str, body: &'static str| {
        let request = s.admin.request(support::Method::POST, "/batch/send").header("content-type", content_type).body(body);
        s.admin.send(request).await
    };
    raw("application/json", "{\"contactIds\": [\"1\"").await.expect(400);
    raw("application/json", "[]").await.expect(400);
    raw("text/plain", "hello").await.expect(415);
    assert_eq!(s.admin.get("/batch").await.expect(200)["meta"]["count"], 1, "nothing else was written");
}));

on_both!(who_may_not_is_told_so () |s: Rc<Setup>| Box::pin(async move {
    let nobody = s.api().client();
    let refused = nobody.get("/batch").await;
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    assert_eq!(refused.expect(401)["error"]["code"], "AUTH_REQUIRED");
    nobody.with_token("a.b.c").get("/batch").await.expect(401);
    let agent = nobody.with_token(s.program.token_for("agent").await);
    agent.get("/batch").await.expect(200);
    let refused = agent.post("/batch/send", &json!({ "contactIds": ["1"], "content": "x" })).await.expect(403);
    assert_eq!(refused["error"]["code"], "PERMISSION_DENIED");
    let supervisor = nobody.with_token(s.program.token_for("supervisor").await);
    supervisor.post("/batch/delete", &json!({ "contactIds": ["1"] })).await.expect(403);
    let guest = nobody.with_token(s.program.token_for("guest").await);
    guest.get("/batch").await.expect(403);
}));

on_both!(requests_are_limited_over_the_minute (("PACELINE_LIMIT_BATCH_PER_MIN", "2"), ("PACELINE_LIMIT_LOGIN_PER_MIN", "3")) |s: Rc<Setup>| Box::pin(async move {
    let body = json!({ "contactIds": ["1"], "content": "x" });
    let first = s.admin.post("/batch/send", &body).await;
    assert_eq!((first.header("ratelimit-limit"), first.header("ratelimit-remaining")), (Some("2"), Some("1")));
    s.admin.post("/batch/send", &body).await.expect(202);
    let refused = s.admin.post("/batch/send", &body).await;
    assert!(refused.header("retry-after").and_then(|s| s.parse::<u64>().ok()).is_some_and(|s| (1..=60).contains(&s)));
    assert_eq!(refused.expect(429)["error"]["code"], "RATE_LIMIT_EXCEEDED");
    let login = json!({ "email": "nobody@example.org", "password": "wrong password" });
    let anyone = s.api().client();
    for _ in 0..3 {
        anyone.post("/api/v1/auth/login", &login).await.expect(401);
    }
    let refused = anyone.post("/api/v1/auth/login", &login).await.expect(429);
    assert_eq!(refused["success"], json!(false));
    assert!(refused["request_id"].is_string());
}));

on_both!(sessions_end (("PACELINE_LIMIT_LOGIN_PER_MIN", "0")) |s: Rc<Setup>| Box::pin(async move {
    let user = s.program.user("supervisor").await;
    let anyone = s.api().client();
    let login = json!({ "email": user.email.to_uppercase(), "password": user.password });
    let data = anyone.post("/api/v1/auth/login", &login).await.expect(200)["data"].clone();
    assert_eq!(data["user"]["role"], "supervisor");
    let (token, refresh) = (data["token"].as_str().expect("token"), data["refresh_token"].clone());
    let client = anyone.with_token(token);
    client.get("/batch").await.expect(200);
    let next = anyone.post("/api/v1/auth/refresh", &json!({ "refresh_token": refresh })).await.expect(200);
    anyone.with_token(next["data"]["token"].as_str().expect("token")).get("/batch").await.expect(200);
    // A token that is used twice ends the session of whoever has it.
    anyone.post("/api/v1/auth/refresh", &json!({ "refresh_token": refresh })).await.expect(401);
    anyone.post("/api/v1/auth/refresh", &json!({ "refresh_token": next["data"]["refresh_token"] })).await.expect(401);
    support::eventually("the session's end to be known", crate::setup::PATIENCE, async || {
        let status = client.get("/batch").await.status;
        if status == 401 { Ok(()) } else { Err(format!("answers {status}")) }
    }).await;
    let data = anyone.post("/api/v1/auth/login", &login).await.expect(200)["data"].clone();
    let client = anyone.with_token(data["token"].as_str().expect("token"));
    client.post("/api/v1/auth/logout", &json!({})).await.expect(200);
    client.get("/batch").await.expect(401);
}));

on_both!(templates_are_kept_and_sent () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(1).await;
    let body = json!({ "name": "hello", "content": "Hi {{ name }} from {{ attributes.shop | default('us') }}" });
    let made = s.admin.post("/templates", &body).await.expect(201);
    let id = made["data"]["id"].as_str().expect("id").to_owned();
    s.admin.post("/templates", &body).await.expect(409);
    let preview = s.admin.post(&format!("/templates/{id}/preview"), &json!({ "name": "Ann" })).await.expect(200);
    assert_eq!(preview["data"]["message"], "Hi Ann from us");
    let batch = s.send(&ids, json!({ "templateId": id, "content": null })).await;
    s.ended(&batch).await;
    assert_eq!(s.gateway.sent()[0].text, "Hi Contact 0 from us");
    let refused = s.admin.put(&format!("/templates/{id}"), &json!({ "name": "hello", "content": "a\n{{ x }}" })).await.expect(400);
    assert!(refused["error"]["message"].as_str().is_some_and(|m| m.contains("line 2, column 4")), "{refused}");
    s.admin.delete(&format!("/templates/{id}")).await.expect(200);
    s.admin.get(&format!("/templates/{id}")).await.expect(404);
}));
