//! The keys, and the menus of the header.

use crate::setup::{Setup, on_both};
use crate::visitor::{browser_of, nothing_went_wrong, violations, world};
use serde_json::{Value, json};
use std::rc::Rc;
use support::Page;

/// The text of what has the focus.
async fn focused(page: &Page) -> String {
    page.eval("document.activeElement.innerText").await.as_str().unwrap_or_default().to_owned()
}

on_both!(the_acts_of_a_row_are_two_keys_away () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(2).await;
    let batch = s.send(&ids, json!({ "ratePerMinute": 1 })).await;
    s.wait(&batch, "its start", |batch| batch["status"] == "PROCESSING").await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    let list = format!("{}/console/batches", s.api().url());
    page.go(&list).await;
    page.key("j").await;
    page.key("x").await;
    assert_eq!(page.text("#chosen").await, "Chosen: 1");
    page.key(".").await;
    assert_eq!(focused(&page).await, "Pause the chosen batches");
    page.key("k").await;
    page.key("x").await;
    page.key(".").await;
    assert_eq!(focused(&page).await, "Pause batch");
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.leading(page.key("Enter")).await;
    assert_eq!(s.get(&batch).await["paused"], true);
    page.leading(page.key("u")).await;
    assert_eq!(s.get(&batch).await["paused"], false);

    // By mouse, and closed by a key.
    page.go(&list).await;
    page.click("tbody tr button.dots").await;
    assert_eq!(page.eval("!!document.querySelector(':popover-open')").await, true);
    page.key("Escape").await;
    assert_eq!(page.eval("!!document.querySelector(':popover-open')").await, false);
    page.click("tbody tr button.dots").await;
    page.leading(page.click(":popover-open a.danger")).await;
    assert!(page.text(".ask").await.contains("Cancel the batch?"));
    nothing_went_wrong(&page);
}));

on_both!(chosen_jobs_are_acted_on_and_no_others () |s: Rc<Setup>| Box::pin(async move {
    let customers = s.contacts(3).await;
    s.stop_sender(true).await;
    let mut dead = Vec::new();
    for (customer, text) in customers.iter().zip(["first", "second", "third"]) {
        dead.push(s.dead_message(customer, text, "no answer").await);
    }
    s.stop_sender(false).await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    page.go(&format!("{}/console/jobs?state=dead", s.api().url())).await;
    page.leading(page.click("#selected button[value=retry]")).await;
    assert!(page.text("main").await.contains("Nothing is chosen"), "nothing never means all");
    page.go(&format!("{}/console/jobs?state=dead", s.api().url())).await;
    // The newest is first: the third stays.
    for _ in 0..3 {
        page.key("j").await;
        page.key("x").await;
    }
    page.key("k").await;
    page.key("k").await;
    page.key("x").await;
    assert_eq!(page.text("#chosen").await, "Chosen: 2");
    page.leading(page.click("#selected button[value=retry]")).await;
    assert!(page.text(".ask h2").await.contains("2 jobs"), "{}", page.text("main").await);
    page.leading(page.click(".ask button")).await;
    let operation = page.address().await.rsplit('/').next().expect("a number").to_owned();
    let told = s.admin.get(&format!("/queue/operations/{operation}")).await.expect(200);
    assert_eq!(told["data"]["filter"]["jobIds"].as_array().map(Vec::len), Some(2), "{told}");
    s.job_is(&dead[0], "done").await;
    s.job_is(&dead[1], "done").await;
    assert_eq!(s.job(&dead[2]).await["state"], "dead");

    // And the third by the keys of its row.
    page.go(&format!("{}/console/jobs?state=dead", s.api().url())).await;
    page.key("j").await;
    page.key(".").await;
    assert_eq!(focused(&page).await, "Retry 1 job");
    page.leading(page.key("Enter")).await;
    s.job_is(&dead[2], "done").await;
    let problems = page.problems();
    assert!(problems.iter().all(|problem| problem.contains("status of 400")), "{problems:?}");
    s.audited().await;
}));

on_both!(keys_are_silent_in_fields_and_can_be_turned_off () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(1).await;
    s.send(&ids, json!({ "ratePerMinute": 1 })).await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    page.go(&format!("{}/console/batches", s.api().url())).await;
    page.fill("#q", "").await;
    for key in ["j", "x", ".", "u", "g", "b"] {
        page.key(key).await;
    }
    assert_eq!(page.eval("document.getElementById('q').value").await, "jx.ugb");
    assert_eq!(page.eval("document.querySelector('.here, :popover-open')").await, Value::Null);
    page.key("Escape").await;
    page.key("j").await;
    assert_eq!(page.eval("document.querySelectorAll('.here').length").await, 1);

    page.go(&format!("{}/console/account", s.api().url())).await;
    page.click("main [data-keys]").await;
    page.go(&format!("{}/console/batches", s.api().url())).await;
    page.key("j").await;
    page.key("g").await;
    page.key("j").await;
    assert_eq!(page.address().await, "/console/batches");
    assert_eq!(page.eval("document.querySelector('.here')").await, Value::Null);
    page.key("?").await;
    assert_eq!(page.eval("document.getElementById('keys').open").await, true, "where they are explained is always there");
    nothing_went_wrong(&page);
}));

on_both!(the_header_is_one_line_and_a_menu_on_a_phone () |s: Rc<Setup>| Box::pin(async move {
    world(&s).await;
    let (_browser, page) = browser_of(&s, "admin").await;
    let middles = "(() => { const at = [...document.querySelectorAll('header > *, .bar-menu > *')].filter(e => e.checkVisibility())
        .map(e => { const r = e.getBoundingClientRect(); return (r.top + r.bottom) / 2; });
        return Math.max(...at) - Math.min(...at); })()";
    for language in ["en", "zh-CN"] {
        if language != "en" {
            page.leading(page.click("button[value=zh-CN]")).await;
        }
        assert_eq!(page.eval("document.documentElement.lang").await, language);
        assert!(page.eval(middles).await.as_f64() < Some(12.0), "{language}: not one line");
        page.key("Escape").await;
        page.tab_to(".menu:nth-of-type(2) summary").await;
        page.key("Enter").await;
        assert_eq!(page.eval("document.querySelectorAll('header details[open]').length").await, 1);
        assert_eq!(violations(&page).await, Vec::<String>::new(), "{language}");
        page.tab_to(".menu:nth-of-type(2) a[href='/console/operations']").await;
        page.key("Escape").await;
        assert_eq!(page.eval("document.activeElement.tagName").await, "SUMMARY", "back to what opened it");
        assert_eq!(page.eval("document.querySelectorAll('header details[open]').length").await, 0);
        page.click(".menu summary").await;
        page.click("h1").await;
        assert_eq!(page.eval("document.querySelectorAll('header details[open]').length").await, 0);
    }
    page.look(390, false).await;
    assert_eq!(page.eval("document.querySelector('.bar-menu').checkVisibility()").await, false);
    assert!(page.eval("document.querySelector('header').offsetHeight").await.as_u64().expect("a height") < 130);
    page.click(".menu-all summary").await;
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.leading(page.click(".menu-all a[href='/console/workers']")).await;
    assert_eq!(page.address().await, "/console/workers");
    nothing_went_wrong(&page);
}));

on_both!(a_plot_is_read_with_the_arrow_keys () |s: Rc<Setup>| Box::pin(async move {
    let minute = "CAST(strftime('%s', 'now') AS INTEGER) / 60";
    let minute = match s.runs {
        crate::setup::Runs::Embedded(_) => minute.to_owned(),
        crate::setup::Runs::Split(_) => "CAST(extract(epoch FROM now()) AS BIGINT) / 60".to_owned(),
    };
    s.write(&format!(
        "INSERT INTO queue_samples (minute, waiting_critical, waiting_default, waiting_bulk, behind_critical_ms,
            behind_default_ms, behind_bulk_ms, running, dead, ended, died, succeeded, failed)
         VALUES ({minute} - 5, 1, 2, 3, 0, 0, 0, 0, 0, 4, 0, 1234, 56)"
    ))
    .await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    page.tab_to("#plot-decided").await;
    for _ in 0..20 {
        page.key("ArrowLeft").await;
        if page.text("figure .read").await.contains("1,234") {
            break;
        }
    }
    let read = page.text("figure .read").await;
    assert!(read.contains("Succeeded 1,234 · Failed 56"), "{read}");
    page.key("Tab").await;
    assert_eq!(page.text("figure .read").await, "");
    assert_eq!(violations(&page).await, Vec::<String>::new());
    nothing_went_wrong(&page);
}));
