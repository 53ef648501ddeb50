//! The rules of Paceline: pure decisions, and steps inside a transaction.
//!
//! A step takes a transaction, a clock reading and its input, writes rows and returns a [`Step`]: a value, the rings to
//! ring and the events to publish. The caller commits, and only then rings and publishes. Nothing here knows HTTP, the
//! queue's transport, Redis or the gateway; time and randomness come in as arguments, so every rule can be tested
//! without a server.

pub mod ack;
pub mod audit_log;
pub mod batches;
pub mod cells;
pub mod circuit;
pub mod contacts;
pub mod conversations;
pub mod db;
pub mod delivery;
pub mod event;
pub mod gateways;
pub mod idempotency;
pub mod jobs;
pub mod kept;
pub mod kinds;
pub mod labels;
pub mod messages;
pub mod model;
pub mod outbox;
pub mod pacing;
pub mod queue;
pub mod retry;
pub mod ring;
pub mod senders;
pub mod step;
pub mod time;
pub mod users;

pub use db::{Db, Dialect};
pub use event::Event;
pub use ring::{JobKind, JobRef, Lane, Ring};
pub use step::Step;
pub use time::{Clock, Timestamp};

pub use entities::{
    BatchId, ContactId, ConversationId, ExaminationId, GatewayId, JobId, LabelId, MessageId, OperationId, SenderId,
    SessionId, SuppressionId, TagId, TemplateId, UserId, ViewId,
};
