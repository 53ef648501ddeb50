//! The CRM contract against the real binary, on both set-ups: embedded (SQLite, one process) and split (PostgreSQL, Redis,
//! one process for each role). The gateway is a scripted one; `tests/gateway` has the real one.

mod browser;
mod chain;
mod customers;
mod doctor;
mod elsewhere;
mod erasure;
mod internal;
mod late;
mod opt_out;
mod outbox;
mod people;
mod receipts;
mod refusals;
mod replies;
mod reports;
#[path = "../batch/setup.rs"]
mod setup;
mod stream;
mod strict;
