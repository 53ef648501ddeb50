//! `paceline gateway`, as its backend and its network see it: what it said yes to it sends once, and what became of it it
//! tells until it is heard.
//!
//! The network is the simulator, or Meta's Cloud API emulated. The memory of both is apart from the gateway's: they say
//! themselves whether an id went out twice.

mod cloud;
mod durable;
mod reports;
mod senders;
mod set_aside;
mod setup;
mod wire;
