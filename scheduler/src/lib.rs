//! The scheduler: duties on a clock.
//!
//! Each duty takes no input, reads the state, and does what it finds to do; any number of schedulers may do it at once.
//! None of them is needed for correctness at a given moment, all of them are in the long run: rings that were lost,
//! leases whose worker is gone, schedules whose time has come, rows that nobody needs any more.

use backplane::{After, Backplane};
use domain::jobs::Rescued;
use domain::jobs::workers::{self, SILENCE};
use domain::messages::{receipts, reports};
use domain::{Clock, Db, Dialect, Timestamp, batches, contacts, db, idempotency, jobs, users};
use faults::Commit;
use futures::FutureExt;
use parking_lot::Mutex;
use sea_orm::DbErr;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// What the scheduler keeps, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long ended batches, their items and ended jobs are kept; `None`: for ever.
    pub retention: Option<Duration>,
}

/// Looks for jobs to ring: often enough that a schedule fires within a second of its time.
const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// Looks for leases that ended, and for workers that fell silent.
const RESCUE_EVERY: Duration = Duration::from_secs(1);
/// Looks for reports that were kept for messages which have come since.
const SETTLE_EARLY_EVERY: Duration = Duration::from_secs(5);
/// Counts the queue for the gauges.
const OBSERVE_EVERY: Duration = Duration::from_secs(5);
/// Throws away what is old.
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// How many rows one pass of a duty takes; the next pass takes the rest.
const SWEEP_ROWS: u64 = 1_000;
const RESCUE_ROWS: u64 = 100;
const PRUNE_ROWS: u64 = 5_000;
const PRUNE_BATCHES: u64 = 20;
/// How many sessions and tokens a statement deletes, and how many chunks of cancelled imports lose their rows with one.
const PRUNE_STEP: u64 = 500;
const LET_GO_CHUNKS: u64 = 10;
const EARLY_ROWS: u64 = 500;

/// How long after a deletion it is looked at again: no transaction is open for so long.
const ERASE_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How far back a scheduler that starts looks: another may have stopped before it had looked.
const ERASED_BEFORE: Duration = Duration::from_secs(3_600);

/// How long a report is kept for a message that does not come.
const EARLY_KEPT: Duration = Duration::from_secs(3 * 86_400);

/// For how long one pass throws batches away: who makes a hundred thousand small ones a day has as many to throw away.
const PRUNE_FOR: Duration = Duration::from_secs(2);

struct Scheduler {
    db: Db,
    clock: Clock,
    backplane: Backplane,
    after: After,
    settings: Settings,
    watch: Mutex<Watch>,
    /// Up to when deletions were looked at again.
    erased_until: Mutex<Timestamp>,
    /// The senders whose gateway was last seen not to work.
    told_open: Mutex<BTreeSet<String>>,
}

/// Since when the scheduler has been in touch with the database without a gap. Whoever was away cannot tell who else was.
#[derive(Debug)]
struct Watch {
    since: Instant,
    last: Instant,
}

impl Watch {
    /// Marks that the database answers, and tells for how long it has without a gap.
    fn looks(&mut self) -> Duration {
        let now = Instant::now();
        if now.duration_since(self.last) > WATCH_GAP {
            self.since = now;
        }
        self.last = now;
        now.duration_since(self.since)
    }
}

/// The longest time between two looks that is no gap.
const WATCH_GAP: Duration = Duration::from_secs(3);

/// Does the duties until told to stop.
pub async fn run(db: Db, clock: Clock, backplane: Backplane, settings: Settings, stop: CancellationToken) {
    let began = Instant::now();
    let watch = Mutex::new(Watch { since: began, last: began });
    let after = After::new(&backplane, clock.clone());
    let told_open = Mutex::default();
    let erased_until = Mutex::new(clock.now().minus(ERASED_BEFORE));
    let scheduler = Scheduler { db, clock, backplane, after, settings, watch, erased_until, told_open };
    tracing::info!("scheduler started");
    tokio::join!(
        every(SWEEP_EVERY, "sweep", &stop, || scheduler.sweep()),
        every(RESCUE_EVERY, "rescue", &stop, || scheduler.rescue()),
        every(SETTLE_EARLY_EVERY, "settle_early", &stop, || scheduler.settle_early()),
        every(OBSERVE_EVERY, "observe", &stop, || scheduler.observe()),
        every(PRUNE_EVERY, "prune", &stop, || scheduler.prune()),
    );
    tracing::info!("scheduler stopped");
}

/// Does a duty over and over. An error is told once until it is over, and the duty goes on.
async fn every<F>(period: Duration, duty: &'static str, stop: &CancellationToken, mut once: impl FnMut() -> F)
where
    F: Future<Output = Result<(), DbErr>>,
{
    let mut tick = tokio::time::interval(period);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let began = Instant::now();
        let done = AssertUnwindSafe(once()).catch_unwind().await.unwrap_or_else(|_| {
            metrics::counter!("paceline_panics_total", "in" => duty).increment(1);
            Err(DbErr::Custom("it panicked; the log has its place".into()))
        });
        match done {
            Ok(()) => {
                if std::mem::take(&mut failing) {
                    tracing::info!(duty, "the duty works again");
                }
            }
            Err(error) => {
                metrics::counter!("paceline_duty_failed_total", "duty" => duty).increment(1);
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(duty, %error, "the duty fails; it goes on trying");
                }
            }
        }
        metrics::histogram!("paceline_duty_seconds", "duty" => duty).record(began.elapsed().as_secs_f64());
    }
}

impl Scheduler {
    /// Rings what is due and was not rung, or was rung in vain.
    async fn sweep(&self) -> Result<(), DbErr> {
        // Most passes find nothing, and take no lock for it.
        if !jobs::any_due(self.db.read(), self.clock.now()).await? {
            return Ok(());
        }
        let tx = self.db.begin().await?;
        let (rings, again) = jobs::sweep(&tx, self.clock.now(), SWEEP_ROWS).await?;
        db::commit(tx, Commit::Sweep).await?;
        metrics::counter!("paceline_rings_swept_total", "reason" => "due").increment((rings.len() - again) as u64);
        metrics::counter!("paceline_rings_swept_total", "reason" => "unanswered").increment(again as u64);
        self.after.ring(rings);
        Ok(())
    }

    /// Takes back jobs whose worker is gone.
    async fn rescue(&self) -> Result<(), DbErr> {
        let tx = self.db.begin().await?;
        // A worker that is alone with its database is this process.
        let mut silent = 0;
        if self.db.dialect() == Dialect::Postgres && self.watch.lock().looks() > SILENCE {
            silent = workers::bury_silent(&tx, self.clock.now(), self.clock.now().minus(SILENCE)).await?;
            if silent > 0 {
                metrics::counter!("paceline_workers_lost_total").increment(silent as u64);
                tracing::warn!(workers = silent, "workers fell silent; their jobs are taken back");
            }
        }
        let step = jobs::rescue(&tx, self.clock.now(), RESCUE_ROWS).await?;
        if step.value == Rescued::default() && silent == 0 {
            return tx.rollback().await;
        }
        db::commit(tx, Commit::Rescue).await?;
        let rescued = self.after.commit(step);
        if rescued.ready + rescued.dead > 0 {
            metrics::counter!("paceline_jobs_rescued_total").increment(rescued.ready as u64);
            metrics::counter!("paceline_jobs_total", "lane" => "", "kind" => "", "outcome" => "dead")
                .increment(rescued.dead as u64);
            tracing::warn!(ready = rescued.ready, dead = rescued.dead, "leases had ended without a result");
        }
        Ok(())
    }

    /// Applies reports that were kept for messages which have come since.
    async fn settle_early(&self) -> Result<(), DbErr> {
        let tx = self.db.begin().await?;
        let step = reports::settle_early(&tx, self.clock.now(), EARLY_ROWS).await?;
        if step.value == 0 {
            return tx.rollback().await;
        }
        db::commit(tx, Commit::Reports).await?;
        let found = self.after.commit(step);
        metrics::counter!("paceline_early_reports_total").increment(found as u64);
        Ok(())
    }

    /// Sets the gauges.
    async fn observe(&self) -> Result<(), DbErr> {
        let now = self.clock.now();
        let mut seen = BTreeSet::new();
        for depth in jobs::depths(self.db.read(), now).await? {
            let labels = [("lane", depth.lane.clone()), ("kind", depth.kind.clone()), ("state", depth.state.clone())];
            metrics::gauge!("paceline_jobs", &labels).set(depth.jobs as f64);
            if depth.state == "ready" {
                let labels = [("lane", depth.lane.clone()), ("kind", depth.kind.clone())];
                metrics::gauge!("paceline_job_oldest_seconds", &labels).set(depth.oldest.as_secs_f64());
            }
            seen.insert((depth.lane, depth.kind, depth.state));
        }
        // What is no longer there is zero, not its last value.
        for lane in domain::Lane::ALL {
            for kind in domain::JobKind::ALL {
                for state in ["ready", "running", "dead"] {
                    if !seen.contains(&(lane.to_string(), kind.to_string(), state.to_owned())) {
                        metrics::gauge!("paceline_jobs", "lane" => lane.as_str(), "kind" => kind.as_str(), "state" => state)
                            .set(0.0);
                        if state == "ready" {
                            metrics::gauge!("paceline_job_oldest_seconds", "lane" => lane.as_str(), "kind" => kind.as_str())
                                .set(0.0);
                        }
                    }
                }
            }
            if let Ok(depth) = self.backplane.queue.depth(lane).await {
                metrics::gauge!("paceline_rings", "lane" => lane.as_str()).set(depth as f64);
            }
        }
        let open = batches::send::open_circuits(self.db.read()).await?;
        metrics::gauge!("paceline_circuits_open").set(open.len() as f64);
        let mut told = self.told_open.lock();
        for circuit in open.iter().filter(|circuit| !told.contains(&circuit.sender)) {
            tracing::warn!(sender = %circuit.sender, reason = %circuit.reason, "the gateway does not work; messages wait");
        }
        let names: BTreeSet<String> = open.into_iter().map(|circuit| circuit.sender).collect();
        for sender in told.difference(&names) {
            tracing::info!(%sender, "the gateway works again");
        }
        *told = names;
        Ok(())
    }

    /// Erases what was written beside deletions.
    async fn erase_again(&self) -> Result<(), DbErr> {
        let from = *self.erased_until.lock();
        let to = self.clock.now().minus(ERASE_AGAIN_AFTER);
        let erased = contacts::erase_again(self.db.read(), self.db.write(), from, to).await?;
        if erased > 0 {
            tracing::info!(rows = erased, "what was written beside deletions is erased");
        }
        *self.erased_until.lock() = to;
        Ok(())
    }

    /// Takes one small step after the other until one finds nothing, or the time of a pass is over: each is a transaction
    /// of its own.
    async fn prune_in_steps<F>(&self, mut step: impl FnMut() -> F) -> Result<(), DbErr>
    where
        F: Future<Output = Result<u64, DbErr>>,
    {
        let began = Instant::now();
        while step().await? > 0 && began.elapsed() < PRUNE_FOR {}
        Ok(())
    }

    /// Throws away what is old, a little at a time.
    async fn prune(&self) -> Result<(), DbErr> {
        let now = self.clock.now();
        idempotency::prune(self.db.write(), now, PRUNE_ROWS).await?;
        receipts::prune(self.db.write(), now.minus(EARLY_KEPT)).await?;
        self.erase_again().await?;
        self.prune_in_steps(|| users::prune(self.db.write(), now, PRUNE_STEP)).await?;
        self.prune_in_steps(|| batches::let_go_of_cancelled(self.db.write(), LET_GO_CHUNKS)).await?;
        let Some(retention) = self.settings.retention else { return Ok(()) };
        let before = now.minus(retention);
        jobs::prune(self.db.write(), before, PRUNE_ROWS).await?;
        let began = Instant::now();
        loop {
            let tx = self.db.begin().await?;
            let pruned = batches::prune(&tx, before, PRUNE_BATCHES).await?;
            db::commit(tx, Commit::Prune).await?;
            if pruned < PRUNE_BATCHES || began.elapsed() > PRUNE_FOR {
                return Ok(());
            }
        }
    }
}
