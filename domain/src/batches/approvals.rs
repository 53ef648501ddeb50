//! Approval: a send to more recipients than the configuration lets one person write to waits for a second one.
//!
//! Such a batch is accepted like any other and paused, with `approval = 'pending'`: an audience is turned into its recipients
//! meanwhile, so that what is approved is what is sent. [`resume`](super::resume) refuses it; only [`approve`] lets it go, and
//! [`refuse`] cancels it. Whoever asked for it may do neither. Every send is made by [`create_send`](super::create_send), so
//! there is no way around.

use super::control::{self, ControlError, locked};
use super::dry_run::Warning;
use super::refused::Refused;
use super::row::Batch;
use crate::Step;
use crate::audit_log::MAX_REASON;
use crate::db;
use crate::model::Approval;
use crate::time::Timestamp;
use entities::{BatchId, UserId};
use sea_orm::{ConnectionTrait, DbErr};

/// What a second person decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Who.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
    /// Why, in at most [`MAX_REASON`] characters; always there where it was refused.
    pub reason: Option<String>,
}

/// Whether a send to so many waits for a second person; `above` is the number beyond which one decides, `None`: nobody has to.
pub(super) fn asked(recipients: i64, above: Option<u32>) -> Option<Approval> {
    above.is_some_and(|above| recipients > i64::from(above)).then_some(Approval::Pending)
}

/// What whoever sends is told of it beforehand.
pub(super) fn warning(recipients: i64) -> Warning {
    let message = format!("it names {recipients} recipients: it waits until a second person has approved it");
    Warning { code: "approval", message }
}

impl Batch {
    /// Whether it waits for a second person.
    #[must_use]
    pub fn awaits_approval(&self) -> bool {
        self.approval == Some(Approval::Pending) && !self.summary.status.is_terminal()
    }
}

/// Reads a batch that waits for a second person, if this is one.
async fn waiting(conn: &impl ConnectionTrait, id: BatchId, by: UserId) -> Result<Batch, ControlError> {
    let batch = locked(conn, id).await?;
    if !batch.awaits_approval() {
        return Err(ControlError::Conflict(Refused::NoApproval));
    }
    if batch.created_by == by {
        return Err(ControlError::OwnBatch);
    }
    Ok(batch)
}

async fn decide(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: BatchId,
    (by, approval, reason): (UserId, Approval, Option<&str>),
) -> Result<(), DbErr> {
    let reason = reason.map(|text| text.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect::<String>());
    let sql = "INSERT INTO batch_decisions (batch_id, decided_by, decided_at, reason) VALUES ($1, $2, $3, $4)";
    db::execute(conn, sql, [id.into(), by.into(), now.0.into(), reason.into()]).await?;
    let sql = "UPDATE batches SET approval = $2 WHERE id = $1";
    db::execute(conn, sql, [id.into(), approval.as_str().into()]).await.map(drop)
}

/// Lets a send go that waits for a second person: it starts now, or at its time.
///
/// # Errors
/// [`ControlError::Conflict`] when it does not wait for that, [`ControlError::OwnBatch`] for who asked for it.
pub async fn approve(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: BatchId,
    by: UserId,
    reason: Option<&str>,
) -> Result<Step<Batch>, ControlError> {
    waiting(conn, id, by).await?;
    decide(conn, now, id, (by, Approval::Approved, reason)).await?;
    control::resume(conn, now, id).await
}

/// Refuses a send that waits for a second person: it is cancelled, and says why.
///
/// # Errors
/// Those of [`approve`].
pub async fn refuse(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: BatchId,
    by: UserId,
    reason: &str,
) -> Result<Step<Batch>, ControlError> {
    waiting(conn, id, by).await?;
    decide(conn, now, id, (by, Approval::Refused, Some(reason))).await?;
    control::cancel(conn, now, id).await
}

/// What was decided of a batch; `None`: nothing, or nobody had to.
///
/// # Errors
/// The database's.
pub async fn decision(conn: &impl ConnectionTrait, id: BatchId) -> Result<Option<Decision>, DbErr> {
    let sql = "SELECT decided_by, decided_at, reason FROM batch_decisions WHERE batch_id = $1";
    let Some(row) = db::one(conn, sql, [id.into()]).await? else { return Ok(None) };
    Ok(Some(Decision {
        by: UserId(row.try_get("", "decided_by")?),
        at: Timestamp(row.try_get("", "decided_at")?),
        reason: row.try_get("", "reason")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_above_the_number_waits() {
        for (recipients, above, waits) in [
            (0, Some(0), false),
            (1, Some(0), true),
            (100, Some(100), false),
            (101, Some(100), true),
            (101, None, false),
        ] {
            assert_eq!(asked(recipients, above).is_some(), waits, "{recipients} {above:?}");
        }
    }
}
