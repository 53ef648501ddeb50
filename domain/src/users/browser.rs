//! Sessions of browsers. A cookie holds a random token that names the session; the session's row has the token's hash.
//!
//! Such a session ends [`BROWSER_TTL`] after the sign-in, after [`BROWSER_IDLE`] without a request, when it is revoked, or
//! when its user may no longer sign in.

use super::session::{SessionAccess, hash, insert};
use super::store::User;
use crate::db;
use crate::time::Timestamp;
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

/// A session that a browser's cookie names.
#[derive(Clone, Debug)]
pub struct BrowserSession {
    /// The session.
    pub id: SessionId,
    /// Whose it is.
    pub user: User,
    /// What it is open to.
    pub standing: SessionAccess,
}

/// Opens a session for a user who has shown the password; returns it with the only copy of its token. With `must_change`
/// it is open to a change of the password alone.
///
/// # Errors
/// The database's.
pub async fn open_browser_session(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    user: UserId,
    ip_address: Option<&str>,
    user_agent: Option<&str>,
    must_change: bool,
    rng: &mut impl Rng,
) -> Result<(SessionId, String), DbErr> {
    let session = insert(conn, now, user, now.plus(BROWSER_TTL), ip_address, user_agent, must_change).await?;
    db::execute(conn, "UPDATE users SET last_login_at = $2 WHERE id = $1", [user.into(), now.0.into()]).await?;
    let token = renew_browser_session(conn, now, session, rng).await?;
    Ok((session, token))
}

/// Gives a session another token; the one before names nothing any more. For each change of what the session may do.
///
/// # Errors
/// The database's.
pub async fn renew_browser_session(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    session: SessionId,
    rng: &mut impl Rng,
) -> Result<String, DbErr> {
    let token = hex::encode(rng.random::<[u8; 32]>());
    let sql = "UPDATE sessions SET browser_hash = $2, used_at = $3 WHERE id = $1";
    db::execute(conn, sql, [session.into(), hash(&token).into(), now.0.into()]).await?;
    Ok(token)
}

/// The session that a token names; `None` when there is none or it has ended.
///
/// # Errors
/// The database's.
pub async fn browser_session(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    token: &str,
) -> Result<Option<BrowserSession>, DbErr> {
    let row = db::one(
        conn,
        "SELECT s.id AS session_id, s.must_change_password AS must, u.id AS id, u.email AS email,
                u.full_name AS full_name, u.role AS role, u.avatar_url AS avatar_url, u.active AS active
         FROM sessions s JOIN users u ON u.id = s.user_id
         WHERE s.browser_hash = $1 AND s.used_at > $3 AND s.revoked_at IS NULL AND s.expires_at > $2 AND u.active",
        [hash(token).into(), now.0.into(), now.minus(BROWSER_IDLE).0.into()],
    )
    .await?;
    let Some(row) = row else { return Ok(None) };
    let must_change: bool = row.try_get("", "must")?;
    Ok(Some(BrowserSession {
        id: SessionId(row.try_get("", "session_id")?),
        user: super::store::read(&row)?,
        standing: if must_change { SessionAccess::MustChangePassword } else { SessionAccess::Open },
    }))
}

/// Notes that a session is in use; written once a minute, whatever comes in.
///
/// # Errors
/// The database's.
pub async fn browser_session_used(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    session: SessionId,
) -> Result<(), DbErr> {
    let sql = "UPDATE sessions SET used_at = $2 WHERE id = $1 AND used_at <= $3";
    let values = [session.into(), now.0.into(), now.minus(USE_WRITTEN_EVERY).0.into()];
    db::execute(conn, sql, values).await.map(drop)
}
