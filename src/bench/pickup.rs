//! From a job's commit to the start of its handler: in this process, so that both ends have one clock.

use super::{Figures, percentile};
use crate::config::Config;
use crate::rig::{Kind, Ledger};
use crate::roles::{self, Process};
use anyhow::{Context, Result};
use domain::batches::{
    self, BatchSummary, ContactRefs, ImportLine, ImportWriter, NewImport, NewSend, Recipients, Staged,
};
use domain::contacts::import_file::ImportRow;
use domain::jobs::{self, NewJob};
use domain::{BatchId, JobId, JobKind, Lane, UserId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const PROBES: usize = 1_000;

/// How long one probe may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most contacts that are imported: a batch may name one several times.
pub(super) const MOST_CONTACTS: usize = 200_000;

/// Who asks for the batches.
const BY: UserId = UserId(1);

/// The contacts with the ids from 1 to `count`.
pub(super) fn first_contacts(count: usize) -> Recipients {
    let mut refs = ContactRefs::default();
    (1..=count).for_each(|id| refs.push(&id.to_string()));
    Recipients::Contacts(refs)
}

/// A worker in this process.
pub(super) struct Running {
    ledger: Ledger,
    process: Process,
    started: UnboundedReceiver<(JobId, Instant)>,
}

impl Running {
    pub(super) async fn start(config: &Config, kind: Kind) -> Result<Self> {
        let ledger = Ledger::make(config, kind).await?;
        let process = ledger.open().await?;
        let (probes, started) = unbounded_channel();
        roles::start_worker(&ledger.config, &process, None, Some(probes))?;
        Ok(Self { ledger, process, started })
    }

    /// With a scheduler beside it: what was rung in vain is rung again.
    pub(super) fn schedule(&self) {
        let Process { db, clock, backplane, stop, tasks, .. } = &self.process;
        let settings = scheduler::Settings { retention: None };
        tasks.spawn(scheduler::run(db.clone(), clock.clone(), backplane.clone(), settings, stop.clone()));
    }

    /// Imports so many contacts: the ids from 1.
    pub(super) async fn import(&self, contacts: usize) -> Result<()> {
        let Process { db, clock, backplane, .. } = &self.process;
        let now = clock.now();
        let tx = db.begin().await?;
        let new = NewImport { skip_duplicates: true, tags: Vec::new(), source: None, default_country: None };
        let mut writer = ImportWriter::default();
        for i in 0..contacts {
            let row = ImportRow {
                line: 1,
                phone: format!("+6011{:08}", 10_000_000 + i),
                name: Some(format!("Contact {i}")),
                tags: Vec::new(),
                source: None,
                attributes: BTreeMap::new(),
            };
            if writer.push(ImportLine::Row(row))? {
                writer.write(&tx, now).await?;
            }
        }
        let import = writer.finish(&tx, now, BY, &new).await?;
        tx.commit().await?;
        backplane.queue.push(&import.rings).await?;
        while self.batch(import.value.summary.id).await?.completed_at.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Accepts a send.
    pub(super) async fn send(&self, new: NewSend) -> Result<BatchId> {
        let Process { db, clock, backplane, .. } = &self.process;
        let tx = db.begin().await?;
        let send = batches::create_send(&tx, clock.now(), BY, new, Staged::default()).await?;
        tx.commit().await?;
        backplane.queue.push(&send.rings).await?;
        Ok(send.value.summary.id)
    }

    /// How a batch stands.
    pub(super) async fn batch(&self, id: BatchId) -> Result<BatchSummary> {
        Ok(batches::get(self.process.db.read(), id).await?.context("the batch is gone")?.summary)
    }

    /// Milliseconds from commit to handler of so many critical probes, one after the other, sorted.
    pub(super) async fn probe(&mut self, count: usize) -> Result<Vec<f64>> {
        let Process { db, clock, backplane, .. } = &self.process;
        let mut took = Vec::with_capacity(count);
        for nth in 0..count {
            // Not in step with anything that ticks.
            tokio::time::sleep(Duration::from_micros(1_000 + (nth as u64 * 7_919) % 4_000)).await;
            let now = clock.now();
            let job = NewJob { lane: Lane::Critical, ..NewJob::of(JobKind::Probe, now) };
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

    pub(super) async fn stop(self) -> Result<()> {
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
    running.import(items.min(MOST_CONTACTS)).await?;
    let send = running.send(NewSend::new("Hello {{ name }}", first_contacts(items))).await?;
    let took = running.probe(PROBES).await?;
    figures.add(format!("critical pick-up beside {items} bulk items, p50"), percentile(&took, 0.50), "ms");
    figures.add(format!("critical pick-up beside {items} bulk items, p99"), percentile(&took, 0.99), "ms");
    let left = running.batch(send).await?;
    figures.note(format!("{} of {} items were done meanwhile", left.processed(), left.total));
    running.stop().await
}
