//! The leases that this process holds, and their heartbeat.

use crate::Shared;
use domain::jobs::{self, HEARTBEAT};
use domain::{JobId, jobs::Claimed};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The jobs that this process runs, with the number of their claims.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases(Arc<Mutex<HashMap<JobId, i64>>>);

/// Keeps a lease renewed for as long as it lives.
#[derive(Debug)]
pub(crate) struct Lease {
    leases: Leases,
    id: JobId,
    fence: i64,
}

impl Leases {
    pub(crate) fn hold(&self, job: &Claimed) -> Lease {
        self.0.lock().insert(job.id, job.fence);
        Lease { leases: self.clone(), id: job.id, fence: job.fence }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }

    fn list(&self) -> Vec<(JobId, i64)> {
        self.0.lock().iter().map(|(id, fence)| (*id, *fence)).collect()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.leases.0.lock();
        if held.get(&self.id) == Some(&self.fence) {
            held.remove(&self.id);
        }
    }
}

/// Renews the leases until cancelled.
pub(crate) async fn keep(shared: Arc<Shared>, stop: CancellationToken) {
    let mut beat = tokio::time::interval(HEARTBEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = beat.tick() => {}
        }
        let held = shared.leases.list();
        metrics::gauge!("paceline_jobs_held").set(held.len() as f64);
        match jobs::heartbeat(shared.db.write(), shared.clock.now(), &held).await {
            Ok(renewed) if renewed < held.len() as u64 => {
                tracing::warn!(held = held.len(), renewed, "some leases no longer stand");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, held = held.len(), "leases not renewed"),
        }
    }
}
