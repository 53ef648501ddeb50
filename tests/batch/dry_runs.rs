//! `dryRun` means one thing wherever it stands: a 200 with what would be done, and nothing written.

use crate::setup::{Setup, accepted, on_both};
use serde_json::{Value, json};
use std::rc::Rc;
use support::Method;

/// How many batches there are.
async fn batches(s: &Setup) -> Value {
    s.admin.get("/batch").await.expect(200)["meta"]["count"].clone()
}

/// What each part of a list of reasons says: the reason, how many, and who.
fn excluded(plan: &Value) -> Vec<(String, i64, Value)> {
    let list = plan["excluded"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    list.iter()
        .map(|one| (text(&one["reason"]), one["count"].as_i64().expect("a number"), one["samples"].clone()))
        .collect()
}

fn millis(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("no time: {time}"));
    domain::Timestamp::parse_rfc3339(text).expect("a time").0
}

fn names(refused: &Value) -> Vec<&str> {
    refused["error"]["details"]
        .as_array()
        .expect("details")
        .iter()
        .map(|bad| bad["field"].as_str().expect("a field"))
        .collect()
}

on_both!(a_send_is_told_beforehand () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(4).await;
    let nameless = json!({ "contacts": [{ "phoneE164": "+60129999999" }] });
    let nameless = accepted(s.admin.post("/batch/import", &nameless).await.expect(202));
    s.ended(&nameless).await;
    let nameless = s.items(&nameless).await[0]["contactId"].clone();
    s.admin.post("/suppressions", &json!({ "phones": ["+60123000003"] })).await.expect(200);
    let before = batches(&s).await;
    let to = [&ids[0], &ids[1], &ids[2], &ids[3], "999999", "nobody", nameless.as_str().expect("an id")];
    let body = json!({ "contactIds": to, "content": "Hello {{ name }}", "ratePerMinute": 60, "jitterMs": 500,
        "scheduleAt": "2099-01-01T00:00:00Z" });
    let mut in_body = body.clone();
    in_body["dryRun"] = json!(true);
    let mut plans = Vec::new();
    for (path, body) in [("/batch/send?dryRun=true", &body), ("/batch/send", &in_body), ("/batch/send?dryRun=true", &in_body)] {
        let request = s.admin.request(Method::POST, path).header("idempotency-key", "one-key").json(body);
        plans.push(s.admin.send(request).await.expect(200)["data"].clone());
    }
    assert!(plans[0] == plans[1] && plans[1] == plans[2], "{plans:?}");
    let plan = &plans[0];
    assert_eq!((&plan["dryRun"], &plan["recipients"]), (&json!(true), &json!(4)), "{plan}");
    assert_eq!(excluded(plan), [
        ("contact_not_found".into(), 2, json!(["999999", "nobody"])),
        ("suppressed".into(), 1, json!([ids[3]])),
    ]);
    assert_eq!(plan["startsAt"], "2099-01-01T00:00:00.000Z");
    assert_eq!(plan["endsAt"], "2099-01-01T00:00:03.000Z", "one a second, the first at once");
    assert_eq!(plan["endsAtLatest"], "2099-01-01T00:00:03.500Z");
    assert_eq!(plan["limitedBy"], "batch");
    assert_eq!(plan["samples"][0], json!({ "contactId": ids[0], "phone": "60123000000", "text": "Hello Contact 0" }));
    assert_eq!(plan["samples"].as_array().map(Vec::len), Some(4));
    assert_eq!(plan["samples"][3]["text"], "Hello ", "whose name is not known");
    assert_eq!(plan["warnings"], json!([]));
    assert_eq!(batches(&s).await, before, "nothing was written");
    // What the send then does is what was told; its key was not used up.
    let mut now = body.clone();
    now.as_object_mut().expect("an object").remove("scheduleAt");
    let request = s.admin.request(Method::POST, "/batch/send").header("idempotency-key", "one-key").json(&now);
    let done = s.ended(&accepted(s.admin.send(request).await.expect(202))).await;
    assert_eq!((&done["successCount"], &done["failedCount"], &done["skippedCount"]), (&json!(4), &json!(2), &json!(1)));
}));

on_both!(who_is_named_by_number_and_by_identifier_counts_once () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(3).await;
    let mut to = vec![json!(ids[1])];
    for id in &ids {
        let contact = s.admin.get(&format!("/contacts/{id}")).await.expect(200)["data"].clone();
        to.push(json!(contact["identifier"].as_str().expect("a text").to_uppercase()));
    }
    to.extend([json!(ids[2]), json!("nobody")]);
    let body = json!({ "contactIds": to, "content": "x" });
    let plan = s.admin.post("/batch/send?dryRun=true", &body).await.expect(200)["data"].clone();
    assert_eq!((&plan["recipients"], &plan["warnings"]), (&json!(3), &json!([])), "{plan}");
    let done = s.ended(&accepted(s.admin.post("/batch/send", &body).await.expect(202))).await;
    assert_eq!((&done["totalCount"], &done["successCount"], &done["failedCount"]), (&json!(4), &json!(3), &json!(1)));
    assert_eq!(s.gateway.sent().len(), 3, "one message each");
    let tags = json!({ "contactIds": to, "tags": ["vip"], "operation": "add" });
    let done = s.ended(&accepted(s.admin.post("/batch/tags", &tags).await.expect(202))).await;
    assert_eq!((&done["totalCount"], &done["successCount"], &done["skippedCount"]), (&json!(4), &json!(3), &json!(0)));
    let plan = s.admin.post("/batch/delete?dryRun=true", &json!({ "contactIds": to })).await.expect(200)["data"].clone();
    assert_eq!((&plan["totalCount"], &plan["changeCount"]), (&json!(4), &json!(3)));
}));

on_both!(a_send_to_an_audience_is_told_too () |s: Rc<Setup>| Box::pin(async move {
    s.contacts(3).await;
    let ask = async |body: Value| s.admin.post("/batch/send?dryRun=true", &body).await;
    let plan = ask(json!({ "audience": { "tagsAny": ["imported"] }, "content": "x" })).await.expect(200);
    assert_eq!((&plan["data"]["recipients"], &plan["data"]["excluded"]), (&json!(3), &json!([])));
    assert_eq!((&plan["data"]["limitedBy"], &plan["data"]["endsAt"]), (&json!("gateway"), &Value::Null));
    let now = domain::Timestamp::parse_rfc3339("2026-01-01T00:00:00Z").expect("a time").0;
    assert!(millis(&plan["data"]["startsAt"]) > now);
    // It is refused where the send would be.
    assert_eq!(names(&ask(json!({ "audience": { "tagsAny": ["none"] }, "content": "x" })).await.expect(400)), ["audience"]);
    assert_eq!(names(&ask(json!({ "audience": { "all": true }, "templateId": "77" })).await.expect(400)), ["templateId"]);
    assert_eq!(names(&ask(json!({ "contactIds": [], "content": "{{ nope" })).await.expect(400)), ["content", "contactIds"]);
    let nobody = ask(json!({ "contactIds": ["999999"], "content": "x" })).await.expect(200);
    assert_eq!((&nobody["data"]["recipients"], &nobody["data"]["warnings"][0]["code"]), (&json!(0), &json!("nobody")));
}));

on_both!(changes_of_tags_and_deletions_are_told_beforehand () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(3).await;
    let before = batches(&s).await;
    let to = [&ids[0], &ids[1], &ids[2], "999999"];
    let tags = async |tags: Value, operation: &str| {
        let body = json!({ "contactIds": to, "tags": tags, "operation": operation, "dryRun": true });
        s.admin.post("/batch/tags", &body).await.expect(200)["data"].clone()
    };
    let counts = |plan: &Value| ["totalCount", "changeCount", "unchangedCount"].map(|name| plan[name].as_i64().expect("a number"));
    let unknown = ("contact_not_found".to_owned(), 1, json!(["999999"]));
    let add = tags(json!(["imported", "vip"]), "add").await;
    assert_eq!((counts(&add), excluded(&add)), ([4, 3, 0], vec![unknown.clone()]));
    assert_eq!(add["samples"][0], json!({ "contactId": ids[0], "phone": "60123000000", "name": "Contact 0",
        "tagsBefore": ["imported"], "tagsAfter": ["imported", "vip"] }));
    assert_eq!(counts(&tags(json!(["imported"]), "add").await), [4, 0, 3]);
    assert_eq!(counts(&tags(json!(["vip"]), "remove").await), [4, 0, 3]);
    assert_eq!(counts(&tags(json!(["imported"]), "remove").await), [4, 3, 0]);
    assert_eq!(counts(&tags(json!(["imported"]), "set").await), [4, 0, 3]);
    assert_eq!(tags(json!(["new"]), "set").await["samples"][0]["tagsAfter"], json!(["new"]));
    let delete = s.admin.post("/batch/delete?dryRun=true", &json!({ "contactIds": to })).await.expect(200)["data"].clone();
    assert_eq!((counts(&delete), excluded(&delete)), ([4, 3, 0], vec![unknown]));
    assert_eq!(delete["samples"][0], json!({ "contactId": ids[0], "phone": "60123000000", "name": "Contact 0" }));
    let delete = s.admin.post("/batch/delete", &json!({ "contactIds": to, "dryRun": true })).await.expect(200);
    assert_eq!(delete["data"]["changeCount"], 3);
    assert_eq!(batches(&s).await, before, "nothing was written");
    let all = json!({ "audience": { "tagsAny": ["imported"] }, "content": "x", "dryRun": true });
    assert_eq!(s.admin.post("/batch/send", &all).await.expect(200)["data"]["recipients"], 3, "all are there, with their tags");
    // False is what it says.
    let done = s.admin.post("/batch/delete?dryRun=false", &json!({ "contactIds": to, "dryRun": false })).await.expect(202);
    assert_eq!(s.ended(&accepted(done)).await["successCount"], 3);
}));

on_both!(an_import_is_told_wherever_it_is_asked () |s: Rc<Setup>| Box::pin(async move {
    let json_body = json!({ "contacts": [{ "phoneE164": "+60123456789" }], "dryRun": true });
    let told = s.admin.post("/batch/import", &json_body).await.expect(200);
    assert_eq!((&told["data"]["dryRun"], &told["data"]["createCount"]), (&json!(true), &json!(1)));
    let form = |fields: &[(&str, &str)]| {
        let mut body = String::new();
        for (name, value) in fields {
            body += &format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        }
        body += "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\nphone\n+60123456789\n\r\n--b--\r\n";
        s.admin.request(Method::POST, "/batch/import").header("content-type", "multipart/form-data; boundary=b").body(body)
    };
    let told = s.admin.send(form(&[("dryRun", "true")])).await.expect(200);
    assert_eq!(told["data"]["createCount"], 1);
    let refused = s.admin.send(form(&[("dryrun", "true"), ("skipDuplicates", "maybe")])).await.expect(400);
    assert_eq!(names(&refused), ["dryrun", "skipDuplicates"]);
    assert_eq!(refused["error"]["details"][0]["message"], "is not known here; did you mean dryRun?");
    assert_eq!(names(&s.admin.send(form(&[("dryRun", "perhaps")])).await.expect(400)), ["dryRun"]);
    assert_eq!(batches(&s).await, 0, "nothing was written");
}));

on_both!(a_dry_run_that_is_said_in_two_ways_is_refused () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(1).await;
    let before = batches(&s).await;
    let send = json!({ "contactIds": ids, "content": "x" });
    let tags = json!({ "contactIds": ids, "tags": ["a"], "operation": "add" });
    let delete = json!({ "contactIds": ids });
    let import = json!({ "contacts": [{ "phoneE164": "+60123456789" }] });
    for (path, body) in [("/batch/send", send), ("/batch/tags", tags), ("/batch/delete", delete), ("/batch/import", import)] {
        let with = |said: Value| {
            let mut body = body.clone();
            body["dryRun"] = said;
            body
        };
        for (query, body) in [
            ("?dryRun=true", with(json!(false))),
            ("?dryRun=false", with(json!(true))),
            ("", with(json!("true"))),
            ("", with(json!(1))),
            ("?dryRun=1", body.clone()),
            ("?dryRun=", body.clone()),
        ] {
            let refused = s.admin.post(&format!("{path}{query}"), &body).await.expect(400);
            assert_eq!(names(&refused), ["dryRun"], "{path}{query} {body}");
        }
        let refused = s.admin.post(&format!("{path}?dryrun=true"), &body).await.expect(400);
        assert_eq!(refused["error"]["details"][0]["message"], "is not known here; did you mean dryRun?");
    }
    assert_eq!(batches(&s).await, before, "nothing was written");
}));
