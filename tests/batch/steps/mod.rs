//! What large batches are done in: each transaction writes few rows, whatever a batch names, and nobody waits for one.

mod in_flight;
mod leases;
mod ledger;
mod one_row;
mod sets;
mod staging;
mod timeouts;
