//! What follows a commit: rings and news. Both are best effort; what is lost here is found again in the database.

use crate::{Backplane, BackplaneError, Notifier, RingQueue};
use domain::{Clock, Event, JobRef, Lane, Ring, Step, Timestamp};
use faults::{Point, Side};
use std::fmt;
use std::sync::Arc;

/// Rings and publishes for one process.
#[derive(Clone)]
pub struct After {
    queue: Arc<dyn RingQueue>,
    notifier: Arc<dyn Notifier>,
    clock: Clock,
}

/// A fail point whose error is one of the connection to the queue.
fn hit(point: Point) -> Result<(), BackplaneError> {
    faults::hit(point).map_err(|error| BackplaneError::Redis(error.into()))
}

impl fmt::Debug for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("After")
    }
}

impl After {
    /// Rings and publishes through `backplane`.
    #[must_use]
    pub fn new(backplane: &Backplane, clock: Clock) -> Self {
        Self { queue: backplane.queue.clone(), notifier: backplane.notifier.clone(), clock }
    }

    /// Does what a committed step left to do, and returns its value.
    pub async fn commit<T>(&self, step: Step<T>) -> T {
        self.ring(&step.rings).await;
        self.publish(&step.events).await;
        step.value
    }

    /// As [`After::commit`], in a task of its own: the caller does not wait. What it asked for is committed, and a
    /// backplane that is away takes its time to say so.
    pub fn commit_aside<T>(&self, step: Step<T>) -> T {
        let Step { value, rings, events } = step;
        let this = self.clone();
        tokio::spawn(async move {
            this.ring(&rings).await;
            this.publish(&events).await;
        });
        value
    }

    /// Rings; a failure is counted and left to the sweep.
    pub async fn ring(&self, rings: &[Ring]) {
        if rings.is_empty() {
            return;
        }
        if let Err(error) = self.push(rings).await {
            metrics::counter!("paceline_ring_push_failed_total").increment(rings.len() as u64);
            tracing::warn!(%error, rings = rings.len(), "rings not pushed; the sweep will ring");
        }
    }

    async fn push(&self, rings: &[Ring]) -> Result<(), BackplaneError> {
        hit(Point::Ring(Side::Before))?;
        self.queue.push(rings).await?;
        hit(Point::Ring(Side::After))
    }

    /// Publishes; a failure is counted. Who watches reads the truth from the database.
    pub async fn publish(&self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        if let Err(error) = self.tell(events).await {
            metrics::counter!("paceline_publish_failed_total").increment(events.len() as u64);
            tracing::debug!(%error, events = events.len(), "events not published");
        }
    }

    async fn tell(&self, events: &[Event]) -> Result<(), BackplaneError> {
        hit(Point::Event(Side::Before))?;
        self.notifier.publish(events).await?;
        hit(Point::Event(Side::After))
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
            this.ring(&[Ring { lane, job }]).await;
        });
    }
}
