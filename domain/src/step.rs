//! What a step leaves behind.

use crate::event::Event;
use crate::ring::Ring;

/// What a step inside a transaction leaves for its caller to do once the transaction is committed.
#[derive(Debug)]
#[must_use = "after the commit, ring the rings and publish the events"]
pub struct Step<T> {
    /// What the step found out or made.
    pub value: T,
    /// Jobs that became ready. Ringing is best effort: the sweep rings what was lost.
    pub rings: Vec<Ring>,
    /// What changed, for everyone who watches.
    pub events: Vec<Event>,
}

impl<T> Step<T> {
    /// A step that leaves nothing to ring or publish.
    pub fn quiet(value: T) -> Self {
        Self { value, rings: Vec::new(), events: Vec::new() }
    }

    /// The same step with its value changed.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Step<U> {
        Step { value: f(self.value), rings: self.rings, events: self.events }
    }
}
