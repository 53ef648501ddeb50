//! The backplane of one process.

mod limiter;
mod notifier;
mod queue;

pub(crate) use limiter::EmbeddedLimiter;
pub(crate) use notifier::EmbeddedNotifier;
pub(crate) use queue::EmbeddedQueue;
