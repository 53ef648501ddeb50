//! What an attacker tries, against the real binary. SECURITY.md says which test shows what.

mod access;
mod audit;
mod fuzz;
mod injection;
mod leaks;
mod limits;
mod named;
mod rfc;
mod setup;
mod tokens;
mod wire;
