//! What batches, their items and messages are, in words that every part of the domain uses.

use crate::time::Timestamp;
use entities::BatchId;
use sea_orm::{DbErr, QueryResult};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

pub use entities::{
    Approval, BatchAct, BatchStatus, BatchType, Direction, ItemStatus, JobAct, JobEventKind, JobState, MessageStatus,
    OnUnknown, OperationStatus, OperationTarget, TagOperation, UnknownName,
};

/// Reads a column that holds one of the names above.
pub(crate) fn named<T: FromStr<Err = UnknownName>>(row: &QueryResult, column: &str) -> Result<T, DbErr> {
    row.try_get::<String>("", column)?.parse().map_err(|e: UnknownName| DbErr::Type(format!("{column}: {e}")))
}

/// A batch's status and counts at one commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchSummary {
    /// The batch.
    pub id: BatchId,
    /// What it does.
    pub batch_type: BatchType,
    /// Where it stands.
    pub status: BatchStatus,
    /// How many items it has.
    pub total: i64,
    /// Items that succeeded.
    pub succeeded: i64,
    /// Items that failed, held unknown ones among them.
    pub failed: i64,
    /// Items that were skipped.
    pub skipped: i64,
    /// Whether a user paused it. What an older release says of a batch does not tell.
    #[serde(default)]
    pub paused: bool,
    /// Grows with every commit that changes the batch: orders the news of it.
    pub version: i64,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its first chunk was claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}

impl BatchSummary {
    /// Items that are done with, in whatever way.
    #[must_use]
    pub const fn processed(&self) -> i64 {
        self.succeeded + self.failed + self.skipped
    }

    /// `floor(100 × processed / total)`: 100 only when all are processed. An empty batch is at 0 until it ends.
    #[must_use]
    pub const fn progress(&self) -> i64 {
        match (self.total, self.status.is_terminal()) {
            (0, true) => 100,
            (0, false) => 0,
            (total, _) => 100 * self.processed() / total,
        }
    }
}
