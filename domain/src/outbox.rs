//! The outbox: what happened to contacts, their messages and conversations, in one order, for all who want to know.
//!
//! An event is a row, written in the transaction of what it tells. It says what happened by ids, numbers and the words of
//! our own enums, and nothing of how anybody shows that: each surface reads what its shape needs beside the ids, as it is by
//! then, and masks it for who looks. So a person's words and numbers stand in one place, and are gone from every reader
//! with that.
//!
//! A reader keeps its own position: the number of the last event that it had. It goes on behind that at whichever process,
//! without a gap or a repeat ([`read`]). For that, numbers must become visible in their order: on PostgreSQL the writers of
//! events take their turns by a lock that is held from the numbering to the commit. [`append`] is therefore the last
//! statement of its transaction, and events are written in groups. SQLite has one writer anyway.
//!
//! A campaign makes thousands of receipts a second, and people write now and then. So that the first never push out the
//! second, the two are kept apart: [`KEPT`] events about people and [`KEPT_BULK`] receipts of batches, and none of either
//! for longer than [`KEPT_FOR`]. How far each was thrown away is a row, so whoever comes back is told what they missed
//! ([`Missed`]) and never finds a gap by themselves.

mod event;

pub use event::{DomainEvent, NewEvent, StoredEvent};

use event::EventRow;

use crate::db::{self, Dialect, Set};
use crate::time::Timestamp;
use crate::{Event, Step};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use std::time::Duration;

/// How many events about people can be resumed from, at least, unless they are older than [`KEPT_FOR`]. A surface that shows
/// one of ten still resumes from a thousand.
pub const KEPT: i64 = 10_000;

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

/// What follows a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Events in their order.
    pub events: Vec<StoredEvent>,
    /// The position behind the page: the next one begins there.
    pub through: i64,
    /// Whether there may be more behind it.
    pub more: bool,
    /// What was thrown away between the position and the page.
    pub missed: Missed,
}

/// What a reader cannot be told any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// Nothing.
    Nothing,
    /// Some of the receipts of batches. What people wrote is all there.
    Receipts {
        /// The newest receipt that is gone.
        to: i64,
        /// The number of the newest event.
        newest: i64,
    },
    /// All of it, or nobody can tell. The reader begins anew behind the event `newest`.
    Everything {
        /// The number of the newest event.
        newest: i64,
        /// Why.
        reason: Gone,
    },
}

/// Why a position is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Events behind it were thrown away.
    TooOld,
    /// Its number was never given: the database was put back to an earlier state.
    NeverGiven,
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
pub async fn append(conn: &impl ConnectionTrait, now: Timestamp, events: &[NewEvent]) -> Result<Step<()>, DbErr> {
    if events.is_empty() {
        return Ok(Step::quiet(()));
    }
    let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
    let texts = events.iter().map(|new| new.event.to_json()).collect::<Result<Vec<_>, _>>()?;
    let (source, mut values) = Set::default()
        .ints("nth", (0..count).map(Some))
        .ints("contact_id", events.iter().map(|new| Some(new.contact.0)))
        .texts("event", texts.into_iter().map(Some))
        .ints("bulk", events.iter().map(|new| Some(i64::from(new.bulk))))
        .into_source(Dialect::of(conn));
    values.push(now.0.into());
    let at = values.len();
    take_turns(conn).await?;
    let ids: Vec<i64> = db::values(
        conn,
        format!(
            "INSERT INTO domain_events (contact_id, event, bulk, created_at)
             SELECT contact_id, event, bulk = 1, ${at} FROM {source} ORDER BY nth RETURNING id"
        ),
        values,
    )
    .await?;
    let last = ids.into_iter().max().unwrap_or(0);
    // Now and then: each deletion costs as much as an event.
    if last / SLACK != (last - count) / SLACK {
        forget(conn, true, last - KEPT_BULK).await?;
        let oldest = "SELECT id FROM domain_events WHERE NOT bulk ORDER BY id DESC LIMIT 1 OFFSET $1";
        if let Some(first_gone) = db::value(conn, oldest, [KEPT.into()]).await? {
            forget(conn, false, first_gone).await?;
        }
    }
    Ok(Step { value: (), rings: Vec::new(), events: vec![Event::OutboxGrew(last)] })
}

/// Throws away the oldest events of one kind up to the number `to`, as many as one deletion takes, and writes down how far
/// that went; returns how many they were.
async fn forget(conn: &impl ConnectionTrait, bulk: bool, to: i64) -> Result<usize, DbErr> {
    let kind = if bulk { "bulk" } else { "NOT bulk" };
    let sql = format!(
        "DELETE FROM domain_events WHERE {kind} AND id IN (
            SELECT id FROM domain_events WHERE {kind} AND id <= $1 ORDER BY id LIMIT {DELETED_AT_ONCE}) RETURNING id"
    );
    let ids: Vec<i64> = db::values(conn, sql, [to.into()]).await?;
    if let Some(last) = ids.iter().max() {
        let sql = "UPDATE domain_events_pruned SET pruned_to = $2 WHERE bulk = $1 AND pruned_to < $2";
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
        "SELECT max(id) FROM (SELECT id, created_at FROM domain_events ORDER BY id LIMIT {DELETED_AT_ONCE}) oldest
         WHERE created_at < $1"
    );
    let Some(Some(to)) = db::value::<Option<i64>>(conn, sql, [before.0.into()]).await? else { return Ok(false) };
    let gone = forget(conn, true, to).await? + forget(conn, false, to).await?;
    Ok(i64::try_from(gone).is_ok_and(|gone| gone >= DELETED_AT_ONCE))
}

/// Reads up to `limit` events behind a position, and whether any are missing before them. One that another release wrote
/// and this one does not know is passed over.
///
/// # Errors
/// The database's.
pub async fn read(conn: &impl ConnectionTrait, position: i64, limit: usize) -> Result<Page, DbErr> {
    let sql = format!("SELECT id, contact_id, event FROM domain_events WHERE id > $1 ORDER BY id LIMIT {limit}");
    let rows: Vec<EventRow> = db::all_as(conn, sql, [position.into()]).await?;
    let through = rows.last().map_or(position, |row| row.id);
    let more = rows.len() == limit;
    let events = rows.into_iter().filter_map(EventRow::read).collect();
    // Asked after the events were read: what is thrown away in between is told of.
    Ok(Page { events, through, more, missed: missed(conn, position).await? })
}

/// Whether everything behind the event of this number is still there.
async fn missed(conn: &impl ConnectionTrait, position: i64) -> Result<Missed, DbErr> {
    let Ends { newest, given, people, bulk } = ends(conn).await?;
    Ok(if position > given {
        Missed::Everything { newest, reason: Gone::NeverGiven }
    } else if position < people {
        Missed::Everything { newest, reason: Gone::TooOld }
    } else if position < bulk {
        Missed::Receipts { to: bulk, newest }
    } else {
        Missed::Nothing
    })
}

/// The number of the newest event; 0 before the first. Where a reader begins that wants what happens from now on.
///
/// # Errors
/// The database's.
pub async fn newest(conn: &impl ConnectionTrait) -> Result<i64, DbErr> {
    Ok(ends(conn).await?.newest)
}

/// Where the outbox ends, at both ends; 0 before the first.
#[derive(FromQueryResult)]
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
        Dialect::Postgres => "pg_sequence_last_value(pg_get_serial_sequence('domain_events', 'id')::regclass)",
        Dialect::Sqlite => "(SELECT seq FROM sqlite_sequence WHERE name = 'domain_events')",
    };
    let sql = format!(
        "SELECT coalesce((SELECT max(id) FROM domain_events), 0) AS newest, coalesce({given}, 0) AS given,
                coalesce((SELECT pruned_to FROM domain_events_pruned WHERE NOT bulk), 0) AS people,
                coalesce((SELECT pruned_to FROM domain_events_pruned WHERE bulk), 0) AS bulk"
    );
    let ends: Option<Ends> = db::one_as(conn, sql, []).await?;
    let ends = ends.ok_or_else(|| DbErr::RecordNotFound("the outbox's ends".into()))?;
    // All of it may have been thrown away for its age.
    let newest = ends.newest.max(ends.people).max(ends.bulk);
    Ok(Ends { newest, given: ends.given.max(newest), ..ends })
}
