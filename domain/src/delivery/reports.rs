//! What the gateway reports: taken into the ledger in groups, in any order, any number of times.

use super::receipts;
use crate::Step;
use crate::contacts::merge;
use crate::contacts::stop_words::OptOut;
use crate::messages::inbox::{self, Inbound};
use crate::messages::receipts::{Receipt, take_found};
use crate::outbox;
use crate::time::Timestamp;
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};

pub use crate::messages::receipts::ReportOutcome;

/// One report.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// About a message of ours.
    Receipt(Receipt),
    /// A customer wrote.
    Inbound(Box<Inbound>),
}

/// Takes reports in, in their order. The answers are in the order of the reports.
///
/// # Errors
/// The database's; then nothing of the group was taken.
pub async fn take(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    reports: &[Report],
    opt_out: &OptOut,
    rng: &mut impl Rng,
) -> Result<Step<Vec<ReportOutcome>>, DbErr> {
    let about_ours: Vec<&Receipt> = reports
        .iter()
        .filter_map(|report| if let Report::Receipt(receipt) = report { Some(receipt) } else { None })
        .collect();
    let applied = receipts::apply(conn, now, &about_ours).await?;
    let mut to_append = applied.to_append;
    let mut step = Step { value: Vec::with_capacity(reports.len()), rings: Vec::new(), events: applied.events };
    let mut receipts = applied.taken.into_iter();
    for report in reports {
        step.value.push(match report {
            Report::Receipt(_) => receipts.next().unwrap_or(ReportOutcome::NoMessage),
            Report::Inbound(inbound) => {
                let received = inbox::receive(conn, now, inbound, opt_out, rng).await?;
                to_append.extend(received.to_append);
                step.rings.extend(received.rings);
                ReportOutcome::Applied
            }
        });
    }
    step.events.extend(outbox::append(conn, now, &to_append).await?.events);
    Ok(step)
}

/// Applies what was kept for messages that have come since. Whoever writes a message looks for what was kept for it, and
/// whoever keeps a report looks for its message; when both do so at the same moment, neither sees the other. Returns how
/// many were found. What was written late for contacts that were merged is put right on the way.
///
/// # Errors
/// The database's.
pub async fn settle_early(conn: &impl ConnectionTrait, now: Timestamp, limit: u64) -> Result<Step<usize>, DbErr> {
    merge::settle(conn, now).await?;
    let found = take_found(conn, limit).await?;
    let count = found.len();
    let applied = receipts::apply(conn, now, &found.iter().collect::<Vec<_>>()).await?;
    let mut events = applied.events;
    events.extend(outbox::append(conn, now, &applied.to_append).await?.events);
    Ok(Step { value: count, rings: Vec::new(), events })
}
