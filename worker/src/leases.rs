//! The leases that this process holds, and their heartbeat.

use crate::Shared;
use domain::jobs::workers::{self, BEAT};
use domain::jobs::{self, Claimed, HEARTBEAT};
use domain::{Dialect, JobId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
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

    fn has(&self, id: JobId, fence: i64) -> bool {
        self.0.lock().get(&id) == Some(&fence)
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

/// Says that the worker is there and does what is asked of it, until cancelled. By itself and over a connection of its own:
/// neither a job nor the renewal of its lease is in the way of it.
pub(crate) async fn beat(shared: Arc<Shared>, stop: CancellationToken) {
    // Alone with its database nobody waits for its word; what is asked of it is read as often all the same.
    let alone = shared.db.dialect() == Dialect::Sqlite;
    let mut tick = tokio::time::interval(BEAT);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut away, mut said_at): (bool, Option<Instant>) = (false, None);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let silent = alone && said_at.is_some_and(|at| at.elapsed() < HEARTBEAT);
        let does = shared.lanes.orders();
        let asked = if silent {
            workers::orders(shared.db.vital(), &shared.owner).await.map(|orders| orders.unwrap_or(does))
        } else {
            workers::beat(shared.db.vital(), shared.clock.now(), &shared.owner, &does).await
        };
        match asked {
            Ok(asked) => {
                if std::mem::take(&mut away) {
                    tracing::info!("the database is back");
                }
                // Its next word says that it does it.
                said_at =
                    if shared.lanes.obey(&asked) { None } else { said_at.filter(|_| silent).or(Some(Instant::now())) };
            }
            Err(error) if !std::mem::replace(&mut away, true) => tracing::warn!(%error, "the database is away"),
            Err(_) => {}
        }
    }
}

/// Renews the leases of the worker's jobs, until cancelled.
pub(crate) async fn keep(shared: Arc<Shared>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(BEAT);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut renewed_at: Option<Instant> = None;
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        // What failed is tried again with the next tick.
        if renewed_at.is_some_and(|at| at.elapsed() < HEARTBEAT) {
            continue;
        }
        let held = shared.leases.list();
        metrics::gauge!("paceline_jobs_held").set(held.len() as f64);
        match jobs::heartbeat(shared.db.vital(), shared.clock.now(), &held).await {
            Ok(standing) => {
                failing = false;
                renewed_at = Some(Instant::now());
                // Those of jobs that ended meanwhile are no longer wanted.
                let wanted = held.iter().filter(|(id, fence)| shared.leases.has(*id, *fence)).count();
                if standing < wanted as u64 {
                    tracing::warn!(wanted, standing, "some leases no longer stand");
                }
            }
            Err(error) if !std::mem::replace(&mut failing, true) => {
                tracing::warn!(%error, held = held.len(), "leases not renewed");
                continue;
            }
            Err(_) => continue,
        }
        let before = shared.clock.now().minus(HEARTBEAT);
        match workers::disown(shared.db.vital(), shared.clock.now(), &shared.owner, &held, before).await {
            Ok(0) => {}
            Ok(jobs) => tracing::warn!(jobs, "leases whose claim was never answered are given back"),
            Err(error) => tracing::warn!(%error, "leases not looked through"),
        }
    }
}
