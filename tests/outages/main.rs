//! What Paceline stands on goes away, falls silent, fills up, is slow or wrong, and comes back; and Paceline itself is
//! stopped in the middle of it. The real binary, real servers, a network that fails on purpose.
//!
//! Each test ends the same way (`World::whole`): the batches have ended by themselves, every recipient was served, the
//! gateway saw no message take effect twice, the ledger agrees with itself, and nothing panicked.

mod clock;
mod disk;
mod gateway;
mod pool;
mod postgres;
mod redis;
mod redis_kinds;
mod setup;
mod stop;
