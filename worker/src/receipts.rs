//! Takes the gateway's reports into the ledger, in groups.

use backplane::After;
use domain::contacts::stop_words::OptOut;
use domain::messages::inbox::{self, Inbound};
use domain::messages::receipts::{About, Receipt, Said};
use domain::messages::reports;
use domain::{Clock, Db, db};
use faults::Commit;
use futures::FutureExt;
use gateway::Report;
use rand::SeedableRng;
use rand::rngs::StdRng;
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

fn read(report: Report, clock: &Clock) -> Option<reports::Report> {
    let at = clock.now();
    let about = |id: &str| Uuid::try_parse(id).ok().map(About::Uuid);
    let (about, said) = match report {
        Report::Mapped { message_id, whatsapp_id } => (about(&message_id)?, Said::Mapped { whatsapp_id }),
        Report::Ack { message_id, whatsapp_id, level } => {
            (about(&message_id)?, Said::Ack { level: i64::from(level), whatsapp_id: Some(whatsapp_id) })
        }
        Report::Seen { message_id, whatsapp_id, delay_ms } => {
            let delay_ms = i64::try_from(delay_ms).ok();
            (about(&message_id)?, Said::Seen { whatsapp_id: Some(whatsapp_id), delay_ms })
        }
        Report::Failed { message_id, code, detail } => (about(&message_id)?, Said::Failed { code, detail }),
        Report::Inbound { from, text, whatsapp_id } => {
            return Some(reports::Report::Inbound(Box::new(Inbound {
                phone: inbox::writers_phone(&from),
                content: text,
                whatsapp_id: Some(whatsapp_id),
                message_type: "text".into(),
                ..Inbound::default()
            })));
        }
    };
    Some(reports::Report::Receipt(Receipt { about, said, at }))
}

/// Takes reports until the sender is gone or `stop` is cancelled. A group that the database does not take is tried again:
/// the reporter waits meanwhile.
pub async fn take_reports(
    db: Db,
    clock: Clock,
    after: After,
    mut reports: mpsc::Receiver<Report>,
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
        let read: Vec<_> = group.drain(..).filter_map(|report| read(report, &clock)).collect();
        let mut panics = 0;
        loop {
            match AssertUnwindSafe(write(&db, &clock, &after, &read)).catch_unwind().await {
                Ok(Ok(())) => break,
                Ok(Err(error)) => tracing::warn!(%error, reports = read.len(), "reports not written yet"),
                Err(_) if panics < MAX_PANICS => panics += 1,
                Err(_) => {
                    tracing::error!(reports = read.len(), "these reports panic again and again; they are given up");
                    break;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
            }
        }
    }
}

async fn write(db: &Db, clock: &Clock, after: &After, reported: &[reports::Report]) -> Result<(), DbErr> {
    let tx = db.begin().await?;
    let rng = &mut StdRng::from_rng(&mut rand::rng());
    let step = reports::take(&tx, clock.now(), reported, &OptOut::default(), rng).await?;
    db::commit(tx, Commit::Reports).await?;
    after.commit(step);
    Ok(())
}
