//! Faults on the way from a request to its last effect, against the real processes: nothing is lost, nothing takes effect
//! twice, and every batch comes to its end by itself.

#[path = "../batch/setup.rs"]
#[expect(dead_code, reason = "shared with the tests of the batch surface, which use all of it")]
mod setup;

#[path = "../gateway/setup.rs"]
#[expect(dead_code, reason = "shared with the tests of the gateway, which use all of it")]
mod gateway_setup;

mod gateway;
mod gateway_steps;
mod kills;
mod pace;
mod points;
mod rubbish;
mod soak;
mod upgrade;
mod world;
