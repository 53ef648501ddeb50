//! From a job's commit to the start of its handler: in this process, so that both ends have one clock.

use super::{Figures, percentile};
use crate::config::Config;
use crate::rig::{Kind, Ledger};
use crate::roles::{self, Process};
use anyhow::{Context, Result};
use domain::batches::{self, ContactRefs, ImportLine, ImportWriter, NewImport, NewSend, Recipients};
use domain::contacts::import_file::ImportRow;
use domain::jobs::{self, NewJob};
use domain::{JobId, JobKind, Lane, UserId};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const PROBES: usize = 1_000;

/// How long one probe may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A worker in this process.
struct Running {
    ledger: Ledger,
    process: Process,
    started: UnboundedReceiver<(JobId, Instant)>,
}

impl Running {
    async fn start(config: &Config, kind: Kind) -> Result<Self> {
        let ledger = Ledger::make(config, kind).await?;
        let process = ledger.open().await?;
        let (probes, started) = unbounded_channel();
        roles::start_worker(&ledger.config, &process, None, Some(probes))?;
        Ok(Self { ledger, process, started })
    }

    /// Milliseconds from commit to handler of so many critical probes, one after the other, sorted.
    async fn probe(&mut self, count: usize) -> Result<Vec<f64>> {
        let Process { db, clock, backplane, .. } = &self.process;
        let mut took = Vec::with_capacity(count);
        for nth in 0..count {
            // Not in step with anything that ticks.
            tokio::time::sleep(Duration::from_micros(1_000 + (nth as u64 * 7_919) % 4_000)).await;
            let now = clock.now();
            let job = NewJob {
                kind: JobKind::Probe,
                lane: Lane::Critical,
                batch: None,
                chunk: None,
                payload: json!({}),
                run_at: now,
            };
            let tx = db.begin().await?;
            let rings = jobs::enqueue(&tx, now, &[job]).await?;
            tx.commit().await?;
            let committed = Instant::now();
            backplane.queue.push(&rings).await?;
            let (_, began) = tokio::time::timeout(PATIENCE, self.started.recv())
                .await
                .context("a probe was not picked up")?
                .context("the worker ended")?;
            took.push(began.saturating_duration_since(committed).as_secs_f64() * 1000.0);
        }
        took.sort_by(f64::total_cmp);
        Ok(took)
    }

    async fn stop(self) -> Result<()> {
        self.process.stop.cancel();
        self.process.tasks.close();
        self.process.tasks.wait().await;
        self.process.db.close().await;
        self.ledger.remove().await
    }
}

/// With nothing else to do.
pub(super) async fn idle(config: &Config, kind: Kind, count: Option<usize>, figures: &mut Figures) -> Result<()> {
    let mut running = Running::start(config, kind).await?;
    running.probe(50).await?;
    let took = running.probe(count.unwrap_or(PROBES)).await?;
    figures.add("idle pick-up, p50", percentile(&took, 0.50), "ms");
    figures.add("idle pick-up, p99", percentile(&took, 0.99), "ms");
    running.stop().await
}

/// While a million bulk items wait and are sent as fast as they go.
pub(super) async fn critical(config: &Config, kind: Kind, count: Option<usize>, figures: &mut Figures) -> Result<()> {
    let items = count.unwrap_or(1_000_000);
    let mut running = Running::start(config, kind).await?;
    let (db, clock) = (running.process.db.clone(), running.process.clock.clone());
    let now = clock.now();
    let by = UserId(1);
    let contacts = items.min(200_000);
    let tx = db.begin().await?;
    let new = NewImport { skip_duplicates: true, tags: Vec::new(), source: None };
    let mut writer = ImportWriter::begin(&tx, now, by, &new).await?;
    for i in 0..contacts {
        let row = ImportRow {
            line: 1,
            phone: format!("+6011{:08}", 10_000_000 + i),
            name: Some(format!("Contact {i}")),
            tags: Vec::new(),
            source: None,
            attributes: BTreeMap::new(),
        };
        writer.push(&tx, ImportLine::Row(row)).await?;
    }
    let import = writer.finish(&tx, now).await?;
    tx.commit().await?;
    let import_id = import.value.summary.id;
    running.process.backplane.queue.push(&import.rings).await?;
    while batches::get(db.read(), import_id).await?.is_none_or(|batch| batch.summary.completed_at.is_none()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut refs = ContactRefs::default();
    (1..=items).for_each(|id| refs.push(&id.to_string()));
    let new = NewSend::new("Hello {{ name }}", Recipients::Contacts(refs));
    let tx = db.begin().await?;
    let send = batches::create_send(&tx, clock.now(), by, new).await?;
    tx.commit().await?;
    let send_id = send.value.summary.id;
    running.process.backplane.queue.push(&send.rings).await?;
    let took = running.probe(PROBES).await?;
    figures.add(format!("critical pick-up beside {items} bulk items, p50"), percentile(&took, 0.50), "ms");
    figures.add(format!("critical pick-up beside {items} bulk items, p99"), percentile(&took, 0.99), "ms");
    let left = batches::get(db.read(), send_id).await?.context("the batch is gone")?.summary;
    figures.note(format!("{} of {} items were done meanwhile", left.processed(), left.total));
    running.stop().await
}
