//! `/queue`: jobs found and steered, workers, and who uses a sender.

use crate::setup::{PATIENCE, Setup, on_both, text};
use serde_json::{Value, json};
use std::rc::Rc;
use support::{Method, Reply, eventually};

fn ids(jobs: &[Value]) -> Vec<String> {
    jobs.iter().map(|job| text(&job["id"])).collect()
}

fn kinds(job: &Value) -> Vec<String> {
    job["events"].as_array().expect("a list").iter().map(|event| text(&event["what"])).collect()
}

on_both!(a_dead_job_is_found_by_its_error_and_tried_again () |s: Rc<Setup>| Box::pin(async move {
    let customers = s.contacts(3).await;
    s.stop_sender(true).await;
    let down = s.dead_message(&customers[0], "first", "100% DOWN_now: it's <b>gone</b>").await;
    let other = s.dead_message(&customers[1], "second", "1000 DOWNxnow").await;
    s.stop_sender(false).await;
    assert_eq!(ids(&s.jobs("state=dead").await), [other.clone(), down.clone()], "the newest first");
    assert_eq!(ids(&s.jobs("state=dead&error=100%25+down_").await), [down.as_str()], "its signs are no wildcards");
    assert_eq!(ids(&s.jobs("error=down&kind=deliver&lane=critical&state=dead").await).len(), 2);
    for none in ["state=dead&lane=bulk", "state=dead&kind=expand", "state=dead&error=nothing", "state=parked"] {
        assert_eq!(s.jobs(none).await, Vec::<Value>::new(), "{none}");
    }
    // Page by page: every job once, whatever the filter.
    for filter in ["", "&lane=critical", "&state=dead", "&state=done"] {
        let whole = ids(&s.jobs(&format!("limit=200{filter}")).await);
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = s.admin.get(&format!("/queue/jobs?limit=1{filter}&cursor={cursor}")).await.expect(200);
            found.extend(ids(page["data"].as_array().expect("a list")));
            let Some(next) = page["meta"]["nextCursor"].as_str() else { break };
            cursor = next.to_owned();
        }
        assert_eq!(found, whole, "{filter}");
    }
    let lanes = s.admin.get("/queue/lanes").await.expect(200);
    assert_eq!((&lanes["data"][0]["lane"], &lanes["data"][0]["dead"]), (&json!("critical"), &json!(2)), "{lanes}");

    let before = s.job(&down).await;
    assert_eq!((&before["acts"]["retry"], &before["acts"]["run"]), (&Value::Null, &json!("dead")), "{before}");
    let retried = s.admin.post(&format!("/queue/jobs/{down}/retry"), &json!({})).await.expect(200);
    assert_eq!(retried["data"]["failures"], json!(0), "{retried}");
    let done = s.job_is(&down, "done").await;
    assert!(kinds(&done).contains(&"retried".to_owned()), "{done}");
    assert!(done["events"].as_array().expect("a list").iter().any(|event| event["userId"].is_string()));
    s.gateway.wait_for(1).await;
    assert!(s.gateway.sent().iter().any(|sent| sent.text == "first"));
    // One that is over is not retried; one that was seen to asks for nobody any more.
    let again = s.admin.post(&format!("/queue/jobs/{down}/retry"), &json!({})).await.expect(409);
    assert_eq!(again["error"]["code"], "CONFLICT");
    s.admin.post(&format!("/queue/jobs/{other}/cancel"), &json!({})).await.expect(200);
    assert_eq!(s.jobs("state=dead").await, Vec::<Value>::new());
    assert!(s.gateway.sent().iter().all(|sent| sent.text != "second"));
    s.audited().await;
}));

on_both!(a_job_that_waits_is_moved_run_and_taken_away () |s: Rc<Setup>| Box::pin(async move {
    let customers = s.contacts(2).await;
    s.stop_sender(true).await;
    let moved = s.held_message(&customers[0], "moved").await;
    let taken = s.held_message(&customers[1], "taken").await;
    let at = "2099-01-01T09:00:00.000Z";
    let patched = s.admin.patch(&format!("/queue/jobs/{moved}"), &json!({ "runAt": at })).await.expect(200);
    assert_eq!(patched["data"]["runAt"], at, "{patched}");
    let cancelled = s.admin.post(&format!("/queue/jobs/{taken}/cancel"), &json!({})).await.expect(200);
    assert_eq!((&cancelled["data"]["state"], &cancelled["data"]["acts"]["cancel"]), (&json!("cancelled"), &json!("over")));
    let history = s.admin.get(&format!("/messages/{}", customers[1])).await.expect(200);
    assert!(history.to_string().contains("\"failed\""), "{history}");
    s.stop_sender(false).await;
    // What it waits for is over, but somebody moved it.
    s.admin.post(&format!("/queue/jobs/{moved}/run"), &json!({})).await.expect(200);
    s.job_is(&moved, "done").await;
    s.gateway.wait_for(1).await;
    assert_eq!(s.gateway.sent().iter().map(|sent| sent.text.as_str()).collect::<Vec<_>>(), ["moved"]);
    s.audited().await;
}));

on_both!(a_batchs_job_is_steered_with_its_batch () |s: Rc<Setup>| Box::pin(async move {
    let contacts = s.contacts(3).await;
    let batch = s.send(&contacts, json!({ "scheduleAt": "2099-01-01T09:00:00Z" })).await;
    let start = s.jobs(&format!("batchId={batch}")).await;
    let start = text(&start[0]["id"]);
    for act in ["run", "cancel"] {
        let told = s.admin.post(&format!("/queue/jobs/{start}/{act}"), &json!({})).await.expect(409);
        assert!(text(&told["error"]["message"]).contains(&format!("(batch {batch})")), "{told}");
    }
    s.admin.patch(&format!("/queue/jobs/{start}"), &json!({ "runAt": "2099-01-02T00:00:00Z" })).await.expect(409);
    assert_eq!(s.job(&start).await["acts"], json!({ "retry": "not_dead", "cancel": "of_batch", "run": "of_batch", "runAt": "of_batch" }));
    let slow = s.send(&contacts, json!({ "ratePerMinute": 1 })).await;
    eventually("its use of the sender", PATIENCE, async || {
        let found = s.admin.get("/queue/senders/default").await.expect(200);
        let user = found["data"]["users"][0].clone();
        let fine = user["batchId"] == json!(slow) && user["left"] == json!(2) && user["limitedBy"] == "batch" && user["nextAt"].is_string();
        if fine { Ok(()) } else { Err(found.to_string()) }
    }).await;
    s.admin.post("/queue/senders/nobody/pause", &json!({})).await.expect(404);
    s.stop_sender(true).await;
    let stopped = s.admin.get("/queue/senders/default").await.expect(200);
    assert_eq!((&stopped["data"]["state"], &stopped["data"]["users"][0]["limitedBy"]), (&json!("paused"), &json!("sender")));
    let listed = s.admin.get("/senders").await.expect(200);
    assert_eq!((&listed["data"][0]["portfolio"], &listed["data"][0]["window"]), (&Value::Null, &json!(false)), "{listed}");
    s.stop_sender(false).await;
    s.admin.post(&format!("/batch/{slow}/cancel"), &json!({})).await.expect(200);
    s.audited().await;
}));

on_both!(what_went_wrong_with_a_job_is_kept () |s: Rc<Setup>| Box::pin(async move {
    let customers = s.contacts(1).await;
    s.gateway.script(|attempt| if attempt.number == 1 { Reply::status(500) } else { Reply::accept() });
    let body = json!({ "customer_id": customers[0].parse::<i64>().expect("a number"), "content": "Hi" });
    s.admin.post("/messages/send", &body).await.expect(200);
    s.gateway.wait_for(1).await;
    let job = text(&s.jobs("kind=deliver").await[0]["id"]);
    let done = s.job_is(&job, "done").await;
    assert!(done["attempts"].as_i64().is_some_and(|attempts| attempts >= 2), "{done}");
    assert_eq!(kinds(&done)[0], "postponed", "{done}");
    let event = &done["events"][0];
    assert!(event["worker"].as_str().is_some_and(|worker| worker.starts_with("worker-")), "{done}");
    assert!(event["againAt"].is_string() && event["detail"].is_string() && event["attempt"] == json!(1), "{done}");
    let workers = s.admin.get("/queue/workers").await.expect(200);
    let worker = &workers["data"][0];
    assert!(worker["version"].is_string() && worker["seenAt"].is_string(), "{workers}");
    assert_eq!(workers["meta"]["count"], json!(1));
}));

on_both!(what_is_wrong_with_a_question_is_named () |s: Rc<Setup>| Box::pin(async move {
    for (query, field) in [
        ("state=asleep", "state"),
        ("lane=slow", "lane"),
        ("kind=nothing", "kind"),
        ("batchId=x", "batchId"),
        ("limit=0", "limit"),
        ("cursor=7", "cursor"),
        ("stat=dead", "stat"),
    ] {
        let told = s.admin.get(&format!("/queue/jobs?{query}")).await.expect(400);
        assert_eq!(told["error"]["details"][0]["field"], field, "{told}");
    }
    let long = "x".repeat(201);
    s.admin.get(&format!("/queue/jobs?error={long}")).await.expect(400);
    for body in [json!({}), json!({ "runAt": "tomorrow" }), json!({ "runat": "2099-01-01T00:00:00Z" })] {
        s.admin.patch("/queue/jobs/1", &body).await.expect(400);
    }
    s.admin.get("/queue/jobs/999999").await.expect(404);
    let supervisor = s.admin.with_token(s.program.token_for("supervisor").await);
    supervisor.get("/queue/jobs").await.expect(200);
    let agent = s.admin.with_token(s.program.token_for("agent").await);
    agent.get("/queue/jobs").await.expect(403);
    agent.post("/queue/jobs/1/retry", &json!({})).await.expect(403);
}));

on_both!(all_jobs_that_match_are_acted_on_and_no_others () |s: Rc<Setup>| Box::pin(async move {
    let customers = s.contacts(5).await;
    s.stop_sender(true).await;
    let mut dead = Vec::new();
    for (at, error) in ["gateway down", "gateway down", "another", "gateway down"].into_iter().enumerate() {
        dead.push(s.dead_message(&customers[at], &format!("message {at}"), error).await);
    }
    let wanted = json!({ "act": "retry", "filter": { "error": "DOWN", "kind": "deliver" }, "ratePerMinute": 6_000 });
    let plan = s.admin.post("/queue/operations?dryRun=true", &wanted).await.expect(200);
    assert_eq!((&plan["data"]["matched"], &plan["data"]["fit"], &plan["data"]["atLeast"]), (&json!(3), &json!(3), &json!(false)), "{plan}");
    assert_eq!(plan["data"]["samples"].as_array().map(Vec::len), Some(3));
    let post = async || {
        let request = s.admin.request(Method::POST, "/queue/operations").header("idempotency-key", "once");
        s.admin.send(request.json(&wanted)).await
    };
    let (first, again) = (post().await, post().await);
    assert_eq!((first.status, &first.text, again.header("idempotency-replayed")), (202, &again.text, Some("true")));
    let id = text(&first.body["data"]["id"]);
    let operation = async || s.admin.get(&format!("/queue/operations/{id}")).await.expect(200)["data"].clone();
    assert_eq!(operation().await["status"], "waiting");
    // One changes before its turn; what comes later is not meant.
    s.admin.post(&format!("/queue/jobs/{}/cancel", dead[3]), &json!({})).await.expect(200);
    let later = s.dead_message(&customers[4], "later", "gateway down").await;
    s.stop_sender(false).await;
    for job in &dead[..2] {
        s.job_is(job, "done").await;
    }
    let ended = eventually("its end", PATIENCE, async || {
        let found = operation().await;
        if found["status"] == "done" { Ok(found) } else { Err(found.to_string()) }
    }).await;
    assert_eq!((&ended["done"], &ended["skipped"], &ended["matched"]), (&json!(2), &json!(1), &json!(3)), "{ended}");
    assert_eq!(s.job(&dead[2]).await["state"], "dead");
    assert_eq!(s.job(&later).await["state"], "dead");
    let items = s.admin.get(&format!("/queue/operations/{id}/items")).await.expect(200);
    let results: Vec<_> = items["data"].as_array().expect("a list").iter().map(|item| (text(&item["jobId"]), text(&item["result"]))).collect();
    assert_eq!(results, [(dead[0].clone(), "done".to_owned()), (dead[1].clone(), "done".to_owned())]);
    s.admin.post(&format!("/queue/operations/{id}/undo"), &json!({})).await.expect(409);
    s.admin.post(&format!("/queue/operations/{id}/stop"), &json!({})).await.expect(409);

    // Taken back: nothing is done.
    let all = json!({ "act": "cancel", "filter": { "state": "dead" }, "expected": 2 });
    let made = s.admin.post("/queue/operations", &all).await.expect(202);
    let undone = text(&made["data"]["id"]);
    s.admin.post(&format!("/queue/operations/{undone}/undo"), &json!({})).await.expect(200);
    let list = s.admin.get("/queue/operations?limit=1").await.expect(200);
    assert_eq!((&list["data"][0]["id"], &list["data"][0]["status"]), (&json!(undone), &json!("undone")));
    let own = text(&made["data"]["jobId"]);
    assert_eq!(s.job(&own).await["state"], "cancelled");
    assert_eq!(s.job(&later).await["state"], "dead");

    let told = s.admin.post("/queue/operations", &json!({ "act": "cancel", "filter": { "state": "dead" }, "expected": 7 })).await.expect(409);
    assert!(text(&told["error"]["message"]).contains("2 jobs match"), "{told}");
    for (body, field) in [
        (json!({ "act": "retry" }), "filter"),
        (json!({ "act": "retry", "filter": {} }), "filter"),
        (json!({ "act": "retry", "filter": { "state": "ready" } }), "filter.state"),
        (json!({ "act": "forget", "filter": { "state": "dead" } }), "act"),
        (json!({ "act": "retry", "filter": { "kind": "nothing" } }), "filter.kind"),
        (json!({ "act": "retry", "filter": { "status": "dead" } }), "filter.status"),
        (json!({ "act": "retry", "filter": { "state": "dead" }, "ratePerMinute": 0 }), "ratePerMinute"),
    ] {
        let told = s.admin.post("/queue/operations", &body).await.expect(400);
        assert!(told["error"]["details"].as_array().expect("a list").iter().any(|detail| detail["field"] == field), "{told}");
    }
    s.audited().await;
}));

on_both!(how_the_queue_was_is_kept () |s: Rc<Setup>| Box::pin(async move {
    let contacts = s.contacts(5).await;
    let batch = s.send(&contacts, json!({})).await;
    s.ended(&batch).await;
    let sample = eventually("a sample of it", PATIENCE, async || {
        let found = s.admin.get("/queue/samples?span=1h").await.expect(200);
        let all = found["data"].as_array().expect("a list").clone();
        let sum: i64 = all.iter().filter_map(|sample| sample["succeeded"].as_i64()).sum();
        // The import and the send; what came before the scheduler's first look is not known.
        if sum >= 5 { Ok(all) } else { Err(found.to_string()) }
    }).await;
    assert_eq!(sample[0]["minutes"], json!(1));
    for span in ["24h", "7d"] {
        let found = s.admin.get(&format!("/queue/samples?span={span}")).await.expect(200);
        assert!(found["data"].as_array().is_some_and(|all| !all.is_empty()), "{found}");
    }
    s.admin.get("/queue/samples?span=1y").await.expect(400);
}));
