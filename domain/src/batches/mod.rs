//! Batches: one operation over many contacts.

mod model;

pub use model::{BatchStatus, BatchSummary, BatchType, ItemStatus, OnUnknown, TagOperation};
