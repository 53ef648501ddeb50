//! Many batches at once: what each waits for the others.

use super::load::Sink;
use super::pickup::{MOST_CONTACTS, Running, first_contacts};
use super::{Figures, percentile};
use crate::rig::{CONCURRENCY, Environment, Kind, Setup};
use anyhow::{Context, Result, bail};
use domain::BatchId;
use domain::batches::{BatchSummary, NewSend};
use futures::{StreamExt, TryStreamExt, stream};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long all of it may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Items of the batch that the others are beside.
const LARGE: usize = 1_000_000;

/// Recipients of each of the others.
const RECIPIENTS: usize = 10;

/// Messages a minute of the others: from a factor of 60 to one of 60,000, each magnitude as often.
const SLOWEST: f64 = 60.0;
const MAGNITUDES: f64 = 1_000.0;

/// What draws the rates.
const SEED: u64 = 20_261_121;

/// Critical probes while it goes on.
const PROBES: usize = 500;

/// A thousand batches at once, each with a pace of its own, beside one of a million items that has none: how much later
/// than its own pace allows does each end, and does a critical job wait for them?
pub(super) async fn among_many(
    environment: &Environment,
    kind: Kind,
    count: Option<usize>,
    figures: &mut Figures,
) -> Result<()> {
    let batches = count.unwrap_or(1_000);
    let mut running = Running::start(environment, kind).await?;
    running.schedule();
    running.import(MOST_CONTACTS).await?;
    let large = running.send(NewSend::new("Hello {{ name }}", first_contacts(LARGE))).await?;
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut paced: Vec<(BatchId, f64)> = Vec::with_capacity(batches);
    for _ in 0..batches {
        let rate = (SLOWEST * MAGNITUDES.powf(rng.random())).round();
        let mut new = NewSend::new("Hello {{ name }}", first_contacts(RECIPIENTS));
        new.rate_per_minute = Some(rate as u32);
        // The last of them has waited for all slots before its own.
        paced.push((running.send(new).await?, (RECIPIENTS - 1) as f64 * 60.0 / rate));
    }
    let took = running.probe(PROBES).await?;
    figures.add(format!("critical pick-up beside {batches} paced batches, p50"), percentile(&took, 0.50), "ms");
    figures.add("the same, p99", percentile(&took, 0.99), "ms");
    let mut late = Vec::with_capacity(batches);
    for (id, allowed_s) in paced {
        let done = ended(&running, id).await?;
        if done.succeeded != RECIPIENTS as i64 {
            bail!("batch {id} ended with {} of {RECIPIENTS} messages", done.succeeded);
        }
        let end = done.completed_at.context("it has ended")?;
        late.push(end.since(done.created_at).as_secs_f64() - allowed_s);
    }
    let left = running.batch(large).await?;
    late.sort_by(f64::total_cmp);
    figures.add(
        format!("{batches} paced batches: the end after what the pace allows, p50"),
        percentile(&late, 0.50),
        "s",
    );
    figures.add("the same, p99", percentile(&late, 0.99), "s");
    figures.add("the same, the worst", percentile(&late, 1.0), "s");
    figures.note(format!("{} of {} items beside them were done meanwhile", left.processed(), left.total));
    running.stop().await
}

async fn ended(running: &Running, id: BatchId) -> Result<BatchSummary> {
    let began = Instant::now();
    loop {
        let batch = running.batch(id).await?;
        if batch.completed_at.is_some() {
            return Ok(batch);
        }
        if began.elapsed() > PATIENCE {
            bail!("batch {id} did not end");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A hundred thousand batches of one item, each a request of its own: how many are accepted a second, how many end, and
/// what the lists then cost.
pub(super) async fn of_one(
    environment: &Environment,
    kind: Kind,
    count: Option<usize>,
    figures: &mut Figures,
) -> Result<()> {
    let batches = count.unwrap_or(100_000);
    let sink = Sink::start(Duration::ZERO).await?;
    let setup = Setup::start(environment, kind, &sink.url(), 1, &[]).await?;
    setup.import(1_000).await?;
    let began = Instant::now();
    stream::iter(0..batches)
        .map(|nth| {
            let body = json!({ "contactIds": [(nth % 1_000 + 1).to_string()], "content": "Hello {{ name }}" });
            setup.post("/batch/send", body.to_string())
        })
        .buffer_unordered(CONCURRENCY)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    figures.add(
        format!("accept {batches} batches of one item"),
        batches as f64 / began.elapsed().as_secs_f64(),
        "requests/s",
    );
    loop {
        let stats = setup.get("/batch/stats?type=SEND").await?;
        if stats["data"]["byStatus"]["COMPLETED"] == json!(batches) {
            break;
        }
        if began.elapsed() > PATIENCE {
            bail!("not all have ended: {stats}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    figures.add(
        format!("the same, from the first request to the last batch's end, of {batches}"),
        batches as f64 / began.elapsed().as_secs_f64(),
        "batches/s",
    );
    for path in ["/batch", "/batch/stats"] {
        let mut took = Vec::new();
        for _ in 0..100 {
            let began = Instant::now();
            let _: Value = setup.get(path).await?;
            took.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        took.sort_by(f64::total_cmp);
        figures.add(format!("GET {path} with {batches} batches, p95"), percentile(&took, 0.95), "ms");
    }
    let began = Instant::now();
    let db = setup.ledger.open().await?;
    let findings = domain::batches::audit(db.read(), db.now().await?, 20).await?;
    db.close().await;
    if let Some(finding) = findings.first() {
        bail!("the ledger: {finding}");
    }
    figures.add(format!("the audit of {batches} batches"), began.elapsed().as_secs_f64() * 1000.0, "ms");
    setup.stop().await
}
