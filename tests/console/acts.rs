//! Every act on a batch, by mouse.

use crate::setup::{Setup, on_both};
use crate::visitor::{browser_of, nothing_went_wrong, violations, world};
use serde_json::json;
use std::rc::Rc;

on_both!(a_batch_is_steered_and_each_step_is_taken_back () |s: Rc<Setup>| Box::pin(async move {
    let [ended, paused, ..] = world(&s).await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    let at = |rest: &str| format!("{}/console/batches/{paused}{rest}", s.api().url());
    page.go(&at("")).await;
    page.leading(page.click("form[action$='/resume'] button")).await;
    assert!(page.text(".done").await.contains("The batch goes on."));
    assert_eq!(s.get(&paused).await["paused"], false);
    // Taken back, and that too.
    page.leading(page.click(".done button")).await;
    assert_eq!(s.get(&paused).await["paused"], true);
    page.leading(page.click(".done button")).await;
    assert_eq!(s.get(&paused).await["paused"], false);

    page.fill("#rate", "7").await;
    page.leading(page.click("form[action$='/pace'] button")).await;
    assert_eq!(s.get(&paused).await["ratePerMinute"], 7);
    assert!(page.text("#state").await.contains("7 a minute"));
    page.leading(page.click(".done button")).await;
    assert_eq!(s.get(&paused).await["ratePerMinute"], 1);

    page.leading(page.click("a.danger")).await;
    assert!(page.address().await.ends_with("?ask=cancel"));
    page.leading(page.click(".ask a.button")).await;
    assert_eq!(s.get(&paused).await["status"], "PROCESSING");
    page.leading(page.click("a.danger")).await;
    assert!(page.text(".ask").await.contains("None is in flight."));
    page.leading(page.click(".ask button.danger")).await;
    // It is taken back by the key, and not done; asked for again, it is done at its time, whoever looks on.
    assert!(page.text(".done").await.contains("The batch is cancelled at"));
    assert_eq!(s.get(&paused).await["status"], "PROCESSING");
    page.leading(page.key("u")).await;
    assert!(page.text(".done").await.contains("it is not cancelled"));
    let asked = s.admin.get(&format!("/batch/{paused}/cancellation")).await.expect(200);
    assert!(asked["data"]["cancelAt"].is_null(), "{asked}");
    page.leading(page.click("a.danger")).await;
    page.leading(page.click(".ask button.danger")).await;
    page.go("about:blank").await;
    s.wait(&paused, "its cancel", |batch| batch["status"] == "CANCELLED").await;
    nothing_went_wrong(&page);

    s.gateway.script(|_| support::Reply::accept());
    page.go(&format!("{}/console/batches/{ended}", s.api().url())).await;
    page.leading(page.click("a[href$='?ask=retry']")).await;
    page.leading(page.click(".ask button")).await;
    let done = s.wait(&ended, "its second end", |batch| batch["successCount"] == json!(12)).await;
    assert_eq!(done["failedCount"], 0);
    nothing_went_wrong(&page);
    s.audited().await;
}));

on_both!(one_cause_is_tried_again_and_the_other_is_not () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(6).await;
    s.gateway.script(|attempt| match attempt.to.chars().last() {
        Some('1' | '2') => support::Reply::status(400).saying("bad number"),
        Some('3') => support::Reply::status(410).saying("not allowed"),
        _ => support::Reply::accept(),
    });
    let batch = s.send(&ids, json!({})).await;
    assert_eq!(s.ended(&batch).await["failedCount"], 3);
    let causes = s.admin.get(&format!("/batch/{batch}/causes")).await.expect(200);
    let code = |sample: &str| {
        let causes = causes["data"].as_array().expect("a list");
        let cause = causes.iter().find(|cause| cause["sample"].as_str().is_some_and(|text| text.contains(sample)));
        cause.unwrap_or_else(|| panic!("{causes:?}"))["code"].as_str().expect("a code").to_owned()
    };
    let (bad, other) = (code("bad number"), code("not allowed"));
    assert_ne!(bad, other);
    s.admin.post(&format!("/batch/{batch}/retry?code=nothing"), &json!({})).await.expect(409);
    let (_browser, page) = browser_of(&s, "supervisor").await;
    page.go(&format!("{}/console/batches/{batch}/failures", s.api().url())).await;
    s.gateway.script(|_| support::Reply::accept());
    page.leading(page.click(&format!("a[href$='?ask={bad}']"))).await;
    assert!(page.text(".ask").await.contains("Try 2 recipients again that failed with"));
    page.leading(page.key("Enter")).await;
    let done = s.wait(&batch, "its second end", |batch| batch["successCount"] == json!(5)).await;
    assert_eq!(done["failedCount"], 1);
    s.ended(&batch).await;
    s.admin.post(&format!("/batch/{batch}/retry?code={other}"), &json!({})).await.expect(200);
    s.wait(&batch, "its third end", |batch| batch["successCount"] == json!(6)).await;
    nothing_went_wrong(&page);
    s.audited().await;
}));

on_both!(many_batches_are_steered_together_by_keys () |s: Rc<Setup>| Box::pin(async move {
    let [ended, paused, ..] = world(&s).await;
    let items = s.items(&ended).await;
    let ids: Vec<String> = items.iter().map(|item| crate::setup::text(&item["contactId"])).collect();
    let running = s.send(&ids, json!({ "ratePerMinute": 1 })).await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    page.go(&format!("{}/console/batches?q=type:send", s.api().url())).await;
    let chosen = async |id: &str| {
        page.click(&format!("input[name=id][value='{id}']")).await;
    };
    // The newest is the first row: it is chosen by its key, the others by mouse.
    page.key("j").await;
    page.key("x").await;
    chosen(&paused).await;
    chosen(&ended).await;
    assert_eq!(page.text("#chosen").await, "Chosen: 3");
    page.key(".").await;
    page.leading(page.key("Enter")).await;
    let text = page.text("main").await;
    assert!(text.contains("(1 batch)") && text.contains("already"), "{text}");
    assert_eq!(s.get(&running).await["paused"], true);
    page.leading(page.key("u")).await;
    assert_eq!(s.get(&running).await["paused"], false);

    page.go(&format!("{}/console/batches", s.api().url())).await;
    chosen(&running).await;
    chosen(&paused).await;
    page.leading(page.click("#selected button.danger")).await;
    assert!(page.text(".ask").await.contains("Cancel 2 batches?"));
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.leading(page.click(".ask button.danger")).await;
    assert!(page.text("main").await.contains("Cancelled in 10 seconds"));
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.leading(page.click(".done button")).await;
    for id in [&running, &paused] {
        let asked = s.admin.get(&format!("/batch/{id}/cancellation")).await.expect(200);
        assert!(asked["data"]["cancelAt"].is_null(), "{asked}");
    }
    nothing_went_wrong(&page);
}));

on_both!(a_paused_batch_is_resumed_where_it_needs_somebody () |s: Rc<Setup>| Box::pin(async move {
    let [_, paused, ..] = world(&s).await;
    let (_browser, page) = browser_of(&s, "admin").await;
    assert!(page.text(".needs").await.contains(&format!("Batch {paused} is paused")));
    page.leading(page.click(".needs button")).await;
    assert_eq!(s.get(&paused).await["paused"], false);
    nothing_went_wrong(&page);
}));
