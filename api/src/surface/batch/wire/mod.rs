//! The surface's types on the wire.

mod plans;
mod requests;
mod views;

pub(super) use plans::{SendPlanView, SetPlanView};
pub(super) use requests::{
    ApproveRequest, DeleteRequest, ImportContact, ImportRequest, PatchRequest, RefuseRequest, SendRequest, TagRequest,
    TemplatePreviewRequest, TemplateRequest, TestRequest,
};
pub(crate) use views::summary_json;
pub(super) use views::{
    BatchOperation, BatchStatusView, DryRun, ItemView, PlannedRowView, PreviewView, Rendered, StatsView, TemplateView,
};

use domain::batches;
use poem_openapi::Enum;

/// What a batch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "UPPERCASE")]
pub(crate) enum BatchType {
    /// Sends a message to many contacts.
    Send,
    /// Imports contacts.
    Import,
    /// Changes tags.
    Tag,
    /// Deletes contacts.
    Delete,
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "UPPERCASE")]
pub(crate) enum BatchStatus {
    /// Accepted, not started or waiting for its time.
    Pending,
    /// Under way.
    Processing,
    /// Every item was processed.
    Completed,
    /// It could not go on, or every item failed.
    Failed,
    /// Stopped by a user.
    Cancelled,
}

/// Where the approval of a send stands that is above the number of recipients beyond which a second person decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum Approval {
    /// Nobody has decided: nothing of it leaves.
    Pending,
    /// A second person let it go.
    Approved,
    /// A second person refused it; it is cancelled.
    Refused,
}

/// Where an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum ItemStatus {
    /// Not started, or waiting.
    Pending,
    /// Claimed for an attempt.
    Sending,
    /// Done.
    Succeeded,
    /// Could not be done.
    Failed,
    /// Nothing needed doing.
    Skipped,
    /// Its batch was cancelled first.
    Cancelled,
    /// An attempt was made and its outcome is not known.
    Unknown,
}

/// How an item ended: what the recipients of a further send can be chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// Done.
    Succeeded,
    /// Could not be done.
    Failed,
    /// Nothing needed doing.
    Skipped,
    /// Its batch was cancelled first.
    Cancelled,
    /// Nobody knows.
    Unknown,
}

/// What a change of tags does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum TagOperation {
    /// Adds them.
    Add,
    /// Removes them.
    Remove,
    /// Makes them the only ones.
    Set,
}

/// What becomes of a send whose outcome is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum OnUnknown {
    /// It is sent again under the same id.
    Resend,
    /// It is left for a person to decide.
    Hold,
}

/// What holds a batch's pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum LimitedBy {
    /// Its own `ratePerMinute`.
    Batch,
    /// Its sender's limit, which all its batches share.
    Sender,
    /// The gateway: nothing of ours limits it, or the gateway asks the sender to wait, or does not work.
    Gateway,
}

/// What an import would do with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum PlannedAction {
    /// It becomes a new contact.
    Create,
    /// It is merged into a contact that exists.
    Merge,
    /// Its contact exists, and stays as it is.
    Skip,
    /// It cannot be read.
    Fail,
}

macro_rules! same {
    ($wire:ident <=> $domain:path { $($variant:ident),+ }) => {
        impl From<$domain> for $wire {
            fn from(value: $domain) -> Self {
                match value { $(<$domain>::$variant => Self::$variant,)+ }
            }
        }
        impl From<$wire> for $domain {
            fn from(value: $wire) -> Self {
                match value { $($wire::$variant => Self::$variant,)+ }
            }
        }
    };
}

same!(BatchType <=> batches::BatchType { Send, Import, Tag, Delete });
same!(Approval <=> batches::Approval { Pending, Approved, Refused });
same!(LimitedBy <=> batches::LimitedBy { Batch, Sender, Gateway });
same!(BatchStatus <=> batches::BatchStatus { Pending, Processing, Completed, Failed, Cancelled });
same!(ItemStatus <=> batches::ItemStatus { Pending, Sending, Succeeded, Failed, Skipped, Cancelled, Unknown });
