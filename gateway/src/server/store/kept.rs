//! What the gateway has of each message, for whoever compares it with what they have.

use super::ledger::{Db, Sql};
use super::{Store, beside};
use crate::server::rules::{self, MessageState};
use crate::sqlite::{OpenError, StoreFile};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::path::Path;

/// A message as the gateway has it: neither its text nor its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMessage {
    /// Its place: the cursor.
    pub seq: i64,
    /// The backend's id of it.
    pub backend_message_id: String,
    /// The network's, once it has it.
    pub whatsapp_id: Option<String>,
    /// What became of it.
    pub state: StoredState,
    /// When it was taken, in milliseconds since the epoch.
    pub accepted_at_ms: i64,
    /// The backend has been told all of that.
    pub is_told: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoredState {
    /// It is to be handed over, or is just being handed over.
    Waiting,
    /// It was handed over, and nobody knows whether the network has it.
    Unknown,
    /// The network has it.
    Sent,
    /// It was not sent, or not delivered.
    Failed,
}

/// A part of what a gateway has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPage {
    /// Messages in the order in which they came.
    pub messages: Vec<StoredMessage>,
    /// Where the next page begins; absent after the last.
    pub next_cursor: Option<i64>,
    /// From when on every message that was taken is there, in milliseconds since the epoch.
    pub complete_since_ms: i64,
    /// What time it is here, in milliseconds since the epoch.
    pub now_ms: i64,
    /// Requests of the network with parts that could not be read, for a release that can.
    #[serde(default)]
    pub webhooks_set_aside: i64,
    /// Reports that the backend refused.
    #[serde(default)]
    pub reports_refused: i64,
}

impl Store {
    /// The messages behind a place: `most` at most, 1 or more.
    pub(crate) async fn kept(&self, after: i64, most: i64) -> Sql<StoredPage> {
        let mut conn = self.readers.acquire().await?;
        kept(&mut conn, (self.now)(), after, most).await
    }
}

/// A store begins: it has every message from now on.
pub(super) async fn begin(file: &StoreFile, now: i64) -> Result<(), OpenError> {
    let failed = |error| OpenError::Sqlite(file.path.clone(), error);
    let mut conn = file.connect().await.map_err(failed)?;
    let sql = "INSERT INTO complete (id, since) VALUES (1, ?1) ON CONFLICT DO NOTHING";
    sqlx::query(sql).bind(now).execute(&mut conn).await.map_err(failed)?;
    sqlx::Connection::close(conn).await.map_err(failed)
}

pub(crate) async fn kept_in(dir: &Path, now: i64, after: i64, most: i64) -> Result<StoredPage, OpenError> {
    let file = beside(dir)?;
    let failed = |error| OpenError::Sqlite(file.path.clone(), error);
    let mut conn = file.connect().await.map_err(failed)?;
    let kept = kept(&mut conn, now, after, most).await.map_err(failed)?;
    sqlx::Connection::close(conn).await.map_err(failed)?;
    Ok(kept)
}

async fn kept(conn: &mut Db, now_ms: i64, after: i64, most: i64) -> Sql<StoredPage> {
    let complete_since_ms = sqlx::query_scalar("SELECT since FROM complete").fetch_one(&mut *conn).await?;
    let sql = "SELECT seq, id, network_id, state, code, accepted_at,
                      NOT EXISTS (SELECT 1 FROM reports WHERE thread = messages.seq) AS is_told
               FROM messages WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let rows = sqlx::query(sql).bind(after).bind(most).fetch_all(&mut *conn).await?;
    let messages = rows.iter().map(read).collect::<Sql<Vec<StoredMessage>>>()?;
    let next_cursor = messages.last().filter(|_| i64::try_from(messages.len()) == Ok(most)).map(|last| last.seq);
    let reports_refused = sqlx::query_scalar("SELECT count(*) FROM refused").fetch_one(&mut *conn).await?;
    // A store that no release since has opened has no place for them.
    let webhooks = sqlx::query_scalar("SELECT count(*) FROM webhooks WHERE unread > 0").fetch_one(conn).await;
    let webhooks_set_aside = webhooks.unwrap_or_default();
    Ok(StoredPage { messages, next_cursor, complete_since_ms, now_ms, webhooks_set_aside, reports_refused })
}

fn read(row: &SqliteRow) -> Sql<StoredMessage> {
    let unknown = row.try_get::<Option<&str>, _>("code")? == Some(rules::OUTCOME_UNKNOWN);
    let state = match MessageState::of(row.try_get("state")?) {
        MessageState::Accepted | MessageState::Claimed => StoredState::Waiting,
        MessageState::Unknown => StoredState::Unknown,
        MessageState::Sent => StoredState::Sent,
        // It was given up, which tells nobody whether it was sent.
        MessageState::Failed if unknown => StoredState::Unknown,
        MessageState::Failed => StoredState::Failed,
    };
    Ok(StoredMessage {
        seq: row.try_get("seq")?,
        backend_message_id: row.try_get("id")?,
        whatsapp_id: row.try_get("network_id")?,
        state,
        accepted_at_ms: row.try_get("accepted_at")?,
        is_told: row.try_get("is_told")?,
    })
}
