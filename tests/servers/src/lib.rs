//! Servers and processes for tests: found on the machine, started on loopback, killed on demand, never left behind.
//!
//! Three things hold for everything that is started here:
//!
//! 1. It dies with its owner. Dropping a [`Process`] kills it; if the owner itself is killed, so that nothing is
//!    dropped, a reaper (a shell that waits for the end of a pipe) does it instead and removes the directory.
//! 2. It lives in its own temporary directory and on its own port, so that any number of runs go side by side.
//! 3. It can fail on purpose: killed with SIGKILL, frozen with SIGSTOP, stopped in good order, and started again on
//!    the same data and port.
//!
//! Everything blocks; the `support` crate has the asynchronous face. There is no database or Redis client here, because
//! `xtask` uses this crate and is compiled before anything else.

mod disk;
mod ports;
mod postgres;
mod process;
mod redis;
pub mod tools;

pub use disk::Disk;
pub use ports::free_port;
pub use postgres::{Postgres, PostgresOptions};
pub use process::{Log, Process, Signal};
pub use redis::{Redis, RedisOptions};

use std::time::Duration;

/// How long a server or process may take to start or to end before that is a failure. Generous, because it bounds
/// hangs on busy machines and measures nothing.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How often a condition is looked at that nothing announces.
const POLL: Duration = Duration::from_millis(10);
