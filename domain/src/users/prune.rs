//! Throwing away sessions and refresh tokens that nobody can use any more.

use crate::db;
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr};
use std::time::Duration;

/// How long a session that has ended is kept: from where an account signed in lately is told by its sessions.
pub const ENDED_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long any session that has ended is kept: every process that did not hear of it reads of it within seconds.
const ENDED_TOLD: Duration = Duration::from_secs(60);

/// Deletes refresh tokens that have expired or whose session has ended, then sessions that ended [`ENDED_KEPT`] ago and
/// those that came from no address a minute after their end: in each statement at most `limit` rows. Returns how many rows
/// went; as many as `limit` or more means that there may be more.
///
/// A used token of a session that goes on stays until it expires: who uses it again is found out by it.
///
/// # Errors
/// The database's.
pub async fn prune(conn: &impl ConnectionTrait, now: Timestamp, limit: u64) -> Result<u64, DbErr> {
    let ended = |at: &str| format!("(s.expires_at <= {at} OR s.revoked_at <= {at})");
    let expired = format!(
        "DELETE FROM refresh_tokens WHERE id IN (SELECT id FROM refresh_tokens WHERE expires_at <= $1 LIMIT {limit})"
    );
    let mut gone = db::execute(conn, expired, [now.0.into()]).await?;
    let orphaned = format!(
        "DELETE FROM refresh_tokens WHERE id IN (
            SELECT r.id FROM sessions s JOIN refresh_tokens r ON r.session_id = s.id WHERE {} LIMIT {limit})",
        ended("$1")
    );
    gone += db::execute(conn, orphaned, [now.0.into()]).await?;
    let sessions = format!(
        "DELETE FROM sessions WHERE id IN (
            SELECT s.id FROM sessions s WHERE {} AND (s.ip_address IS NULL OR {})
               AND NOT EXISTS (SELECT 1 FROM refresh_tokens r WHERE r.session_id = s.id) LIMIT {limit})",
        ended("$1"),
        ended("$2")
    );
    let (told, kept) = (now.minus(ENDED_TOLD), now.minus(ENDED_KEPT));
    gone += db::execute(conn, sessions, [told.0.into(), kept.0.into()]).await?;
    Ok(gone)
}
