//! Realtime: sockets that are told what changed.

pub(crate) mod feed;
mod hub;
mod pacer;
pub(crate) mod sessions;
mod socket;

pub(crate) use hub::{Hub, follow};
pub(crate) use socket::{open, token};
