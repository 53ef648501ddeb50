//! Delivers one message: reads it, waits for its slot, hands it to the gateway, writes what became of it.
//!
//! It takes no place among the messages that bulk jobs have in flight: its lane bounds how many there are.

use crate::Shared;
use crate::attempt::attempt;
use crate::execute::{JobEnd, JobError};
use crate::identity::UnknownGateway;
use domain::db::Trouble;
use domain::delivery::AttemptOutcome;
use domain::delivery::single::{self, Delivery, MessageStart};
use domain::jobs::{Claimed, Ending, Finished, LEASE};
use domain::{JobRef, Step, db, jobs, senders};
use faults::Commit;
use gateway::Outbound;
use sea_orm::DbErr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two tries to write an outcome.
const PAUSE: Duration = Duration::from_millis(200);

/// How long an outcome is tried to be written. Beyond it the message is handed over again, under the same id.
const WRITE_FOR: Duration = LEASE;

pub(crate) async fn run(shared: &Arc<Shared>, job: &Claimed) -> Result<JobEnd, JobError> {
    let now = shared.clock.now();
    let rate = shared.settings.sender_rate_per_minute;
    let known = match shared.known_gateway().await {
        Ok(known) => Ok(known),
        Err(UnknownGateway::Away(detail)) => Err(detail),
        Err(UnknownGateway::Ledger(error)) => return Err(error.into()),
    };
    let ours = known.as_ref().ok().map(|known| known.id);
    let delivery = match single::begin(shared.db.write(), now, job, rate, ours).await? {
        MessageStart::Go(delivery) => delivery,
        MessageStart::Elsewhere { until } => {
            tracing::warn!(job = job.id.0, "a message waits for another gateway; `paceline doctor` says what to do");
            return end(shared, job, &Ending::Asleep { until }).await;
        }
        MessageStart::Held { until, by } => {
            return end(shared, job, &Ending::Postponed { until, error: by.code().into() }).await;
        }
        MessageStart::NotBefore(until) => return end(shared, job, &Ending::Asleep { until }).await,
        MessageStart::Over => return give_up(shared, job, None).await,
        MessageStart::Void { code, detail } => return give_up(shared, job, Some((code, detail))).await,
    };
    let wait = delivery.send_at.since(shared.clock.now());
    if !wait.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shared.stopping.cancelled() => return end(shared, job, &Ending::GivenBack).await,
        }
    }
    let outcome = match known {
        Ok(known) => send(shared, &delivery, known.name.as_deref()).await,
        // It is asked who it is first.
        Err(detail) => AttemptOutcome::Unreachable { detail },
    };
    if let AttemptOutcome::Failed { code, .. }
    | AttemptOutcome::Unknown { code, .. }
    | AttemptOutcome::Rejected { code, .. } = &outcome
    {
        tracing::warn!(message = delivery.message.0, attempt = delivery.attempt, %code, "a message was not taken");
    }
    let began = Instant::now();
    loop {
        match settle(shared, job, &delivery, &outcome).await {
            Ok(step) => return Ok(finished(shared, job, shared.after.commit(step))),
            Err(error) if Trouble::of(&error).passes() && began.elapsed() < WRITE_FOR => {
                tracing::warn!(%error, "the outcome could not be written yet");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn send(shared: &Shared, delivery: &Delivery, gateway: Option<&str>) -> AttemptOutcome {
    let id = delivery.uuid.to_string();
    let sender = senders::on_the_wire(&delivery.sender_name);
    attempt(shared, &Outbound { to: &delivery.phone, text: &delivery.text, message_id: &id, sender, gateway }).await
}

async fn settle(
    shared: &Shared,
    job: &Claimed,
    delivery: &Delivery,
    outcome: &AttemptOutcome,
) -> Result<Step<Finished>, DbErr> {
    let tx = shared.db.begin().await?;
    let step = single::settle(&tx, shared.clock.now(), job, delivery, outcome, &mut shared.rng()).await?;
    db::commit(tx, Commit::Delivered).await?;
    Ok(step)
}

async fn end(shared: &Shared, job: &Claimed, ending: &Ending) -> Result<JobEnd, JobError> {
    let tx = shared.db.begin().await?;
    let ended = jobs::finish(&tx, shared.clock.now(), job.id, job.fence, ending, &mut shared.rng()).await?;
    db::commit(tx, Commit::Delivered).await?;
    Ok(finished(shared, job, ended))
}

async fn give_up(shared: &Shared, job: &Claimed, reason: Option<(&str, &str)>) -> Result<JobEnd, JobError> {
    let tx = shared.db.begin().await?;
    let step = single::give_up(&tx, shared.clock.now(), job, reason, &mut shared.rng()).await?;
    db::commit(tx, Commit::Delivered).await?;
    Ok(finished(shared, job, shared.after.commit(step)))
}

/// Rings a job that sleeps at its time.
fn finished(shared: &Shared, job: &Claimed, finished: Finished) -> JobEnd {
    match finished {
        Finished::ReadyAt(at) => {
            shared.after.ring_at(job.lane, JobRef { kind: job.kind, id: job.id }, at);
            JobEnd::Settled
        }
        Finished::Done | Finished::Dead | Finished::Paused => JobEnd::Settled,
        Finished::Stale => JobEnd::Stale,
    }
}
