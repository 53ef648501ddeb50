//! The pages, a file each: what it reads, its view type, and its acts.

pub(crate) mod account;
pub(crate) mod approval;
pub(crate) mod audit;
pub(crate) mod batch;
pub(crate) mod batches;
pub(crate) mod calendar;
pub(crate) mod contact;
pub(crate) mod contacts;
mod course;
pub(crate) mod export;
pub(crate) mod failures;
pub(crate) mod go;
pub(crate) mod kept;
mod making;
pub(crate) mod new;
pub(crate) mod new_import;
pub(crate) mod new_operation;
pub(crate) mod new_send;
pub(crate) mod new_set;
pub(crate) mod operation;
pub(crate) mod overview;
pub(crate) mod password;
pub(crate) mod queue;
pub(crate) mod recipient;
pub(crate) mod recipients;
pub(crate) mod sample;
pub(crate) mod selected;
pub(crate) mod sign_in;
pub(crate) mod statistics;
pub(crate) mod suppressions;
pub(crate) mod templates;
pub(crate) mod users;
mod who;

use crate::fault::Fault;
use crate::guard::Context;
use domain::batches::{Batch, BatchStatus};
use domain::{BatchId, Timestamp};

/// Something that is wrong with a form: the key of its words, and the value that they take.
type Wrong = (&'static str, String);

/// How many rows a list shows.
const ROWS: usize = 50;

/// The batch that the path names.
async fn batch_of(context: &Context) -> Result<Batch, Fault> {
    let id: BatchId = context.path("id").parse().map_err(|_| Fault::NotFound)?;
    domain::batches::get(context.app.db.read(), id).await?.ok_or(Fault::NotFound)
}

/// A batch's status as people see it: one that waits for its time, or for a second person, and one that is paused say so.
fn shown_status(batch: &Batch) -> &'static str {
    match batch.summary.status {
        BatchStatus::Pending | BatchStatus::Processing if batch.awaits_approval() => "approval",
        BatchStatus::Pending | BatchStatus::Processing if batch.paused => "paused",
        BatchStatus::Pending if batch.schedule_at.is_some() => "scheduled",
        BatchStatus::Pending => "pending",
        BatchStatus::Processing => "processing",
        BatchStatus::Completed => "completed",
        BatchStatus::Failed => "failed",
        BatchStatus::Cancelled => "cancelled",
    }
}

/// The one time that matters in a batch's present state: when it starts, will end, or ended.
struct Moment {
    /// The key of its words.
    key: &'static str,
    at: Timestamp,
}

fn moment(batch: &Batch, now: Timestamp, sender_rate: Option<i64>) -> Option<Moment> {
    let summary = &batch.summary;
    if let Some(at) = summary.completed_at {
        return Some(Moment { key: "moment-ended", at });
    }
    if let (BatchStatus::Pending, Some(at)) = (summary.status, batch.schedule_at) {
        return Some(Moment { key: "moment-starts", at });
    }
    batch.estimated_completion_at(now, sender_rate).map(|at| Moment { key: "moment-will-end", at })
}
