//! The places of a lane: how many of its jobs work at once.
//!
//! A job that only waits for its messages' slots leaves its place to others and takes one again before it works. Without
//! that a few batches with a pace of their own would hold all places of the lane for as long as they last, and the
//! others would wait for their ends. How many wait so is bounded too: each has its items in memory and its lease to renew.
//!
//! Who comes back takes a place of another kind, of which there are as many: those of the first kind are held by the pump
//! while it waits for rings, which may be for seconds.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many jobs of a lane may be out of their places in one process.
const OUTSIDE: usize = 1_000;

/// The places of one lane in this process.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    first: Arc<Semaphore>,
    again: Arc<Semaphore>,
    outside: Arc<Semaphore>,
}

impl Places {
    /// So many of each kind, at least one.
    pub(crate) fn new(count: usize) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { first: places(count.max(1)), again: places(count.max(1)), outside: places(OUTSIDE) }
    }

    /// Waits for a place, behind all who wait already.
    pub(crate) async fn enter(&self) -> LanePlace {
        LanePlace { places: self.clone(), inside: permit(&self.first).await, outside: None }
    }

    /// A place that is free now, if nobody waits for it.
    pub(crate) fn try_enter(&self) -> Option<LanePlace> {
        let inside = self.first.clone().try_acquire_owned().ok()?;
        Some(LanePlace { places: self.clone(), inside: Some(inside), outside: None })
    }
}

/// One job's place, given back when dropped.
#[derive(Debug)]
pub(crate) struct LanePlace {
    places: Places,
    inside: Option<OwnedSemaphorePermit>,
    /// The right to be out of it, once it was used.
    outside: Option<OwnedSemaphorePermit>,
}

impl LanePlace {
    /// Leaves it to others for now. Kept when too many have done so.
    pub(crate) fn leave(&mut self) {
        if self.outside.is_none() {
            self.outside = self.places.outside.clone().try_acquire_owned().ok();
        }
        if self.outside.is_some() {
            self.inside = None;
        }
    }

    /// Takes one again: waits behind all who come back. Nothing, where it was not left.
    pub(crate) async fn enter(&mut self) {
        if self.inside.is_none() {
            self.inside = permit(&self.places.again).await;
        }
    }

    /// Whether nobody else may leave their place until somebody outside is done.
    pub(crate) fn crowded(&self) -> bool {
        self.places.outside.available_permits() == 0
    }
}

/// `None` cannot be: nobody closes a lane's places.
async fn permit(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    places.clone().acquire_owned().await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_outside_leaves_a_place_for_the_next() {
        let places = Places::new(1);
        let mut first = places.enter().await;
        assert!(places.try_enter().is_none());
        first.leave();
        let mut second = places.try_enter().expect("it was left");
        // Whoever holds the place now, as the pump does while nobody rings: who was in it comes back.
        first.enter().await;
        second.leave();
        let mut again = Box::pin(second.enter());
        assert!(futures::poll!(&mut again).is_pending(), "as many come back at once as there are places");
        drop(first);
        again.await;
        drop(second);
        assert!(places.try_enter().is_some());
        assert_eq!(places.outside.available_permits(), OUTSIDE, "the right to be outside is given back too");
    }

    #[tokio::test]
    async fn a_place_is_kept_when_too_many_are_outside() {
        let places = Places::new(1);
        let mut outside = Vec::new();
        for _ in 0..OUTSIDE {
            let mut place = places.enter().await;
            place.leave();
            outside.push(place);
        }
        let mut last = places.enter().await;
        last.leave();
        assert!(last.crowded() && places.try_enter().is_none());
        drop(outside);
        last.leave();
        assert!(!last.crowded() && places.try_enter().is_some());
    }
}
