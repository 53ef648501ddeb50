//! From the store to the backend: tells what became of messages, until the backend has taken it.
//!
//! Only the first report of a thread is ever due (`store`), so one message's come in order and those of many messages go
//! at once. Nothing is kept here but what is under way. A backend that is away is asked by one report at a time.

use super::backend::{Backend, Verdict};
use super::rules::backoff;
use super::store::{DueReport, ReportOutcome, Store};
use faults::{GatewayStep, Point, Side};
use futures::FutureExt;
use parking_lot::Mutex;
use rand::Rng;
use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many answers one commit takes.
const GROUP: usize = 500;

/// How many failures in a row mean that the backend is away.
const AWAY_AFTER: u32 = 5;

/// The first and the longest wait between two tries.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How often a backend may say that a report contradicts what it has: some minutes.
const CONTRADICTIONS: u32 = 12;

/// The longest wait that a backend may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

const SWEEP: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);

/// Whether the backend is there.
#[derive(Clone, Copy, Debug, Default)]
struct Health {
    /// Failures in a row.
    failures: u32,
    /// Waits in a row.
    waits: u32,
    /// Nothing is told before.
    not_before: Option<Instant>,
}

impl Health {
    /// One more failure of a report that was sent at `began`: how long nothing is told now, if that is new.
    ///
    /// Those that were under way together when the backend went away fail together, and say so once: only what was sent
    /// after a wait makes the next one longer.
    fn failed(&mut self, began: Instant, now: Instant, asked: Duration, luck: f64) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        if self.failures < AWAY_AFTER || self.not_before.is_some_and(|until| began < until) {
            return None;
        }
        let wait = backoff(self.waits, FIRST_WAIT, LONGEST_WAIT, luck).max(asked);
        self.waits = self.waits.saturating_add(1);
        self.not_before = Some(now + wait);
        Some(wait)
    }
}

pub(crate) struct Reporting {
    pub(crate) store: Arc<Store>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) places: Arc<Semaphore>,
    /// How many places there are.
    pub(crate) most: usize,
    under_way: Mutex<HashSet<i64>>,
    /// How often a report contradicted what the backend has, since the process began.
    contradictions: Mutex<HashMap<i64, u32>>,
    health: Mutex<Health>,
    /// A place is free, or the backend is back.
    freed: Notify,
    pub(crate) deliveries: TaskTracker,
    told: mpsc::Sender<(DueReport, ReportOutcome)>,
}

impl Reporting {
    pub(crate) fn new(
        store: Arc<Store>,
        backend: Arc<dyn Backend>,
        most: usize,
        told: mpsc::Sender<(DueReport, ReportOutcome)>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            backend,
            places: Arc::new(Semaphore::new(most)),
            most,
            under_way: Mutex::default(),
            contradictions: Mutex::default(),
            health: Mutex::default(),
            freed: Notify::new(),
            deliveries: TaskTracker::new(),
            told,
        })
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.lock().is_empty()
    }

    /// Tells until told to stop.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        while stop.run_until_cancelled(self.round()).await.is_some() {}
    }

    async fn round(self: &Arc<Self>) {
        let health = *self.health.lock();
        if let Some(until) = health.not_before {
            tokio::time::sleep_until(until).await;
        }
        let rung = self.store.bells.reporting.notified();
        let freed = self.freed.notified();
        // One report finds out whether a backend that was away is back.
        let most = if health.failures >= AWAY_AFTER { 1 } else { self.most };
        let under_way = self.under_way.lock().clone();
        let free = most.saturating_sub(under_way.len());
        if free == 0 {
            freed.await;
            return;
        }
        let due = match self.store.due_reports(under_way.len() + free).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "reports cannot be read");
                tokio::time::sleep(PAUSE).await;
                return;
            }
        };
        let mut begun = false;
        for due in due.into_iter().filter(|due| !under_way.contains(&due.seq)).take(free) {
            let Ok(place) = self.places.clone().try_acquire_owned() else { break };
            self.under_way.lock().insert(due.seq);
            self.deliveries.spawn(self.clone().deliver(due, place));
            begun = true;
        }
        if begun {
            return;
        }
        let next = self.store.next_report_at().await.ok().flatten();
        let wait = next.map_or(SWEEP, |at| {
            // Not at once: what is due now and under way is what is looked at.
            Duration::from_millis((at - (self.store.now)()).max(20).unsigned_abs()).min(SWEEP)
        });
        tokio::select! {
            () = rung => {}
            () = freed => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    async fn deliver(self: Arc<Self>, due: DueReport, place: OwnedSemaphorePermit) {
        let began = Instant::now();
        let verdict = AssertUnwindSafe(self.tell(&due)).catch_unwind().await.unwrap_or_else(|_| {
            metrics::counter!("paceline_panics_total", "in" => "gateway report").increment(1);
            tracing::error!("a report panicked; the log has its place");
            Verdict::Later { retry_after: None, away: false, detail: "the gateway failed while it told it".into() }
        });
        let told = self.judge(&due, began, verdict);
        let seq = due.seq;
        drop(place);
        if self.told.send((due, told)).await.is_err() {
            // It is told again.
            self.under_way.lock().remove(&seq);
        }
    }

    async fn tell(&self, due: &DueReport) -> Verdict {
        let broke = |error: std::io::Error| Verdict::Later { retry_after: None, away: true, detail: error.to_string() };
        if let Err(error) = faults::hit(Point::Gateway(GatewayStep::Report, Side::Before)) {
            return broke(error);
        }
        let verdict = self.backend.take(&due.outgoing).await;
        match faults::hit(Point::Gateway(GatewayStep::Report, Side::After)) {
            Ok(()) => verdict,
            Err(error) => broke(error),
        }
    }

    fn judge(&self, due: &DueReport, began: Instant, verdict: Verdict) -> ReportOutcome {
        let mut health = self.health.lock();
        let luck = rand::rng().random();
        let told = match verdict {
            Verdict::Taken => {
                if health.failures >= AWAY_AFTER {
                    tracing::info!("the backend takes reports again");
                }
                *health = Health::default();
                ReportOutcome::Taken
            }
            Verdict::Contradicts { detail, .. } if self.contradicts(due.seq) < CONTRADICTIONS => {
                *health = Health::default();
                tracing::debug!(detail, "a report contradicts what the backend has; it is told again");
                self.again(due, Duration::ZERO, luck)
            }
            Verdict::Refused { status, detail } | Verdict::Contradicts { status, detail } => {
                *health = Health::default();
                tracing::error!(status, detail, "the backend will never take a report; it is kept as refused");
                ReportOutcome::Refused { status, detail }
            }
            Verdict::Later { retry_after, away, detail } => {
                let asked = retry_after.unwrap_or_default().min(LONGEST_ASKED);
                if away {
                    if let Some(wait) = health.failed(began, Instant::now(), asked, luck) {
                        tracing::warn!(
                            detail,
                            wait_ms = wait.as_millis(),
                            "the backend takes no reports; they are kept"
                        );
                    }
                } else {
                    tracing::debug!(detail, "a report is told again");
                }
                self.again(due, asked, luck)
            }
        };
        let outcome = match &told {
            ReportOutcome::Taken => "taken",
            ReportOutcome::Refused { .. } => "refused",
            ReportOutcome::Again { .. } => "later",
        };
        metrics::counter!("paceline_gateway_reports_total", "outcome" => outcome).increment(1);
        if !matches!(told, ReportOutcome::Again { .. }) {
            self.contradictions.lock().remove(&due.seq);
        }
        told
    }

    /// One contradiction more: how many there are of this report.
    fn contradicts(&self, seq: i64) -> u32 {
        let mut contradictions = self.contradictions.lock();
        let count = contradictions.entry(seq).or_default();
        *count += 1;
        *count
    }

    /// When a report is told again.
    fn again(&self, due: &DueReport, asked: Duration, luck: f64) -> ReportOutcome {
        let wait = backoff(due.tries, FIRST_WAIT, LONGEST_WAIT, luck).max(asked);
        let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        ReportOutcome::Again { due_at_ms: (self.store.now)().saturating_add(wait) }
    }
}

/// Writes what the backend made of reports, in groups, until nobody sends any more.
pub(crate) async fn write_told(reporting: Arc<Reporting>, told: &mut mpsc::Receiver<(DueReport, ReportOutcome)>) {
    let mut group = Vec::with_capacity(GROUP);
    while told.recv_many(&mut group, GROUP).await > 0 {
        while let Err(error) = reporting.store.told(group.clone()).await {
            tracing::warn!(%error, reports = group.len(), "what the backend took is not written yet");
            tokio::time::sleep(PAUSE).await;
        }
        let mut under_way = reporting.under_way.lock();
        for (due, _) in group.drain(..) {
            under_way.remove(&due.seq);
        }
        drop(under_way);
        reporting.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::super::backend::LocalBackend;
    use super::*;
    use crate::{Outgoing, Report};
    use sqlx::sqlite::SqliteSynchronous;

    #[test]
    fn what_fails_together_is_one_sign_that_the_backend_is_away() {
        let mut health = Health::default();
        let began = Instant::now();
        let waits: Vec<Duration> = (0..64).filter_map(|_| health.failed(began, began, Duration::ZERO, 1.0)).collect();
        assert_eq!(waits, [FIRST_WAIT]);
        // One is sent after each wait.
        let mut now = began;
        for nth in 1..12 {
            now = health.not_before.expect("a wait");
            let wait = health.failed(now, now, Duration::ZERO, 1.0);
            assert_eq!(wait, Some((FIRST_WAIT * 2_u32.pow(nth)).min(LONGEST_WAIT)));
        }
        // A late answer to what was sent before changes nothing.
        assert_eq!(health.failed(began, now, Duration::ZERO, 1.0), None);
    }

    #[tokio::test]
    async fn what_contradicts_the_backend_is_not_told_for_ever() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path(), SqliteSynchronous::Off, 0, Arc::new(|| 0)).await.expect("opens");
        let (backend, _taken) = LocalBackend::new(1);
        let (told, _written) = mpsc::channel(1);
        let reporting = Reporting::new(Arc::new(store), Arc::new(backend), 1, told);
        let report = Report::Mapped { message_id: "m".into(), whatsapp_id: "w".into(), wa_id: None };
        let outgoing = Outgoing { report, numeric: false };
        let verdict = Verdict::Contradicts { status: 409, detail: "another has this id".into() };
        // The backend was away for long before.
        let due = DueReport { seq: 1, thread: 1, tries: 50, outgoing };
        let judged = || reporting.judge(&due, Instant::now(), verdict.clone());
        for nth in 1..CONTRADICTIONS {
            assert!(matches!(judged(), ReportOutcome::Again { .. }), "{nth}");
        }
        assert_eq!(judged(), ReportOutcome::Refused { status: 409, detail: "another has this id".into() });
        assert!(matches!(judged(), ReportOutcome::Again { .. }), "it was forgotten");
    }

    #[test]
    fn the_backend_may_ask_for_more_time() {
        let mut health = Health::default();
        let now = Instant::now();
        let minute = Duration::from_secs(60);
        let waits: Vec<Duration> = (0..5).filter_map(|_| health.failed(now, now, minute, 0.5)).collect();
        assert_eq!(waits, [minute]);
    }
}
