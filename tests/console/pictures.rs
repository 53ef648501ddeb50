//! Pictures of the demo for people, made by `cargo xtask screenshots`: its seed and its clock are fixed, so that two runs
//! show the same, but for what is under way.

use crate::visitor::nothing_went_wrong;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{Browser, Page, Program, eventually};

/// The demo's clock at its start.
const CLOCK: &str = "@2026-11-02 09:30:00";

/// How long the demo may take until there is something to be seen.
const PATIENCE: Duration = Duration::from_secs(120);

/// The pages, with the names of their pictures.
const PAGES: [(&str, &str); 30] = [
    ("overview", "/console"),
    ("overview-week", "/console?span=7d"),
    ("batches", "/console/batches"),
    ("batch", "/console/batches/2"),
    ("batch-cancel", "/console/batches/2?ask=cancel"),
    ("recipients", "/console/batches/2/recipients"),
    ("failures", "/console/batches/2/failures"),
    ("why", "/console/batches/2/recipients/4000"),
    ("history", "/console/batches/2/history"),
    ("new", "/console/new"),
    ("new-send", "/console/new/send"),
    ("new-import", "/console/new/import"),
    ("new-tags", "/console/new/tags"),
    ("new-delete", "/console/new/delete"),
    ("contacts", "/console/contacts"),
    ("contact", "/console/contacts/7"),
    ("templates", "/console/templates"),
    ("suppressions", "/console/suppressions"),
    ("statistics", "/console/statistics"),
    ("audit", "/console/audit"),
    ("users", "/console/users"),
    ("jobs", "/console/jobs"),
    ("job", "/console/jobs/3"),
    ("operations", "/console/operations"),
    ("operation-new", "/console/operations/new?act=run&state=ready&kind=send_chunk"),
    ("workers", "/console/workers"),
    ("senders", "/console/senders"),
    ("sender", "/console/senders/default"),
    ("system", "/console/system"),
    ("account", "/console/account"),
];

async fn keep(page: &Page, dir: &Path, name: &str) {
    let png = STANDARD.decode(page.picture().await).expect("base64");
    std::fs::write(dir.join(format!("{name}.png")), png).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: a minute of the demo, and 120 pictures"]
async fn every_page_of_the_demo_is_seen() {
    let made = tempfile::tempdir().expect("a folder");
    let dir = std::env::var_os("PACELINE_TEST_PICTURES").map_or_else(|| made.path().to_owned(), PathBuf::from);
    std::fs::create_dir_all(&dir).expect("a folder");
    let faketime = servers::tools::faketime().expect("libfaketime");
    let program = Program::new(env!("CARGO_BIN_EXE_paceline"))
        .env("LD_PRELOAD", faketime.display().to_string())
        .env("FAKETIME", CLOCK)
        .env("TZ", "UTC");
    let demo = program.start(&["demo"]).await;
    let browser = Browser::start(program.dir()).await;
    let page = browser.page().await;
    page.look(1280, false).await;
    page.go(&format!("{}/console/sign-in", demo.url())).await;
    page.fill("#email", "demo@localhost").await;
    page.fill("#password", "demo-password").await;
    page.leading(page.click("form.stack button")).await;
    page.go(&format!("{}/console/batches/2", demo.url())).await;
    eventually("the demo to have sent something", PATIENCE, async || {
        let text = page.text("#state").await;
        let failed = page.eval("+[...document.querySelectorAll('#state dd')][2]?.innerText").await.as_f64();
        if failed >= Some(5.0) { Ok(()) } else { Err(text) }
    })
    .await;
    for (name, path) in PAGES {
        page.go(&format!("{}{path}", demo.url())).await;
        assert!(!page.text("h1").await.is_empty(), "{path}");
        for (width, dark) in [(1280, false), (1280, true), (390, false), (390, true)] {
            page.look(width, dark).await;
            let scheme = if dark { "dark" } else { "light" };
            keep(&page, &dir, &format!("{name}-{width}-{scheme}")).await;
        }
        nothing_went_wrong(&page);
    }
}
