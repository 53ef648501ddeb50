//! Which messages the ledger knows, and what it holds of them: for whoever compares it with a gateway's store, id by id.

use crate::db::{self, Dialect};
use crate::time::Timestamp;
use entities::{GatewayId, RowUuid};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use serde_json::json;
use std::collections::HashMap;
use uuid::Uuid;

/// A message that the ledger says the gateway took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenMessage {
    /// Its place: the cursor.
    pub id: i64,
    /// Its id at the gateway.
    pub uuid: Uuid,
    /// When it was given that id, which is before it was sent for the first time.
    pub named_at: Timestamp,
    /// The gateway that took it; `None`: nobody wrote that down.
    pub gateway: Option<GatewayId>,
}

/// The messages behind a place that the gateway took since then, by what the ledger says, in order.
///
/// # Errors
/// The database's.
pub async fn taken(
    conn: &impl ConnectionTrait,
    since: Timestamp,
    after: i64,
    limit: u64,
) -> Result<Vec<TakenMessage>, DbErr> {
    let sql = format!(
        "SELECT id, uuid, sent_at, gateway_id FROM messages
         WHERE id > $1 AND direction = 'outbound' AND sent_at >= $2 ORDER BY id LIMIT {limit}"
    );
    let rows: Vec<Row> = db::all_as(conn, sql, [after.into(), since.0.into()]).await?;
    let taken = |row: Row| TakenMessage {
        id: row.id,
        uuid: row.uuid.0,
        named_at: named_at(row.uuid.0).unwrap_or(row.sent_at),
        gateway: row.gateway_id,
    };
    Ok(rows.into_iter().map(taken).collect())
}

#[derive(FromQueryResult)]
struct Row {
    id: i64,
    uuid: RowUuid,
    sent_at: Timestamp,
    gateway_id: Option<GatewayId>,
}

/// The statuses of messages, of those among `ids` that have a row: `queued`, `sent`, `delivered`, `read`, `failed`.
///
/// # Errors
/// The database's.
pub async fn statuses(conn: &impl ConnectionTrait, ids: &[Uuid]) -> Result<HashMap<Uuid, String>, DbErr> {
    let these = Dialect::of(conn).one_of(1, "uuid");
    of(conn, format!("SELECT uuid, status FROM messages WHERE uuid {these} AND direction IS NOT NULL"), ids).await
}

/// The statuses of the items of batches, of those among `ids` that the items have: some of their messages are not decided yet.
///
/// # Errors
/// The database's.
pub async fn item_statuses(conn: &impl ConnectionTrait, ids: &[Uuid]) -> Result<HashMap<Uuid, String>, DbErr> {
    let these = Dialect::of(conn).one_of(1, "uuid");
    let sql = format!("SELECT uuid, item_status FROM messages WHERE uuid {these} AND seq IS NOT NULL");
    of(conn, sql, ids).await
}

async fn of(conn: &impl ConnectionTrait, sql: String, ids: &[Uuid]) -> Result<HashMap<Uuid, String>, DbErr> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(RowUuid, String)> = db::values(conn, sql, [json!(ids).to_string().into()]).await?;
    Ok(rows.into_iter().map(|(uuid, status)| (uuid.0, status)).collect())
}

/// Ids begin with the time at which they are given (UUIDv7, RFC 9562, 5.7).
fn named_at(uuid: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = uuid.get_timestamp()?.to_unix();
    Some(Timestamp(i64::try_from(seconds).ok()?.checked_mul(1_000)?.checked_add(i64::from(nanos / 1_000_000))?))
}
