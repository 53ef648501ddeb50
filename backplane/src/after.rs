//! What follows a commit: rings and news. Both are best effort; what is lost here is found again in the database.
//!
//! The work does not wait for them: a Redis that is slow or silent would otherwise hold up every claim and every outcome.
//! One task of the process sends what has gathered since it last did, all of it at once.

use crate::{Backplane, BackplaneError, Notifier, RingQueue};
use domain::batches::BatchStatus;
use domain::{Clock, Event, JobRef, Lane, Ring, Step, Timestamp};
use faults::{Point, Side};
use futures::FutureExt;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How many commits may have rings and news that are not sent yet. What comes after is dropped.
const WAITING: usize = 4_096;

/// Of how many commits the rings and news go out at once.
const GROUP: usize = 256;

/// How long the last ones are waited for at the end.
const FLUSH: Duration = Duration::from_secs(1);

/// Rings and publishes for one process.
#[derive(Clone)]
pub struct After {
    outgoing: mpsc::Sender<Outgoing>,
    /// How many have been handed over and are not sent.
    waiting: Arc<watch::Sender<usize>>,
    clock: Clock,
}

impl fmt::Debug for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("After")
    }
}

struct Outgoing {
    rings: Vec<Ring>,
    events: Vec<Event>,
}

impl After {
    /// Rings and publishes through `backplane`, for as long as this or a clone of it lives. Needs a runtime.
    #[must_use]
    pub fn new(backplane: &Backplane, clock: Clock) -> Self {
        let (outgoing, handed_over) = mpsc::channel(WAITING);
        let waiting = Arc::new(watch::Sender::new(0));
        tokio::spawn(send(handed_over, backplane.queue.clone(), backplane.notifier.clone(), waiting.clone()));
        Self { outgoing, waiting, clock }
    }

    /// Does what a committed step left to do, and returns its value.
    pub fn commit<T>(&self, step: Step<T>) -> T {
        note_ends(&step.events);
        self.hand_over(step.rings, step.events);
        step.value
    }

    /// The same of a step that wrote what a network reported: it may change the counts of batches that ended long ago, and
    /// ends none.
    pub fn commit_reports<T>(&self, step: Step<T>) -> T {
        self.hand_over(step.rings, step.events);
        step.value
    }

    /// Rings; a failure is counted and left to the sweep.
    pub fn ring(&self, rings: Vec<Ring>) {
        self.hand_over(rings, Vec::new());
    }

    /// Rings for a job that sleeps, at its time. The timer dies with the process; the sweep rings then.
    pub fn ring_at(&self, lane: Lane, job: JobRef, at: Timestamp) {
        let wait = at.since(self.clock.now());
        if wait > domain::jobs::LOCAL_TIMER {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            this.ring(vec![Ring { lane, job }]);
        });
    }

    /// Waits until all is sent that was handed over, but not for long.
    pub async fn flush(&self) {
        let mut waiting = self.waiting.subscribe();
        if tokio::time::timeout(FLUSH, waiting.wait_for(|waiting| *waiting == 0)).await.is_err() {
            tracing::warn!("the last rings were not pushed in time; the sweep will ring");
        }
    }

    fn hand_over(&self, rings: Vec<Ring>, events: Vec<Event>) {
        if rings.is_empty() && events.is_empty() {
            return;
        }
        self.waiting.send_modify(|waiting| *waiting += 1);
        if let Err(error) = self.outgoing.try_send(Outgoing { rings, events }) {
            self.waiting.send_modify(|waiting| *waiting -= 1);
            let Outgoing { rings, events } = error.into_inner();
            count_lost(&rings, &events);
        }
    }
}

/// A line for each batch that the commit ended. (A cancel is noted by who asked for it.)
fn note_ends(events: &[Event]) {
    let mut noted = None;
    for event in events {
        if let Event::BatchChanged(s) = event
            && matches!(s.status, BatchStatus::Completed | BatchStatus::Failed)
            && noted.replace(s.id) != Some(s.id)
        {
            let (batch, kind, status) = (s.id.0, s.batch_type, s.status);
            tracing::info!(batch, %kind, %status, total = s.total, succeeded = s.succeeded, failed = s.failed, skipped = s.skipped, "a batch has ended");
        }
    }
}

fn count_lost(rings: &[Ring], events: &[Event]) {
    metrics::counter!("paceline_ring_push_failed_total").increment(rings.len() as u64);
    metrics::counter!("paceline_publish_failed_total").increment(events.len() as u64);
}

async fn send(
    mut handed_over: mpsc::Receiver<Outgoing>,
    queue: Arc<dyn RingQueue>,
    notifier: Arc<dyn Notifier>,
    waiting: Arc<watch::Sender<usize>>,
) {
    let mut group = Vec::with_capacity(GROUP);
    let mut away = false;
    loop {
        let taken = handed_over.recv_many(&mut group, GROUP).await;
        if taken == 0 {
            return;
        }
        let (mut rings, mut events) = (Vec::new(), Vec::new());
        for outgoing in group.drain(..) {
            rings.extend(outgoing.rings);
            events.extend(outgoing.events);
        }
        // One that panics must not be the last.
        let sent = async { tokio::join!(push(&*queue, &rings, &mut away), publish(&*notifier, &events)) };
        if AssertUnwindSafe(sent).catch_unwind().await.is_err() {
            metrics::counter!("paceline_panics_total", "in" => "after").increment(1);
            count_lost(&rings, &events);
        }
        waiting.send_modify(|waiting| *waiting -= taken);
    }
}

/// A fail point whose error is one of the connection to the queue.
fn hit(point: Point) -> Result<(), BackplaneError> {
    faults::hit(point).map_err(|error| BackplaneError::Redis(error.into()))
}

async fn push(queue: &dyn RingQueue, rings: &[Ring], away: &mut bool) {
    if rings.is_empty() {
        return;
    }
    let pushed = async {
        hit(Point::Ring(Side::Before))?;
        queue.push(rings).await?;
        hit(Point::Ring(Side::After))
    };
    match pushed.await {
        Ok(()) => *away = false,
        Err(error) => {
            count_lost(rings, &[]);
            if !std::mem::replace(away, true) {
                tracing::warn!(%error, rings = rings.len(), "rings not pushed; the sweep will ring");
            }
        }
    }
}

async fn publish(notifier: &dyn Notifier, events: &[Event]) {
    if events.is_empty() {
        return;
    }
    let published = async {
        hit(Point::Event(Side::Before))?;
        notifier.publish(events).await?;
        hit(Point::Event(Side::After))
    };
    if let Err(error) = published.await {
        count_lost(&[], events);
        tracing::debug!(%error, events = events.len(), "events not published");
    }
}
