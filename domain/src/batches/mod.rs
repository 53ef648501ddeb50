//! Batches: one operation over many contacts.
//!
//! - [`create_send`], [`create_tag`], [`create_delete`], [`ImportWriter`]: accepting one.
//! - [`plan_send`], [`plan_tag`], [`plan_delete`], [`preview_import`]: telling beforehand what one would do.
//! - [`run_set`], [`run_expand`], [`run_start`]: the steps of its jobs; those that send are in [`delivery`](crate::delivery).
//! - [`approve`], [`refuse`]: letting a second person decide of it.
//! - [`cancel`], [`cancel_later`], [`pause`], [`resume`], [`retry`], [`retry_cause`], [`patch`]: steering it.
//! - [`get`], [`list`], [`stats`], [`live`], [`items()`], [`preview`], [`holds()`]: reading it; [`items_of_contact`]: reading all of one contact.
//! - [`audit()`]: whether its rows agree.
//!
//! The counts in a batch's row equal what its items say at every commit: whoever finishes items adds to the counts in
//! the same transaction. A batch ends in the transaction that closes its last chunk.

mod approvals;
mod audit;
mod cancel_later;
mod change;
pub(crate) mod chunks;
pub(crate) mod control;
mod create;
mod days;
mod dry_run;
mod expand;
pub mod export;
mod forecast;
mod holds;
mod import;
mod import_plan;
mod import_writer;
pub(crate) mod in_flight;
mod items;
pub(crate) mod kept_pace;
pub(crate) mod lookup;
mod of_contact;
mod pace;
mod prune;
mod read;
pub(crate) mod recipients;
mod refused;
mod remainder;
pub(crate) mod row;
mod scheduled;
mod sets;
mod staging;
pub(crate) mod table;
pub(crate) mod traces;

pub use crate::model::{Approval, BatchStatus, BatchSummary, BatchType, ItemStatus, OnUnknown, TagOperation};
pub use approvals::{Decision, approve, decision, refuse};
pub use audit::{Finding, audit};
pub use cancel_later::{CANCEL_AFTER, ToCancel, cancel_at, cancel_later, keep, run_cancel};
pub use chunks::{WINDOW, chunk_size};
pub use control::{ControlError, Patch, SCHEDULE_SLACK, cancel, patch, pause, resume, retry, retry_cause};
pub use create::{
    CreateError, NewImport, NewSend, NewTag, Recipients, create_delete, create_delete_at, create_send, create_tag,
};
pub use days::{Day, days, write_days};
pub use dry_run::{Excluded, SendPlan, SendSample, SetPlan, SetSample, Warning, plan_delete, plan_send, plan_tag};
pub use expand::{Expanded, NextPage, run_expand, run_start};
pub use forecast::forecast;
pub use holds::{Hold, holds};
pub use import::{ImportLine, Plan, PlannedRow, preview_import};
pub use import_plan::{ImportPlan, SHOWN_ROWS};
pub use import_writer::ImportWriter;
pub use in_flight::messages as messages_in_flight;
pub use items::{FailedRow, Item, OUTCOMES, Page, contacts_of, failed_rows, item, items};
pub use kept_pace::{PaceSample, pace_samples};
pub use of_contact::{ContactItem, ItemPosition, Items, items_of_contact};
pub use pace::{EffectivePace, LimitedBy, SenderPace, SenderPaces, sender_paces};
pub use prune::prune;
pub use read::{
    Cause, Filter, Preview, Stats, causes, get, list, live, newer, of_sender, page, preview, run_states, sender_rate,
    stats, summaries,
};
pub use recipients::{Audience, ContactRef, ContactRefs};
pub use refused::Refused;
pub use remainder::{Remainder, RemainderError, remainder};
pub use row::{Batch, RunState};
pub(crate) use row::{ItemFate, settle_item};
pub use scheduled::{MOST_SCHEDULED, scheduled};
pub use sets::{Ran, RawSet, SetChunk, run_set};
pub use staging::{GivenUp, Part, StageError, Staged, prune_uploads, unstage};
pub use traces::let_go_of_cancelled;
