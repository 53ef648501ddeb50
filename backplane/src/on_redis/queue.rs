//! Rings in sorted sets, one for each lane, scored by when they were rung: the first rung is the first popped, and a job
//! that waits is there once.

use super::server::{Connection, Server};
use crate::{BackplaneError, RingQueue};
use async_trait::async_trait;
use domain::{JobRef, Lane, Ring};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How much longer than its wait a blocking pop may take to answer.
const SLACK: Duration = Duration::from_secs(3);

pub(crate) struct RedisQueue {
    server: Arc<Server>,
    /// Connections for pops, which block them: taken while one waits, put back after.
    idle: Mutex<Vec<Connection>>,
}

impl RedisQueue {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Self { server, idle: Mutex::default() }
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
        let mut pipeline = redis::pipe();
        let now = now_us();
        for lane in Lane::ALL {
            let mut add = redis::cmd("ZADD");
            add.arg(key(lane)).arg("NX");
            let mut any = false;
            for (place, ring) in (0u64..).zip(rings.iter().filter(|ring| ring.lane == lane)) {
                add.arg(now + place).arg(ring.job.to_string());
                any = true;
            }
            if any {
                pipeline.add_command(add).ignore();
            }
        }
        if pipeline.is_empty() { Ok(()) } else { self.server.run::<()>(&pipeline).await }
    }

    async fn pop(&self, lane: Lane, max: usize, wait: Duration) -> Result<Vec<JobRef>, BackplaneError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let idle = self.idle.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.server.connect(wait + SLACK).await?,
        };
        let popped: Option<(String, Vec<(String, f64)>)> = redis::cmd("BZMPOP")
            .arg(wait.as_secs_f64().max(0.01))
            .arg(1)
            .arg(key(lane))
            .arg("MIN")
            .arg("COUNT")
            .arg(max)
            .query_async(&mut connection)
            .await?;
        self.idle.lock().push(connection);
        let members = popped.map(|(_, members)| members).unwrap_or_default();
        Ok(members
            .into_iter()
            .filter_map(|(member, _)| match member.parse() {
                Ok(job) => Some(job),
                Err(error) => {
                    metrics::counter!("paceline_rings_malformed_total").increment(1);
                    tracing::warn!(%lane, %error, "a ring that names no job was dropped");
                    None
                }
            })
            .collect())
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
