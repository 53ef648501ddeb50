//! Sends: what leaves, how often, under which id.

use crate::setup::{Setup, accepted, on_both, text};
use serde_json::json;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::{Duration, Instant};
use support::Reply;

on_both!(every_contact_gets_one_message () |s: Rc<Setup>| Box::pin(async move {
    let mut ids = s.contacts(1_200).await;
    ids.extend(["999999".to_owned(), "nobody".to_owned(), ids[0].clone()]);
    let batch = s.send(&ids, json!({})).await;
    let done = s.ended(&batch).await;
    assert_eq!(
        (&done["status"], &done["totalCount"], &done["successCount"], &done["failedCount"], &done["progress"]),
        (&json!("COMPLETED"), &json!(1_202), &json!(1_200), &json!(2), &json!(100)),
    );
    let sent = s.gateway.sent();
    assert_eq!(sent.len(), 1_200);
    assert_eq!(sent.iter().map(|a| &a.to).collect::<HashSet<_>>().len(), 1_200);
    assert!(sent.iter().all(|a| a.text.starts_with("Hello Contact ")));
    let items = s.items(&batch).await;
    assert_eq!(items.iter().map(|i| i["seq"].as_i64()).collect::<Vec<_>>(), (0..1_202).map(Some).collect::<Vec<_>>());
    let failed: Vec<_> = items.iter().filter(|i| i["status"] == "failed").map(|i| &i["errorCode"]).collect();
    assert_eq!(failed, [&json!("contact_not_found"), &json!("contact_not_found")]);
    s.audited().await;
}));

on_both!(what_may_pass_is_tried_again_under_the_same_id () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(4).await;
    s.gateway.script(|attempt| match (attempt.to.as_str(), attempt.number) {
        // Refused for good; fails twice; its answer is lost; told to wait.
        ("60123000000", _) => Reply::status(404),
        ("60123000001", 1 | 2) => Reply::status(500),
        ("60123000002", 1) => Reply::close().taking_effect(),
        ("60123000003", 1) => Reply::status(429).retry_after(1),
        _ => Reply::accept(),
    });
    let batch = s.send(&ids, json!({})).await;
    let done = s.ended(&batch).await;
    assert_eq!((&done["successCount"], &done["failedCount"]), (&json!(3), &json!(1)));
    let items = s.items(&batch).await;
    let row = |i: usize| (text(&items[i]["status"]), items[i]["attempts"].as_i64());
    assert_eq!(row(0), ("failed".into(), Some(1)));
    assert_eq!(row(1), ("succeeded".into(), Some(3)));
    assert_eq!(row(2), ("succeeded".into(), Some(2)));
    assert_eq!(row(3), ("succeeded".into(), Some(1)), "a 429 uses up no attempt");
    assert_eq!(items[0]["errorCode"], "gateway_404");
    for item in &items[1..] {
        assert_eq!(s.gateway.sent_of(&text(&item["messageId"])), 1);
    }
    s.audited().await;
}));

on_both!(an_unknown_outcome_is_held_when_asked () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(2).await;
    s.gateway.next([Reply::close().taking_effect()]);
    let batch = s.send(&ids, json!({ "onUnknown": "hold", "ratePerMinute": 600 })).await;
    let done = s.ended(&batch).await;
    assert_eq!((&done["successCount"], &done["failedCount"]), (&json!(1), &json!(1)));
    let unknown: Vec<_> = s.items(&batch).await.into_iter().filter(|i| i["status"] == "unknown").collect();
    assert_eq!(unknown.len(), 1);
    assert_eq!(s.gateway.attempts_of(&text(&unknown[0]["messageId"])), 1);
    // A person decides to try it again: the same id, so the gateway sends nothing twice.
    s.admin.post(&format!("/batch/{batch}/retry"), &json!({})).await.expect(200);
    let done = s.ended(&batch).await;
    assert_eq!((&done["status"], &done["successCount"]), (&json!("COMPLETED"), &json!(2)));
    assert_eq!(s.gateway.sent_of(&text(&unknown[0]["messageId"])), 1);
    s.audited().await;
}));

on_both!(a_pace_is_never_passed () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(25).await;
    let posted = Instant::now();
    let batch = s.send(&ids, json!({ "ratePerMinute": 600 })).await;
    s.ended(&batch).await;
    let mut at: Vec<_> = s.gateway.sent().iter().map(|a| a.at).collect();
    at.sort();
    assert_eq!(at.len(), 25);
    let slots = |n: usize| Duration::from_millis(100) * u32::try_from(n).expect("few");
    for (i, from) in at.iter().enumerate() {
        assert!(*from >= posted + slots(i), "message {i} came {:?} after the request", *from - posted);
        // Nothing is caught up: a late message may come close to the next, but never do three come at once.
        for (j, to) in at.iter().enumerate().skip(i + 1) {
            assert!(*to - *from + slots(2) >= slots(j - i), "messages {i} to {j} took {:?}", *to - *from);
        }
    }
}));

on_both!(a_schedule_waits_and_can_be_moved () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(3).await;
    let batch = s.send(&ids, json!({ "scheduleAt": "2099-01-01T00:00:00Z" })).await;
    assert_eq!(s.get(&batch).await["status"], "PENDING");
    let preview = s.admin.get(&format!("/batch/{batch}/preview?n=2")).await.expect(200);
    assert_eq!(preview["data"][1]["message"], "Hello Contact 1");
    let items = s.items(&batch).await;
    assert_eq!(items.iter().filter(|i| i["status"] == "pending").count(), 3);
    assert_eq!(s.gateway.attempts().len(), 0);
    let soon = json!({ "scheduleAt": "2020-01-01T00:00:00Z" });
    s.admin.patch(&format!("/batch/{batch}"), &soon).await.expect(400);
    let listed = s.get(&batch).await;
    let created = text(&listed["createdAt"]);
    s.admin.patch(&format!("/batch/{batch}"), &json!({ "scheduleAt": created })).await.expect(200);
    let done = s.ended(&batch).await;
    assert_eq!(done["successCount"], json!(3));
    s.admin.patch(&format!("/batch/{batch}"), &json!({ "ratePerMinute": 5 })).await.expect(409);
}));

on_both!(an_audience_is_chosen_by_tags () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(20).await;
    let tags = json!({ "contactIds": &ids[..8], "tags": ["vip", "new"], "operation": "add" });
    s.ended(&accepted(s.admin.post("/batch/tags", &tags).await.expect(202))).await;
    let tags = json!({ "contactIds": &ids[..3], "tags": ["new"], "operation": "remove" });
    s.ended(&accepted(s.admin.post("/batch/tags", &tags).await.expect(202))).await;
    let audience = json!({ "audience": { "tagsAll": ["imported", "vip"], "tagsNone": ["new"] }, "content": "x" });
    let batch = accepted(s.admin.post("/batch/send", &audience).await.expect(202));
    let done = s.ended(&batch).await;
    assert_eq!((&done["totalCount"], &done["successCount"]), (&json!(3), &json!(3)));
    let nobody = json!({ "audience": { "tagsAny": ["no such tag"] }, "content": "x" });
    s.admin.post("/batch/send", &nobody).await.expect(400);
    let delete = json!({ "contactIds": [&ids[0], &ids[1], "424242"] });
    let done = s.ended(&accepted(s.admin.post("/batch/delete", &delete).await.expect(202))).await;
    assert_eq!((&done["successCount"], &done["failedCount"]), (&json!(2), &json!(1)));
    let done = s.ended(&s.send(&ids[..2], json!({})).await).await;
    assert_eq!((&done["status"], &done["failedCount"]), (&json!("FAILED"), &json!(2)), "deleted contacts get nothing");
    s.audited().await;
}));
