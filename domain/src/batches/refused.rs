//! Why a batch cannot be steered so: a word for whoever shows it in another language, and English for whoever does not.

use crate::model::BatchStatus;
use crate::time::Timestamp;
use entities::BatchId;

/// Why something makes no sense in a batch's present state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has ended.
    #[error("the batch is {0} already")]
    Ended(BatchStatus),
    /// It is paused.
    #[error("the batch is paused already")]
    Paused,
    /// It is not paused.
    #[error("the batch is not paused")]
    NotPaused,
    /// A second person has to approve it first.
    #[error("the batch waits for an approval: POST /batch/{0}/approve, by somebody who did not ask for it")]
    AwaitsApproval(BatchId),
    /// No second person has to decide of it, or one has.
    #[error("the batch does not wait for an approval")]
    NoApproval,
    /// It is to be cancelled already.
    #[error("the batch is to be cancelled at {} already", .0.to_rfc3339())]
    ToBeCancelled(Timestamp),
    /// It is not to be cancelled, or was meanwhile.
    #[error("the batch is not to be cancelled, or was meanwhile")]
    NotToBeCancelled,
    /// It has not ended.
    #[error("the batch is still under way")]
    UnderWay,
    /// It was cancelled: what is left goes on otherwise; the text says how.
    #[error("the batch was cancelled; {0}")]
    Cancelled(String),
    /// None of its items failed.
    #[error("no item of the batch failed")]
    NothingFailed,
    /// None of its items failed with this code, and may succeed.
    #[error(
        "no item of the batch failed with {code:?} and may succeed when it is tried again; GET /batch/{batch}/causes lists why \
         items failed"
    )]
    NoSuchCause {
        /// The code.
        code: String,
        /// The batch.
        batch: BatchId,
    },
    /// All rows that failed are invalid.
    #[error(
        "all {failed} rows that failed are invalid, and would fail again; GET /batch/{batch}/items?status=failed lists them \
         with their reasons: correct the rows and import them anew"
    )]
    AllInvalid {
        /// How many.
        failed: i64,
        /// The batch.
        batch: BatchId,
    },
    /// All items that failed name contacts that do not exist.
    #[error(
        "all {failed} items that failed name contacts that do not exist, and would fail again; \
         GET /batch/{batch}/items?status=failed lists them with their reasons"
    )]
    AllUnknown {
        /// How many.
        failed: i64,
        /// The batch.
        batch: BatchId,
    },
    /// It sends nothing.
    #[error("only a SEND batch has a pace and a time")]
    SendsNothing,
    /// It has no time to be changed.
    #[error("the batch was not scheduled, or has started")]
    Started,
}

impl Refused {
    /// A stable word.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Ended(_) => "ended",
            Self::Paused => "paused",
            Self::NotPaused => "not-paused",
            Self::AwaitsApproval(_) => "awaits-approval",
            Self::NoApproval => "no-approval",
            Self::ToBeCancelled(_) => "to-be-cancelled",
            Self::NotToBeCancelled => "not-to-be-cancelled",
            Self::UnderWay => "under-way",
            Self::Cancelled(_) => "cancelled",
            Self::NothingFailed => "nothing-failed",
            Self::NoSuchCause { .. } => "no-such-cause",
            Self::AllInvalid { .. } => "all-invalid",
            Self::AllUnknown { .. } => "all-unknown",
            Self::SendsNothing => "sends-nothing",
            Self::Started => "started",
        }
    }

    /// How many items it is about; 0: it is about none.
    #[must_use]
    pub const fn count(&self) -> i64 {
        match self {
            Self::AllInvalid { failed, .. } | Self::AllUnknown { failed, .. } => *failed,
            _ => 0,
        }
    }
}
