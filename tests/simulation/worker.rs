//! A worker: what the real one does between two transactions, without its tasks and timers.

use domain::Timestamp;
use domain::batches::send::{Going, ItemResult, Outgoing, Work};
use domain::jobs::{Claimed, Ending};

/// What a worker is doing.
pub(crate) enum Doing {
    /// It waits for a ring.
    Nothing,
    /// It has a job and has not begun with it.
    Holding(Box<Claimed>),
    /// It sends a chunk.
    Sending(Box<Sending>),
    /// Its job failed, and that is to be written.
    Failing(Box<Claimed>, Ending),
}

/// A chunk under way.
pub(crate) struct Sending {
    pub(crate) job: Claimed,
    pub(crate) work: Work,
    pub(crate) in_flight: Vec<Outgoing>,
    pub(crate) results: Vec<ItemResult>,
    pub(crate) more_at: Option<Timestamp>,
    pub(crate) going: Going,
    /// Told to stop: it claims nothing more and gives the job back.
    pub(crate) stopping: bool,
}

pub(crate) struct Worker {
    /// Never the same twice.
    pub(crate) owner: String,
    pub(crate) doing: Doing,
    /// It does nothing, and does not know it.
    pub(crate) frozen: bool,
}

impl Worker {
    pub(crate) fn new(owner: String) -> Self {
        Self { owner, doing: Doing::Nothing, frozen: false }
    }

    /// The claim that it believes to have.
    pub(crate) fn held(&self) -> Option<&Claimed> {
        match &self.doing {
            Doing::Holding(job) => Some(job),
            Doing::Sending(sending) => Some(&sending.job),
            // Its lease is not renewed any more.
            Doing::Nothing | Doing::Failing(..) => None,
        }
    }
}
