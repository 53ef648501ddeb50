//! What changes is shown without a reload, and nothing moves under the pointer.

use crate::setup::{PATIENCE, Runs, Setup, on_both};
use crate::visitor::{browser_of, nothing_went_wrong};
use serde_json::json;
use std::rc::Rc;
use support::{Page, eventually};

/// A figure that is reported, and depends on the machine.
#[expect(clippy::print_stdout, reason = "for whoever runs the tests with their output")]
fn told(text: &str) {
    println!("{text}");
}

pub(crate) async fn shows(page: &Page, selector: &str, words: &str) {
    eventually(&format!("{selector} to say {words}"), PATIENCE, async || {
        let text = page.text(selector).await;
        if text.contains(words) { Ok(()) } else { Err(text) }
    })
    .await;
}

on_both!(a_list_changes_in_place_and_what_is_new_waits () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(3).await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    page.go(&format!("{}/console/batches", s.api().url())).await;
    page.eval("window.here = true").await;
    let rows = page.eval("document.querySelectorAll('tbody tr').length").await;
    let batch = s.send(&ids, json!({})).await;
    s.ended(&batch).await;
    shows(&page, ".newer", "1 new batch").await;
    assert_eq!(page.eval("document.querySelectorAll('tbody tr').length").await, rows);
    assert_eq!(page.eval("window.here").await, true, "the page was loaded again");
    page.leading(page.click(".newer a")).await;
    shows(&page, "tbody tr", &format!("Batch {batch}")).await;
    nothing_went_wrong(&page);
}));

on_both!(the_keys_lead_from_the_overview_to_a_batch_and_back () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(2).await;
    let batch = s.send(&ids, json!({ "ratePerMinute": 1 })).await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    page.key("?").await;
    assert_eq!(page.eval("document.getElementById('keys').open").await, true);
    page.key("Escape").await;
    page.key("g").await;
    page.leading(page.key("b")).await;
    assert_eq!(page.address().await, "/console/batches");
    page.key("j").await;
    page.leading(page.key("Enter")).await;
    assert_eq!(page.address().await, format!("/console/batches/{batch}"));
    page.key("/").await;
    page.fill("#find", &batch).await;
    page.leading(page.key("Enter")).await;
    assert_eq!(page.address().await, format!("/console/batches/{batch}"));
    nothing_went_wrong(&page);
}));

on_both!(a_campaign_takes_no_mouse_from_sign_in_to_its_report () |s: Rc<Setup>| Box::pin(async move {
    s.contacts(2).await;
    let user = s.program.user("supervisor").await;
    let browser = support::Browser::start(s.program.dir()).await;
    let page = browser.page().await;
    page.go(&format!("{}/console/sign-in", s.api().url())).await;
    page.tab_to("#email").await;
    page.write(&user.email).await;
    page.key("Tab").await;
    page.write(&user.password).await;
    page.leading(page.key("Enter")).await;
    // To the form of a send, by its key and by the links of the page.
    page.key("g").await;
    page.leading(page.key("n")).await;
    page.tab_to("main a[href='/console/new/send']").await;
    page.leading(page.key("Enter")).await;
    page.tab_to("#tags_any").await;
    page.write("imported").await;
    page.tab_to("#content").await;
    page.write("Hello {{ name }}").await;
    page.tab_to("button[value=check]").await;
    page.leading(page.key("Enter")).await;
    assert!(page.text(".ask").await.contains("2 recipients would get it"));
    page.tab_to("button[value=send]").await;
    page.leading(page.key("Enter")).await;
    shows(&page, "#state .status", "Completed").await;
    assert_eq!(s.gateway.sent_count(), 2);
    // Its report: the recipients, one of them, and what was done.
    page.tab_to("a[href$='/recipients']").await;
    page.leading(page.key("Enter")).await;
    page.key("j").await;
    page.leading(page.key("Enter")).await;
    assert!(page.text("main").await.contains("Succeeded"));
    page.tab_to("a[href$='/history']").await;
    page.leading(page.key("Enter")).await;
    assert!(page.text(".timeline").await.contains("accepted"));
    nothing_went_wrong(&page);
}));

on_both!(twelve_tabs_have_one_stream_and_all_are_told () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(4).await;
    let batch = s.send(&ids, json!({ "ratePerMinute": 1 })).await;
    let (browser, first) = browser_of(&s, "supervisor").await;
    let mut tabs = vec![first];
    for nth in 1..12 {
        let tab = browser.page_beside(&tabs[0]).await;
        let began = std::time::Instant::now();
        tab.go(&format!("{}/console/batches/{batch}", s.api().url())).await;
        if nth == 11 {
            told(&format!("the twelfth tab opened in {} ms", began.elapsed().as_millis()));
        }
        tab.eval("window.here = true").await;
        tabs.push(tab);
    }
    s.admin.post(&format!("/batch/{batch}/pause"), &json!({})).await.expect(200);
    for tab in &tabs[1..] {
        // A tab that is not seen is told when it is.
        tab.front().await;
        shows(tab, "#state .status", "Paused").await;
        assert_eq!(tab.eval("window.here").await, true);
        nothing_went_wrong(tab);
    }
}));

/// Counts what moves on a page by itself, and how often parts of it are fetched anew.
const WATCH: &str = "(() => { window.shifts = []; window.swaps = 0;
    document.addEventListener('htmx:after:swap', () => { window.swaps += 1; });
    new PerformanceObserver(list => list.getEntries().forEach(entry => {
        if (!entry.hadRecentInput) window.shifts.push(entry.value + ' ' + entry.sources.map(source => source.node?.outerHTML?.slice(0, 120)).join(' | '));
    })).observe({ type: 'layout-shift' }); })()";

/// How many live updates are watched: as many as half a minute has.
const UPDATES: u64 = 40;

on_both!(nothing_moves_while_pages_are_updated () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(900).await;
    // Under way for as long as the test watches: what comes and goes is no update of what is there.
    let batch = s.send(&ids, json!({ "ratePerMinute": 240 })).await;
    s.wait(&batch, "its start", |batch| batch["successCount"].as_i64() > Some(0)).await;
    let (browser, overview) = browser_of(&s, "supervisor").await;
    overview.eval(WATCH).await;
    let mut pages = vec![("/console".to_owned(), overview)];
    for path in [format!("/console/batches/{batch}"), "/console/batches".to_owned()] {
        let page = browser.page_beside(&pages[0].1).await;
        page.look(1280, false).await;
        page.go(&format!("{}{path}", s.api().url())).await;
        page.eval(WATCH).await;
        pages.push((path, page));
    }
    for (path, page) in &pages {
        page.front().await;
        page.eval("window.swaps = 0").await;
        eventually(&format!("{path} to be updated"), PATIENCE, async || {
            let swaps = page.eval("window.swaps").await.as_u64().expect("a number");
            if swaps >= UPDATES / 4 { Ok(()) } else { Err(swaps) }
        })
        .await;
        assert_eq!(page.eval("window.shifts").await, json!([]), "{path}");
        nothing_went_wrong(page);
    }
}));

/// The API is killed in mid-stream, and comes back: who watches is told, and sees what happened meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_outlives_the_api_that_it_came_from() {
    let mut s = Setup::split(&[]).await;
    let ids = s.contacts(2).await;
    let batch = s.send(&ids, json!({ "ratePerMinute": 1 })).await;
    // On a port of its own, so that it comes back where the page looks for it.
    let listen = format!("127.0.0.1:{}", servers::free_port().expect("a free port"));
    {
        let Runs::Split(cluster) = &mut s.runs else { unreachable!("it is split") };
        cluster.api.set_env("PACELINE_LISTEN", Some(&listen));
        cluster.api.restart().await;
        s.admin = cluster.client("admin").await;
    }
    let (_browser, page) = browser_of(&s, "supervisor").await;
    page.go(&format!("{}/console/batches/{batch}", s.api().url())).await;
    page.eval("window.here = true").await;
    let Runs::Split(cluster) = &mut s.runs else { unreachable!("it is split") };
    cluster.api.kill9().await;
    shows(&page, "#lost", "The connection is lost").await;
    cluster.api.restart().await;
    s.admin.post(&format!("/batch/{batch}/pause"), &json!({})).await.expect(200);
    shows(&page, "#state .status", "Paused").await;
    eventually("the bar to go", PATIENCE, async || {
        let bar = page.text("#lost").await;
        if bar.is_empty() { Ok(()) } else { Err(bar) }
    })
    .await;
    assert_eq!(page.eval("window.here").await, true, "the page was loaded again");
    // The browser tells of each connection that failed, and of nothing else.
    let problems = page.problems();
    assert!(
        problems
            .iter()
            .all(|problem| ["ERR_", "Failed to load", "Failed to fetch"].iter().any(|told| problem.contains(told))),
        "{problems:?}"
    );
}
