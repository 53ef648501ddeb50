//! Realtime: sockets that are told what changed.

mod hub;
mod pacer;
pub(crate) mod sessions;
mod socket;
pub(crate) mod stream;

pub(crate) use hub::{Hub, follow};
pub(crate) use socket::{open, token};
