//! Large sends that wait for a second person.

use crate::setup::{Setup, accepted, on_both};
use serde_json::json;
use std::rc::Rc;

on_both!(a_large_send_waits_for_a_second_person (("PACELINE_APPROVAL_ABOVE", "2")) |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(3).await;
    let other = s.api().client().with_token(s.program.token_for("supervisor").await);
    let agent = s.api().client().with_token(s.program.token_for("agent").await);
    let small = s.send(&ids[..2], json!({})).await;
    assert_eq!(s.ended(&small).await["successCount"], 2);
    s.admin.get(&format!("/batch/{small}/approval")).await.expect(404);
    other.post(&format!("/batch/{small}/approve"), &json!({})).await.expect(409);

    let plan = json!({ "contactIds": ids, "content": "Hello", "dryRun": true });
    let plan = s.admin.post("/batch/send", &plan).await.expect(200);
    assert!(plan["data"]["warnings"].as_array().expect("a list").iter().any(|w| w["code"] == "approval"), "{plan}");
    // A list, and an audience whose recipients are found while it waits.
    let listed = s.send(&ids, json!({})).await;
    let audience = json!({ "audience": { "tagsAny": ["imported"] }, "content": "Hello" });
    let audience = accepted(s.admin.post("/batch/send", &audience).await.expect(202));
    for batch in [&listed, &audience] {
        let found = s.wait(batch, "its recipients", |_| true).await;
        assert_eq!((&found["status"], &found["paused"], &found["approval"]), (&json!("PENDING"), &json!(true), &json!("pending")));
        assert_eq!(found["holds"][0]["code"], "approval", "{found}");
        let path = |act: &str| format!("/batch/{batch}/{act}");
        s.admin.post(&path("resume"), &json!({})).await.expect(409);
        s.admin.post(&path("pause"), &json!({})).await.expect(409);
        s.admin.post(&path("approve"), &json!({})).await.expect(403);
        s.admin.post(&path("refuse"), &json!({ "reason": "own" })).await.expect(403);
        agent.post(&path("approve"), &json!({})).await.expect(403);
        other.post(&path("refuse"), &json!({})).await.expect(400);
        other.post(&path("refuse"), &json!({ "reason": "x".repeat(201) })).await.expect(400);
    }
    let waiting = s.admin.get("/batch?approval=pending").await.expect(200);
    assert_eq!(waiting["meta"]["count"], 2, "{waiting}");
    s.admin.get("/batch?approval=nobody").await.expect(400);
    support::eventually("the audience to be its recipients", crate::setup::PATIENCE, async || {
        let found = s.admin.get(&format!("/batch/{audience}/items")).await.expect(200);
        if found["data"].as_array().is_some_and(|rows| rows.len() == 3) { Ok(()) } else { Err(found.to_string()) }
    }).await;
    let why = s.admin.get(&format!("/batch/{listed}/items/0")).await.expect(200);
    assert_eq!(why["data"]["waits"][0]["code"], "approval", "{why}");
    // One more matches by now: what is approved is what was asked for.
    let late = json!({ "contacts": [{ "phoneE164": "+60129999999" }], "tags": ["imported"] });
    s.ended(&accepted(s.admin.post("/batch/import", &late).await.expect(202))).await;
    assert_eq!(s.gateway.sent_count(), 2, "nothing leaves before");

    other.post(&format!("/batch/{listed}/refuse"), &json!({ "reason": "not today" })).await.expect(200);
    let refused = s.get(&listed).await;
    assert_eq!((&refused["status"], &refused["approval"]), (&json!("CANCELLED"), &json!("refused")));
    let told = s.admin.get(&format!("/batch/{listed}/approval")).await.expect(200);
    assert_eq!((&told["data"]["state"], &told["data"]["reason"]), (&json!("refused"), &json!("not today")), "{told}");
    other.post(&format!("/batch/{listed}/approve"), &json!({})).await.expect(409);
    // What a refused one left may be asked for again, and waits again.
    let rest = accepted(s.admin.post("/batch/send", &json!({ "remainderOf": listed })).await.expect(202));
    assert_eq!(s.get(&rest).await["approval"], "pending");

    let approved = other.post(&format!("/batch/{audience}/approve"), &json!({})).await.expect(200);
    assert_eq!(approved["data"]["approval"], "approved", "{approved}");
    let done = s.ended(&audience).await;
    assert_eq!((&done["successCount"], &done["totalCount"]), (&json!(3), &json!(3)));
    assert_eq!(s.gateway.sent_count(), 5);
    for action in ["batch:approve", "batch:refuse"] {
        let told = s.admin.get(&format!("/api/v1/audit-logs?action={action}")).await.expect(200);
        assert_eq!(told["data"]["meta"]["total_count"], 1, "{told}");
    }
    s.audited().await;
}));

on_both!(an_approved_send_keeps_its_time (("PACELINE_APPROVAL_ABOVE", "1")) |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(2).await;
    let other = s.api().client().with_token(s.program.token_for("supervisor").await);
    let later = s.send(&ids, json!({ "scheduleAt": "2099-01-01T09:00:00Z" })).await;
    other.post(&format!("/batch/{later}/approve"), &json!({ "reason": "as agreed" })).await.expect(200);
    let found = s.get(&later).await;
    assert_eq!((&found["status"], &found["paused"]), (&json!("PENDING"), &json!(false)), "{found}");
    assert!(s.gateway.sent().is_empty());
    // One whose creator cancels it waits for nobody.
    let given_up = s.send(&ids, json!({})).await;
    s.admin.post(&format!("/batch/{given_up}/cancel"), &json!({})).await.expect(200);
    other.post(&format!("/batch/{given_up}/approve"), &json!({})).await.expect(409);
    assert_eq!(s.admin.get("/batch?approval=pending").await.expect(200)["meta"]["count"], 0);
    s.audited().await;
}));
