//! Every act on a batch, by mouse.

use crate::setup::{Setup, on_both};
use crate::visitor::{browser_of, nothing_went_wrong, world};
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
    page.leading(page.click(".ask button.danger")).await;
    assert_eq!(s.get(&paused).await["status"], "CANCELLED");
    assert!(page.text(".done").await.contains("cancelled"));
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

on_both!(a_paused_batch_is_resumed_where_it_needs_somebody () |s: Rc<Setup>| Box::pin(async move {
    let [_, paused, ..] = world(&s).await;
    let (_browser, page) = browser_of(&s, "admin").await;
    assert!(page.text(".needs").await.contains(&format!("Batch {paused} is paused")));
    page.leading(page.click(".needs button")).await;
    assert_eq!(s.get(&paused).await["paused"], false);
    nothing_went_wrong(&page);
}));
