//! Hands the reports of a gateway in this process over to the ledger.

use backplane::{Intake, NotTaken};
use domain::contacts::customers::Identity;
use domain::db::Trouble;
use domain::delivery::reports::{self, ReportOutcome};
use domain::jobs;
use domain::messages::inbox::Inbound;
use domain::messages::limits;
use domain::messages::receipts::{About, Receipt, ReceiptKind};
use domain::{Clock, MessageId, Timestamp};
use futures::future::join_all;
use gateway::Report;
use gateway::server::{Delivery, Verdict};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// How many reports are handed over at once.
const GROUP: usize = 500;

/// A report as the ledger takes it; `None`: its message's id is none that we give.
fn read(report: Report, clock: &Clock) -> Option<reports::Report> {
    let at = clock.now();
    let about = |id: &str| {
        let number = || id.parse().ok().map(|id| About::Number(MessageId(id)));
        Uuid::try_parse(id).ok().map(About::Uuid).or_else(number)
    };
    let (about, kind) = match report {
        Report::Mapped { message_id, whatsapp_id, wa_id } => {
            (about(&message_id)?, ReceiptKind::Mapped { whatsapp_id, wa_id })
        }
        Report::Ack { message_id, whatsapp_id, level } => {
            (about(&message_id)?, ReceiptKind::Ack { level: i64::from(level), whatsapp_id: Some(whatsapp_id) })
        }
        Report::Seen { message_id, whatsapp_id, delay_ms, to: _ } => {
            let delay_ms = i64::try_from(delay_ms).ok();
            (about(&message_id)?, ReceiptKind::Seen { whatsapp_id: Some(whatsapp_id), delay_ms })
        }
        Report::Failed { message_id, code, detail } => (about(&message_id)?, ReceiptKind::Failed { code, detail }),
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
    Some(reports::Report::Receipt(limits::receipt(Receipt { about, kind, at })))
}

/// Takes reports until the sender is gone or `stop` is cancelled. Each is answered when it is committed, or when it never
/// will be; while the database is away, the reporter waits.
pub async fn take_reports(
    intake: Intake,
    clock: Clock,
    mut reports: mpsc::Receiver<Delivery>,
    stop: CancellationToken,
) {
    let mut group = Vec::with_capacity(GROUP);
    let take = async {
        while reports.recv_many(&mut group, GROUP).await > 0 {
            // Each is handed over when it is first polled: in their order.
            join_all(group.drain(..).map(|delivery| take(&intake, &clock, delivery))).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = take => {}
    }
}

async fn take(intake: &Intake, clock: &Clock, Delivery { report, taken }: Delivery) {
    let verdict = match read(report, clock) {
        Some(report) => settled(intake, report).await,
        None => no_message(),
    };
    // Who does not wait any more tells it again.
    drop(taken.map(|taken| taken.send(verdict)));
}

/// What the ledger says of a report. A database that is away, full or busy with others is waited for, however long; a report
/// that it does not take is given up, so that it does not keep others from the ledger.
async fn settled(intake: &Intake, report: reports::Report) -> Verdict {
    let mut timeouts = 0;
    loop {
        let error = match intake.take(report.clone()).await {
            Ok(taken) => return verdict(taken),
            Err(error) => error,
        };
        let given_up = match &error {
            NotTaken::Busy => false,
            NotTaken::Panicked => true,
            NotTaken::Database(error) => match Trouble::of(error) {
                Trouble::Away | Trouble::DiskFull | Trouble::Conflict => false,
                // What takes too long alone is perhaps only in a busy time.
                Trouble::TooLong => {
                    timeouts += 1;
                    timeouts >= jobs::MAX_TIMEOUTS
                }
                Trouble::Fault => true,
            },
        };
        if given_up {
            tracing::error!(%error, "the ledger does not take a report; it is given up");
            return Verdict::Refused { status: 500, detail: "the ledger does not take it".into() };
        }
        tracing::warn!(%error, "a report is not written yet");
        tokio::time::sleep(PAUSE).await;
    }
}

fn verdict(taken: ReportOutcome) -> Verdict {
    match taken {
        ReportOutcome::Applied | ReportOutcome::Kept => Verdict::Taken,
        ReportOutcome::NoMessage => no_message(),
        ReportOutcome::Contradicts => {
            Verdict::Contradicts { status: 409, detail: "another message has this id".into() }
        }
    }
}

fn no_message() -> Verdict {
    Verdict::Refused { status: 404, detail: "no such message".into() }
}
