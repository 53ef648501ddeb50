//! Three tasks and a first start as a new user would do them: what is pressed and written is counted, and reported with
//! the time that it took. The time is the script's; people read meanwhile.

use crate::setup::{Setup, on_both};
use crate::visitor::{browser_of, nothing_went_wrong};
use serde_json::json;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;
use support::{Browser, DEADLINE, Page, Program};

/// Somebody who does something on a page, and is watched.
struct Watched<'a> {
    page: &'a Page,
    clicks: Cell<u32>,
    fields: Cell<u32>,
    began: Instant,
}

impl<'a> Watched<'a> {
    fn of(page: &'a Page) -> Self {
        Self { page, clicks: Cell::new(0), fields: Cell::new(0), began: Instant::now() }
    }

    /// Presses what leads on.
    async fn click(&self, selector: &str) {
        self.clicks.set(self.clicks.get() + 1);
        self.page.leading(self.page.click(selector)).await;
    }

    async fn write(&self, selector: &str, text: &str) {
        self.fields.set(self.fields.get() + 1);
        self.page.fill(selector, text).await;
    }

    /// Reports it, and holds it to what it may take.
    #[expect(clippy::print_stdout, reason = "for whoever runs the tests with their output")]
    fn done(self, task: &str, clicks: u32) {
        let took = self.began.elapsed().as_secs_f64();
        println!("{task}: {} clicks, {} fields, {took:.1} s", self.clicks.get(), self.fields.get());
        assert!(self.clicks.get() <= clicks, "{task} takes {} clicks", self.clicks.get());
    }
}

on_both!(a_send_to_a_tag_tomorrow_at_nine () |s: Rc<Setup>| Box::pin(async move {
    s.contacts(3).await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    let user = Watched::of(&page);
    user.click(".bar-menu a[href='/console/new']").await;
    user.click("main a[href='/console/new/send']").await;
    user.write("#tags_any", "imported").await;
    user.write("#content", "Hello {{ name }}").await;
    let nine = "(() => { const d = new Date(Date.now() + 86400000), two = n => String(n).padStart(2, '0');
        const at = document.getElementById('at');
        at.value = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}T09:00`;
        at.dispatchEvent(new Event('input', { bubbles: true })); return at.value; })()";
    let at = page.eval(nine).await;
    user.fields.set(user.fields.get() + 1);
    user.click("button[value=check]").await;
    assert!(page.text(".ask").await.contains("3 recipients would get it"), "{}", page.text("main").await);
    user.click("button[value=send]").await;
    user.done("a send to a tag, tomorrow at nine", 4);
    let id = page.address().await.trim_start_matches("/console/batches/").split('?').next().expect("a number").to_owned();
    let planned = page.eval(&format!("new Date({at}).toISOString()")).await;
    assert_eq!(s.get(&id).await["scheduleAt"].as_str().map(|at| at[..16].to_owned()), planned.as_str().map(|at| at[..16].to_owned()));
    nothing_went_wrong(&page);
}));

on_both!(why_one_person_got_nothing () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(5).await;
    s.gateway.script(|attempt| match attempt.to.ends_with('3') {
        true => support::Reply::status(400).saying("not a number of anybody"),
        false => support::Reply::accept(),
    });
    let batch = s.send(&ids, json!({})).await;
    s.ended(&batch).await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    let user = Watched::of(&page);
    user.write("#find", "+60 12-300 0003").await;
    page.leading(page.key("Enter")).await;
    assert!(page.text("main").await.contains("not a number of anybody"), "it is said where the person is: {}", page.text("main").await);
    user.click("main th a[href*='/recipients/']").await;
    assert!(page.text("main").await.contains("not a number of anybody"));
    user.done("why one person got nothing", 1);
    nothing_went_wrong(&page);
}));

on_both!(what_goes_wrong_is_stopped () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(5).await;
    let batch = s.send(&ids, json!({ "ratePerMinute": 1 })).await;
    s.wait(&batch, "its start", |batch| batch["status"] == "PROCESSING").await;
    let (_browser, page) = browser_of(&s, "supervisor").await;
    crate::live::shows(&page, "#now", &format!("Batch {batch}")).await;
    let user = Watched::of(&page);
    user.click(&format!("a[href='/console/batches/{batch}']")).await;
    user.click("form[action$='/pause'] button").await;
    user.done("what goes wrong is stopped", 2);
    assert_eq!(s.get(&batch).await["paused"], true);
    nothing_went_wrong(&page);
}));

/// From nothing to a first campaign in the simulator.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_campaign_is_five_clicks_from_the_first_start() {
    let program = Program::new(env!("CARGO_BIN_EXE_paceline"));
    let serve = program.start(&["serve"]).await;
    let told = |line: &str, before: &str| Some(line.split_once(before)?.1.to_owned());
    let path = serve.log().wait_for(DEADLINE, |line| told(line, "with the password in ")).expect("a password");
    let path = path.split_once(", and choose").expect("the rest").0.to_owned();
    let once = std::fs::read_to_string(program.dir().join(path)).expect("the password");
    let browser = Browser::start(program.dir()).await;
    let page = browser.page().await;
    page.look(1280, false).await;
    page.go(serve.url()).await;
    let user = Watched::of(&page);
    user.write("#email", "admin@localhost").await;
    user.write("#password", once.trim()).await;
    user.click("form.stack button").await;
    user.write("#current_password", once.trim()).await;
    user.write("#new_password", "a new password").await;
    user.write("#again", "a new password").await;
    user.click("form.stack button").await;
    user.click("form[action='/console/sample'] button").await;
    user.click("button[value=check]").await;
    assert!(page.text(".ask").await.contains("50 recipients would get it"), "{}", page.text("main").await);
    user.click("button[value=send]").await;
    crate::live::shows(&page, "#state .status", "Completed").await;
    user.done("from the first start to the end of a first campaign", 5);
    nothing_went_wrong(&page);
}
