//! Every page, in both languages, light and dark, wide and narrow, with and without scripts.

use crate::setup::{Setup, on_both};
use crate::visitor::{browser_of, nothing_went_wrong, violations, world};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::rc::Rc;
use support::Page;

/// The pages, with what each must show in English.
fn pages(batches: &[String; 4]) -> Vec<(String, &'static str)> {
    let [ended, paused, cancelled, scheduled] = batches;
    vec![
        ("/console".into(), "What needs you"),
        ("/console/batches".into(), "Scheduled"),
        ("/console/batches?status=CANCELLED".into(), "Cancelled"),
        ("/console/batches?type=TAG".into(), "No batch matches."),
        ("/console/batches?q=status:completed+text:%22Hello%22+creator:me".into(), "No batch matches."),
        (format!("/console/batches/{ended}/failures?ask=gateway_400"), "Try 2 recipients again"),
        (format!("/console/batches/{ended}"), "Retry 2 failed recipients"),
        (format!("/console/batches/{ended}?ask=retry"), "Try 2 failed recipients again?"),
        (format!("/console/batches/{ended}/recipients"), "Succeeded"),
        (format!("/console/batches/{ended}/recipients?status=failed"), "not a number of anybody"),
        (format!("/console/batches/{ended}/failures"), "not a number of anybody"),
        (format!("/console/batches/{ended}/recipients/3"), "not a number of anybody"),
        (format!("/console/batches/{paused}/recipients/11"), "The batch is paused."),
        (format!("/console/batches/{scheduled}/recipients/0"), "The batch is to start"),
        (format!("/console/batches/{paused}"), "Resume batch"),
        (format!("/console/batches/{paused}?ask=cancel"), "Cancel the batch?"),
        (format!("/console/batches/{cancelled}"), "Cancelled"),
        (format!("/console/batches/{scheduled}"), "Scheduled"),
        ("/console/contacts".into(), "Contact 0"),
        ("/console/contacts?q=nobody+at+all".into(), "No contact matches."),
        ("/console/contacts?q=60123000003".into(), "Contact 3"),
        ("/console/contacts/1".into(), "Hello Contact"),
        ("/console/new".into(), "Import contacts"),
        ("/console/new/send".into(), "To whom"),
        ("/console/new/import".into(), "The file"),
        ("/console/new/tags".into(), "Add these tags"),
        ("/console/new/delete".into(), "are gone afterwards"),
        (format!("/console/batches/{ended}?figures=1"), "Decided a minute"),
        (format!("/console/batches/{paused}?what_if=30"), "At 30 messages a minute"),
        ("/console/batches/all?act=cancel&q=status:processing".into(), "Cancel all batches that match?"),
        ("/console/calendar".into(), "This week"),
        ("/console/calendar?week=2099-01-01".into(), "12 recipients"),
        ("/console/drafts".into(), "There is no draft."),
        ("/console/contacts?q=attr.city:Berlin".into(), "No contact matches."),
        ("/console/templates".into(), "There is no template yet."),
        ("/console/templates/new".into(), "New template"),
        ("/console/suppressions".into(), "Nobody has opted out."),
        ("/console/statistics".into(), "Success rate"),
        ("/console/audit".into(), "batch:create"),
        ("/console/users".into(), "A new user"),
        (format!("/console/batches/{paused}/history"), "paused"),
        ("/console/jobs".into(), "Scheduled for"),
        ("/console/jobs?state=parked".into(), "No job matches."),
        ("/console/jobs?lane=bulk&kind=send_chunk".into(), "Send"),
        ("/console/jobs/1".into(), "Enqueued"),
        ("/console/operations".into(), "Nothing was done to many jobs"),
        ("/console/operations/new?act=cancel&state=ready&lane=default".into(), "Cancel all jobs that match?"),
        ("/console?span=7d&figures=1".into(), "Recipients and rows a minute"),
        ("/console/workers".into(), "Release"),
        ("/console/system".into(), "all applied"),
        ("/console/senders".into(), "Works"),
        ("/console/senders/default".into(), "Stop sender"),
        ("/console/account".into(), "batches:write"),
        ("/console/password".into(), "Present password"),
    ]
}

/// Keeps a picture of the page where `PACELINE_TEST_PICTURES` says, for people.
async fn picture(page: &Page, name: &str) {
    let Some(dir) = std::env::var_os("PACELINE_TEST_PICTURES") else { return };
    let png = STANDARD.decode(page.picture().await).expect("base64");
    std::fs::write(std::path::Path::new(&dir).join(format!("{name}.png")), png).expect("written");
}

async fn speak(page: &Page, language: &str) {
    page.leading(page.click(&format!("button[value={language}]"))).await;
}

on_both!(every_page_is_whole () |s: Rc<Setup>| Box::pin(async move {
    let batches = world(&s).await;
    let (_browser, page) = browser_of(&s, "admin").await;
    let mut found = Vec::new();
    for language in ["en", "zh-CN"] {
        if language != "en" {
            speak(&page, language).await;
        }
        for (at, (path, words)) in pages(&batches).into_iter().enumerate() {
            page.go(&format!("{}{path}", s.api().url())).await;
            let text = page.text("main").await;
            assert!(language != "en" || text.contains(words), "{path} does not say {words}: {text}");
            assert_eq!(page.eval("document.documentElement.lang").await, language);
            for (width, dark) in [(1280, false), (1280, true), (390, false), (390, true)] {
                page.look(width, dark).await;
                let wide = page.eval("document.documentElement.scrollWidth").await.as_u64().expect("a width");
                assert!(wide <= u64::from(width), "{path} is {wide} wide at {width}");
                found.extend(violations(&page).await.into_iter().map(|v| format!("{path} {language} {width} {dark}: {v}")));
                picture(&page, &format!("{at:02}-{language}-{width}-{}", if dark { "dark" } else { "light" })).await;
            }
            nothing_went_wrong(&page);
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}));

on_both!(reading_takes_no_scripts () |s: Rc<Setup>| Box::pin(async move {
    let batches = world(&s).await;
    let (_browser, page) = browser_of(&s, "agent").await;
    // What the page's own scripts wait for ends with the page.
    page.go("about:blank").await;
    page.scripts(false).await;
    for path in ["/console", "/console/batches", "/console/account"] {
        page.go(&format!("{}{path}", s.api().url())).await;
        assert!(!page.text("h1").await.is_empty());
    }
    page.go(&format!("{}/console/batches/{}/recipients", s.api().url(), batches[0])).await;
    assert!(page.text("main").await.contains("not a number of anybody"));
    nothing_went_wrong(&page);
}));

on_both!(a_page_says_which_permission_it_takes () |s: Rc<Setup>| Box::pin(async move {
    let (_browser, page) = browser_of(&s, "guest").await;
    page.go(&format!("{}/console/batches", s.api().url())).await;
    let text = page.text("main").await;
    assert!(text.contains("batches:read") && text.contains("Request "), "{text}");
    assert_eq!(violations(&page).await, Vec::<String>::new());
    page.go(&format!("{}/console/nowhere", s.api().url())).await;
    assert!(page.text("h1").await.contains("no such page"));
    // The browser tells of each answer that refuses, and of nothing else.
    let problems = page.problems();
    assert!(problems.iter().all(|problem| problem.contains("the server responded with a status of 40")), "{problems:?}");
}));
