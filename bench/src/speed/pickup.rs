//! From a job's commit to the start of its handler: in this process, so that both ends have one clock.

use super::{Figures, percentile};
use crate::rig::{CONCURRENCY, Environment, Kind, Ledger};
use anyhow::{Context, Result};
use backplane::{After, Backplane, Intake};
use domain::batches::{
    self, BatchSummary, ContactRefs, ImportLine, ImportWriter, NewImport, NewSend, Recipients, Staged,
};
use domain::contacts::import_file::ImportRow;
use domain::contacts::stop_words::OptOut;
use domain::jobs::{self, NewJob};
use domain::{BatchId, Clock, Db, JobId, JobKind, Lane, UserId};
use gateway::{Simulator, SimulatorConfig};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, channel, unbounded_channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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

/// A worker in this process, before the simulated network.
pub(super) struct Running {
    ledger: Ledger,
    db: Db,
    clock: Clock,
    backplane: Backplane,
    stop: CancellationToken,
    tasks: TaskTracker,
    started: UnboundedReceiver<(JobId, Instant)>,
}

impl Running {
    pub(super) async fn start(environment: &Environment, kind: Kind) -> Result<Self> {
        let ledger = Ledger::make(environment, kind).await?;
        let (db, clock) = (ledger.open().await?, Clock::machine());
        clock.correct(db.now().await?);
        let backplane = match &ledger.redis_url {
            Some(url) => Backplane::redis(url)?,
            None => Backplane::embedded(),
        };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (reports, reported) = channel(10_000);
        let after = After::new(&backplane, clock.clone());
        let intake = Intake::start(db.clone(), clock.clone(), after, OptOut::default());
        tasks.spawn(worker::take_reports(intake, clock.clone(), reported, stop.clone()));
        let gateway = Arc::new(Simulator::new(SimulatorConfig::default(), reports));
        let (probes, started) = unbounded_channel();
        // As many as the configuration has by default.
        let settings = worker::Settings {
            critical_concurrency: 16,
            default_concurrency: 4,
            bulk_concurrency: 8,
            send_concurrency: CONCURRENCY,
            sender_rate_per_minute: None,
            shutdown_grace: Duration::from_secs(25),
            probes: Some(probes),
            examine: None,
        };
        tasks.spawn(worker::run(db.clone(), clock.clone(), backplane.clone(), gateway, settings, stop.clone()));
        Ok(Self { ledger, db, clock, backplane, stop, tasks, started })
    }

    /// With a scheduler beside it: what was rung in vain is rung again.
    pub(super) fn schedule(&self) {
        let Self { db, clock, backplane, stop, tasks, .. } = self;
        let settings = scheduler::Settings { retention: None, audit_retention: None };
        tasks.spawn(scheduler::run(db.clone(), clock.clone(), backplane.clone(), settings, stop.clone()));
    }

    /// Imports so many contacts: the ids from 1.
    pub(super) async fn import(&self, contacts: usize) -> Result<()> {
        let Self { db, clock, backplane, .. } = self;
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
        let Self { db, clock, backplane, .. } = self;
        let tx = db.begin().await?;
        let send = batches::create_send(&tx, clock.now(), BY, new, Staged::default()).await?;
        tx.commit().await?;
        backplane.queue.push(&send.rings).await?;
        Ok(send.value.summary.id)
    }

    /// How a batch stands.
    pub(super) async fn batch(&self, id: BatchId) -> Result<BatchSummary> {
        Ok(batches::get(self.db.read(), id).await?.context("the batch is gone")?.summary)
    }

    /// Milliseconds from commit to handler of so many critical probes, one after the other, sorted.
    pub(super) async fn probe(&mut self, count: usize) -> Result<Vec<f64>> {
        let Self { db, clock, backplane, .. } = self;
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
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.db.close().await;
        self.ledger.remove().await
    }
}

/// With nothing else to do.
pub(super) async fn idle(
    environment: &Environment,
    kind: Kind,
    count: Option<usize>,
    figures: &mut Figures,
) -> Result<()> {
    let mut running = Running::start(environment, kind).await?;
    running.probe(50).await?;
    let took = running.probe(count.unwrap_or(PROBES)).await?;
    figures.add("idle pick-up, p50", percentile(&took, 0.50), "ms");
    figures.add("idle pick-up, p99", percentile(&took, 0.99), "ms");
    running.stop().await
}

/// While a million bulk items wait and are sent as fast as they go.
pub(super) async fn critical(
    environment: &Environment,
    kind: Kind,
    count: Option<usize>,
    figures: &mut Figures,
) -> Result<()> {
    let items = count.unwrap_or(1_000_000);
    let mut running = Running::start(environment, kind).await?;
    running.import(items.min(MOST_CONTACTS)).await?;
    let send = running.send(NewSend::new("Hello {{ name }}", first_contacts(items))).await?;
    let took = running.probe(PROBES).await?;
    figures.add(format!("critical pick-up beside {items} bulk items, p50"), percentile(&took, 0.50), "ms");
    figures.add(format!("critical pick-up beside {items} bulk items, p99"), percentile(&took, 0.99), "ms");
    let left = running.batch(send).await?;
    figures.note(format!("{} of {} items were done meanwhile", left.processed(), left.total));
    running.stop().await
}
