//! The feed: what happened in conversations, in one order, for those who watch the CRM's stream.
//!
//! An event is a row, written in the transaction of what it tells. Its number is the stream's event id: who was away
//! says the last one they saw and goes on behind it, at whichever process, without a gap or a repeat. For that, numbers
//! must become visible in their order: on PostgreSQL the writers of events take their turns by a lock that is held from
//! the numbering to the commit. [`append`] is therefore the last statement of its transaction, and events are written in
//! groups. SQLite has one writer anyway.
//!
//! Only the newest [`KEPT`] events are there; who was away for longer reads the lists again.

use crate::db::{self, Dialect};
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::ContactId;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::{Value, json};

/// How many events can be resumed from, at least.
pub const KEPT: i64 = 1_000;

/// How many more may be there before the oldest are thrown away.
const SLACK: i64 = 1_000;

/// What the writers of events wait on.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7236487264)";

/// Something to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// Whom it is about.
    pub contact: ContactId,
    /// The object that the stream carries.
    pub data: Value,
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEvent {
    /// Its number: larger than that of any event before it.
    pub id: i64,
    /// The object that the stream carries, as JSON.
    pub data: String,
}

/// Appends events in their order. Nothing may be locked by the transaction after it.
///
/// # Errors
/// The database's.
pub async fn append(conn: &impl ConnectionTrait, now: Timestamp, news: &[News]) -> Result<Step<()>, DbErr> {
    if news.is_empty() {
        return Ok(Step::quiet(()));
    }
    let dialect = Dialect::of(conn);
    if dialect == Dialect::Postgres {
        db::execute(conn, LOCK, []).await?;
    }
    let rows: Vec<Value> = (0_i64..)
        .zip(news)
        .map(|(place, news)| json!({ "place": place, "contact_id": news.contact, "data": news.data.to_string() }))
        .collect();
    let source = dialect.rows(1, &[("place", "bigint"), ("contact_id", "bigint"), ("data", "text")]);
    let inserted = db::all(
        conn,
        format!(
            "INSERT INTO crm_events (contact_id, data, created_at)
             SELECT contact_id, data, $2 FROM {source} ORDER BY place RETURNING id"
        ),
        [Value::from(rows).to_string().into(), now.0.into()],
    )
    .await?;
    let ids = inserted.iter().map(|row| row.try_get::<i64>("", "id")).collect::<Result<Vec<_>, _>>()?;
    let last = ids.into_iter().max().unwrap_or(0);
    // Now and then: each deletion costs as much as an event.
    if last / SLACK != (last - i64::try_from(news.len()).unwrap_or(0)) / SLACK {
        db::execute(conn, "DELETE FROM crm_events WHERE id <= $1", [(last - KEPT).into()]).await?;
    }
    Ok(Step { value: (), rings: Vec::new(), events: vec![Event::FeedGrew(last)] })
}

/// Up to `limit` events behind `after`, in their order.
///
/// # Errors
/// The database's.
pub async fn after(conn: &impl ConnectionTrait, after: i64, limit: u64) -> Result<Vec<FeedEvent>, DbErr> {
    let sql = format!("SELECT id, data FROM crm_events WHERE id > $1 ORDER BY id LIMIT {limit}");
    db::all(conn, sql, [after.into()])
        .await?
        .iter()
        .map(|row| Ok(FeedEvent { id: row.try_get("", "id")?, data: row.try_get("", "data")? }))
        .collect()
}

/// The number of the newest event; 0 before the first.
///
/// # Errors
/// The database's.
pub async fn newest(conn: &impl ConnectionTrait) -> Result<i64, DbErr> {
    let row = db::one(conn, "SELECT coalesce(max(id), 0) AS id FROM crm_events", []).await?;
    row.map_or(Ok(0), |row| row.try_get("", "id"))
}
