//! One file for each kind of job.

pub(crate) mod deliver;
pub(crate) mod expand;
pub(crate) mod probe;
pub(crate) mod send_chunk;
pub(crate) mod set_chunk;
pub(crate) mod start;
