//! The places of a lane: how many of its jobs work at once.
//!
//! A job that only waits for its messages' slots leaves its place to others and takes one again before it works. Without
//! that a few batches with a pace of their own would hold all places of the lane for as long as they last, and the
//! others would wait for their ends. How many wait so is bounded too: each has its items in memory and its lease to renew.
//!
//! Who comes back takes a place of another kind, of which there are as many: those of the first kind are held by the pump
//! while it waits for rings, which may be for seconds.
//!
//! How many there are may change meanwhile: new ones are there at once, and those that are too many go as they come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many jobs of a lane may be out of their places in one process.
const OUTSIDE: usize = 1_000;

/// Seats of one kind, whose number may change.
#[derive(Debug)]
struct Seats {
    free: Arc<Semaphore>,
    /// How many are to go as they come back.
    surplus: AtomicUsize,
}

/// A seat that is taken; given back when dropped.
#[derive(Debug)]
struct Seat {
    permit: Option<OwnedSemaphorePermit>,
    of: Arc<Seats>,
}

impl Seats {
    fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(count)), surplus: AtomicUsize::new(0) })
    }

    /// `None` cannot be: nobody closes them.
    async fn take(self: &Arc<Self>) -> Option<Seat> {
        let permit = self.free.clone().acquire_owned().await.ok()?;
        Some(Seat { permit: Some(permit), of: self.clone() })
    }

    fn try_take(self: &Arc<Self>) -> Option<Seat> {
        let permit = self.free.clone().try_acquire_owned().ok()?;
        Some(Seat { permit: Some(permit), of: self.clone() })
    }

    fn add(&self, count: usize) {
        let mut stay = 0;
        let less = |surplus: usize| {
            stay = surplus.min(count);
            Some(surplus - stay)
        };
        // It never fails: each number has a next one.
        self.surplus.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).ok();
        self.free.add_permits(count - stay);
    }

    fn remove(&self, count: usize) {
        let gone = self.free.forget_permits(count);
        self.surplus.fetch_add(count - gone, Ordering::AcqRel);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let less = |surplus: usize| surplus.checked_sub(1);
        if self.of.surplus.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).is_ok()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

/// The places of one lane in this process.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    count: Arc<AtomicUsize>,
    first: Arc<Seats>,
    again: Arc<Seats>,
    outside: Arc<Semaphore>,
}

impl Places {
    /// So many of each kind, at least one.
    pub(crate) fn new(count: usize) -> Self {
        let count = count.max(1);
        let outside = Arc::new(Semaphore::new(OUTSIDE));
        Self { count: Arc::new(AtomicUsize::new(count)), first: Seats::new(count), again: Seats::new(count), outside }
    }

    /// How many there are of each kind.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Makes them so many, at least one. For one caller at a time.
    pub(crate) fn resize(&self, count: usize) {
        let count = count.max(1);
        let before = self.count.swap(count, Ordering::AcqRel);
        for seats in [&self.first, &self.again] {
            if count > before {
                seats.add(count - before);
            } else {
                seats.remove(before - count);
            }
        }
    }

    /// Waits for a place, behind all who wait already.
    pub(crate) async fn enter(&self) -> LanePlace {
        LanePlace { places: self.clone(), inside: self.first.take().await, outside: None }
    }

    /// A place that is free now, if nobody waits for it.
    pub(crate) fn try_enter(&self) -> Option<LanePlace> {
        let inside = self.first.try_take()?;
        Some(LanePlace { places: self.clone(), inside: Some(inside), outside: None })
    }
}

/// One job's place, given back when dropped.
#[derive(Debug)]
pub(crate) struct LanePlace {
    places: Places,
    inside: Option<Seat>,
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
            self.inside = self.places.again.take().await;
        }
    }

    /// Whether nobody else may leave their place until somebody outside is done.
    pub(crate) fn crowded(&self) -> bool {
        self.places.outside.available_permits() == 0
    }
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

    #[tokio::test]
    async fn places_that_are_too_many_go_as_they_come_back() {
        let places = Places::new(3);
        let taken: Vec<_> = (0..3).filter_map(|_| places.try_enter()).collect();
        places.resize(1);
        assert_eq!((taken.len(), places.count()), (3, 1), "nobody is put out");
        drop(taken);
        let one = places.try_enter().expect("one is left");
        assert!(places.try_enter().is_none());
        places.resize(2);
        let other = places.try_enter().expect("a new one is there at once");
        // Two go, and one of those that are to go is wanted again before it did.
        places.resize(1);
        places.resize(2);
        drop((one, other));
        let both = [places.try_enter(), places.try_enter()];
        assert!(both.iter().all(Option::is_some) && places.try_enter().is_none());
    }
}
