//! Batches from acceptance to end.

use super::Figures;
use super::load::{self, Sink};
use crate::rig::{CONCURRENCY, Environment, Kind, Setup};
use anyhow::{Result, bail};
use serde_json::json;
use std::time::{Duration, Instant};

/// Contacts of the set-based kinds, unless told otherwise.
const CONTACTS: usize = 200_000;

/// Accepts a send to a million ids.
pub(super) async fn accept(
    environment: &Environment,
    kind: Kind,
    count: Option<usize>,
    figures: &mut Figures,
) -> Result<()> {
    let count = count.unwrap_or(1_000_000);
    let sink = Sink::start(Duration::ZERO).await?;
    let setup = Setup::start(environment, kind, &sink.url(), 1, &[]).await?;
    let ids: Vec<String> = (10_000_000..10_000_000 + count).map(|id| id.to_string()).collect();
    let body = json!({ "contactIds": ids, "content": "x", "scheduleAt": "2099-01-01T00:00:00Z" }).to_string();
    let began = Instant::now();
    setup.post("/batch/send", body).await?;
    figures.add(format!("accept a send to {count} ids"), began.elapsed().as_secs_f64() * 1000.0, "ms");
    figures.add("peak memory of the API", setup.peak_mib("api")?, "MiB");
    writer_holds(&setup, kind, figures).await?;
    setup.stop().await
}

/// Imports contacts from JSON.
pub(super) async fn import(
    environment: &Environment,
    kind: Kind,
    count: Option<usize>,
    figures: &mut Figures,
) -> Result<()> {
    let count = count.unwrap_or(1_000_000);
    let sink = Sink::start(Duration::ZERO).await?;
    let setup = Setup::start(environment, kind, &sink.url(), 1, &[]).await?;
    let began = Instant::now();
    setup.import(count).await?;
    figures.add(format!("import {count} contacts"), count as f64 / began.elapsed().as_secs_f64(), "contacts/s");
    figures.add("peak memory of the worker", setup.peak_mib("worker")?, "MiB");
    figures.add("peak memory of the API", setup.peak_mib("api")?, "MiB");
    writer_holds(&setup, kind, figures).await?;
    setup.stop().await
}

/// What every process calls the longest time for which a step held SQLite's writer.
const LONGEST: &str = "paceline_writer_hold_longest_seconds{step=\"";

/// How long SQLite's writer was held at most since the process started, and by whom: everybody else waited for it.
async fn writer_holds(setup: &Setup, kind: Kind, figures: &mut Figures) -> Result<()> {
    if kind != Kind::Embedded {
        return Ok(());
    }
    let request = setup.request(reqwest::Method::GET, "/metrics").header("accept", "text/plain");
    let metrics = request.send().await?.error_for_status()?.text().await?;
    let of = |line: &str| {
        let (step, seconds) = line.strip_prefix(LONGEST)?.split_once("\"} ")?;
        Some((step.to_owned(), seconds.trim().parse::<f64>().ok()? * 1000.0))
    };
    let mut holds: Vec<(String, f64)> = metrics.lines().filter_map(of).collect();
    holds.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let Some((_, longest)) = holds.first() else { bail!("nobody held the writer") };
    figures.add("longest hold of SQLite's writer", *longest, "ms");
    figures.note(holds.iter().map(|(step, ms)| format!("{step} {ms:.0}")).collect::<Vec<_>>().join(", "));
    Ok(())
}

/// Tags contacts.
pub(super) async fn tag(
    environment: &Environment,
    kind: Kind,
    count: Option<usize>,
    figures: &mut Figures,
) -> Result<()> {
    let count = count.unwrap_or(CONTACTS);
    let body = |ids: &[String]| json!({ "contactIds": ids, "tags": ["bench"], "operation": "add" });
    over(environment, kind, count, figures, "tag", "/batch/tags", body).await
}

/// Deletes contacts.
pub(super) async fn delete(
    environment: &Environment,
    kind: Kind,
    count: Option<usize>,
    figures: &mut Figures,
) -> Result<()> {
    let count = count.unwrap_or(CONTACTS);
    over(environment, kind, count, figures, "delete", "/batch/delete", |ids| json!({ "contactIds": ids })).await
}

async fn over(
    environment: &Environment,
    kind: Kind,
    count: usize,
    figures: &mut Figures,
    what: &str,
    path: &str,
    body: impl Fn(&[String]) -> serde_json::Value,
) -> Result<()> {
    let sink = Sink::start(Duration::ZERO).await?;
    let setup = Setup::start(environment, kind, &sink.url(), 1, &[]).await?;
    let ids = setup.import(count).await?;
    let body = body(&ids).to_string();
    let began = Instant::now();
    let id = setup.post(path, body).await?;
    let done = setup.ended(&id).await?;
    if done["successCount"] != json!(count) {
        bail!("not all were done: {done}");
    }
    figures.add(format!("{what} {count} contacts"), count as f64 / began.elapsed().as_secs_f64(), "contacts/s");
    writer_holds(&setup, kind, figures).await?;
    setup.stop().await
}

/// Sends messages to a receiver that answers at once and to one that takes 20 ms.
pub(super) async fn send(
    environment: &Environment,
    kind: Kind,
    count: Option<usize>,
    figures: &mut Figures,
) -> Result<()> {
    let messages = count.unwrap_or(10_000);
    for delay_ms in [0, 20] {
        let sink = Sink::start(Duration::from_millis(delay_ms)).await?;
        let setup = Setup::start(environment, kind, &sink.url(), 1, &[]).await?;
        let ids = setup.import(messages).await?;
        let body = json!({ "contactIds": ids, "content": "Hello {{ name }}" }).to_string();
        // Once for what is cold, then between two runs of the bare generator: the machine is the same for both.
        let mut bare = load::generate(&sink.url(), messages, CONCURRENCY).await?;
        let mut rate = 0.0;
        for _ in 0..2 {
            let began = Instant::now();
            let id = setup.post("/batch/send", body.clone()).await?;
            let done = setup.ended(&id).await?;
            if done["successCount"] != json!(messages) {
                bail!("not all messages were sent: {done}");
            }
            rate = messages as f64 / began.elapsed().as_secs_f64();
        }
        bare = f64::midpoint(bare, load::generate(&sink.url(), messages, CONCURRENCY).await?);
        if delay_ms == 0 {
            figures.add(format!("send {messages} messages"), rate, "messages/s");
            figures.add("the same, of a bare load generator", 100.0 * rate / bare, "%");
            figures.note(format!("{bare:.0}/s bare"));
        } else {
            let limit = CONCURRENCY as f64 * 1000.0 / delay_ms as f64;
            figures.add(format!("send {messages} messages, {delay_ms} ms each"), rate, "messages/s");
            figures.add("the same, of the limit", 100.0 * rate / limit, "%");
            figures.note(format!("{limit:.0}/s for {CONCURRENCY} in flight; a bare load generator gets {bare:.0}/s"));
        }
        setup.stop().await?;
    }
    Ok(())
}
