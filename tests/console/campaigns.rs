//! What the campaigner plans and keeps: the pace of a batch, views, drafts, tests, acts on all that match, the calendar.

use crate::setup::{PATIENCE, Setup, accepted, on_both, text};
use crate::visitor::{Visitor, browser_of, nothing_went_wrong, violations, world};
use serde_json::{Value, json};
use std::rc::Rc;
use support::{Method, eventually};

on_both!(a_batch_shows_its_pace_and_what_another_would_do () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(400).await;
    let batch = s.send(&ids, json!({ "ratePerMinute": 120 })).await;
    let pace = async || s.admin.get(&format!("/batch/{batch}/pace")).await.expect(200)["data"].clone();
    // The scheduler looks every few seconds: what it saw stays.
    let seen = eventually("a look of the scheduler", PATIENCE, async || {
        let seen = pace().await;
        if seen.as_array().is_some_and(|all| all.len() >= 2) { Ok(seen) } else { Err(seen.to_string()) }
    }).await;
    assert!(seen.as_array().expect("a list").iter().all(|one| one["mayPerMinute"] == json!(120)), "{seen}");
    let ends = async |query: &str| {
        let plan = s.admin.get(&format!("/batch/{batch}/forecast{query}")).await.expect(200)["data"].clone();
        (text(&plan["endsAt"]), plan)
    };
    let ((now, plan), (slower, _)) = (ends("").await, ends("?ratePerMinute=6").await);
    assert!(plan["recipients"].as_i64().expect("a number") > 0 && now < slower, "{plan} {slower}");
    s.admin.get(&format!("/batch/{batch}/forecast?ratePerMinute=0")).await.expect(400);

    let (_browser, page) = browser_of(&s, "supervisor").await;
    page.go(&format!("{}/console/batches/{batch}", s.api().url())).await;
    assert!(page.text("#pace").await.contains("Decided a minute"), "{}", page.text("#pace").await);
    page.eval("(() => { const it = document.querySelector('#what-if-rate'); it.value = '60'; it.dispatchEvent(new Event('input', { bubbles: true })); })()").await;
    eventually("the answer", PATIENCE, async || {
        let said = page.text("#what-if").await;
        if said.contains("At 60 messages a minute") { Ok(()) } else { Err(said) }
    }).await;
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.leading(page.click("#what-if form button")).await;
    assert_eq!(s.get(&batch).await["ratePerMinute"], 60);
    s.admin.patch(&format!("/batch/{batch}"), &json!({ "ratePerMinute": 600_000 })).await.expect(200);
    let done = s.ended(&batch).await;
    let last = pace().await.as_array().and_then(|all| all.last()).cloned().expect("a sample");
    assert_eq!((&last["decided"], &last["to"]), (&json!(400), &done["completedAt"]), "{last}");
    // Also where no scheduler looked: it began and ended between two looks.
    let short = s.send(&ids[..1], json!({})).await;
    s.ended(&short).await;
    let samples = s.admin.get(&format!("/batch/{short}/pace")).await.expect(200);
    assert_eq!(samples["data"].as_array().and_then(|all| all.last()).map(|one| one["decided"].clone()), Some(json!(1)));
    nothing_went_wrong(&page);
}));

on_both!(a_view_of_a_list_is_kept_shared_and_deleted () |s: Rc<Setup>| Box::pin(async move {
    world(&s).await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    page.go(&format!("{}/console/batches?q=status:cancelled", s.api().url())).await;
    page.click(".views summary").await;
    page.fill("#view-name", "Given <b>up</b>").await;
    page.click(".views input[name=shared]").await;
    page.leading(page.click(".views details button")).await;
    assert!(page.text(".views").await.contains("Given <b>up</b>"), "{}", page.text(".views").await);
    assert_eq!(violations(&page).await, Vec::<String>::new());
    // A colleague is shown it, opens it, and cannot delete it; an agent shares none.
    let agent = s.program.user("agent").await;
    let mut visitor = Visitor::signed_in(s.api().client(), &agent).await;
    let list = visitor.get("/console/batches").await.text;
    assert!(list.contains("/console/batches?q=status%3Acancelled") && !list.contains("/console/views/1/delete"), "{list}");
    assert_eq!(visitor.act("/console/views/1/delete").await.status, 404);
    let token = visitor.token("/console/password").await;
    let form = [("csrf", token.as_str()), ("page", "batches"), ("name", "mine"), ("line", "type:send"), ("shared", "1")];
    assert_eq!(visitor.post("/console/views", &form).await.status, 403);
    assert_eq!(visitor.post("/console/views", &form[..4]).await.status, 303);
    assert_eq!(visitor.post("/console/views", &form[..4]).await.status, 400, "the name is taken");
    let views = s.admin.get("/views?page=batches").await.expect(200);
    assert_eq!(views["data"].as_array().map(Vec::len), Some(1), "the agent's is the agent's: {views}");
    page.go(&format!("{}/console/batches", s.api().url())).await;
    page.leading(page.click(".views .plain")).await;
    assert!(s.admin.get("/views").await.expect(200)["data"].as_array().is_some_and(Vec::is_empty));
    nothing_went_wrong(&page);
}));

on_both!(a_draft_survives_a_closed_tab_and_a_test_goes_at_once () |s: Rc<Setup>| Box::pin(async move {
    s.contacts(3).await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    let at = |path: &str| format!("{}{path}", s.api().url());
    page.go(&at("/console/account")).await;
    page.fill("#phones", "+60 12-300 0001\n+60129999999").await;
    page.leading(page.click("form[action$='/test-numbers'] button")).await;
    assert!(page.text(".done").await.contains("The numbers are kept."));
    page.go(&at("/console/new/send")).await;
    page.fill("#tags_any", "imported").await;
    page.fill("#content", "Hello {{ name | default('you') }}").await;
    eventually("the draft to be kept by itself", PATIENCE, async || {
        let said = page.text("#kept").await;
        if said.contains("Kept as a draft") { Ok(()) } else { Err(said) }
    }).await;
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.go("about:blank").await;
    page.go(&at("/console/drafts")).await;
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.leading(page.click("a.row")).await;
    assert_eq!(page.eval("document.getElementById('tags_any').value").await, "imported");

    // The test is a batch of its own; of a number that nobody had one is made.
    page.leading(page.click("button[value=test]")).await;
    let address = page.address().await;
    assert!(page.text(".done").await.contains("The test is on its way"), "{address}");
    let test = address.trim_start_matches("/console/batches/").split('?').next().expect("a number").to_owned();
    assert_eq!(s.ended(&test).await["successCount"], 2);
    let mut texts: Vec<String> = s.gateway.sent().iter().map(|sent| sent.text.clone()).collect();
    texts.sort();
    assert_eq!(texts, ["Hello Contact 1", "Hello you"]);

    // What is sent is no draft any more.
    page.go(&at("/console/drafts")).await;
    page.leading(page.click("a.row")).await;
    page.leading(page.click("button[value=check]")).await;
    page.leading(page.click("button[value=send]")).await;
    assert!(page.text(".done").await.contains("The send is accepted."));
    page.go(&at("/console/drafts")).await;
    assert!(page.text("main").await.contains("There is no draft."), "{}", page.text("main").await);
    nothing_went_wrong(&page);

    // The API has the same; what is one user's is nobody else's.
    let key = "00112233445566778899aabbccddeeff";
    let put = |path: &str, body: &Value| s.admin.request(Method::PUT, path).json(body);
    let draft = json!({ "name": "x", "fields": { "content": "Hi" } });
    s.admin.send(put(&format!("/drafts/{key}"), &draft)).await.expect(200);
    assert_eq!(s.admin.get(&format!("/drafts/{key}")).await.expect(200)["data"]["fields"]["content"], "Hi");
    let other = s.api().client().with_token(s.program.token_for("supervisor").await);
    other.get(&format!("/drafts/{key}")).await.expect(404);
    s.admin.post("/batch/test", &json!({ "content": "Hi" })).await.expect(409);
    s.admin.send(put("/test-numbers", &json!({ "phones": ["nobody"] }))).await.expect(400);
    s.admin.send(put("/test-numbers", &json!({ "phones": ["+60123000002", "60 123 000 002"] }))).await.expect(200);
    let test = accepted(s.admin.post("/batch/test", &json!({ "content": "Hi" })).await.expect(202));
    assert_eq!(s.ended(&test).await["totalCount"], 1);
    s.audited().await;
}));

on_both!(tests_at_once_to_a_number_that_nobody_had_make_one_contact () |s: Rc<Setup>| Box::pin(async move {
    // Users who keep the same numbers, each in another order.
    let numbers: Vec<String> = (0..6).map(|at| format!("+6012900000{at}")).collect();
    let mut clients = Vec::new();
    for at in 0..6 {
        let client = s.api().client().with_token(s.program.token_for("supervisor").await);
        let mut phones = numbers.clone();
        phones.rotate_left(at);
        client.send(client.request(Method::PUT, "/test-numbers").json(&json!({ "phones": phones }))).await.expect(200);
        clients.push(client);
    }
    let body = json!({ "content": "Hi" });
    let made = futures::future::join_all(clients.iter().map(|client| client.post("/batch/test", &body))).await;
    for answer in made {
        let test = accepted(answer.expect(202));
        assert_eq!(s.ended(&test).await["successCount"], 6);
    }
    let found = s.admin.get("/contacts?limit=100").await.expect(200);
    assert_eq!(found["data"].as_array().map(Vec::len), Some(6), "one of each number: {found}");
}));

on_both!(contacts_are_found_by_what_is_known_of_them () |s: Rc<Setup>| Box::pin(async move {
    let file = "phone,name,attributes.city\n+60123000100,Ann,Berlin\n+60123000101,Ben,berlin\n+60123000102,Cat,Bonn\n";
    let import = s.admin.request(Method::POST, "/batch/import?tags=vip").header("content-type", "text/csv").body(file);
    s.ended(&accepted(s.admin.send(import).await.expect(202))).await;
    let found = s.admin.get("/contacts?attribute=City:BERLIN&tag=vip").await.expect(200);
    let names: Vec<String> = found["data"].as_array().expect("a list").iter().map(|one| text(&one["name"])).collect();
    assert_eq!(names, ["Ann", "Ben"], "{found}");
    assert_eq!(found["meta"], json!({ "nextCursor": null, "partial": false }));
    s.admin.get("/contacts?attribute=city").await.expect(400);
    let (_browser, page) = browser_of(&s, "agent").await;
    page.go(&format!("{}/console/contacts?q=attr.city:berlin+tag:vip", s.api().url())).await;
    let text = page.text("tbody").await;
    assert!(text.contains("Ann") && text.contains("Ben") && !text.contains("Cat"), "{text}");
    nothing_went_wrong(&page);
}));

on_both!(all_batches_that_match_are_steered_and_nothing_else () |s: Rc<Setup>| Box::pin(async move {
    let [_, paused, _, scheduled] = world(&s).await;
    let ids: Vec<String> = s.items(&paused).await.iter().take(2).map(|item| text(&item["contactId"])).collect();
    let slow = json!({ "ratePerMinute": 1, "content": "Slow <i>one</i>" });
    let [one, two] = [s.send(&ids, slow.clone()).await, s.send(&ids, slow).await];
    let (_browser, page) = browser_of(&s, "supervisor").await;
    let at = |path: &str| format!("{}{path}", s.api().url());
    // Without a filter nothing is meant.
    page.go(&at("/console/batches")).await;
    assert_eq!(page.eval("document.querySelectorAll('a[href*=\"/console/batches/all\"]').length").await, 0);
    let mut visitor = Visitor::signed_in(s.api().client(), &s.program.user("supervisor").await).await;
    assert_eq!(visitor.get("/console/batches/all?act=cancel").await.status, 400);
    s.admin.post("/batch/acts", &json!({ "act": "cancel", "filter": {} })).await.expect(400);

    page.go(&at("/console/batches?q=text:%22Slow+%22")).await;
    page.leading(page.click("a[href*='act=pause']")).await;
    assert!(page.text("#forecast").await.contains("2 batches match"), "{}", page.text("#forecast").await);
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.leading(page.click(".ask button")).await;
    // Taken back by the key: nothing is done.
    assert!(page.text(".done").await.contains("It begins at"), "{}", page.text(".done").await);
    page.leading(page.key("u")).await;
    assert!(page.text("#state").await.contains("Taken back"), "{}", page.text("#state").await);
    assert_eq!(s.get(&one).await["paused"], false);

    page.go(&at("/console/batches/all?act=cancel&q=text:%22Slow+%22")).await;
    page.fill("#typed", "3").await;
    page.leading(page.click(".ask button")).await;
    assert!(page.text("[role=alert]").await.len() > 3);
    page.fill("#typed", "2").await;
    page.leading(page.click(".ask button")).await;
    let problems = page.problems();
    assert!(problems.iter().all(|problem| problem.contains("status of 409")), "{problems:?}");
    let act = page.address().await.trim_start_matches("/console/batches/acts/").to_owned();
    page.go("about:blank").await;
    for batch in [&one, &two] {
        s.wait(batch, "its cancel", |batch| batch["status"] == "CANCELLED").await;
    }
    let told = eventually("the act's end", PATIENCE, async || {
        let told = s.admin.get(&format!("/batch/acts/{act}")).await.expect(200)["data"].clone();
        if told["status"] == "done" { Ok(told) } else { Err(told.to_string()) }
    }).await;
    assert_eq!((&told["done"], &told["skipped"]), (&json!(2), &json!(0)), "{told}");
    assert_eq!(s.admin.get(&format!("/batch/acts/{act}/items")).await.expect(200)["data"].as_array().map(Vec::len), Some(2));
    assert_eq!(s.get(&paused).await["paused"], true);
    assert_eq!(s.get(&scheduled).await["status"], "PENDING");
    page.go(&at(&format!("/console/batches/acts/{act}"))).await;
    assert!(page.text("#state").await.contains("Done"));
    assert_eq!(violations(&page).await, Vec::<String>::new());
    let resume = json!({ "act": "resume", "filter": { "status": "PROCESSING" }, "expected": 7 });
    s.admin.post("/batch/acts", &resume).await.expect(409);
    s.audited().await;
}));

on_both!(what_is_scheduled_stands_in_the_calendar () |s: Rc<Setup>| Box::pin(async move {
    let [.., scheduled] = world(&s).await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    let at = |path: &str| format!("{}{path}", s.api().url());
    page.go(&at("/console/calendar?week=2099-01-01")).await;
    assert!(page.text("#week").await.contains("12 recipients"), "{}", page.text("#week").await);
    page.look(390, true).await;
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.look(1280, false).await;
    page.click("#week summary").await;
    let field = format!("document.querySelector('#at-{scheduled}')");
    page.eval(&format!("{field}.value = '2099-01-03T10:30', {field}.dispatchEvent(new Event('input'))")).await;
    page.leading(page.click("#week form[action$='/move'] button")).await;
    assert!(page.address().await.starts_with("/console/calendar?week=20"), "{}", page.address().await);
    let moved = text(&s.get(&scheduled).await["scheduleAt"]);
    assert!(moved.starts_with("2099-01-03T"), "{moved}");
    let told = s.admin.get("/calendar?from=2099-01-01&to=2099-02-01").await.expect(200);
    let entry = &told["data"][0];
    assert_eq!((&entry["batchId"], &entry["at"]), (&json!(scheduled), &json!(moved)), "{told}");
    assert!(s.admin.get("/calendar?to=2098-01-01").await.expect(200)["data"].as_array().is_some_and(Vec::is_empty));
    let mut visitor = Visitor::signed_in(s.api().client(), &s.program.user("agent").await).await;
    let ids: Vec<String> = s.items(&scheduled).await.iter().take(1).map(|item| text(&item["contactId"])).collect();
    let soon = s.send(&ids, json!({ "content": "a;b,c", "scheduleAt": in_days(3) })).await;
    let file = visitor.get("/console/calendar.ics").await;
    assert_eq!(file.header("content-type"), Some("text/calendar; charset=utf-8"));
    assert!(file.text.contains(&format!("UID:batch-{soon}@paceline\r\n")) && file.text.contains("a\\;b\\,c"), "{}", file.text);
    // Taken off: nothing of it was done.
    page.click("#week summary").await;
    page.leading(page.click("#week form[action$='/cancel'] button")).await;
    s.wait(&scheduled, "its cancel", |batch| batch["status"] == "CANCELLED").await;
    assert!(s.gateway.sent().iter().all(|sent| !sent.text.contains("a;b")));
    nothing_went_wrong(&page);
}));

on_both!(what_is_scheduled_is_dragged_to_another_day_and_back () |s: Rc<Setup>| Box::pin(async move {
    let [.., scheduled] = world(&s).await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    page.go(&format!("{}/console/calendar?week=2099-01-01", s.api().url())).await;
    // As a pointer does it: the browser's own events, from the entry to the day.
    let drag = |to: &str| {
        format!(
            "(() => {{ const data = new DataTransfer(), entry = document.getElementById('entry-{scheduled}');
               const tell = (on, name) => on.dispatchEvent(new DragEvent(name, {{ bubbles: true, cancelable: true, dataTransfer: data }}));
               const day = document.querySelector('[data-date=\"{to}\"]');
               tell(entry.querySelector('a'), 'dragstart');
               const taken = !tell(day, 'dragover');
               tell(day, 'drop'); tell(entry, 'dragend');
               return [taken, entry.draggable]; }})()"
        )
    };
    let before = text(&s.get(&scheduled).await["scheduleAt"]);
    page.leading(async { assert_eq!(page.eval(&drag("2099-01-03")).await, json!([true, true])) }).await;
    assert!(page.text(".done").await.contains("The batch starts at its new time."), "{}", page.text("main").await);
    let moved = text(&s.get(&scheduled).await["scheduleAt"]);
    assert_eq!(moved, before.replace("2099-01-01", "2099-01-03"), "the day is another, the hour is the same");
    assert_eq!(violations(&page).await, Vec::<String>::new());
    // Taken back by the key, to the millisecond.
    page.leading(page.key("u")).await;
    assert_eq!(text(&s.get(&scheduled).await["scheduleAt"]), before);
    assert!(page.address().await.starts_with("/console/calendar?week=2099-01-01&done=moved"), "{}", page.address().await);
    // Dropped where it is, nothing happens; and who may not steer has nothing to drag.
    page.eval("window.here = true").await;
    page.eval(&drag("2099-01-01")).await;
    assert_eq!(page.eval("window.here").await, true);
    let mut visitor = Visitor::signed_in(s.api().client(), &s.program.user("agent").await).await;
    let seen = visitor.get("/console/calendar?week=2099-01-01").await.text;
    assert!(seen.contains(&format!("entry-{scheduled}")) && !seen.contains("draggable") && !seen.contains("assets/calendar."), "{seen}");
    nothing_went_wrong(&page);
    s.audited().await;
}));

/// A time so many days from now.
fn in_days(days: u64) -> String {
    let at = std::time::SystemTime::now() + std::time::Duration::from_secs(days * 86_400);
    let at = at.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    domain::Timestamp(i64::try_from(at).expect("a time")).to_rfc3339()
}

on_both!(those_of_a_former_batch_are_written_to_by_their_outcome () |s: Rc<Setup>| Box::pin(async move {
    let [ended, ..] = world(&s).await;
    s.gateway.script(|_| support::Reply::accept());
    let again = json!({ "recipientsOf": { "batchId": ended, "status": "failed" }, "content": "Sorry" });
    let again = accepted(s.admin.post("/batch/send", &again).await.expect(202));
    assert_eq!(s.ended(&again).await["successCount"], 2);
    for bad in [
        json!({ "batchId": "999999", "status": "failed" }),
        json!({ "batchId": ended, "status": "unknown" }),
        json!({ "batchId": ended, "status": "pending" }),
        json!({ "batchId": ended }),
    ] {
        s.admin.post("/batch/send", &json!({ "recipientsOf": bad, "content": "x" })).await.expect(400);
    }
    let both = json!({ "recipientsOf": { "batchId": ended, "status": "failed" }, "contactIds": ["1"], "content": "x" });
    s.admin.post("/batch/send", &both).await.expect(400);
}));

on_both!(a_refusal_is_told_in_the_readers_language () |s: Rc<Setup>| Box::pin(async move {
    let [ended, ..] = world(&s).await;
    let user = s.program.user("supervisor").await;
    let mut visitor = Visitor::signed_in(s.api().client(), &user).await;
    assert!(visitor.act(&format!("/console/batches/{ended}/pause")).await.text.contains("It has ended already."));
    let token = visitor.token("/console/password").await;
    visitor.post("/console/language", &[("csrf", &token), ("language", "zh-CN"), ("next", "/console")]).await;
    let told = visitor.act(&format!("/console/batches/{ended}/pause")).await;
    assert!(told.status == 409 && told.text.contains("批次已结束。") && !told.text.contains("already"), "{}", told.text);
    let said = s.admin.post(&format!("/batch/{ended}/pause"), &json!({})).await.expect(409);
    assert_eq!(said["error"]["message"], "the batch is COMPLETED already");
}));
