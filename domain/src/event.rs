//! What processes tell one another after a commit. An event is news, never the only copy: who missed one reads the
//! same truth from the database.

use crate::model::BatchSummary;
use entities::{BatchId, SessionId};
use serde::{Deserialize, Serialize};

/// One piece of news.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A batch's status or counts changed; the summary is what the commit left.
    BatchChanged(BatchSummary),
    /// A batch was paused, resumed, cancelled or given another pace: running chunks should look now.
    BatchControl(BatchId),
    /// A session was revoked: caches must forget it, sockets that it opened must close.
    SessionRevoked(SessionId),
    /// The outbox has events up to this number: its readers should look.
    OutboxGrew(i64),
}
