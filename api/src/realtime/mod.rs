//! Realtime: sockets that are told what changed.

pub(crate) mod feed;
mod hub;
mod pacer;
mod socket;

pub(crate) use hub::{Hub, follow};
pub(crate) use socket::{open, token};
