//! Which messages the ledger knows, and what it holds of them: for whoever compares it with a gateway's store, id by id.

use crate::db::{self, Dialect};
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::json;
use std::collections::HashMap;
use uuid::Uuid;

/// A message that the ledger says the gateway took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its place: the cursor.
    pub id: i64,
    /// Its id at the gateway.
    pub uuid: Uuid,
    /// When it was taken.
    pub sent_at: Timestamp,
}

/// The messages behind a place that the gateway took, by what the ledger says, in order.
///
/// # Errors
/// The database's.
pub async fn taken(conn: &impl ConnectionTrait, after: i64, limit: u64) -> Result<Vec<Taken>, DbErr> {
    let sql = format!(
        "SELECT id, CAST(uuid AS TEXT) AS uuid, sent_at FROM messages
         WHERE id > $1 AND direction = 'outbound' AND sent_at IS NOT NULL ORDER BY id LIMIT {limit}"
    );
    let rows = db::all(conn, sql, [after.into()]).await?;
    let taken = |row: &sea_orm::QueryResult| {
        Ok(Taken {
            id: row.try_get("", "id")?,
            uuid: uuid(&row.try_get::<String>("", "uuid")?)?,
            sent_at: Timestamp(row.try_get("", "sent_at")?),
        })
    };
    rows.iter().map(taken).collect()
}

/// The statuses of messages, of those among `ids` that have a row: `queued`, `sent`, `delivered`, `read`, `failed`.
///
/// # Errors
/// The database's.
pub async fn statuses(conn: &impl ConnectionTrait, ids: &[Uuid]) -> Result<HashMap<Uuid, String>, DbErr> {
    of(conn, "SELECT CAST(uuid AS TEXT) AS uuid, status FROM messages WHERE uuid", ids).await
}

/// The statuses of the items of batches, of those among `ids` that the items have: their messages may have no row yet. This
/// reads all items.
///
/// # Errors
/// The database's.
pub async fn item_statuses(conn: &impl ConnectionTrait, ids: &[Uuid]) -> Result<HashMap<Uuid, String>, DbErr> {
    of(conn, "SELECT CAST(message_id AS TEXT) AS uuid, status FROM batch_items WHERE message_id", ids).await
}

async fn of(conn: &impl ConnectionTrait, select: &str, ids: &[Uuid]) -> Result<HashMap<Uuid, String>, DbErr> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!("{select} {}", Dialect::of(conn).one_of(1, "uuid"));
    let rows = db::all(conn, sql, [json!(ids).to_string().into()]).await?;
    rows.iter().map(|row| Ok((uuid(&row.try_get::<String>("", "uuid")?)?, row.try_get("", "status")?))).collect()
}

fn uuid(text: &str) -> Result<Uuid, DbErr> {
    Uuid::try_parse(text).map_err(|error| DbErr::Type(format!("a message's id: {error}")))
}
