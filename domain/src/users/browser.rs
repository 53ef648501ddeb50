//! Sessions of browsers. A cookie holds a random token that names the session; the database has the token's hash.
//!
//! Such a session ends [`BROWSER_TTL`] after the sign-in, after [`BROWSER_IDLE`] without a request, when it is revoked, or
//! when its user may no longer sign in.

use super::role::Role;
use super::session::{hash, insert};
use super::store::User;
use crate::db;
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::{SessionId, UserId};
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};
use std::time::Duration;

/// How long a browser's session lasts.
pub const BROWSER_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long it may be without a request.
pub const BROWSER_IDLE: Duration = Duration::from_secs(12 * 3600);

/// How often its last use is written.
const USE_WRITTEN_EVERY: Duration = Duration::from_secs(60);

/// Opens a session for a user who has shown the password; returns it with the only copy of its token.
///
/// # Errors
/// The database's.
pub async fn open_browser_session(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    user: UserId,
    ip_address: Option<&str>,
    user_agent: Option<&str>,
    rng: &mut impl Rng,
) -> Result<(SessionId, String), DbErr> {
    let session = insert(conn, now, user, now.plus(BROWSER_TTL), ip_address, user_agent).await?;
    db::execute(conn, "UPDATE users SET last_login_at = $2 WHERE id = $1", [user.into(), now.0.into()]).await?;
    let token = hex::encode(rng.random::<[u8; 32]>());
    db::execute(
        conn,
        "INSERT INTO browser_sessions (token_hash, session_id, used_at) VALUES ($1, $2, $3)",
        [hash(&token).into(), session.into(), now.0.into()],
    )
    .await?;
    Ok((session, token))
}

/// The session that a token names, and whose it is; `None` when there is none or it has ended.
///
/// # Errors
/// The database's.
pub async fn browser_session(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    token: &str,
) -> Result<Option<(SessionId, User)>, DbErr> {
    let hash = hash(token);
    let row = db::one(
        conn,
        "SELECT b.session_id AS session_id, b.used_at AS used_at, u.id AS id, u.email AS email, u.full_name AS full_name,
                u.role AS role, u.avatar_url AS avatar_url, u.active AS active
         FROM browser_sessions b JOIN sessions s ON s.id = b.session_id JOIN users u ON u.id = s.user_id
         WHERE b.token_hash = $1 AND b.used_at > $3 AND s.revoked_at IS NULL AND s.expires_at > $2 AND u.active",
        [hash.clone().into(), now.0.into(), now.minus(BROWSER_IDLE).0.into()],
    )
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (session, user) = (SessionId(row.try_get("", "session_id")?), super::store::read(&row)?);
    let used_at = Timestamp(row.try_get("", "used_at")?);
    if now.since(used_at) >= USE_WRITTEN_EVERY {
        let sql = "UPDATE browser_sessions SET used_at = $2 WHERE token_hash = $1 AND used_at < $2";
        db::execute(conn, sql, [hash.into(), now.0.into()]).await?;
    }
    Ok(Some((session, user)))
}

/// Ends all sessions of a user, whatever opened them.
///
/// # Errors
/// The database's.
pub async fn revoke_all(conn: &impl ConnectionTrait, now: Timestamp, user: UserId) -> Result<Step<usize>, DbErr> {
    let rows = db::all(
        conn,
        "UPDATE sessions SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 RETURNING id",
        [user.into(), now.0.into()],
    )
    .await?;
    let ended = rows.iter().map(|row| row.try_get("", "id").map(SessionId)).collect::<Result<Vec<_>, _>>()?;
    let events = ended.iter().copied().map(Event::SessionRevoked).collect();
    Ok(Step { value: ended.len(), rings: Vec::new(), events })
}

/// Whether a role sees phone numbers in full: guests see them masked.
#[must_use]
pub const fn sees_phones(role: Role) -> bool {
    match role {
        Role::Admin | Role::Supervisor | Role::Agent => true,
        Role::Guest => false,
    }
}
