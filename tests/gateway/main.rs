//! `paceline gateway`, as its backend and its network see it: what it said yes to it sends once, and what became of it it
//! tells until it is heard.
//!
//! The network is the simulator, whose memory is apart from the gateway's: it says itself whether an id went out twice.

mod durable;
mod reports;
mod senders;
mod setup;
mod wire;
