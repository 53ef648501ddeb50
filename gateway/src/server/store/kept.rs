//! What the gateway has of each message, for whoever compares it with what they have.

use super::ledger::Sql;
use super::{Store, beside};
use crate::server::rules::State;
use crate::sqlite::OpenError;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteExecutor};
use std::path::Path;

/// A message as the gateway has it: neither its text nor its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its place: the cursor.
    pub seq: i64,
    /// The backend's id of it.
    pub backend_message_id: String,
    /// The network's, once it has it.
    pub whatsapp_id: Option<String>,
    /// What became of it.
    pub state: KeptState,
    /// When it was taken, in milliseconds since the epoch.
    pub accepted_at_ms: i64,
    /// The backend has been told all of that.
    pub is_told: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeptState {
    /// It is to be handed over, or is just being handed over.
    Waiting,
    /// It was handed over, and nobody knows yet whether the network has it.
    Unknown,
    /// The network has it.
    Sent,
    /// It was not sent, or not delivered.
    Failed,
}

impl From<State> for KeptState {
    fn from(state: State) -> Self {
        match state {
            State::Accepted | State::Handing => Self::Waiting,
            State::Unknown => Self::Unknown,
            State::Sent => Self::Sent,
            State::Failed => Self::Failed,
        }
    }
}

impl Store {
    /// The messages behind a place, in the order in which they came.
    pub(crate) async fn kept(&self, after: i64, most: i64) -> Sql<Vec<Kept>> {
        kept(&self.readers, after, most).await
    }
}

pub(crate) async fn kept_in(dir: &Path, after: i64, most: i64) -> Result<Vec<Kept>, OpenError> {
    let place = beside(dir)?;
    let failed = |error| OpenError::Sqlite(place.path.clone(), error);
    let mut conn = place.connect().await.map_err(failed)?;
    let kept = kept(&mut conn, after, most).await.map_err(failed)?;
    sqlx::Connection::close(conn).await.map_err(failed)?;
    Ok(kept)
}

async fn kept(conn: impl SqliteExecutor<'_>, after: i64, most: i64) -> Sql<Vec<Kept>> {
    let sql = "SELECT seq, id, network_id, state, accepted_at,
                      NOT EXISTS (SELECT 1 FROM reports WHERE thread = messages.seq) AS is_told
               FROM messages WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let rows = sqlx::query(sql).bind(after).bind(most).fetch_all(conn).await?;
    let read = |row: &SqliteRow| {
        Ok(Kept {
            seq: row.try_get("seq")?,
            backend_message_id: row.try_get("id")?,
            whatsapp_id: row.try_get("network_id")?,
            state: State::of(row.try_get("state")?).into(),
            accepted_at_ms: row.try_get("accepted_at")?,
            is_told: row.try_get("is_told")?,
        })
    };
    rows.iter().map(read).collect()
}
