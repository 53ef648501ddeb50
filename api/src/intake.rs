//! Takes the gateway's reports into the ledger, in groups.
//!
//! A gateway reports one thing a request. A transaction for each would cost more than the messages themselves, so reports
//! that come while one transaction is under way share the next. Each is answered when its own is committed.

use crate::foundation::refusal::{Kind, Refusal};
use backplane::After;
use domain::contacts::stop_words::OptOut;
use domain::db::Trouble;
use domain::delivery::reports::{self, Report, Taken};
use domain::{Clock, Db, db};
use faults::Commit;
use futures::FutureExt;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sea_orm::DbErr;
use std::panic::AssertUnwindSafe;
use tokio::sync::{mpsc, oneshot};

/// How many reports one transaction takes.
const GROUP: usize = 256;

/// How many may wait. More are told to come again.
const WAITING: usize = 10_000;

/// How often a single report is tried that others are in the way of.
const TRIES: u32 = 3;

struct Waiting {
    report: Report,
    answer: oneshot::Sender<Result<Taken, Refusal>>,
}

/// Where reports go.
#[derive(Clone)]
pub(crate) struct Intake(mpsc::Sender<Waiting>);

/// Where they come out.
pub(crate) struct Reports(mpsc::Receiver<Waiting>);

pub(crate) fn channel() -> (Intake, Reports) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Intake(sender), Reports(receiver))
}

fn busy() -> Refusal {
    Refusal::new(Kind::Unavailable, "too many reports are waiting; nothing was written, try again")
}

impl Intake {
    /// Hands a report in, and waits until it is committed.
    pub(crate) async fn take(&self, report: Report) -> Result<Taken, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Waiting { report, answer }).map_err(|_| busy())?;
        answered.await.unwrap_or_else(|_| Err(busy()))
    }
}

/// What writing needs.
pub(crate) struct Writer {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) after: After,
    pub(crate) opt_out: OptOut,
}

impl Writer {
    /// Writes until nobody can hand in anything more.
    pub(crate) async fn run(&self, reports: &mut Reports) {
        let mut group = Vec::with_capacity(GROUP);
        while reports.0.recv_many(&mut group, GROUP).await > 0 {
            self.answer(std::mem::take(&mut group)).await;
        }
    }

    async fn answer(&self, group: Vec<Waiting>) {
        let (reports, answers): (Vec<Report>, Vec<_>) = group.into_iter().map(|w| (w.report, w.answer)).unzip();
        let taken = match self.write(&reports).await {
            Ok(taken) => taken.into_iter().map(Ok).collect(),
            // One of them may be at fault, or in another's way: alone, the others are not.
            Err(error)
                if reports.len() > 1
                    && !matches!(Trouble::of(&error), Trouble::Away | Trouble::TooLong | Trouble::DiskFull) =>
            {
                tracing::debug!(%error, reports = reports.len(), "a group of reports is taken one by one");
                let mut taken = Vec::with_capacity(reports.len());
                for report in &reports {
                    taken.push(self.alone(report).await);
                }
                taken
            }
            Err(error) => {
                let refusal = Refusal::from(error);
                reports.iter().map(|_| Err(refusal.clone())).collect::<Vec<_>>()
            }
        };
        for (answer, taken) in answers.into_iter().zip(taken) {
            // Whoever reported may be gone; it will report again.
            drop(answer.send(taken));
        }
    }

    async fn alone(&self, report: &Report) -> Result<Taken, Refusal> {
        let mut tries = 1;
        loop {
            match self.write(std::slice::from_ref(report)).await {
                Ok(taken) => return taken.into_iter().next().ok_or_else(Refusal::internal),
                // Told again, a report finds what another of the same moment has made.
                Err(error)
                    if tries < TRIES
                        && !matches!(Trouble::of(&error), Trouble::Away | Trouble::TooLong | Trouble::DiskFull) =>
                {
                    tries += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn write(&self, group: &[Report]) -> Result<Vec<Taken>, DbErr> {
        let written = AssertUnwindSafe(self.try_write(group)).catch_unwind().await;
        written.unwrap_or_else(|_| {
            metrics::counter!("paceline_panics_total", "in" => "intake").increment(1);
            Err(DbErr::Custom("the intake of reports panicked; the log has its place".into()))
        })
    }

    async fn try_write(&self, group: &[Report]) -> Result<Vec<Taken>, DbErr> {
        let tx = self.db.begin().await?;
        let rng = &mut StdRng::from_rng(&mut rand::rng());
        let step = reports::take(&tx, self.clock.now(), group, &self.opt_out, rng).await?;
        db::commit(tx, Commit::Reports).await?;
        metrics::counter!("paceline_reports_total").increment(group.len() as u64);
        Ok(self.after.commit_reports(step))
    }
}
