//! What processes share beside the database: rings, news, and the limits of HTTP.
//!
//! Three seams, each with two implementations under one conformance suite (`tests/conformance`): in one process, and on
//! Redis. Nothing here is the only copy of anything: Redis may be emptied, restarted or away, and what is lost is a
//! delay. (Message pacing is not here: slots live in the ledger.)

mod after;
mod embedded;
mod intake;
mod on_redis;
pub mod sign_in;
mod supervise;

use async_trait::async_trait;
use domain::{Event, JobRef, Lane, Ring};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;

pub use after::After;
pub use intake::{Intake, NotTaken};
pub use on_redis::RedisInfo;
pub use supervise::supervise;

/// Why the backplane could not do it. Never contains a password.
#[derive(Debug, thiserror::Error)]
pub enum BackplaneError {
    /// The address cannot be read.
    #[error("{0}")]
    Address(String),
    /// Redis's, or the way to it.
    #[error("redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// Redis did not answer in time.
    #[error("redis did not answer in time")]
    Timeout,
}

/// Rings, by lane. A ring that waits is there once, however often it is rung.
#[async_trait]
pub trait RingQueue: Send + Sync {
    /// Adds rings.
    ///
    /// # Errors
    /// When they may not have been added; the sweep rings again.
    async fn push(&self, rings: &[Ring]) -> Result<(), BackplaneError>;

    /// Takes up to `max` rings of a lane, the first rung first; waits up to `wait` for one. Nothing after that is no
    /// error. A pop that is dropped while it waits may lose rings.
    ///
    /// # Errors
    /// When the queue is away.
    async fn pop(&self, lane: Lane, max: usize, wait: Duration) -> Result<Vec<JobRef>, BackplaneError>;

    /// How many rings wait in a lane.
    ///
    /// # Errors
    /// When the queue is away.
    async fn depth(&self, lane: Lane) -> Result<u64, BackplaneError>;

    /// Whether it answers.
    ///
    /// # Errors
    /// When it does not.
    async fn ping(&self) -> Result<(), BackplaneError>;
}

/// News, or that some may have been missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// One piece of news.
    Event(Event),
    /// Some may have been missed: read the truth from the database.
    Missed,
}

/// News to every process that listens, the publisher's own among them.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Tells everyone.
    ///
    /// # Errors
    /// When it may not have been told.
    async fn publish(&self, events: &[Event]) -> Result<(), BackplaneError>;

    /// Listens from now on.
    fn subscribe(&self) -> Subscription;
}

/// One listener's news.
#[derive(Debug)]
pub struct Subscription(broadcast::Receiver<Notice>);

impl Subscription {
    /// The next notice. Waits for ever when the notifier is gone.
    pub async fn recv(&mut self) -> Notice {
        match self.0.recv().await {
            Ok(notice) => notice,
            Err(broadcast::error::RecvError::Lagged(_)) => Notice::Missed,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// How many notices a slow listener may be behind before it misses some.
const NEWS_BUFFER: usize = 4096;

/// A limit of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// How many a minute, all of them at once if need be; 0: no limit.
    pub per_minute: u32,
}

/// What a limiter says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may pass.
    pub allowed: bool,
    /// The limit.
    pub limit: u32,
    /// How many more may pass now.
    pub remaining: u32,
    /// How long until nothing is used up any more.
    pub reset_after: Duration,
    /// For a refused one: when the next may pass.
    pub retry_after: Duration,
}

impl Decision {
    const UNLIMITED: Self =
        Self { allowed: true, limit: 0, remaining: u32::MAX, reset_after: Duration::ZERO, retry_after: Duration::ZERO };
}

/// Limits of HTTP requests by key, over all processes that share the backplane. GCRA with a burst of a minute's worth. The
/// same key under another limit is counted anew. Always decides: a limiter that cannot reach the others counts alone.
#[async_trait]
pub trait Limiter: Send + Sync {
    /// Counts a request.
    async fn check(&self, key: &str, limit: Limit) -> Decision;
}

/// The three of them.
#[derive(Clone)]
pub struct Backplane {
    /// Rings.
    pub queue: Arc<dyn RingQueue>,
    /// News.
    pub notifier: Arc<dyn Notifier>,
    /// Limits of HTTP requests.
    pub limiter: Arc<dyn Limiter>,
}

impl std::fmt::Debug for Backplane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backplane")
    }
}

impl Backplane {
    /// Within this process.
    #[must_use]
    pub fn embedded() -> Self {
        Self {
            queue: Arc::new(embedded::EmbeddedQueue::default()),
            notifier: Arc::new(embedded::EmbeddedNotifier::new()),
            limiter: Arc::new(embedded::EmbeddedLimiter::default()),
        }
    }

    /// On Redis 7 or later: `redis://` or `rediss://` (TLS), several of them separated by commas for a Cluster, or
    /// `redis+sentinel://[user:password@]host:port,host:port/primary[/database]` (`rediss+sentinel://` under TLS). The
    /// user and password are the primary's; with `?sentinel_auth=true` the Sentinels get them too. A Redis that is away
    /// is no error here: its calls fail until it comes.
    ///
    /// # Errors
    /// When the address cannot be read.
    pub fn redis(url: &str) -> Result<Self, BackplaneError> {
        let server = Arc::new(on_redis::Server::parse(url)?);
        Ok(Self {
            queue: Arc::new(on_redis::RedisQueue::new(server.clone())),
            notifier: Arc::new(on_redis::RedisNotifier::new(server.clone())),
            limiter: Arc::new(on_redis::RedisLimiter::new(server)),
        })
    }
}

/// What a Redis says of itself, for a diagnosis.
///
/// # Errors
/// When the address cannot be read or Redis is away.
pub async fn redis_info(url: &str) -> Result<RedisInfo, BackplaneError> {
    on_redis::Server::parse(url)?.info().await
}
