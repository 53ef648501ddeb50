//! The operator's pages: jobs, workers, senders.

use crate::setup::{Setup, on_both};
use crate::visitor::{browser_of, nothing_went_wrong, violations};
use serde_json::{Value, json};
use std::rc::Rc;

/// Something that a gateway's or a database's error may have in it.
const EVIL: &str =
    "<img src=x onerror=\"window.bad=1\"><script>window.bad=1</script>'\"><a hx-get=\"/console\" hx-trigger=\"load\">";

on_both!(a_dead_job_is_looked_at_and_tried_again () |s: Rc<Setup>| Box::pin(async move {
    let customers = s.contacts(3).await;
    s.stop_sender(true).await;
    let dead = s.dead_message(&customers[0], "first", EVIL).await;
    let other = s.dead_message(&customers[1], "second", "another error").await;
    let held = s.held_message(&customers[2], "third").await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    // By keys alone: to the list, to the first row, into it.
    page.key("g").await;
    page.leading(page.key("j")).await;
    assert_eq!(page.address().await, "/console/jobs");
    page.fill("#error", "onerror").await;
    page.leading(page.key("Enter")).await;
    assert_eq!(page.eval("document.querySelectorAll('tbody tr').length").await, 1);
    assert_eq!(page.eval("document.querySelectorAll('main img, main script').length").await, 0);
    assert_eq!(page.eval("window.bad ?? null").await, Value::Null);
    page.eval("document.activeElement.blur()").await;
    page.key("j").await;
    page.leading(page.key("Enter")).await;
    assert_eq!(page.address().await, format!("/console/jobs/{dead}"));
    assert!(page.text(".why").await.contains("onerror"), "the text is shown as it is");
    assert_eq!(page.eval("document.querySelectorAll('main img, main script').length").await, 0);

    s.stop_sender(false).await;
    page.leading(page.click("form[action$='/retry'] button")).await;
    assert!(page.text(".done").await.contains("tried again"));
    s.job_is(&dead, "done").await;
    page.go(&format!("{}/console/jobs/{dead}", s.api().url())).await;
    assert!(page.text(".events").await.contains("Retried"));
    assert_eq!(page.eval("document.querySelector('form[action$=\"/retry\"]')").await, Value::Null);

    page.go(&format!("{}/console/jobs/{other}", s.api().url())).await;
    page.leading(page.click("a.danger")).await;
    assert!(page.text(".ask").await.contains("no longer asks for anybody"));
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.leading(page.click(".ask a.button")).await;
    assert_eq!(s.job(&other).await["state"], "dead");
    page.leading(page.click("a.danger")).await;
    page.leading(page.click(".ask button.danger")).await;
    assert!(page.text(".done").await.contains("cancelled"));
    assert_eq!(s.job(&other).await["state"], "cancelled");
    s.job_is(&held, "done").await;
    nothing_went_wrong(&page);
    s.audited().await;
}));

on_both!(a_job_is_given_another_time_and_runs_at_once () |s: Rc<Setup>| Box::pin(async move {
    let customers = s.contacts(1).await;
    s.stop_sender(true).await;
    let held = s.held_message(&customers[0], "third").await;
    let (_browser, page) = browser_of(&s, "admin").await;
    page.go(&format!("{}/console/jobs/{held}", s.api().url())).await;
    page.eval("document.getElementById('at').value = '2099-01-01T09:00'; document.getElementById('at').dispatchEvent(new Event('input'))").await;
    page.leading(page.click("form[action$='/move'] button")).await;
    assert!(page.text(".done").await.contains("another time"));
    assert!(page.text("#state").await.contains("Scheduled for"));
    assert!(s.job(&held).await["runAt"].as_str().is_some_and(|at| at.starts_with("2099-01-01T") || at.starts_with("2098-12-31T")));
    s.stop_sender(false).await;
    page.leading(page.click("form[action$='/run'] button")).await;
    s.job_is(&held, "done").await;
    nothing_went_wrong(&page);
}));

on_both!(a_sender_is_stopped_and_each_step_is_taken_back () |s: Rc<Setup>| Box::pin(async move {
    let contacts = s.contacts(3).await;
    let batch = s.send(&contacts, json!({ "ratePerMinute": 1 })).await;
    s.wait(&batch, "its start", |batch| batch["status"] == "PROCESSING").await;
    let (_browser, page) = browser_of(&s, "admin").await;
    page.key("g").await;
    page.leading(page.key("s")).await;
    page.leading(page.click("a.row")).await;
    assert_eq!(page.address().await, "/console/senders/default");
    assert!(page.text("#state").await.contains(&format!("Batch {batch}")));
    let state = async || s.admin.get("/queue/senders/default").await.expect(200)["data"].clone();
    page.leading(page.click("form[action$='/pause'] button")).await;
    assert_eq!(state().await["paused"], true);
    assert!(page.text("#state").await.contains("Stopped"));
    page.leading(page.click(".done button")).await;
    assert_eq!(state().await["paused"], false);
    page.fill("#rate", "90").await;
    page.leading(page.click("form.filter button")).await;
    assert_eq!(state().await["ratePerMinute"], 90);
    page.leading(page.click(".done button")).await;
    assert_eq!(state().await["rateIsDefault"], true);
    page.key("g").await;
    page.leading(page.key("w")).await;
    assert!(page.text("main").await.contains("Release "));
    nothing_went_wrong(&page);
    s.audited().await;
}));

on_both!(a_filter_of_jobs_is_kept_as_a_view () |s: Rc<Setup>| Box::pin(async move {
    let customers = s.contacts(2).await;
    s.stop_sender(true).await;
    let dead = s.dead_message(&customers[0], "first", "gateway \"down\"").await;
    s.dead_message(&customers[1], "second", "another error").await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    let at = |path: &str| format!("{}{path}", s.api().url());
    page.go(&at("/console/jobs")).await;
    assert_eq!(page.eval("document.querySelectorAll('.views').length").await, 0, "nothing is filtered, so nothing is kept");
    page.go(&at("/console/jobs?state=dead&error=%22down%22&kind=deliver")).await;
    page.click(".views summary").await;
    page.fill("#view-name", "Gateway trouble").await;
    page.click(".views input[name=shared]").await;
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.leading(page.click(".views form.filter button")).await;
    assert!(page.text(".done").await.contains("The view is kept"), "{}", page.text("main").await);
    // It is the same filter: the fields say so, and the list.
    assert_eq!(page.eval("[...document.querySelectorAll('.filter select')].map(s => s.value)").await, json!(["dead", "", "deliver"]));
    assert_eq!(page.eval("document.getElementById('error').value").await, "\"down\"");
    assert_eq!(page.eval("document.querySelectorAll('tbody tr').length").await, 1);
    assert!(page.text("tbody").await.contains(&dead));
    assert_eq!(page.eval("document.querySelector('.views a[aria-current=page]').innerText").await, "Gateway trouble");
    let kept = s.admin.get("/views?page=jobs").await.expect(200)["data"].clone();
    assert_eq!(kept[0]["line"], "state:dead kind:deliver error:\"\"\"down\"\"\"", "{kept}");
    // Who may not watch the queue is told of none; a line that says nothing of jobs is refused.
    let agent = s.api().client().with_token(s.program.token_for("agent").await);
    assert_eq!(agent.get("/views").await.expect(200)["data"], json!([]));
    let mut visitor = crate::visitor::Visitor::signed_in(s.api().client(), &s.program.user("supervisor").await).await;
    assert_eq!(visitor.get("/console/jobs?q=creator%3Ame").await.status, 400);
    assert_eq!(visitor.get("/console/jobs?q=state%3Anothing").await.status, 400);
    nothing_went_wrong(&page);
}));

on_both!(a_sender_shows_which_replies_wait_for_it_and_why () |s: Rc<Setup>| Box::pin(async move {
    let customers = s.contacts(2).await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    let at = format!("{}/console/senders/default", s.api().url());
    page.go(&at).await;
    let state = page.text("#state").await;
    assert!(state.contains("No reply or other single message waits") && state.contains("quality and warm-up are not known"), "{state}");
    s.stop_sender(true).await;
    let first = s.held_message(&customers[0], "first").await;
    let second = s.held_message(&customers[1], "second").await;
    // The page is told, and shows them without being asked.
    crate::live::shows(&page, "#state", "2 messages wait").await;
    let told = s.admin.get("/queue/senders/default").await.expect(200)["data"]["singles"].clone();
    assert_eq!(told["waiting"], 2, "{told}");
    for (job, customer) in [(&first, &customers[0]), (&second, &customers[1])] {
        let row = format!("[...document.querySelectorAll('#state tr')].find(r => r.querySelector('a.row')?.href.endsWith('/console/jobs/{job}'))");
        assert_eq!(page.eval(&format!("!!{row}.querySelector(\"a[href='/console/contacts/{customer}']\")")).await, true);
        let text = page.eval(&format!("{row}.innerText")).await;
        assert!(text.as_str().is_some_and(|text| text.contains("Stopped")), "{text}");
        assert_eq!(page.eval(&format!("{row}.querySelectorAll('time').length")).await, 2, "since when, and when it looks again");
    }
    assert_eq!(violations(&page).await, Vec::<String>::new());
    // What leaves waits no longer.
    s.stop_sender(false).await;
    s.job_is(&first, "done").await;
    s.job_is(&second, "done").await;
    crate::live::shows(&page, "#state", "No reply or other single message waits").await;
    nothing_went_wrong(&page);
}));

on_both!(a_list_of_jobs_changes_in_place_and_what_is_new_waits () |s: Rc<Setup>| Box::pin(async move {
    let contacts = s.contacts(2).await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    page.go(&format!("{}/console/jobs", s.api().url())).await;
    page.eval("window.here = true").await;
    let rows = page.eval("document.querySelectorAll('tbody tr').length").await;
    let batch = s.send(&contacts, json!({})).await;
    s.ended(&batch).await;
    crate::live::shows(&page, ".newer", "new job").await;
    assert_eq!(page.eval("document.querySelectorAll('tbody tr').length").await, rows);
    assert_eq!(page.eval("window.here").await, true, "the page was loaded again");
    page.leading(page.click(".newer a")).await;
    crate::live::shows(&page, "tbody tr", "Send").await;
    nothing_went_wrong(&page);
}));

on_both!(all_that_match_are_tried_again_and_it_can_be_taken_back () |s: Rc<Setup>| Box::pin(async move {
    let customers = s.contacts(3).await;
    s.stop_sender(true).await;
    let mut dead = Vec::new();
    for (at, error) in ["gateway down", "gateway down", "another"].into_iter().enumerate() {
        dead.push(s.dead_message(&customers[at], &format!("message {at}"), error).await);
    }
    s.stop_sender(false).await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    page.leading(page.click("a[href='/console/jobs?state=dead']")).await;
    page.fill("#error", "down").await;
    page.leading(page.key("Enter")).await;
    page.leading(page.click("a[href*='act=retry']")).await;
    assert!(page.text(".ask h2").await.contains("2 jobs"));
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.leading(page.click(".ask button")).await;
    let first = page.address().await;
    assert!(first.starts_with("/console/operations/"), "{first}");
    page.leading(page.click(".done button")).await;
    assert!(page.text("#state").await.contains("Taken back"));
    assert_eq!(s.job(&dead[0]).await["state"], "dead");

    page.go(&format!("{}/console/operations/new?act=retry&state=dead&error=down", s.api().url())).await;
    page.leading(page.click(".ask button")).await;
    s.job_is(&dead[0], "done").await;
    s.job_is(&dead[1], "done").await;
    assert_eq!(s.job(&dead[2]).await["state"], "dead");
    crate::live::shows(&page, "#state .status", "Done").await;
    assert!(page.text("#state").await.contains(&format!("Job {}", dead[0])));
    assert_eq!(violations(&page).await, Vec::<String>::new());
    nothing_went_wrong(&page);

    // What is cancelled is typed.
    page.go(&format!("{}/console/jobs?state=dead", s.api().url())).await;
    page.leading(page.click("a[href*='act=cancel']")).await;
    page.fill("#typed", "2").await;
    page.leading(page.click(".ask button")).await;
    assert!(page.text("main").await.contains("Nothing was done"));
    page.fill("#typed", "1").await;
    page.leading(page.click(".ask button")).await;
    s.job_is(&dead[2], "cancelled").await;
    let problems = page.problems();
    assert!(problems.iter().all(|problem| problem.contains("status of 409")), "{problems:?}");
    s.audited().await;
}));
