//! The feed: what happened in conversations, in one order, for those who watch the CRM's stream.
//!
//! An event is a row, written in the transaction of what it tells. Its number is the stream's event id: who was away
//! says the last one they saw and goes on behind it, at whichever process, without a gap or a repeat. For that, numbers
//! must become visible in their order: on PostgreSQL the writers of events take their turns by a lock that is held from
//! the numbering to the commit. [`append`] is therefore the last statement of its transaction, and events are written in
//! groups. SQLite has one writer anyway.
//!
//! A campaign makes thousands of receipts a second, and people write now and then. So that the first never push out the
//! second, the two are kept apart: [`KEPT`] events about people and [`KEPT_BULK`] receipts of batches, and none of either
//! for longer than [`KEPT_FOR`]. How far each was thrown away is a row, so whoever comes back is told what they missed
//! ([`Place`]) and never finds a gap by themselves.

use crate::db::{self, Dialect};
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::ContactId;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::{Value, json};
use std::time::Duration;

/// How many events about people can be resumed from, at least, unless they are older than [`KEPT_FOR`].
pub const KEPT: i64 = 1_000;

/// How many numbers back the receipts of batches are kept: some seconds of the fastest campaign, days of a slow one.
pub const KEPT_BULK: i64 = 50_000;

/// For how long an event is kept. Whoever was away for longer reads the lists again.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// How many events are appended before the oldest are thrown away: so many more may be there.
const SLACK: i64 = 1_000;

/// The most rows that one deletion takes.
const DELETED_AT_ONCE: i64 = 5_000;

/// What the writers of events wait on.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7236487264)";

/// Something to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// Whom it is about.
    pub contact: ContactId,
    /// The object that the stream carries.
    pub data: Value,
    /// Whether it is the receipt of a batch's message.
    pub bulk: bool,
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEvent {
    /// Its number: larger than that of any event before it.
    pub id: i64,
    /// The object that the stream carries, as JSON.
    pub data: String,
}

/// Whether everything behind an event is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is: reading goes on behind it.
    Kept,
    /// What people wrote is; of the receipts of batches some are gone.
    ReceiptsGone {
        /// The newest receipt that is.
        to: i64,
        /// The number of the newest event.
        newest: i64,
    },
    /// It is not, or the number was never given (the database was restored). `newest` is the number to go on behind.
    Gone {
        /// The number of the newest event.
        newest: i64,
        /// Whether the number was never given; else it is too old.
        unknown: bool,
    },
}

/// Numbers become visible in their order, and what is thrown away is so in one.
async fn take_turns(conn: &impl ConnectionTrait) -> Result<(), DbErr> {
    if Dialect::of(conn) == Dialect::Postgres {
        db::execute(conn, LOCK, []).await?;
    }
    Ok(())
}

/// Appends events in their order. Nothing may be locked by the transaction after it.
///
/// # Errors
/// The database's.
pub async fn append(conn: &impl ConnectionTrait, now: Timestamp, news: &[News]) -> Result<Step<()>, DbErr> {
    if news.is_empty() {
        return Ok(Step::quiet(()));
    }
    take_turns(conn).await?;
    let rows: Vec<Value> = (0_i64..)
        .zip(news)
        .map(|(place, news)| {
            json!({ "place": place, "contact_id": news.contact, "data": news.data.to_string(), "bulk": news.bulk })
        })
        .collect();
    let columns = [("place", "bigint"), ("contact_id", "bigint"), ("data", "text"), ("bulk", "boolean")];
    let source = Dialect::of(conn).rows(1, &columns);
    let inserted = db::all(
        conn,
        format!(
            "INSERT INTO crm_events (contact_id, data, bulk, created_at)
             SELECT contact_id, data, bulk, $2 FROM {source} ORDER BY place RETURNING id"
        ),
        [Value::from(rows).to_string().into(), now.0.into()],
    )
    .await?;
    let ids = inserted.iter().map(|row| row.try_get::<i64>("", "id")).collect::<Result<Vec<_>, _>>()?;
    let last = ids.into_iter().max().unwrap_or(0);
    // Now and then: each deletion costs as much as an event.
    if last / SLACK != (last - i64::try_from(news.len()).unwrap_or(0)) / SLACK {
        forget(conn, true, last - KEPT_BULK).await?;
        let oldest = "SELECT id FROM crm_events WHERE NOT bulk ORDER BY id DESC LIMIT 1 OFFSET $1";
        if let Some(first_gone) = db::one(conn, oldest, [KEPT.into()]).await? {
            forget(conn, false, first_gone.try_get("", "id")?).await?;
        }
    }
    Ok(Step { value: (), rings: Vec::new(), events: vec![Event::FeedGrew(last)] })
}

/// Throws away the oldest events of one kind up to the number `to`, as many as one deletion takes, and writes down how far
/// that went; returns how many they were.
async fn forget(conn: &impl ConnectionTrait, bulk: bool, to: i64) -> Result<usize, DbErr> {
    let kind = if bulk { "bulk" } else { "NOT bulk" };
    let sql = format!(
        "DELETE FROM crm_events WHERE {kind} AND id IN (
            SELECT id FROM crm_events WHERE {kind} AND id <= $1 ORDER BY id LIMIT {DELETED_AT_ONCE}) RETURNING id"
    );
    let gone = db::all(conn, sql, [to.into()]).await?;
    let ids = gone.iter().map(|row| row.try_get::<i64>("", "id")).collect::<Result<Vec<_>, _>>()?;
    if let Some(last) = ids.iter().max() {
        let sql = "UPDATE crm_events_pruned SET pruned_to = $2 WHERE bulk = $1 AND pruned_to < $2";
        db::execute(conn, sql, [bulk.into(), (*last).into()]).await?;
    }
    Ok(ids.len())
}

/// Throws away events that are older than [`KEPT_FOR`], a few at a time; returns whether there are more.
///
/// # Errors
/// The database's.
pub async fn prune(conn: &impl ConnectionTrait, now: Timestamp) -> Result<bool, DbErr> {
    take_turns(conn).await?;
    let before = now.minus(KEPT_FOR);
    // Numbers and times go together, so what is old lies at the beginning: only as much is read as one deletion takes.
    let sql = format!(
        "SELECT max(id) AS id FROM (SELECT id, created_at FROM crm_events ORDER BY id LIMIT {DELETED_AT_ONCE}) oldest
         WHERE created_at < $1"
    );
    let row = db::one(conn, sql, [before.0.into()]).await?;
    let Some(to) = row.map_or(Ok(None), |row| row.try_get::<Option<i64>>("", "id"))? else { return Ok(false) };
    let gone = forget(conn, true, to).await? + forget(conn, false, to).await?;
    Ok(i64::try_from(gone).is_ok_and(|gone| gone >= DELETED_AT_ONCE))
}

/// Up to `limit` events behind `after`, in their order. Whether there are all that ever were is [`place`]'s to say, asked
/// after this: what is thrown away in between is then told of.
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

/// Whether everything behind the event of this number is still there.
///
/// # Errors
/// The database's.
pub async fn place(conn: &impl ConnectionTrait, id: i64) -> Result<Place, DbErr> {
    let Ends { newest, given, people, bulk } = ends(conn).await?;
    Ok(if id > given {
        Place::Gone { newest, unknown: true }
    } else if id < people {
        Place::Gone { newest, unknown: false }
    } else if id < bulk {
        Place::ReceiptsGone { to: bulk, newest }
    } else {
        Place::Kept
    })
}

/// The number of the newest event; 0 before the first.
///
/// # Errors
/// The database's.
pub async fn newest(conn: &impl ConnectionTrait) -> Result<i64, DbErr> {
    Ok(ends(conn).await?.newest)
}

/// Where the feed ends, at both ends.
struct Ends {
    /// The newest event that can be read.
    newest: i64,
    /// The largest number that was ever given. Events are deleted with the contact that they are about, the newest too.
    given: i64,
    /// The newest event about people that was thrown away.
    people: i64,
    /// The newest receipt of a batch that was.
    bulk: i64,
}

async fn ends(conn: &impl ConnectionTrait) -> Result<Ends, DbErr> {
    let given = match Dialect::of(conn) {
        Dialect::Postgres => "pg_sequence_last_value(pg_get_serial_sequence('crm_events', 'id')::regclass)",
        Dialect::Sqlite => "(SELECT seq FROM sqlite_sequence WHERE name = 'crm_events')",
    };
    let sql = format!(
        "SELECT (SELECT max(id) FROM crm_events) AS newest, {given} AS given,
                (SELECT pruned_to FROM crm_events_pruned WHERE NOT bulk) AS people,
                (SELECT pruned_to FROM crm_events_pruned WHERE bulk) AS bulk"
    );
    let row = db::one(conn, sql, []).await?.ok_or_else(|| DbErr::RecordNotFound("the feed's ends".into()))?;
    let number = |column: &str| Ok::<_, DbErr>(row.try_get::<Option<i64>>("", column)?.unwrap_or(0));
    let (newest, people, bulk) = (number("newest")?, number("people")?, number("bulk")?);
    // All of it may have been thrown away for its age.
    let newest = newest.max(people).max(bulk);
    Ok(Ends { newest, given: number("given")?.max(newest), people, bulk })
}
