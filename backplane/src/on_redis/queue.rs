//! Rings in sorted sets, one for each lane, scored by when they were rung: the first rung is the first popped, and a job
//! that waits is there once.

use super::server::{Connection, Server, within};
use crate::{BackplaneError, RingQueue};
use async_trait::async_trait;
use domain::{JobRef, Lane, Ring};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// How much longer than its wait a blocking pop may take to answer.
const SLACK: Duration = Duration::from_secs(3);

/// The shortest wait: to Redis, none is for ever. And the longest that it takes.
const WAIT_MIN: Duration = Duration::from_millis(10);
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) struct RedisQueue {
    server: Arc<Server>,
    /// Connections for pops, which block them: taken while one waits, put back after.
    idle: Mutex<Vec<Connection>>,
    /// The next score that is free.
    next_score: AtomicU64,
}

impl RedisQueue {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Self { server, idle: Mutex::default(), next_score: AtomicU64::new(0) }
    }

    /// The first of `count` scores: the time in microseconds, but above all that this process gave before, so that its
    /// rings keep their order also when many are rung at once or the clock is set back.
    fn scores(&self, count: u64) -> u64 {
        let now = now_us();
        let after = |next: u64| Some(next.max(now) + count);
        let next = self.next_score.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after);
        next.map_or(now, |next| next.max(now))
    }

    async fn pop_on(
        &self,
        mut connection: Connection,
        lane: Lane,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<JobRef>, BackplaneError> {
        let mut pop = redis::cmd("BZMPOP");
        pop.arg(wait.as_secs_f64()).arg(1).arg(key(lane)).arg("MIN").arg("COUNT").arg(max);
        let popped: Option<(String, Vec<(String, f64)>)> =
            within(wait + SLACK, pop.query_async(&mut connection)).await?;
        self.idle.lock().push(connection);
        let members = popped.map(|(_, members)| members).unwrap_or_default();
        let read = |(member, _): (String, f64)| match member.parse() {
            Ok(job) => Some(job),
            Err(error) => {
                metrics::counter!("paceline_rings_malformed_total").increment(1);
                tracing::warn!(%lane, %error, "a ring that names no job was dropped");
                None
            }
        };
        Ok(members.into_iter().filter_map(read).collect())
    }
}

fn key(lane: Lane) -> String {
    format!("{{paceline:rings:{lane}}}")
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
}

#[async_trait]
impl RingQueue for RedisQueue {
    async fn push(&self, rings: &[Ring]) -> Result<(), BackplaneError> {
        // A call for each lane: in a Cluster they live on different nodes.
        for lane in Lane::ALL {
            let of_lane = || rings.iter().filter(|ring| ring.lane == lane);
            let count = of_lane().count();
            if count == 0 {
                continue;
            }
            let first = self.scores(u64::try_from(count).unwrap_or(u64::MAX));
            let mut add = redis::cmd("ZADD");
            add.arg(key(lane)).arg("NX");
            for (score, ring) in (first..).zip(of_lane()) {
                add.arg(score).arg(ring.job.to_string());
            }
            self.server.run::<()>(redis::pipe().add_command(add).ignore()).await?;
        }
        Ok(())
    }

    async fn pop(&self, lane: Lane, max: usize, wait: Duration) -> Result<Vec<JobRef>, BackplaneError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let wait = wait.clamp(WAIT_MIN, WAIT_MAX);
        let started = Instant::now();
        let idle = self.idle.lock().pop();
        if let Some(connection) = idle {
            match self.pop_on(connection, lane, max, wait).await {
                Err(error) if error.is_stale_connection() => {
                    // What broke this one broke the others.
                    self.idle.lock().clear();
                    tracing::debug!(%error, "a connection to redis broke; trying another");
                }
                answer => return answer,
            }
        }
        let connection = self.server.connect().await?;
        let left = wait.saturating_sub(started.elapsed()).max(WAIT_MIN);
        self.pop_on(connection, lane, max, left).await
    }

    async fn depth(&self, lane: Lane) -> Result<u64, BackplaneError> {
        let (depth,): (u64,) = self.server.run(redis::pipe().cmd("ZCARD").arg(key(lane))).await?;
        Ok(depth)
    }

    async fn ping(&self) -> Result<(), BackplaneError> {
        // Not PING: in a Cluster it has no key, and it is this key that must be reachable.
        self.depth(Lane::Critical).await.map(drop)
    }
}
