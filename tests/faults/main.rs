//! Faults on the way from a request to its last effect, against the real processes: nothing is lost, nothing takes effect
//! twice, and every batch comes to its end by itself.

#[path = "../batch/setup.rs"]
mod setup;

mod gateway;
mod kills;
mod pace;
mod points;
mod rubbish;
mod soak;
mod upgrade;
mod world;
