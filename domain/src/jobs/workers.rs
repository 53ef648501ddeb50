//! The processes that claim jobs, each under the name that is in its jobs' `lease_owner`.
//!
//! A lease alone takes [`LEASE`] to tell that a worker is gone. A worker that shares its database with
//! others also says every [`BEAT`] that it is there; one that was silent for [`SILENCE`] is taken for dead, and its
//! leases end at once. That it may wake again changes nothing: its fences no longer stand.

use super::LEASE;
use crate::db::{self, Dialect};
use crate::time::Timestamp;
use entities::JobId;
use sea_orm::{ConnectionTrait, DbErr};
use std::time::Duration;

/// How often a worker says that it is there.
pub const BEAT: Duration = Duration::from_secs(1);

/// How long a worker may say nothing before it is taken for dead.
pub const SILENCE: Duration = Duration::from_secs(5);

/// The release of this build: all its crates have one version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Says that a worker is there.
///
/// # Errors
/// The database's.
pub async fn beat(conn: &impl ConnectionTrait, now: Timestamp, owner: &str) -> Result<(), DbErr> {
    let sql = "INSERT INTO workers (owner, started_at, seen_at, version) VALUES ($1, $2, $2, $3)
               ON CONFLICT (owner) DO UPDATE SET seen_at = excluded.seen_at";
    db::execute(conn, sql, [owner.into(), now.0.into(), VERSION.into()]).await.map(|_| ())
}

/// A worker stops. One that holds nothing any more is forgotten; the leases of one that does end now, and it is kept for as
/// long as it takes to tell its silence: its jobs are taken back as those of a worker that is there, since that it stopped
/// is no fault of theirs. Returns how many leases ended.
///
/// # Errors
/// The database's.
pub async fn leave(conn: &impl ConnectionTrait, now: Timestamp, owner: &str) -> Result<u64, DbErr> {
    let ended = end_leases(conn, now, owner).await?;
    if ended == 0 {
        let sql = "DELETE FROM workers WHERE owner = $1
                   AND NOT EXISTS (SELECT 1 FROM jobs WHERE state = 'running' AND lease_owner = $1)";
        db::execute(conn, sql, [owner.into()]).await?;
    }
    Ok(ended)
}

/// Ends the leases of every worker but those that beat since `heard_since`, and forgets them; returns how many workers
/// these were. Commit it by itself: a worker that beats waits for it. For a process that was itself in touch with the database all the time: after an outage every worker has
/// been silent.
///
/// # Errors
/// The database's.
pub async fn bury_silent(conn: &impl ConnectionTrait, now: Timestamp, heard_since: Timestamp) -> Result<usize, DbErr> {
    let sql = "DELETE FROM workers WHERE seen_at < $1 RETURNING owner";
    let silent = db::all(conn, sql, [heard_since.0.into()]).await?;
    for row in &silent {
        end_leases(conn, now, &row.try_get::<String>("", "owner")?).await?;
    }
    Ok(silent.len())
}

/// Ends the leases that a worker holds without knowing: the answer to a claim was lost. `held` are those that it knows of;
/// leases that were taken or renewed after `before` may be on their way to it.
///
/// # Errors
/// The database's.
pub async fn disown(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    owner: &str,
    held: &[(JobId, i64)],
    before: Timestamp,
) -> Result<u64, DbErr> {
    let ids: Vec<i64> = held.iter().map(|(id, _)| id.0).collect();
    let known = Dialect::of(conn).one_of(4, "bigint");
    let sql = end(conn, &format!("AND lease_until < $3 AND NOT (id {known})"));
    let values =
        [owner.into(), (now.0 - 1).into(), before.plus(LEASE).0.into(), serde_json::json!(ids).to_string().into()];
    db::execute(conn, sql, values).await
}

/// Ends all leases and forgets all workers: at the start of the only process that can be there.
///
/// # Errors
/// The database's.
pub async fn bury_all(conn: &impl ConnectionTrait, now: Timestamp) -> Result<u64, DbErr> {
    db::execute(conn, "DELETE FROM workers", []).await?;
    let sql = "UPDATE jobs SET lease_until = $1 WHERE state = 'running'";
    db::execute(conn, sql, [(now.0 - 1).into()]).await
}

async fn end_leases(conn: &impl ConnectionTrait, now: Timestamp, owner: &str) -> Result<u64, DbErr> {
    db::execute(conn, end(conn, ""), [owner.into(), (now.0 - 1).into()]).await
}

/// The statement that ends the leases of the owner `$1` at `$2`, with another condition. A job that a transaction holds is
/// in somebody's hands: it is passed over, and its lease ends by itself.
fn end(conn: &impl ConnectionTrait, and: &str) -> String {
    let skip = Dialect::of(conn).for_update_skip_locked();
    format!(
        "UPDATE jobs SET lease_until = $2 WHERE id IN (
            SELECT id FROM jobs WHERE state = 'running' AND lease_owner = $1 AND lease_until > $2 {and}{skip})"
    )
}
