//! The workers, and what each does.

use crate::jobs::list::{self, Job};
use crate::jobs::workers::Orders;
use crate::time::Timestamp;
use entities::workers;
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, QueryOrder, QuerySelect};
use std::collections::BTreeMap;

/// How many jobs at work are read, over all workers.
pub const MAX_JOBS: u64 = 500;

/// How many workers are read.
const MAX_WORKERS: u64 = 500;

/// A process that takes jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Worker {
    /// Its name: never the same twice.
    pub name: String,
    /// Its release; `None`: one that does not tell.
    pub version: Option<String>,
    /// When it began; `None`: it is known by its jobs alone.
    pub started_at: Option<Timestamp>,
    /// When its last sign of life was.
    pub seen_at: Option<Timestamp>,
    /// What is asked of it; `None`: it is of a release that takes no orders, or known by its jobs alone.
    pub orders: Option<Orders>,
    /// Since when it does what is asked of it; `None`: not yet.
    pub obeyed_at: Option<Timestamp>,
    /// What it works on, the longest at work first.
    pub jobs: Vec<Job>,
}

/// The workers by name, with their jobs, of which there are [`MAX_JOBS`] at most.
///
/// # Errors
/// The database's.
pub async fn workers(conn: &impl ConnectionTrait) -> Result<Vec<Worker>, DbErr> {
    let mut by_name = BTreeMap::new();
    for row in workers::Entity::find().order_by_asc(workers::Column::Owner).limit(MAX_WORKERS).all(conn).await? {
        let worker = Worker {
            name: row.owner.clone(),
            version: row.version,
            started_at: Some(row.started_at),
            seen_at: Some(row.seen_at),
            orders: Orders::kept(row.draining, [row.critical_places, row.default_places, row.bulk_places]),
            obeyed_at: row.obeyed_at,
            jobs: Vec::new(),
        };
        by_name.insert(row.owner, worker);
    }
    for job in list::running(conn, MAX_JOBS).await? {
        let Some(name) = job.worker.clone() else { continue };
        let worker = by_name.entry(name.clone()).or_insert_with(|| Worker { name, ..Worker::default() });
        worker.jobs.push(job);
    }
    Ok(by_name.into_values().collect())
}
