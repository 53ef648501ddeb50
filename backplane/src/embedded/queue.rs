//! Rings in memory.

use crate::{BackplaneError, RingQueue};
use async_trait::async_trait;
use domain::{JobRef, Lane, Ring};
use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;
use tokio::sync::Notify;

#[derive(Default)]
struct Waiting {
    order: VecDeque<JobRef>,
    known: HashSet<JobRef>,
}

#[derive(Default)]
struct OneLane {
    waiting: Mutex<Waiting>,
    rung: Notify,
}

#[derive(Default)]
pub(crate) struct EmbeddedQueue {
    critical: OneLane,
    default: OneLane,
    bulk: OneLane,
}

impl EmbeddedQueue {
    fn lane(&self, lane: Lane) -> &OneLane {
        match lane {
            Lane::Critical => &self.critical,
            Lane::Default => &self.default,
            Lane::Bulk => &self.bulk,
        }
    }
}

impl OneLane {
    fn take(&self, max: usize) -> Vec<JobRef> {
        let mut waiting = self.waiting.lock();
        let n = max.min(waiting.order.len());
        let taken: Vec<JobRef> = waiting.order.drain(..n).collect();
        for job in &taken {
            waiting.known.remove(job);
        }
        if !waiting.order.is_empty() {
            // There is more: the next popper need not wait for the next ring.
            self.rung.notify_one();
        }
        taken
    }
}

#[async_trait]
impl RingQueue for EmbeddedQueue {
    async fn push(&self, rings: &[Ring]) -> Result<(), BackplaneError> {
        for ring in rings {
            let lane = self.lane(ring.lane);
            let mut waiting = lane.waiting.lock();
            if waiting.known.insert(ring.job) {
                waiting.order.push_back(ring.job);
                drop(waiting);
                lane.rung.notify_one();
            }
        }
        Ok(())
    }

    async fn pop(&self, lane: Lane, max: usize, wait: Duration) -> Result<Vec<JobRef>, BackplaneError> {
        let lane = self.lane(lane);
        let first = async {
            loop {
                let taken = lane.take(max);
                if !taken.is_empty() || max == 0 {
                    return taken;
                }
                lane.rung.notified().await;
            }
        };
        // When the time is over nothing has been taken, and dropping the wait hands a ring that came with it on.
        Ok(tokio::time::timeout(wait, first).await.unwrap_or_default())
    }

    async fn depth(&self, lane: Lane) -> Result<u64, BackplaneError> {
        Ok(u64::try_from(self.lane(lane).waiting.lock().order.len()).unwrap_or(u64::MAX))
    }

    async fn ping(&self) -> Result<(), BackplaneError> {
        Ok(())
    }
}
