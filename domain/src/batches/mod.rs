//! Batches: one operation over many contacts.
//!
//! - [`create_send`], [`create_tag`], [`create_delete`], [`ImportWriter`]: accepting one.
//! - [`send`], [`run_import`], [`run_tag`], [`run_delete`], [`run_expand`], [`run_start`]: the steps of its jobs.
//! - [`cancel`], [`pause`], [`resume`], [`retry`], [`patch`]: steering it.
//! - [`get`], [`list`], [`stats`], [`live`], [`items()`], [`preview`]: reading it.
//! - [`audit()`]: whether its rows agree.
//!
//! The counts in a batch's row equal what its items say at every commit: whoever finishes items adds to the counts in
//! the same transaction. A batch ends in the transaction that closes its last chunk.

mod audit;
mod change;
pub(crate) mod chunks;
mod control;
mod create;
mod expand;
mod import;
mod items;
mod model;
mod read;
mod recipients;
mod row;
pub mod send;
mod sets;

pub use audit::{Finding, audit, prune};
pub use change::{run_delete, run_tag};
pub use chunks::{WINDOW, chunk_size};
pub use control::{ControlError, Patch, SCHEDULE_SLACK, cancel, patch, pause, resume, retry};
pub use create::{
    CreateError, ImportWriter, NewImport, NewSend, NewTag, Recipients, create_delete, create_send, create_tag,
};
pub use expand::{Expanded, run_expand, run_start};
pub use import::{ImportLine, Plan, PlannedRow, preview_import, run_import};
pub use items::{Item, Page, items};
pub use model::{BatchStatus, BatchSummary, BatchType, ItemStatus, OnUnknown, TagOperation};
pub use read::{Cause, Filter, Preview, Stats, causes, get, going, list, live, page, preview, sender_rate, stats};
pub use recipients::{Audience, ContactRef, ContactRefs};
pub use row::Batch;
pub(crate) use row::{ItemFate, settle_item};
pub use sets::Ran;
