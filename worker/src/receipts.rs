//! Takes the gateway's reports into the ledger, in groups.

use backplane::After;
use domain::contacts::customers::Identity;
use domain::contacts::stop_words::OptOut;
use domain::db::Trouble;
use domain::delivery::reports::{self, Taken};
use domain::jobs;
use domain::messages::inbox::Inbound;
use domain::messages::limits;
use domain::messages::receipts::{About, Receipt, Said};
use domain::{Clock, Db, MessageId, Timestamp, db};
use faults::Commit;
use futures::FutureExt;
use gateway::Report;
use gateway::server::{Delivery, Verdict};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sea_orm::DbErr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often a report is tried that the ledger does not take, or panics over, before it is given up: it must not keep all
/// others from the ledger. A database that is away is waited for, however long.
const TRIES: u32 = 3;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// How many reports one transaction takes.
const GROUP: usize = 500;

/// A report as the ledger takes it; `None`: its message's id is none that we give.
fn read(report: Report, clock: &Clock) -> Option<reports::Report> {
    let at = clock.now();
    let about = |id: &str| {
        let number = || id.parse().ok().map(|id| About::Number(MessageId(id)));
        Uuid::try_parse(id).ok().map(About::Uuid).or_else(number)
    };
    let (about, said) = match report {
        Report::Mapped { message_id, whatsapp_id, wa_id } => (about(&message_id)?, Said::Mapped { whatsapp_id, wa_id }),
        Report::Ack { message_id, whatsapp_id, level } => {
            (about(&message_id)?, Said::Ack { level: i64::from(level), whatsapp_id: Some(whatsapp_id) })
        }
        Report::Seen { message_id, whatsapp_id, delay_ms, to: _ } => {
            let delay_ms = i64::try_from(delay_ms).ok();
            (about(&message_id)?, Said::Seen { whatsapp_id: Some(whatsapp_id), delay_ms })
        }
        Report::Failed { message_id, code, detail } => (about(&message_id)?, Said::Failed { code, detail }),
        Report::Inbound(told) => {
            let written = Inbound {
                phone: None,
                identities: told.identities.into_iter().map(|(kind, value)| Identity { kind, value }).collect(),
                name: told.name,
                content: told.text,
                whatsapp_id: Some(told.network_id),
                message_type: told.kind,
                media: told.media,
                at: Some(Timestamp(told.at_ms)),
            };
            return Some(reports::Report::Inbound(Box::new(limits::inbound(Some(&told.from), written))));
        }
    };
    Some(reports::Report::Receipt(limits::receipt(Receipt { about, said, at })))
}

/// What the ledger needs to take reports.
pub struct Intake {
    /// The ledger.
    pub db: Db,
    /// What time it is.
    pub clock: Clock,
    /// Tells what was committed.
    pub after: After,
    /// The words by which people opt out and in, and what is answered.
    pub opt_out: OptOut,
}

/// Takes reports until the sender is gone or `stop` is cancelled. Each is answered when it is committed, or when it never
/// will be; while the database is away, the reporter waits.
pub async fn take_reports(intake: Intake, mut reports: mpsc::Receiver<Delivery>, stop: CancellationToken) {
    let mut group = Vec::with_capacity(GROUP);
    loop {
        let taken = tokio::select! {
            () = stop.cancelled() => return,
            taken = reports.recv_many(&mut group, GROUP) => taken,
        };
        if taken == 0 {
            return;
        }
        let (mut read, mut told) = (Vec::with_capacity(taken), Vec::with_capacity(taken));
        for Delivery { report, taken } in group.drain(..) {
            match self::read(report, &intake.clock) {
                Some(report) => {
                    read.push(report);
                    told.push(taken);
                }
                None => answer(taken, Verdict::Refused { status: 404, detail: "no such message".into() }),
            }
        }
        let verdicts = tokio::select! {
            () = stop.cancelled() => return,
            verdicts = intake.take(&read) => verdicts,
        };
        for (taken, verdict) in told.into_iter().zip(verdicts) {
            answer(taken, verdict);
        }
    }
}

fn answer(taken: Option<oneshot::Sender<Verdict>>, verdict: Verdict) {
    // Who does not wait any more tells it again.
    drop(taken.map(|taken| taken.send(verdict)));
}

fn verdict(taken: Taken) -> Verdict {
    match taken {
        Taken::Applied | Taken::Kept => Verdict::Taken,
        Taken::NoMessage => Verdict::Refused { status: 404, detail: "no such message".into() },
        Taken::Contradicts => Verdict::Contradicts { status: 409, detail: "another message has this id".into() },
    }
}

impl Intake {
    /// Takes a group in, or one by one where the group cannot be taken as a whole.
    async fn take(&self, reports: &[reports::Report]) -> Vec<Verdict> {
        match self.settled(reports).await {
            Ok(taken) => taken.into_iter().map(verdict).collect(),
            Err(error) if reports.len() == 1 => {
                tracing::error!(%error, "the ledger does not take a report; it is given up");
                vec![Verdict::Refused { status: 500, detail: "the ledger does not take it".into() }]
            }
            Err(_) => {
                let mut verdicts = Vec::with_capacity(reports.len());
                for report in reports {
                    verdicts.extend(Box::pin(self.take(std::slice::from_ref(report))).await);
                }
                verdicts
            }
        }
    }

    /// Writes reports in one transaction, as often as it takes while the database is away, and a few times otherwise.
    async fn settled(&self, reports: &[reports::Report]) -> Result<Vec<Taken>, DbErr> {
        let mut tries = 0;
        loop {
            let written = AssertUnwindSafe(self.write(reports)).catch_unwind().await;
            let error = match written {
                Ok(Ok(taken)) => return Ok(taken),
                Ok(Err(error)) => error,
                Err(_) => DbErr::Custom("it panicked; the log has its place".into()),
            };
            let trouble = Trouble::of(&error);
            // A group that takes too long is soon taken one by one; what takes too long alone is perhaps only in a busy time.
            let most = match trouble {
                Trouble::TooLong if reports.len() == 1 => Some(jobs::MAX_TIMEOUTS),
                Trouble::TooLong | Trouble::Fault => Some(TRIES),
                Trouble::Away | Trouble::DiskFull | Trouble::Conflict => None,
            };
            if let Some(most) = most {
                tries += 1;
                if tries >= most {
                    return Err(error);
                }
            }
            tracing::warn!(%error, reports = reports.len(), "reports not written yet");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn write(&self, reports: &[reports::Report]) -> Result<Vec<Taken>, DbErr> {
        let tx = self.db.begin().await?;
        let rng = &mut StdRng::from_rng(&mut rand::rng());
        let step = reports::take(&tx, self.clock.now(), reports, &self.opt_out, rng).await?;
        db::commit(tx, Commit::Reports).await?;
        Ok(self.after.commit_reports(step))
    }
}
