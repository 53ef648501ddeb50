//! A send, from the form to the gateway.

use crate::setup::{Setup, on_both};
use crate::visitor::{Visitor, browser_of, nothing_went_wrong, violations};
use serde_json::json;
use std::rc::Rc;

on_both!(a_send_is_forecast_before_its_button () |s: Rc<Setup>| Box::pin(async move {
    s.contacts(3).await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    page.go(&format!("{}/console/new/send", s.api().url())).await;
    page.leading(page.click("button[value=check]")).await;
    let wrong = page.text("[role=alert]").await;
    assert!(wrong.contains("The text is empty.") && wrong.contains("No tag is given."), "{wrong}");
    page.fill("#tags_any", "imported").await;
    page.fill("#content", "Hello {{ name }}").await;
    page.leading(page.click("button[value=check]")).await;
    let forecast = page.text(".ask").await;
    assert!(forecast.contains("3 recipients would get it") && forecast.contains("Hello Contact 0"), "{forecast}");
    assert_eq!(violations(&page).await, Vec::<String>::new());
    // What was changed since is checked before it is sent.
    page.fill("#content", "Goodbye {{ name }}").await;
    page.leading(page.click("button[value=send]")).await;
    assert!(page.text(".ask").await.contains("Goodbye Contact 0"));
    assert!(s.gateway.sent().is_empty());
    page.leading(page.click("button[value=send]")).await;
    assert!(page.text(".done").await.contains("The send is accepted."));
    let problems = page.problems();
    assert!(problems.iter().all(|problem| problem.contains("status of 400")), "{problems:?}");
    let address = page.address().await;
    let id = address.trim_start_matches("/console/batches/").split('?').next().expect("a number").to_owned();
    let done = s.ended(&id).await;
    assert_eq!((&done["successCount"], &done["failedCount"]), (&json!(3), &json!(0)));
    assert!(s.gateway.sent().iter().all(|sent| sent.text.starts_with("Goodbye Contact")));
    nothing_went_wrong(&page);
}));

on_both!(a_form_that_comes_twice_sends_once () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(2).await;
    let user = s.program.user("admin").await;
    let mut visitor = Visitor::signed_in(s.api().client(), &user).await;
    let list = format!("+60123000000\n{}", ids[1]);
    let page = visitor.get("/console/new/send").await.text;
    let value = |page: &str, name: &str| {
        let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("{page}"));
        rest.split_once('"').expect("a value").0.to_owned()
    };
    let (token, once) = (value(&page, "csrf"), value(&page, "once"));
    let mut form = vec![
        ("csrf", token.as_str()),
        ("once", once.as_str()),
        ("who", "list"),
        ("list", list.as_str()),
        ("content", "Hi"),
        ("at", "2099-01-01T09:00"),
        ("offset", "-480"),
        ("rate", "30"),
        ("act", "check"),
    ];
    let forecast = visitor.post("/console/new/send", &form).await;
    assert_eq!(forecast.status, 200, "{}", forecast.text);
    assert!(forecast.text.contains("2 recipients would get it"), "{}", forecast.text);
    let checked = value(&forecast.text, "checked");
    form.pop();
    form.extend([("act", "send"), ("checked", checked.as_str())]);
    let first = visitor.post("/console/new/send", &form).await;
    let again = visitor.post("/console/new/send", &form).await;
    assert_eq!((first.status, first.header("location")), (303, again.header("location")), "{}", first.text);
    let list = s.admin.get("/batch?type=SEND").await.expect(200);
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "{list}");
    let batch = s.get(list["data"][0]["id"].as_str().expect("an id")).await;
    assert_eq!(batch["ratePerMinute"], 30);
    assert!(batch["scheduleAt"].as_str().is_some_and(|at| at.starts_with("2099-01-01T01:00:00")), "{batch}");

    for (name, bad, words) in [
        ("list", "+60129999999", "no contacts of yours"),
        ("at", "2001-01-01T09:00", "lies in the past"),
        ("rate", "0", "no pace"),
        ("content", "{{ nam", "cannot be read"),
    ] {
        let with: Vec<_> = form.iter().map(|(known, value)| (*known, if *known == name { bad } else { *value })).collect();
        let answer = visitor.post("/console/new/send", &with).await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.text.contains(words), "{name}: {}", answer.text);
    }
}));
