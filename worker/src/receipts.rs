//! Takes the gateway's reports into the ledger, in groups.

use backplane::After;
use domain::messages::receipts::{self, ACK_READ, ACK_SENT, Receipt};
use domain::{Clock, Db, db};
use faults::Commit;
use futures::FutureExt;
use gateway::Report;
use gateway::server::{Delivery, Verdict};
use sea_orm::DbErr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often a group of reports may panic before it is given up: it must not keep all others from the ledger.
const MAX_PANICS: u32 = 2;

/// How many reports one transaction takes.
const GROUP: usize = 500;

/// What a report became.
#[derive(Debug)]
pub enum Reported {
    /// A message came further.
    Receipt(Receipt),
    /// A message failed after it had been taken.
    Failed {
        /// Our id of the message.
        message: Uuid,
        /// A stable word for the reason.
        code: String,
        /// The reason for people.
        detail: String,
    },
    /// Nothing that the ledger keeps: a customer's words, which the conversations take (another surface), or an id that
    /// is none of ours.
    Other,
}

fn read(report: Report, clock: &Clock) -> Reported {
    let receipt = |id: &str, level, whatsapp_id: Option<String>| match Uuid::try_parse(id) {
        Ok(message) => Reported::Receipt(Receipt { message, level, whatsapp_id, at: clock.now() }),
        Err(_) => Reported::Other,
    };
    match report {
        Report::Mapped { message_id, whatsapp_id } => receipt(&message_id, ACK_SENT, Some(whatsapp_id)),
        Report::Ack { message_id, whatsapp_id, level } => receipt(&message_id, i64::from(level), Some(whatsapp_id)),
        Report::Seen { message_id, whatsapp_id, .. } => receipt(&message_id, ACK_READ, Some(whatsapp_id)),
        Report::Failed { message_id, code, detail } => match Uuid::try_parse(&message_id) {
            Ok(message) => Reported::Failed { message, code, detail },
            Err(_) => Reported::Other,
        },
        Report::Inbound { .. } => Reported::Other,
    }
}

/// Takes reports until the sender is gone or `stop` is cancelled. A group that the database does not take is tried again:
/// the reporter waits meanwhile.
pub async fn take_reports(
    db: Db,
    clock: Clock,
    after: After,
    mut reports: mpsc::Receiver<Delivery>,
    stop: CancellationToken,
) {
    let mut group = Vec::with_capacity(GROUP);
    loop {
        let taken = tokio::select! {
            () = stop.cancelled() => return,
            taken = reports.recv_many(&mut group, GROUP) => taken,
        };
        if taken == 0 {
            return;
        }
        let (read, told): (Vec<Reported>, Vec<_>) =
            group.drain(..).map(|Delivery { report, taken }| (read(report, &clock), taken)).unzip();
        let mut panics = 0;
        let verdict = loop {
            match AssertUnwindSafe(write(&db, &after, &read)).catch_unwind().await {
                Ok(Ok(())) => break Verdict::Taken,
                Ok(Err(error)) => tracing::warn!(%error, reports = read.len(), "reports not written yet"),
                Err(_) if panics < MAX_PANICS => panics += 1,
                Err(_) => {
                    tracing::error!(reports = read.len(), "these reports panic again and again; they are given up");
                    break Verdict::Refused { status: 0, detail: "it panics again and again".into() };
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
            }
        };
        for taken in told.into_iter().flatten() {
            // Who does not wait any more tells it again.
            drop(taken.send(verdict.clone()));
        }
    }
}

async fn write(db: &Db, after: &After, reported: &[Reported]) -> Result<(), DbErr> {
    let receipts: Vec<Receipt> =
        reported.iter().filter_map(|r| if let Reported::Receipt(r) = r { Some(r.clone()) } else { None }).collect();
    let tx = db.begin().await?;
    receipts::apply(&tx, &receipts).await?;
    let mut steps = Vec::new();
    for report in reported {
        if let Reported::Failed { message, code, detail } = report {
            steps.push(receipts::fail(&tx, *message, code, detail).await?);
        }
    }
    db::commit(tx, Commit::Reports).await?;
    for step in steps {
        after.commit(step);
    }
    Ok(())
}
