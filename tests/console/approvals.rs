//! Large sends that wait for a second person, on the pages.

use crate::setup::{Setup, on_both};
use crate::visitor::{Visitor, browser_of, nothing_went_wrong, sign_in, violations};
use serde_json::json;
use std::rc::Rc;

on_both!(a_second_person_decides_of_a_large_send (("PACELINE_APPROVAL_ABOVE", "2")) |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(3).await;
    let (asker, second) = (s.program.user("supervisor").await, s.program.user("admin").await);
    let (_browser, page) = browser_of(&s, "guest").await;
    let at = |path: &str| format!("{}{path}", s.api().url());
    let as_user = async |user: &support::User| {
        page.leading(page.click("form[action$='/sign-out'] button")).await;
        sign_in(&page, s.api().url(), user).await;
    };
    as_user(&asker).await;
    page.go(&at("/console/new/send")).await;
    page.fill("#tags_any", "imported").await;
    page.fill("#content", "Hello {{ name }}").await;
    page.leading(page.click("button[value=check]")).await;
    assert!(page.text(".ask").await.contains("second person"), "{}", page.text(".ask").await);
    page.leading(page.click("button[value=send]")).await;
    let address = page.address().await;
    let id = address.trim_start_matches("/console/batches/").split('?').next().expect("a number").to_owned();
    assert!(page.text("#state").await.contains("Waits for approval"));
    assert!(page.text("main").await.contains("so you cannot"), "{}", page.text("main").await);
    assert_eq!(violations(&page).await, Vec::<String>::new());
    // Not by a form of one's own making, and not by a resume.
    let mut visitor = Visitor::signed_in(s.api().client(), &asker).await;
    assert_eq!(visitor.act(&format!("/console/batches/{id}/approve")).await.status, 403);
    assert_eq!(visitor.act(&format!("/console/batches/{id}/resume")).await.status, 409);
    let mut agent = Visitor::signed_in(s.api().client(), &s.program.user("agent").await).await;
    assert_eq!(agent.act(&format!("/console/batches/{id}/approve")).await.status, 403);
    assert!(agent.get(&format!("/console/batches/{id}")).await.text.contains("batches:approve"));

    as_user(&second).await;
    assert!(page.text(".needs").await.contains(&format!("Batch {id} to 3 recipients waits")));
    page.leading(page.click(".needs a")).await;
    assert!(page.text(".ask").await.contains("Hello Contact 0"), "{}", page.text(".ask").await);
    assert_eq!(violations(&page).await, Vec::<String>::new());
    assert!(s.gateway.sent().is_empty());
    page.leading(page.click("form[action$='/approve'] button")).await;
    assert!(page.text(".done").await.contains("approved"));
    assert_eq!(s.ended(&id).await["successCount"], json!(3));

    let refused = {
        let client = s.api().client().with_token(asker.token.clone());
        crate::setup::accepted(client.post("/batch/send", &json!({ "contactIds": ids, "content": "x" })).await.expect(202))
    };
    page.go(&at("/console/batches?q=approval:pending")).await;
    page.leading(page.click("a.row")).await;
    page.fill("#refuse-reason", "<b>not</b> today").await;
    page.leading(page.click("form[action$='/refuse'] button")).await;
    assert!(page.text("main").await.contains("<b>not</b> today"));
    assert_eq!(violations(&page).await, Vec::<String>::new());
    assert_eq!(s.get(&refused).await["status"], "CANCELLED");
    page.go(&at(&format!("/console/batches/{refused}/history"))).await;
    assert!(page.text("main").await.contains("refused"));
    assert_eq!(s.gateway.sent_count(), 3);
    nothing_went_wrong(&page);
    s.audited().await;
}));
