//! Our `Backend` for apalis: rings from the queue, handed out only as there is a free place.
//!
//! The pump takes a permit of the lane *before* it takes a ring, and the permit travels with the ring: a ring that no
//! place is free for stays in the shared queue, for whichever worker has one. There is nothing to acknowledge, retry or
//! rescue: that is in the job's row.

use crate::Shared;
use crate::places::{LanePlace, Places};
use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::worker::context::WorkerContext;
use backplane::{RingQueue, supervise};
use domain::{JobRef, Lane, Ring, db};
use faults::Commit;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tower_layer::Identity;

/// How long one pop waits in the queue before it asks again.
const POP_WAIT: Duration = Duration::from_secs(5);

/// How often work is looked for in the database while the queue is away, or takes no rings.
const FALLBACK_PERIOD: Duration = Duration::from_secs(1);

/// How many parked jobs go on at once.
const UNPARK_ROWS: u64 = 1_000;

/// How many rings one pop takes at most.
const POP_MAX: usize = 16;

/// A ring and the place that is kept for it.
#[derive(Debug)]
pub(crate) struct Rung {
    pub(crate) lane: Lane,
    pub(crate) job: JobRef,
    /// Dropped when the job has come to rest, however that happens.
    pub(crate) place: LanePlace,
}

/// The rings of one lane.
#[derive(Debug)]
pub(crate) struct RingBackend {
    rings: mpsc::Receiver<Rung>,
}

impl RingBackend {
    /// The backend. A pump fills it until the process is told to stop, or the backend is dropped.
    pub(crate) fn new(shared: &Arc<Shared>, queue: &Arc<dyn RingQueue>, lane: Lane) -> Self {
        let (tx, rings) = mpsc::channel(POP_MAX);
        let places = shared.lanes.places(lane).clone();
        let (shared, queue) = (shared.clone(), queue.clone());
        tokio::spawn(async move {
            supervise("pump", || pump(shared.clone(), queue.clone(), lane, places.clone(), tx.clone())).await;
        });
        Self { rings }
    }
}

async fn pump(shared: Arc<Shared>, queue: Arc<dyn RingQueue>, lane: Lane, places: Places, rings: mpsc::Sender<Rung>) {
    let stopping = shared.stopping.clone();
    let mut draining = shared.lanes.draining();
    let mut queue_is_away = false;
    let mut wait = POP_WAIT;
    // One at a time while rings are rare, so that those of one batch go to all workers that wait for some, and not to the
    // first: it would send alone, and the batch would stand still for as long as it takes to see that it died. Where there
    // are more than everybody can take, each takes what it can.
    let mut most = 1;
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            // An error is the process's end, which cancels.
            _ = draining.wait_for(|draining| !draining) => {}
        }
        let first = tokio::select! {
            () = stopping.cancelled() => return,
            place = places.enter() => place,
        };
        let mut free = vec![first];
        more(&mut free, &places, most);
        let popped = tokio::select! {
            () = stopping.cancelled() => return,
            // A ring that was on its way here is rung again by the sweep.
            _ = draining.wait_for(|draining| *draining) => continue,
            popped = queue.pop(lane, free.len(), wait) => popped,
        };
        let jobs = match popped {
            Ok(jobs) => {
                if std::mem::take(&mut queue_is_away) {
                    tracing::info!(%lane, "the queue is back");
                }
                if jobs.is_empty() {
                    // Nobody rang, or nobody could: a Redis that is full answers, and takes no ring.
                    most = 1;
                    more(&mut free, &places, POP_MAX);
                    let found = due(&shared, lane, free.len()).await;
                    wait = if found.is_empty() { POP_WAIT } else { FALLBACK_PERIOD };
                    if !found.is_empty() {
                        metrics::counter!("paceline_queue_fallback_total", "lane" => lane.as_str()).increment(1);
                    }
                    found
                } else {
                    wait = POP_WAIT;
                    most = if jobs.len() < most { 1 } else { (most * 2).min(POP_MAX) };
                    jobs
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut queue_is_away, true) {
                    tracing::warn!(%lane, %error, "the queue is away; looking for work in the database");
                }
                metrics::counter!("paceline_queue_fallback_total", "lane" => lane.as_str()).increment(1);
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(FALLBACK_PERIOD) => {}
                }
                more(&mut free, &places, POP_MAX);
                due(&shared, lane, free.len()).await
            }
        };
        if *draining.borrow() {
            // Told to take no more while these came: they are for another worker.
            shared.after.ring(jobs.into_iter().map(|job| Ring { lane, job }).collect());
            continue;
        }
        for (job, place) in jobs.into_iter().zip(free) {
            if rings.send(Rung { lane, job, place }).await.is_err() {
                return;
            }
        }
    }
}

/// Takes what places are free, until there are so many.
fn more(free: &mut Vec<LanePlace>, places: &Places, most: usize) {
    while free.len() < most
        && let Some(place) = places.try_enter()
    {
        free.push(place);
    }
}

/// Lets jobs go on that were parked by a release that did not know them: that of the scheduler may be another than ours.
async fn unpark(shared: &Shared) -> Result<(), sea_orm::DbErr> {
    if domain::jobs::any_known(shared.db.read()).await? {
        let tx = shared.db.begin().await?;
        let rings = domain::jobs::unpark(&tx, shared.clock.now(), UNPARK_ROWS).await?;
        db::commit(tx, Commit::Sweep).await?;
        shared.after.ring(rings);
    }
    Ok(())
}

async fn due(shared: &Shared, lane: Lane, limit: usize) -> Vec<JobRef> {
    if let Err(error) = unpark(shared).await {
        tracing::debug!(%lane, %error, "parked jobs were not looked for");
    }
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    match domain::jobs::due(shared.db.read(), shared.clock.now(), lane, limit).await {
        Ok(jobs) => jobs,
        Err(error) => {
            tracing::warn!(%lane, %error, "the database is away too");
            Vec::new()
        }
    }
}

impl Backend for RingBackend {
    type Task = Task<Rung>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Option<Result<Self::Task, Infallible>>> {
        self.rings.poll_recv(cx).map(|rung| rung.map(|rung| Ok(TaskBuilder::new(rung).build())))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        self.rings.close();
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for RingBackend {
    type Args = Rung;
    type Id = ();
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}
