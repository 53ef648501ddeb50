//! Faults on the way from a request to its last effect, against the real processes: nothing is lost, nothing takes effect
//! twice, and every batch comes to its end by itself.

#[path = "../batch/setup.rs"]
mod setup;

#[path = "../gateway/setup.rs"]
#[expect(dead_code, reason = "shared with the tests of the gateway, which use all of it")]
mod gateway_setup;

mod gateway;
mod gateway_steps;
mod kills;
mod pace;
mod points;
#[path = "../crm/reports.rs"]
#[expect(dead_code, reason = "shared with the tests of the CRM's surface, which use all of it")]
mod reports;
mod rubbish;
mod soak;
mod upgrade;
mod world;
