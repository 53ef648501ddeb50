//! The batch contract against the real binary, on both set-ups: embedded (SQLite, one process) and split (PostgreSQL,
//! Redis, one process for each role).

mod approvals;
mod control;
mod dry_runs;
mod fairness;
mod import_files;
mod imports;
mod operator;
mod people;
mod plans;
mod queue;
mod realtime;
mod refusals;
mod senders;
mod sending;
mod setup;
mod steps;
mod telling;
mod trouble;
