//! What batches work on: files, tags, deletions, templates, suppressions, users; and what was done.

use crate::setup::{Setup, on_both};
use crate::visitor::{Visitor, browser_of, nothing_went_wrong, violations, world};
use serde_json::json;
use std::rc::Rc;
use support::{Page, eventually};

/// The number of the batch that the page shows.
async fn batch_of(page: &Page) -> String {
    let address = page.address().await;
    let rest = address.strip_prefix("/console/batches/").unwrap_or_else(|| panic!("no batch: {address}"));
    rest.split('?').next().expect("a number").to_owned()
}

on_both!(a_file_is_read_mapped_checked_and_imported () |s: Rc<Setup>| Box::pin(async move {
    let file = s.program.dir().join("people.csv");
    std::fs::write(&file, "Mobile,Full name,City\n+60123000001,Ann,KL\nnonsense,Bob <b>,PJ\n+60123000002,Cat,JB\n").expect("written");
    let (_browser, page) = browser_of(&s, "supervisor").await;
    page.go(&format!("{}/console/new/import", s.api().url())).await;
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.choose("#file", &file).await;
    page.fill("#tags", "from file").await;
    page.eval("window.here = true").await;
    page.click("button[value=check]").await;
    let plan = eventually("the plan", crate::setup::PATIENCE, async || {
        let plan = page.text("#plan").await;
        if plan.contains("3 rows were read") { Ok(plan) } else { Err(plan) }
    }).await;
    assert!(plan.contains("1 row would fail") && plan.contains("nonsense") && plan.contains("Bob <b>"), "{plan}");
    assert_eq!(violations(&page).await, Vec::<String>::new());
    assert_eq!(page.eval("window.here").await, true, "the page was loaded again, and the file is lost");
    // A column that nothing was known of is to be a value, and that is checked again before anything is imported.
    let city = "[...document.querySelectorAll('.columns label')].find(l => l.innerText.includes('City')).querySelector('select').value";
    assert_eq!(page.eval(city).await, "ignore");
    page.eval(&format!("{city} = 'attributes.city'")).await;
    page.leading(page.click("button[value=import]")).await;
    assert!(page.address().await.starts_with("/console/new/import"), "what was not checked was imported");
    assert!(page.text("#plan").await.contains("3 rows were read"));
    page.choose("#file", &file).await;
    page.leading(page.click("button[value=import]")).await;
    let id = batch_of(&page).await;
    let done = s.ended(&id).await;
    assert_eq!((&done["successCount"], &done["failedCount"]), (&json!(2), &json!(1)));
    page.leading(page.click("a[href$='/failures']")).await;
    assert!(page.text("main").await.contains("Download the failed rows"));
    let mut visitor = Visitor::signed_in(s.api().client(), &s.program.user("supervisor").await).await;
    let failed = visitor.get(&format!("/console/batches/{id}/failed-rows.csv")).await.text;
    assert!(failed.contains("Mobile,Full name,City,reason") && failed.contains("nonsense,Bob <b>,PJ,"), "{failed}");
    let people = s.admin.get("/contacts?tag=from%20file").await.expect(200);
    assert_eq!(people["data"].as_array().map(Vec::len), Some(2), "{people}");
    assert!(people.to_string().contains("KL"), "{people}");
    nothing_went_wrong(&page);
    s.audited().await;
}));

on_both!(what_is_wrong_with_a_row_is_said_in_the_readers_language () |s: Rc<Setup>| Box::pin(async move {
    let file = s.program.dir().join("rows.csv");
    let long = "x".repeat(201);
    let rows = format!("Mobile,Full name\n123,Ann\n+60123000001,{long}\n+60123000002,Bob,more\n+60123000003,Cat\n");
    std::fs::write(&file, rows).expect("written");
    let (_browser, page) = browser_of(&s, "supervisor").await;
    let at = |path: &str| format!("{}{path}", s.api().url());
    let check = async || {
        page.go(&at("/console/new/import")).await;
        page.choose("#file", &file).await;
        page.click("button[value=check]").await;
        eventually("the plan", crate::setup::PATIENCE, async || {
            let plan = page.text("#plan").await;
            if plan.contains(&long[..60]) { Ok(plan) } else { Err(plan) }
        }).await
    };
    let english = check().await;
    for words in ["the name is longer than 200 characters", "it has 3 cells, the file has 2 columns"] {
        assert!(english.contains(words), "{words}: {english}");
    }
    page.go(&at("/console/account")).await;
    page.leading(page.click("form[action$='/language'] button[value='zh-CN']")).await;
    let chinese = check().await;
    for words in ["姓名超过 200 个字符", "该行有 3 个单元格，而文件只有 2 列", "国家"] {
        assert!(chinese.contains(words), "{words}: {chinese}");
    }
    for words in ["longer than", "cells", "country"] {
        assert!(!chinese.contains(words), "{words}: {chinese}");
    }
    nothing_went_wrong(&page);
}));

on_both!(tags_are_changed_and_contacts_deleted_with_time_to_take_it_back () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(3).await;
    let (_browser, page) = browser_of(&s, "admin").await;
    page.go(&format!("{}/console/new/tags", s.api().url())).await;
    page.leading(page.click("button[value=check]")).await;
    assert!(page.text("[role=alert]").await.contains("No tag is given."));
    page.fill("#tags_any", "imported").await;
    page.fill("#tags", "vip, gold").await;
    page.leading(page.click("button[value=check]")).await;
    assert!(page.text(".ask").await.contains("3 contacts would change"));
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.leading(page.click("button[value=do]")).await;
    s.ended(&batch_of(&page).await).await;
    let first = s.admin.get(&format!("/contacts/{}", ids[0])).await.expect(200);
    assert!(first.to_string().contains("vip") && first.to_string().contains("gold"), "{first}");

    page.go(&format!("{}/console/new/delete", s.api().url())).await;
    assert_eq!(page.eval("document.querySelector('input[value=all]')").await, serde_json::Value::Null);
    page.click("input[value=list]").await;
    page.fill("#list", &format!("+60123000000\n{}", ids[1])).await;
    page.leading(page.click("button[value=check]")).await;
    assert!(page.text(".ask").await.contains("2 contacts would be deleted"));
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.fill("#typed", "3").await;
    page.leading(page.click("button[value=do]")).await;
    assert!(page.text("[role=alert]").await.contains("is not 2"));
    page.fill("#typed", "2").await;
    page.leading(page.click("button[value=do]")).await;
    let id = batch_of(&page).await;
    page.leading(page.key("u")).await;
    s.wait(&id, "its cancel", |batch| batch["status"] == "CANCELLED").await;
    s.admin.get(&format!("/contacts/{}", ids[1])).await.expect(200);

    page.go(&format!("{}/console/new/delete?batch={id}&outcome=cancelled", s.api().url())).await;
    page.leading(page.click("button[value=check]")).await;
    page.fill("#typed", "2").await;
    page.leading(page.click("button[value=do]")).await;
    s.ended(&batch_of(&page).await).await;
    s.admin.get(&format!("/contacts/{}", ids[1])).await.expect(404);
    let problems = page.problems();
    assert!(problems.iter().all(|problem| problem.contains("status of 400")), "{problems:?}");
    s.audited().await;
}));

on_both!(templates_and_suppressions_are_kept_and_ended () |s: Rc<Setup>| Box::pin(async move {
    s.contacts(1).await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    page.go(&format!("{}/console/templates", s.api().url())).await;
    page.leading(page.click("a[href='/console/templates/new']")).await;
    page.fill("#name", "Welcome").await;
    page.fill("#content", "Hi {{ name | default(\"there\") }}").await;
    page.leading(page.click("button.first")).await;
    let shown = page.text("main").await;
    assert!(shown.contains("The template is kept.") && shown.contains("Hi Mei Ling") && shown.contains("Hi there"), "{shown}");
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.fill("#content", "Hi {{ nam").await;
    page.leading(page.click("button.first")).await;
    assert!(page.text("[role=alert]").await.contains("cannot be read"));
    page.go(&format!("{}/console/templates", s.api().url())).await;
    page.leading(page.click("tbody a")).await;
    page.leading(page.click("a.danger")).await;
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.leading(page.click(".ask button.danger")).await;
    assert!(page.text("main").await.contains("There is no template yet."));

    page.go(&format!("{}/console/suppressions", s.api().url())).await;
    page.fill("#numbers", "+60123000000, +60123000009").await;
    page.leading(page.click("button.first")).await;
    let listed = page.text("tbody").await;
    assert!(listed.contains("+60123000000") && listed.contains("+60123000009"), "{listed}");
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.leading(page.click("tbody .button")).await;
    assert!(page.text(".ask").await.contains("Send bulk messages to +60123000009 again?"));
    page.leading(page.click(".ask button")).await;
    assert!(!page.text("tbody").await.contains("+60123000009"));
    let problems = page.problems();
    assert!(problems.iter().all(|problem| problem.contains("status of 400")), "{problems:?}");
}));

on_both!(users_are_made_steered_and_let_go () |s: Rc<Setup>| Box::pin(async move {
    let (_browser, page) = browser_of(&s, "admin").await;
    page.go(&format!("{}/console/users", s.api().url())).await;
    page.fill("#email", "new@example.com").await;
    page.fill("#name", "New <i>One</i>").await;
    page.leading(page.click("button.first")).await;
    let password = page.text(".done code").await;
    assert_eq!(violations(&page).await, Vec::<String>::new());
    let mut user = support::User { email: "new@example.com".into(), password, token: String::new() };
    let mut visitor = Visitor::of(s.api().client());
    let token = visitor.token("/console/sign-in").await;
    let form = [("csrf", token.as_str()), ("email", user.email.as_str()), ("password", user.password.as_str())];
    let answer = visitor.post("/console/sign-in", &form).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/console/password")));
    let (token, new) = (visitor.token("/console/password").await, "a password of one's own");
    let form = [("csrf", token.as_str()), ("current_password", user.password.as_str()), ("new_password", new), ("again", new)];
    assert_eq!(visitor.post("/console/password", &form).await.status, 303);
    user.password = new.into();
    assert_eq!(visitor.get("/console/batches").await.status, 200);
    // Another role ends what is open; blocking lets nobody in.
    let row = "[...document.querySelectorAll('tbody tr')].find(r => r.innerText.includes('new@example.com'))";
    page.eval(&format!("{row}.querySelector('select').value = 'guest'")).await;
    page.leading(async { page.eval(&format!("{row}.querySelector('td form button').click()")).await; }).await;
    assert_eq!(visitor.get("/console/batches").await.status, 303);
    let mut visitor = Visitor::signed_in(s.api().client(), &user).await;
    assert_eq!(visitor.get("/console/batches").await.status, 403);
    page.leading(async { page.eval(&format!("{row}.querySelector('form[action$=block] button').click()")).await; }).await;
    assert_eq!(visitor.get("/console").await.status, 303);
    assert!(page.text("tbody").await.contains("Blocked"));
    nothing_went_wrong(&page);
    let mut admin = Visitor::signed_in(s.api().client(), &s.program.user("admin").await).await;
    let records = admin.get("/console/audit?q=action:user").await;
    assert!(records.text.contains("user:role") && records.text.contains("user:disable"), "{}", records.text);
}));

on_both!(what_was_done_is_found_and_taken_away_as_a_file () |s: Rc<Setup>| Box::pin(async move {
    let [_, paused, ..] = world(&s).await;
    let user = s.program.user("supervisor").await;
    let mut visitor = Visitor::signed_in(s.api().client(), &user).await;
    let history = visitor.get(&format!("/console/batches/{paused}/history")).await.text;
    assert!(history.contains("accepted") && history.contains("paused"), "{history}");
    let file = visitor.get(&format!("/console/audit.csv?q=resource:{paused}+action:batch")).await;
    assert_eq!(file.header("content-type"), Some("text/csv; charset=utf-8"));
    let lines: Vec<&str> = file.text.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("id,timestamp") && lines[1].contains("batch:pause"), "{lines:?}");
    let days = visitor.get("/console/statistics.csv?q=type:send").await.text;
    assert_eq!(days.lines().count(), 31, "{days}");
    assert!(days.lines().last().is_some_and(|today| today.ends_with(",2,0") && today.contains(",4,")), "{days}");
}));
