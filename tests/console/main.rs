//! The console against the real binary: in a real browser, and as whoever means harm.

mod acts;
mod approvals;
mod campaigns;
mod data;
mod first;
mod keys;
mod live;
mod looks;
#[path = "../batch/operator.rs"]
mod operator;
mod pictures;
mod queue;
mod security;
mod sends;
#[path = "../batch/setup.rs"]
mod setup;
mod sizes;
mod system;
mod tasks;
mod visitor;
mod workers;
