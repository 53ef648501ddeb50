//! The rules of Paceline: pure decisions, and steps inside a transaction.
//!
//! A step takes a transaction, a clock reading and its input, writes rows and returns a [`Step`]: a value, the rings to
//! ring and the events to publish. The caller commits, and only then rings and publishes. Nothing here knows HTTP, the
//! queue's transport, Redis or the gateway; time and randomness come in as arguments, so every rule can be tested
//! without a server.

pub mod batches;
pub mod circuit;
pub mod contacts;
pub mod conversations;
pub mod db;
pub mod event;
pub mod feed;
pub mod gateways;
pub mod idempotency;
pub mod jobs;
pub mod messages;
pub mod pacing;
pub mod retry;
pub mod ring;
pub mod time;
pub mod users;

pub use db::{Db, Dialect};
pub use event::Event;
pub use ring::{JobKind, JobRef, Lane, Ring};
pub use time::{Clock, Timestamp};

pub use entities::{
    BatchId, ContactId, ConversationId, GatewayId, JobId, MessageId, SenderId, SessionId, SuppressionId, TagId,
    TemplateId, UserId,
};

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
