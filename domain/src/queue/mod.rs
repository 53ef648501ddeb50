//! The queue as its operators see and steer it: jobs, workers, senders.
//!
//! What a job is, is known to [`jobs`](crate::jobs); what each kind means, to [`kinds`](crate::kinds). This stands above
//! both: whether an act on a job makes sense depends on what the job belongs to.

pub mod examinations;
pub mod operations;
mod pulse;
pub mod samples;
mod senders;
mod steer;
pub mod system;
mod workers;

pub use pulse::{Pulse, pulse};
pub use senders::{SHOWN, SenderUse, Single, Singles, User, Waiting, sender_use};
pub use steer::{Act, SteerError, Unfit, steer, unfit};
pub use workers::{MAX_JOBS, Worker, workers};
