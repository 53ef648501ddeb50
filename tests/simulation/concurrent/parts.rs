//! What everybody does: workers and their heartbeats, the scheduler, users, the gateway's reports.

use super::actor::Actor;
use domain::batches::RunState;
use domain::batches::{self, Patch, Ran, SetChunk};
use domain::contacts::phone::{self, Unmarked};
use domain::contacts::stop_words::OptOut;
use domain::db::{self, Trouble};
use domain::delivery::AttemptOutcome;
use domain::delivery::reports::{self, Report};
use domain::delivery::send::{self, ChunkStart, ClaimRequest, ItemResult, Resting};
use domain::jobs::{self, Claim, Claimed, Ending, HEARTBEAT, workers};
use domain::kinds::Kinds;
use domain::messages::inbox::Inbound;
use domain::messages::receipts::{About, Receipt, ReceiptKind};
use domain::{BatchId, JobId, JobKind, MessageId};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use sea_orm::DbErr;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// How many rows a step of a set-based chunk writes: so few that a chunk takes several.
const STEP_ROWS: usize = 20;

/// The jobs that a process holds.
pub(super) type Held = Rc<RefCell<Vec<(JobId, i64)>>>;

async fn ids(actor: &Actor, sql: &str) -> Vec<i64> {
    let rows = db::all(&actor.single(), sql, []).await.expect("read");
    rows.iter().map(|row| row.try_get("", "id").expect("a number")).collect()
}

/// What may pass is no fault of the step's; anything else is.
fn passes(error: &DbErr) {
    assert!(Trouble::of(error).passes(), "{error}");
}

/// A worker: claims a job that is ready and does it, so many times.
pub(super) async fn work(actor: Actor, held: Held, times: usize, mut rng: StdRng) {
    for _ in 0..times {
        let sql = format!("SELECT id FROM jobs WHERE state = 'ready' AND run_at <= {} ORDER BY id", actor.now().0);
        let Some(id) = ids(&actor, &sql).await.choose(&mut rng).copied() else { continue };
        let claimed = jobs::claim(&actor.single(), actor.now(), JobId(id), actor.name).await.expect("claimed");
        let Claim::Taken(job) = claimed else { continue };
        held.borrow_mut().push((job.id, job.fence));
        if let Err(error) = run(&actor, &job, &mut rng).await {
            passes(&error);
            let ending = Ending::Postponed { until: actor.now(), error: "in the way of others".into() };
            let now = actor.now();
            let rng = &mut rng;
            let put_back = actor.step(async |tx| jobs::fail(tx, now, &job, &ending, &Kinds, rng).await).await;
            put_back.map(drop).unwrap_or_else(|error| passes(&error));
        }
        held.borrow_mut().retain(|(id, _)| *id != job.id);
    }
}

async fn run(actor: &Actor, job: &Claimed, rng: &mut StdRng) -> Result<(), DbErr> {
    match job.kind {
        JobKind::DeleteChunk | JobKind::TagChunk | JobKind::ImportChunk => set(actor, job, rng).await,
        JobKind::SendChunk => send(actor, job, rng).await,
        other => panic!("there is no {other} here"),
    }
}

/// A set-based chunk, in several steps.
async fn set(actor: &Actor, job: &Claimed, rng: &mut StdRng) -> Result<(), DbErr> {
    let mut set = SetChunk::read(&actor.single(), job).await?.expect("a set").parse()?.with_step_rows(STEP_ROWS);
    loop {
        let now = actor.now();
        let step = actor.step(async |tx| batches::run_set(tx, now, job, &mut set, rng).await).await?;
        if step.value != Ran::More {
            return Ok(());
        }
    }
}

async fn send(actor: &Actor, job: &Claimed, rng: &mut StdRng) -> Result<(), DbErr> {
    let held = send::Held::of(job).expect("a chunk");
    let asked = ClaimRequest { wanted: 8, gateway: None, sender_rate: None };
    let now = actor.now();
    let begun = actor.step(async |tx| send::begin(tx, now, held, asked, rng).await).await?;
    let ChunkStart::Go(mut work, first) = begun.value else { return Ok(()) };
    let mut first = Some(*first);
    loop {
        let now = actor.now();
        let claimed = match first.take() {
            Some(first) => first,
            None => {
                let claimed = actor.step(async |tx| send::claim_items(tx, now, &mut work, asked, rng).await).await?;
                let Some(claimed) = claimed.map(|step| step.value) else { return Ok(()) };
                claimed
            }
        };
        let (more_at, run_state) = (claimed.more_at, claimed.run_state);
        let results: Vec<_> = claimed
            .items
            .into_iter()
            .map(|item| ItemResult {
                text: Some("Hello".into()),
                outcome: match rng.random_range(0..8) {
                    0 => AttemptOutcome::Rejected { code: "code".into(), detail: "detail".into() },
                    1 => AttemptOutcome::Failed { code: "code".into(), detail: "detail".into() },
                    _ => AttemptOutcome::Accepted,
                },
                ..item.returned(now)
            })
            .collect();
        let nothing = results.is_empty();
        let resting = Resting { more_at, give_back: false };
        if !nothing && more_at.is_none() {
            drop(actor.step(async |tx| send::settle_and_rest(tx, now, &work, &results, resting, rng).await).await?);
            return Ok(());
        }
        if !nothing {
            drop(actor.step(async |tx| send::settle(tx, now, work.held, &results, rng).await).await?);
        }
        if nothing || run_state != RunState::Running {
            drop(actor.step(async |tx| send::rest(tx, now, work.held, resting, rng).await).await?);
            return Ok(());
        }
    }
}

/// The heartbeat of a worker's process.
pub(super) async fn beat(actor: Actor, owner: &'static str, held: Held, times: usize) {
    for _ in 0..times {
        let now = actor.now();
        workers::beat(&actor.single(), now, owner, &workers::Orders::default()).await.expect("beaten");
        let list = held.borrow().clone();
        jobs::heartbeat(&actor.single(), now, &list).await.expect("renewed");
        workers::disown(&actor.single(), now, owner, &list, now.minus(HEARTBEAT)).await.expect("looked through");
    }
}

/// The scheduler; time passes with it.
pub(super) async fn schedule(actor: Actor, times: usize, step_ms: i64) {
    for _ in 0..times {
        actor.clock.fetch_add(step_ms, Ordering::Relaxed);
        let now = actor.now();
        for made in [
            actor.step(async |tx| jobs::rescue(tx, now, 100, &Kinds).await).await.map(drop),
            actor.step(async |tx| jobs::sweep(tx, now, 100).await).await.map(drop),
        ] {
            made.unwrap_or_else(|error| passes(&error));
        }
    }
}

/// A user who steers.
pub(super) async fn steer(actor: Actor, times: usize, mut rng: StdRng) {
    for _ in 0..times {
        let Some(id) = ids(&actor, "SELECT id FROM batches ORDER BY id").await.choose(&mut rng).copied() else {
            continue;
        };
        let (id, now, what, rate) = (BatchId(id), actor.now(), rng.random_range(0..10), rng.random_range(600..60_000));
        let steered = actor
            .step(async |tx| {
                let steered = match what {
                    0..3 => batches::pause(tx, id).await,
                    3..6 => batches::resume(tx, now, id).await,
                    6 => batches::cancel(tx, now, id).await,
                    7 => batches::retry(tx, now, id).await,
                    _ => batches::patch(tx, now, id, Patch { rate_per_minute: Some(rate), ..Patch::default() }).await,
                };
                match steered {
                    // What makes no sense in the present state is refused.
                    Ok(_)
                    | Err(
                        batches::ControlError::Conflict(_)
                        | batches::ControlError::OwnBatch
                        | batches::ControlError::NotFound,
                    ) => Ok(()),
                    Err(batches::ControlError::Database(error)) => Err(error),
                }
            })
            .await;
        steered.unwrap_or_else(|error| passes(&error));
    }
}

/// The gateway's reports: receipts, and what customers write, some of whom are just being deleted.
pub(super) async fn report(actor: Actor, times: usize, mut rng: StdRng) {
    for _ in 0..times {
        let now = actor.now();
        let messages = ids(&actor, "SELECT id FROM messages WHERE direction = 'outbound' ORDER BY id").await;
        let mut told: Vec<Report> = messages
            .choose_multiple(&mut rng, 3)
            .map(|id| {
                let kind = ReceiptKind::Ack { level: 2, whatsapp_id: None };
                Report::Receipt(Receipt { about: About::Number(MessageId(*id)), kind, at: now })
            })
            .collect();
        let digits = format!("+60123{:06}", rng.random_range(1..=super::conductor::CONTACTS));
        told.push(Report::Inbound(Box::new(Inbound {
            phone: phone::read(&digits, Unmarked::International).ok().map(|reading| reading.phone),
            content: "I write".into(),
            message_type: "text".into(),
            at: Some(now),
            ..Inbound::default()
        })));
        let mut inner = StdRng::from_rng(&mut rng);
        let opt_out = OptOut::default();
        let taken = actor.step(async |tx| reports::take(tx, now, &told, &opt_out, &mut inner).await).await;
        taken.map(drop).unwrap_or_else(|error| passes(&error));
    }
}
