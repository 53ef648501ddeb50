//! The backplane on Redis 7 or later: one server, a Cluster, or a primary found through Sentinels.

mod address;
mod limiter;
mod notifier;
mod queue;
mod server;

pub(crate) use limiter::RedisLimiter;
pub(crate) use notifier::RedisNotifier;
pub(crate) use queue::RedisQueue;
pub use server::RedisInfo;
pub(crate) use server::Server;
