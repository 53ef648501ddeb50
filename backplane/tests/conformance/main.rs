//! What the backplane promises, held by each of its implementations: in one process, on one Redis, and on a Redis Cluster.
//!
//! The same bodies run on all of them (`on_all!`). What only a server can do (to be killed, emptied, frozen, failed over)
//! is in `outages` and `sentinel`. The Cluster has one node: what differs for us is on our side of it, namely that each
//! call must keep to one slot.

mod limiter;
mod notifier;
mod outages;
mod queue;
mod sentinel;
mod server;
mod world;
