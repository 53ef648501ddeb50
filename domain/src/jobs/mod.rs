//! Jobs: claimed units of work. The row is the job.
//!
//! No kind of job is known here: what one does is the worker's, and what it means that one died is asked of [`Bury`].
//!
//! A job's state, and who moves it on:
//!
//! | state | meaning | who moves it on |
//! | --- | --- | --- |
//! | `ready` | may be claimed from `run_at` on | a worker's [`claim`] |
//! | `running` | claimed: it has a lease and a fence | its worker ([`finish`]), or the [`rescue`] when the lease ran out |
//! | `paused` | its batch is paused | the batch's resume |
//! | `parked` | only another release knows its kind, lane or version | a process that knows it ([`unpark`]) |
//! | `done` | over | nobody; pruned |
//! | `dead` | will not be tried again; `error` says why | a person |
//! | `cancelled` | its batch was cancelled before it was claimed | nobody; pruned |
//!
//! The **fence** grows with every claim. Every write of a result carries it ([`renew`] is the first statement of such a
//! transaction), so a worker that was thought dead and wakes again changes nothing.
//!
//! `rung_at` is the promise of a ring: who makes a job ready inside a transaction sets it, since they ring after the
//! commit; the [`sweep`] rings again what was promised over [`SWEEP_GRACE`] ago and is still not claimed. A job that
//! nobody promised to ring (`rung_at` null: a scheduled one) is rung by the first sweep after its time.
//!
//! A release that was rolled back leaves jobs that this one cannot read. They are neither claimed nor killed: the sweep
//! parks them, so that they are in nobody's way, and the first process that knows them lets them go on.

mod bury;
mod claim;
mod enqueue;
mod finish;
pub mod history;
pub mod list;
mod parked;
mod rescue;
mod stats;
pub mod workers;

pub use bury::{Bury, Dead};
pub use claim::{Claim, Claimed, claim, heartbeat, hold, renew, renew_with_progress};
pub(crate) use enqueue::ring_of;
pub use enqueue::{NewJob, enqueue};
pub use finish::{Ending, Finished, fail, finish, reject};
pub use parked::{LOOKED_AT, Unknown, any_known, unknown, unknown_among, unpark};
pub use rescue::{Rescued, Swept, any_due, due, prune, rescue, sweep};
pub use stats::{Depth, depths};

use std::time::Duration;

/// A state as a condition on jobs that are named by their ids, written so that no index on the state serves it. PostgreSQL
/// takes `jobs_ready` and `jobs_running` for empty after a quiet night, prefers them to the primary key, and then reads
/// every job that is ready or running for each that is claimed.
const IS_READY: &str = "jobs.state || '' = 'ready'";
/// The same for those that are running.
const IS_RUNNING: &str = "jobs.state || '' = 'running'";

/// How long a claim holds without a heartbeat.
pub const LEASE: Duration = Duration::from_secs(30);

/// How often a worker renews the leases of its running jobs.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// How long a promised ring may stay unanswered before the sweep rings again.
pub const SWEEP_GRACE: Duration = Duration::from_secs(5);

/// The longest sleep of a job that its worker rings itself. A longer one is left to the sweep.
pub const LOCAL_TIMER: Duration = Duration::from_secs(60);

/// How often a job may fail with a passing error before it is dead.
pub const MAX_FAILURES: i64 = 3;

/// How often a job may meet statements that the database ended for the time they took, each time down to the least that can
/// be done in one, before it is dead. More than failures: it may be the database that is busy, or a lock of somebody's.
pub const MAX_TIMEOUTS: u32 = 10;

/// How often in a row a job may be there when its process dies before it is dead. Not the same count as failures, and
/// begun anew when it has come further: what kills a worker is seldom the job.
pub const MAX_CRASHES: i64 = 3;
