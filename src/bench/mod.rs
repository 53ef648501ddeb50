//! `paceline bench`: what DESIGN's table asks for, as ratios on one machine.
//!
//! Each figure is taken from real processes of this very binary over HTTP: the embedded set-up always, the split one
//! when PostgreSQL and Redis are configured (an empty database of its own, please). Rates that depend on the machine stand
//! beside what a bare load generator gets from the same receiver in the same run.

mod load;
mod setup;

use crate::cli::Bench;
use crate::config::Config;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::json;
use setup::Setup;
use std::time::{Duration, Instant};

/// One measured figure.
#[derive(Debug, Serialize)]
struct Figure {
    setup: &'static str,
    what: String,
    value: f64,
    unit: &'static str,
    /// What it stands beside, where it is a ratio.
    against: Option<String>,
}

const ALL: [&str; 6] = ["accept", "import", "tag", "delete", "send", "read"];

/// Messages in flight at once, here and in the processes that are measured.
const CONCURRENCY: usize = 64;

/// Measures what was asked for and prints it.
pub(crate) async fn run(config: &Config, bench: Bench) -> Result<()> {
    let wanted: Vec<&str> = match bench.what.as_str() {
        "all" => ALL.to_vec(),
        one if ALL.contains(&one) => vec![one],
        other => bail!("{other:?} cannot be measured; there are {} and all", ALL.join(", ")),
    };
    let mut figures = Vec::new();
    let sink = load::Sink::start(Duration::ZERO).await?;
    let slow = load::Sink::start(Duration::from_millis(20)).await?;
    let split = config.database_url.is_some() && config.redis_url.is_some();
    for name in ["embedded", "split"] {
        if name == "split" && !split {
            continue;
        }
        measure(config, name, &wanted, bench.count, &sink, &slow, &mut figures).await?;
    }
    print(&figures, bench.json.as_deref())
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn print(figures: &[Figure], json: Option<&std::path::Path>) -> Result<()> {
    println!("{:<9} {:<44} {:>12} {:<10} against", "set-up", "what", "value", "unit");
    for f in figures {
        let against = f.against.as_deref().unwrap_or("");
        println!("{:<9} {:<44} {:>12.1} {:<10} {against}", f.setup, f.what, f.value, f.unit);
    }
    if let Some(path) = json {
        std::fs::write(path, serde_json::to_string_pretty(figures)?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

async fn measure(
    config: &Config,
    name: &'static str,
    wanted: &[&str],
    count: Option<usize>,
    sink: &load::Sink,
    slow: &load::Sink,
    figures: &mut Vec<Figure>,
) -> Result<()> {
    let mut add = |what: String, value: f64, unit: &'static str, against: Option<String>| {
        figures.push(Figure { setup: name, what, value, unit, against });
    };
    let contacts = count.unwrap_or(200_000);
    let setup = Setup::start(config, name, &sink.url()).await?;
    if wanted.iter().any(|w| ["import", "tag", "delete", "send"].contains(w)) {
        let body = load::contacts(contacts);
        let began = Instant::now();
        let id = setup.post("/batch/import", body).await?;
        setup.ended(&id).await?;
        let rate = contacts as f64 / began.elapsed().as_secs_f64();
        add(format!("import {contacts} contacts"), rate, "contacts/s", None);
        add("memory of the worker after it".into(), setup.peak_mib("worker")?, "MiB", None);
    }
    if wanted.contains(&"accept") {
        let ids = count.unwrap_or(1_000_000);
        let body =
            json!({ "contactIds": load::ids(10_000_000, ids), "content": "x", "scheduleAt": "2099-01-01T00:00:00Z" });
        let began = Instant::now();
        setup.post("/batch/send", body.to_string()).await?;
        add(format!("accept a send to {ids} ids"), began.elapsed().as_secs_f64() * 1000.0, "ms", None);
        add("peak memory of the API".into(), setup.peak_mib("api")?, "MiB", None);
    }
    if wanted.contains(&"tag") {
        let body = json!({ "contactIds": load::ids(1, contacts), "tags": ["bench"], "operation": "add" }).to_string();
        let began = Instant::now();
        let id = setup.post("/batch/tags", body).await?;
        setup.ended(&id).await?;
        add(format!("tag {contacts} contacts"), contacts as f64 / began.elapsed().as_secs_f64(), "contacts/s", None);
    }
    if wanted.contains(&"send") {
        let messages = count.unwrap_or(10_000);
        let bare = load::generate(&sink.url(), messages, CONCURRENCY).await?;
        let rate = send(&setup, messages).await?;
        add(format!("send {messages} messages"), rate, "messages/s", None);
        let ratio = 100.0 * rate / bare;
        add("the same".into(), ratio, "%", Some(format!("{bare:.0}/s of a bare load generator")));
    }
    if wanted.contains(&"read") {
        let bare = load::get(&sink.url(), None, 20_000, CONCURRENCY).await?;
        let rate = load::get(&format!("{}/batch", setup.url()), Some(setup.token()), 20_000, CONCURRENCY).await?;
        add("GET /batch".into(), rate, "requests/s", None);
        add("the same".into(), 100.0 * rate / bare, "%", Some(format!("{bare:.0}/s of a bare handler")));
    }
    if wanted.contains(&"delete") {
        let body = json!({ "contactIds": load::ids(1, contacts) }).to_string();
        let began = Instant::now();
        let id = setup.post("/batch/delete", body).await?;
        setup.ended(&id).await?;
        add(format!("delete {contacts} contacts"), contacts as f64 / began.elapsed().as_secs_f64(), "contacts/s", None);
    }
    setup.stop().await?;
    if wanted.contains(&"send") {
        let setup = Setup::start(config, name, &slow.url()).await?;
        let messages = count.unwrap_or(10_000);
        if name == "embedded" {
            let id = setup.post("/batch/import", load::contacts(messages)).await?;
            setup.ended(&id).await?;
        }
        let rate = send(&setup, messages).await?;
        let limit = CONCURRENCY as f64 / 0.020;
        add(format!("send {messages} to a gateway that takes 20 ms"), rate, "messages/s", None);
        add("the same".into(), 100.0 * rate / limit, "%", Some(format!("{limit:.0}/s, {CONCURRENCY} in flight")));
        setup.stop().await?;
    }
    Ok(())
}

/// Sends one message to each of the last contacts that were imported; messages a second from the 202 to the end.
async fn send(setup: &Setup, messages: usize) -> Result<f64> {
    let (first, total) = setup.contacts().await?;
    if total < messages {
        bail!("{messages} messages need as many contacts; there are {total}");
    }
    let body = json!({ "contactIds": load::ids(first, messages), "content": "Hello {{ name }}" }).to_string();
    let began = Instant::now();
    let id = setup.post("/batch/send", body).await?;
    let done = setup.ended(&id).await?;
    let elapsed = began.elapsed().as_secs_f64();
    if done["successCount"] != json!(messages) {
        bail!("not all messages were sent: {done}");
    }
    Ok(messages as f64 / elapsed)
}
