//! The scheduler: duties on a clock.
//!
//! Each duty takes no input, reads the state, and does what it finds to do; any number of schedulers may do it at once.
//! None of them is needed for correctness at a given moment, all of them are in the long run: rings that were lost,
//! leases whose worker is gone, schedules whose time has come, rows that nobody needs any more.

use backplane::{After, Backplane};
use domain::contacts::ErasedUntil;
use domain::db::{Trouble, Tx};
use domain::delivery::{reports, send};
use domain::jobs::workers::{self, SILENCE};
use domain::jobs::{Depth, Rescued, Swept};
use domain::kept::drafts;
use domain::kinds::Kinds;
use domain::messages::receipts;
use domain::queue::operations;
use domain::queue::samples::{self, Progress};
use domain::{Clock, Db, Dialect, Timestamp, audit_log, batches, contacts, db, idempotency, jobs, outbox, users};
use faults::Commit;
use futures::FutureExt;
use parking_lot::Mutex;
use sea_orm::DbErr;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// What the scheduler keeps, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long ended batches, their items and ended jobs are kept; `None`: for ever.
    pub retention: Option<Duration>,
    /// How long records of the audit log are kept; `None`: for ever.
    pub audit_retention: Option<Duration>,
}

/// Looks for jobs to ring: often enough that a schedule fires within a second of its time.
const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// Looks for leases that ended, and for workers that fell silent.
const RESCUE_EVERY: Duration = Duration::from_secs(1);
/// Looks for reports that were kept for messages which have come since.
const SETTLE_EARLY_EVERY: Duration = Duration::from_secs(5);
/// Looks for parked jobs that this release knows.
const UNPARK_EVERY: Duration = Duration::from_secs(1);
/// Counts the queue for the gauges.
const OBSERVE_EVERY: Duration = Duration::from_secs(5);
/// Throws away what is old.
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// How many rows one pass of a duty takes; the next pass takes the rest.
const SWEEP_ROWS: u64 = 1_000;
const RESCUE_ROWS: u64 = 100;
/// How many sessions and tokens a statement deletes, and how many chunks of cancelled imports lose their rows with one.
const PRUNE_STEP: u64 = 500;
const LET_GO_CHUNKS: u64 = 2;
const EARLY_ROWS: u64 = 500;

/// How long after a deletion it is looked at again: no transaction is open for so long.
const ERASE_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How far back a scheduler that starts looks: another may have stopped before it had looked.
const ERASED_BEFORE: Duration = Duration::from_secs(3_600);

/// How long a report is kept for a message that does not come.
const EARLY_KEPT: Duration = Duration::from_secs(3 * 86_400);

/// For how long one pass throws away: who makes a hundred thousand small ones a day has as many to throw away.
const PRUNE_FOR: Duration = Duration::from_secs(2);

struct Scheduler {
    db: Db,
    clock: Clock,
    backplane: Backplane,
    after: After,
    settings: Settings,
    watch: Mutex<Watch>,
    /// Up to where deletions were looked at again.
    erased_until: Mutex<ErasedUntil>,
    /// The senders whose gateway was last seen not to work.
    told_open: Mutex<BTreeSet<String>>,
    sweep_rows: Rows,
    rescue_rows: Rows,
    early_rows: Rows,
    prune_rows: Rows,
    /// How far batches had come at the last look.
    progress: Mutex<Progress>,
    /// The lanes, kinds and states of the jobs that there were.
    seen_depths: Mutex<BTreeSet<(String, String, String)>>,
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
    let (told_open, seen_depths, progress) = (Mutex::default(), Mutex::default(), Mutex::default());
    let erased_until = Mutex::new(ErasedUntil::from(clock.now().minus(ERASED_BEFORE)));
    let scheduler = Scheduler {
        sweep_rows: Rows::new(SWEEP_ROWS),
        rescue_rows: Rows::new(RESCUE_ROWS),
        early_rows: Rows::new(EARLY_ROWS),
        prune_rows: Rows::new(db.dialect().step_rows() as u64),
        db,
        clock,
        backplane,
        after,
        settings,
        watch,
        erased_until,
        told_open,
        progress,
        seen_depths,
    };
    tracing::info!("scheduler started");
    tokio::join!(
        every(SWEEP_EVERY, "sweep", &stop, || scheduler.sweep()),
        every(RESCUE_EVERY, "rescue", &stop, || scheduler.rescue()),
        every(SETTLE_EARLY_EVERY, "settle_early", &stop, || scheduler.settle_early()),
        every(UNPARK_EVERY, "unpark", &stop, || scheduler.unpark()),
        every(OBSERVE_EVERY, "observe", &stop, || scheduler.observe()),
        every(PRUNE_EVERY, "prune", &stop, || scheduler.prune()),
        every(PRUNE_EVERY, "prune_outbox", &stop, || scheduler.prune_outbox()),
        every(PRUNE_EVERY, "erase_again", &stop, || scheduler.erase_again()),
    );
    tracing::info!("scheduler stopped");
}

/// Why a duty was not done.
#[derive(Debug, thiserror::Error)]
enum DutyError {
    /// The database's.
    #[error(transparent)]
    Database(#[from] DbErr),
    /// A bug; perhaps one that passes.
    #[error("it panicked; the log has its place")]
    Panicked,
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
        let done = match AssertUnwindSafe(once()).catch_unwind().await {
            Ok(done) => done.map_err(DutyError::from),
            Err(_) => {
                metrics::counter!("paceline_panics_total", "in" => duty).increment(1);
                Err(DutyError::Panicked)
            }
        };
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
        let swept = jobs::sweep(&tx, self.clock.now(), self.sweep_rows.now()).await;
        let Swept { rings, again, parked } = self.sweep_rows.learn(swept)?;
        db::commit(tx, Commit::Sweep).await?;
        if parked > 0 {
            metrics::counter!("paceline_jobs_parked_total").increment(parked as u64);
            tracing::warn!(parked, "jobs that only another release knows are parked; `paceline doctor` lists them");
        }
        metrics::counter!("paceline_rings_swept_total", "reason" => "due").increment((rings.len() - again) as u64);
        metrics::counter!("paceline_rings_swept_total", "reason" => "unanswered").increment(again as u64);
        self.after.ring(rings);
        Ok(())
    }

    /// Lets jobs go on that were parked by a release that did not know them.
    async fn unpark(&self) -> Result<(), DbErr> {
        if !jobs::any_known(self.db.read()).await? {
            return Ok(());
        }
        let tx = self.db.begin().await?;
        let rings = jobs::unpark(&tx, self.clock.now(), SWEEP_ROWS).await?;
        db::commit(tx, Commit::Sweep).await?;
        tracing::info!(jobs = rings.len(), "parked jobs that this release knows go on");
        self.after.ring(rings);
        Ok(())
    }

    /// Takes back jobs whose worker is gone.
    async fn rescue(&self) -> Result<(), DbErr> {
        // A worker that is alone with its database is this process.
        if self.db.dialect() == Dialect::Postgres && self.watch.lock().looks() > SILENCE {
            // By itself: whoever is not dead after all beats again, and must not wait for what is rescued.
            let tx = self.db.begin().await?;
            let silent = workers::bury_silent(&tx, self.clock.now(), self.clock.now().minus(SILENCE)).await?;
            if silent > 0 {
                db::commit(tx, Commit::Rescue).await?;
                metrics::counter!("paceline_workers_lost_total").increment(silent as u64);
                tracing::warn!(workers = silent, "workers fell silent; their jobs are taken back");
            } else {
                tx.rollback().await?;
            }
        }
        while self.rescue_some().await? {}
        Ok(())
    }

    /// Whether there may be more.
    async fn rescue_some(&self) -> Result<bool, DbErr> {
        let tx = self.db.begin().await?;
        let step = jobs::rescue(&tx, self.clock.now(), self.rescue_rows.now(), &Kinds).await;
        let step = self.rescue_rows.learn(step)?;
        if step.value == Rescued::default() {
            return tx.rollback().await.map(|()| false);
        }
        db::commit(tx, Commit::Rescue).await?;
        let rescued = self.after.commit(step);
        if rescued.ready + rescued.dead > 0 {
            metrics::counter!("paceline_jobs_rescued_total").increment(rescued.ready as u64);
            metrics::counter!("paceline_jobs_total", "lane" => "", "kind" => "", "outcome" => "dead")
                .increment(rescued.dead as u64);
            tracing::warn!(ready = rescued.ready, dead = rescued.dead, "leases had ended without a result");
        }
        Ok(rescued.more)
    }

    /// Applies reports that were kept for messages which have come since.
    async fn settle_early(&self) -> Result<(), DbErr> {
        let tx = self.db.begin().await?;
        let settled = reports::settle_early(&tx, self.clock.now(), self.early_rows.now()).await;
        let step = self.early_rows.learn(settled)?;
        if step.value == 0 {
            return tx.rollback().await;
        }
        db::commit(tx, Commit::Reports).await?;
        let found = self.after.commit(step);
        metrics::counter!("paceline_early_reports_total").increment(found as u64);
        Ok(())
    }

    /// Keeps what a look at the queue found, for the eyes of people.
    async fn keep_look(&self, now: Timestamp, depths: &[Depth]) -> Result<(), DbErr> {
        // There is one duty of the kind: nobody else changes it meanwhile.
        let mut progress = self.progress.lock().clone();
        let look = samples::look(self.db.read(), now, depths, &mut progress).await?;
        *self.progress.lock() = progress;
        let tx = self.db.begin().await?;
        samples::keep(&tx, now, &look).await?;
        tx.commit().await
    }

    /// Sets the gauges, and keeps what they said.
    async fn observe(&self) -> Result<(), DbErr> {
        let now = self.clock.now();
        let depths = jobs::depths(self.db.read(), now).await?;
        self.keep_look(now, &depths).await?;
        let mut seen = BTreeSet::new();
        let mut parked = 0;
        for depth in depths {
            let labels = [("lane", depth.lane.clone()), ("kind", depth.kind.clone()), ("state", depth.state.clone())];
            metrics::gauge!("paceline_jobs", &labels).set(depth.jobs as f64);
            if depth.state == "ready" {
                let labels = [("lane", depth.lane.clone()), ("kind", depth.kind.clone())];
                metrics::gauge!("paceline_job_oldest_seconds", &labels).set(depth.oldest.as_secs_f64());
            }
            if depth.state == "parked" {
                parked += depth.jobs;
            }
            seen.insert((depth.lane, depth.kind, depth.state));
        }
        metrics::gauge!("paceline_jobs_parked").set(parked as f64);
        // What is no longer there is zero, not its last value; also of kinds that only another release knows.
        let seen_before = std::mem::replace(&mut *self.seen_depths.lock(), seen.clone());
        for (lane, kind, state) in seen_before.difference(&seen) {
            let labels = [("lane", lane.clone()), ("kind", kind.clone()), ("state", state.clone())];
            metrics::gauge!("paceline_jobs", &labels).set(0.0);
        }
        for lane in domain::Lane::ALL {
            for kind in domain::JobKind::ALL.iter().copied() {
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
        let open = send::open_circuits(self.db.read()).await?;
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

    /// Erases what was written beside deletions, a few contacts after the other.
    async fn erase_again(&self) -> Result<(), DbErr> {
        let began = Instant::now();
        let to = self.clock.now().minus(ERASE_AGAIN_AFTER);
        let mut erased = 0;
        loop {
            let from = *self.erased_until.lock();
            let (rows, until) = contacts::erase_again(self.db.read(), self.db.write(), from, to).await?;
            erased += rows;
            // There is one duty of the kind: nobody else has moved it meanwhile.
            *self.erased_until.lock() = until;
            if until.has_come_to(to) || began.elapsed() > PRUNE_FOR {
                break;
            }
        }
        if erased > 0 {
            tracing::info!(rows = erased, "what was written beside deletions is erased");
        }
        Ok(())
    }

    /// Throws away events that are too old to be resumed from, a transaction for a few.
    async fn prune_outbox(&self) -> Result<(), DbErr> {
        let began = Instant::now();
        loop {
            let tx = self.db.begin().await?;
            let more = outbox::prune(&tx, self.clock.now()).await?;
            db::commit(tx, Commit::Prune).await?;
            if !more || began.elapsed() > PRUNE_FOR {
                return Ok(());
            }
        }
    }

    /// Throws away what is old, a little at a time: each step is a transaction, and others come between two of them.
    async fn prune(&self) -> Result<(), DbErr> {
        let began = Instant::now();
        let now = self.clock.now();
        let on = || began.elapsed() < PRUNE_FOR;
        let rows = || self.prune_rows.now();
        while on() && self.prune_one(idempotency::prune(self.db.write(), now, rows()).await)? {}
        while on() && self.prune_one(receipts::prune(self.db.write(), now.minus(EARLY_KEPT), rows()).await)? {}
        while on() && self.prune_step(async |tx| batches::prune_uploads(tx, now, rows()).await).await? {}
        while on() && self.prune_step(async |tx| samples::prune(tx, now, rows()).await).await? {}
        while on() && self.prune_one(drafts::prune(self.db.write(), now, rows()).await)? {}
        while on() && users::prune(self.db.write(), now, PRUNE_STEP).await? > 0 {}
        while on() && batches::let_go_of_cancelled(self.db.write(), LET_GO_CHUNKS).await? > 0 {}
        if let Some(kept) = self.settings.audit_retention {
            while on() && self.prune_one(audit_log::prune(self.db.write(), now.minus(kept), rows()).await)? {}
        }
        let Some(retention) = self.settings.retention else { return Ok(()) };
        let before = now.minus(retention);
        while on() && self.prune_step(async |tx| Ok(jobs::prune(tx, before, rows()).await? >= rows())).await? {}
        while on() && self.prune_step(async |tx| operations::prune(tx, before, rows()).await).await? {}
        while on() && self.prune_step(async |tx| batches::prune(tx, before, rows()).await).await? {}
        Ok(())
    }

    /// Whether a statement that throws away left something.
    fn prune_one(&self, gone: Result<u64, DbErr>) -> Result<bool, DbErr> {
        let most = self.prune_rows.now();
        Ok(self.prune_rows.learn(gone)? >= most)
    }

    /// A step of throwing away, which tells whether there is more.
    async fn prune_step(&self, step: impl AsyncFnOnce(&Tx) -> Result<bool, DbErr>) -> Result<bool, DbErr> {
        let tx = self.db.begin().await?;
        let more = self.prune_rows.learn(step(&tx).await)?;
        db::commit(tx, Commit::Prune).await?;
        Ok(more)
    }
}

/// How many rows one pass of a duty takes: fewer after one that took too long, more again after those that did not. Else
/// it would be tried with as many for ever.
#[derive(Debug)]
struct Rows {
    most: u64,
    now: AtomicU64,
}

impl Rows {
    const fn new(most: u64) -> Self {
        Self { most, now: AtomicU64::new(most) }
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn learn<T>(&self, done: Result<T, DbErr>) -> Result<T, DbErr> {
        let now = self.now();
        let next = match &done {
            Ok(_) => (now * 2).min(self.most),
            Err(error) if Trouble::of(error) == Trouble::TooLong => (now / 2).max(1),
            Err(_) => now,
        };
        self.now.store(next, Ordering::Relaxed);
        done
    }
}
