//! Realtime: sockets and streams that are told what happened.

mod hub;
mod pacer;
pub(crate) mod sessions;
mod socket;
pub(crate) mod stream;

pub(crate) use hub::{Hub, follow};
pub(crate) use socket::{open, token};
