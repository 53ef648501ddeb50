//! All checks of `paceline doctor`, as a job.

use crate::setup::{PATIENCE, Setup, on_both};
use crate::visitor::{browser_of, nothing_went_wrong, violations};
use serde_json::json;
use std::rc::Rc;
use support::eventually;

on_both!(all_checks_are_run_from_the_page_and_their_result_is_kept () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(3).await;
    let batch = s.send(&ids, json!({})).await;
    s.ended(&batch).await;
    let (_browser, page) = browser_of(&s, "admin").await;
    page.go(&format!("{}/console/system", s.api().url())).await;
    page.leading(page.click("form[action$='/examine'] button")).await;
    crate::live::shows(&page, "#examination", "Nothing is wrong").await;
    let found = page.text("#examination").await;
    assert!(found.contains("every batch's counts equal its items") && found.contains("gateway"), "{found}");
    assert_eq!(violations(&page).await, Vec::<String>::new());

    // Something that only a look at all items finds.
    s.write(&format!("UPDATE batches SET succeeded = succeeded + 1 WHERE id = {batch}")).await;
    let asked = s.admin.post("/queue/examinations", &json!({})).await.expect(200);
    let id = asked["data"]["id"].as_str().expect("an id").to_owned();
    let done = eventually("the examination to end", PATIENCE, async || {
        let found = s.admin.get(&format!("/queue/examinations/{id}")).await.expect(200)["data"].clone();
        if found["endedAt"].is_string() { Ok(found) } else { Err(found.to_string()) }
    })
    .await;
    let wrong = done["checks"].as_array().expect("a list").iter().find(|check| check["ok"] == false);
    assert_eq!(wrong.expect("it was found")["part"], "ledger");
    // The command says the same.
    let said = String::from_utf8_lossy(&s.program.output(&["doctor"], "").await.stdout).into_owned();
    let text = wrong.expect("it was found")["text"].as_str().expect("a text");
    assert!(said.contains(text), "{said} does not say {text}");
    crate::live::shows(&page, "#examination", "things are wrong").await;
    let kept = s.admin.get("/queue/examinations").await.expect(200);
    assert_eq!(kept["meta"]["count"], 2);
    s.write(&format!("UPDATE batches SET succeeded = succeeded - 1 WHERE id = {batch}")).await;
    nothing_went_wrong(&page);
}));
