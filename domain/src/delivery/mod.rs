//! Delivery: attempts at messages, and what becomes of them.
//!
//! A batch's message and a reply are the same thing here: a message with one id, attempts at it under that id, and what the
//! gateway tells of it afterwards.
//!
//! - `attempt`: what became of an attempt, and the one policy of retries.
//! - [`send`]: attempts at the messages of a batch, a chunk at a time.
//! - [`single`]: attempts at a message that was written by itself.
//! - [`reports`]: what the gateway tells, taken into the ledger.
//! - [`resend`]: sending again what surely nobody has.
//!
//! It stands above [`batches`](crate::batches), which say who is to get what, and [`messages`](crate::messages), which say
//! what was written; neither knows of it.

mod attempt;
pub(crate) mod receipts;
pub mod reports;
pub mod resend;
pub mod send;
pub mod single;

pub use attempt::{AttemptOutcome, OUTCOME_UNKNOWN};
