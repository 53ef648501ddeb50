//! The one way by which the reports of gateways come into the ledger: over HTTP, and from a gateway in this process.
//!
//! A gateway reports one thing at a time. A transaction for each would cost more than the messages themselves, so reports
//! that come while one transaction is under way share the next. Each is answered when its own is committed.

use crate::After;
use domain::contacts::stop_words::OptOut;
use domain::db::{self, Trouble};
use domain::delivery::reports::{self, Report, ReportOutcome};
use domain::{Clock, Db};
use faults::Commit;
use futures::FutureExt;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sea_orm::DbErr;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// How many reports one transaction takes.
const GROUP: usize = 500;

/// How many may wait.
const WAITING: usize = 10_000;

/// How often a single report is tried that others are in the way of, or that is at fault.
const TRIES: u32 = 3;

/// Why a report was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotTaken {
    /// It was not tried: too many wait, another one takes too long, or the process ends. It is to be told again.
    #[error("too many reports are waiting")]
    Busy,
    /// A bug; perhaps one that passes. Nothing was written.
    #[error("the intake of reports panicked; the log has its place")]
    Panicked,
    /// The database did not take it. Unless [`Trouble::is_unsettled`] holds for the error, nothing was written.
    #[error("{0}")]
    Database(Arc<DbErr>),
}

impl NotTaken {
    /// What it means for the group that was not taken.
    fn trouble(&self) -> Trouble {
        match self {
            Self::Busy => Trouble::Away,
            Self::Panicked => Trouble::Fault,
            Self::Database(error) => Trouble::of(error),
        }
    }
}

impl From<DbErr> for NotTaken {
    fn from(error: DbErr) -> Self {
        Self::Database(Arc::new(error))
    }
}

struct Waiting {
    report: Report,
    answer: oneshot::Sender<Result<ReportOutcome, NotTaken>>,
}

/// Where reports are handed in.
#[derive(Clone)]
pub struct Intake(mpsc::Sender<Waiting>);

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Intake")
    }
}

impl Intake {
    /// Takes reports into the ledger for as long as this or a clone of it lives. `opt_out` are the words by which people
    /// opt out and in, and what is answered. Needs a runtime.
    #[must_use]
    pub fn start(db: Db, clock: Clock, after: After, opt_out: OptOut) -> Self {
        let (sender, mut waiting) = mpsc::channel(WAITING);
        let writer = ReportWriter { db, clock, after, opt_out };
        tokio::spawn(async move {
            let mut group = Vec::with_capacity(GROUP);
            while waiting.recv_many(&mut group, GROUP).await > 0 {
                writer.answer(std::mem::take(&mut group)).await;
            }
        });
        Self(sender)
    }

    /// Hands a report in, and waits until it is committed.
    ///
    /// # Errors
    /// Why it was not taken.
    pub async fn take(&self, report: Report) -> Result<ReportOutcome, NotTaken> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Waiting { report, answer }).map_err(|_| NotTaken::Busy)?;
        answered.await.unwrap_or(Err(NotTaken::Busy))
    }
}

/// What writing needs.
struct ReportWriter {
    db: Db,
    clock: Clock,
    after: After,
    opt_out: OptOut,
}

impl ReportWriter {
    async fn answer(&self, group: Vec<Waiting>) {
        let (reports, answers): (Vec<Report>, Vec<_>) = group.into_iter().map(|one| (one.report, one.answer)).unzip();
        for (answer, taken) in answers.into_iter().zip(self.take(&reports).await) {
            // Whoever reported may be gone; it will report again.
            drop(answer.send(taken));
        }
    }

    /// Takes a group in, or one by one where the group cannot be taken as a whole.
    async fn take(&self, reports: &[Report]) -> Vec<Result<ReportOutcome, NotTaken>> {
        let error = match self.write(reports).await {
            Ok(taken) => return taken.into_iter().map(Ok).collect(),
            Err(error) => error,
        };
        let whole = match error.trouble() {
            Trouble::Away | Trouble::DiskFull => true,
            Trouble::TooLong => reports.len() == 1,
            Trouble::Conflict | Trouble::Fault => false,
        };
        if whole {
            return reports.iter().map(|_| Err(error.clone())).collect();
        }
        // One of them may be at fault, or in another's way: alone, the others are not.
        tracing::debug!(%error, reports = reports.len(), "a group of reports is taken one by one");
        let mut taken = Vec::with_capacity(reports.len());
        let mut slow = false;
        for report in reports {
            // Whoever waits for an answer has not the time for several that take as long as a statement may.
            let one = if slow { Err(NotTaken::Busy) } else { self.alone(report).await };
            slow |= one.as_ref().is_err_and(|error| error.trouble() == Trouble::TooLong);
            taken.push(one);
        }
        taken
    }

    async fn alone(&self, report: &Report) -> Result<ReportOutcome, NotTaken> {
        let mut tries = 1;
        loop {
            let error = match self.write(std::slice::from_ref(report)).await {
                Ok(taken) => return taken.into_iter().next().ok_or(NotTaken::Busy),
                Err(error) => error,
            };
            // Told again, a report finds what another of the same moment has made.
            let passes = matches!(error.trouble(), Trouble::Conflict | Trouble::Fault);
            if !passes || tries >= TRIES {
                return Err(error);
            }
            tries += 1;
        }
    }

    async fn write(&self, group: &[Report]) -> Result<Vec<ReportOutcome>, NotTaken> {
        match AssertUnwindSafe(self.try_write(group)).catch_unwind().await {
            Ok(written) => Ok(written?),
            Err(_) => {
                metrics::counter!("paceline_panics_total", "in" => "intake").increment(1);
                Err(NotTaken::Panicked)
            }
        }
    }

    async fn try_write(&self, group: &[Report]) -> Result<Vec<ReportOutcome>, DbErr> {
        let tx = self.db.begin().await?;
        let rng = &mut StdRng::from_rng(&mut rand::rng());
        let step = reports::take(&tx, self.clock.now(), group, &self.opt_out, rng).await?;
        db::commit(tx, Commit::Reports).await?;
        metrics::counter!("paceline_reports_total").increment(group.len() as u64);
        Ok(self.after.commit_reports(step))
    }
}
