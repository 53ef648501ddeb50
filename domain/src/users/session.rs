//! Sessions and refresh tokens.
//!
//! A refresh token is good once: each use gives the next one of its session. A token that is used a second time was
//! stolen, by whoever came first or by whoever came second: the whole session ends.

use super::store::User;
use crate::db;
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::{SessionId, UserId};
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long a refresh token is good.
pub const REFRESH_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// A session with the only copy of its refresh token.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// The session.
    pub session: SessionId,
    /// The token; the database has its hash.
    pub refresh_token: String,
}

impl std::fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedIn").field("session", &self.session).finish_non_exhaustive()
    }
}

pub(super) fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

/// Opens a session for a user who has shown the password. With `must_change` it is open to a change of the password alone.
///
/// # Errors
/// The database's.
pub async fn open_session(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    user: UserId,
    ip_address: Option<&str>,
    user_agent: Option<&str>,
    must_change: bool,
    rng: &mut impl Rng,
) -> Result<SignedIn, DbErr> {
    let session = insert(conn, now, user, now.plus(REFRESH_TTL), ip_address, user_agent, must_change).await?;
    db::execute(conn, "UPDATE users SET last_login_at = $2 WHERE id = $1", [user.into(), now.0.into()]).await?;
    let refresh_token = issue(conn, now, session, rng).await?;
    Ok(SignedIn { session, refresh_token })
}

/// Opens a session that lives as long as one access token: for tokens made at the command line.
///
/// # Errors
/// The database's.
pub async fn open_token_session(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    user: UserId,
    ttl: Duration,
) -> Result<SessionId, DbErr> {
    insert(conn, now, user, now.plus(ttl), None, Some("paceline token"), false).await
}

pub(super) async fn insert(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    user: UserId,
    until: Timestamp,
    ip_address: Option<&str>,
    user_agent: Option<&str>,
    must_change: bool,
) -> Result<SessionId, DbErr> {
    let row = db::one(
        conn,
        "INSERT INTO sessions (user_id, created_at, expires_at, ip_address, user_agent, must_change_password)
         VALUES ($1, $2, $3, $4, $5, $6)
         RETURNING id",
        [user.into(), now.0.into(), until.0.into(), ip_address.into(), user_agent.into(), must_change.into()],
    )
    .await?
    .ok_or(DbErr::RecordNotInserted)?;
    Ok(SessionId(row.try_get("", "id")?))
}

async fn issue(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    session: SessionId,
    rng: &mut impl Rng,
) -> Result<String, DbErr> {
    let token = hex::encode(rng.random::<[u8; 32]>());
    db::execute(
        conn,
        "INSERT INTO refresh_tokens (session_id, token_hash, issued_at, expires_at) VALUES ($1, $2, $3, $4)",
        [session.into(), hash(&token).into(), now.0.into(), now.plus(REFRESH_TTL).0.into()],
    )
    .await?;
    Ok(token)
}

/// What became of a refresh. The caller commits in each case: a reused token's revocation must last.
#[derive(Debug)]
pub enum Refreshed {
    /// A new token of the same session.
    Granted {
        /// Whose session it is.
        user: Box<User>,
        /// The session and its next token.
        signed_in: SignedIn,
    },
    /// No such token, or it has expired, or its session has ended.
    Refused,
    /// It had been used: the session is revoked.
    Reused {
        /// Whose session it was.
        user: UserId,
        /// Whether it was still going.
        ended: bool,
    },
}

/// Exchanges a refresh token for the next one. Of two exchanges of one token at once, one is granted.
///
/// # Errors
/// The database's.
pub async fn refresh(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    token: &str,
    rng: &mut impl Rng,
) -> Result<Step<Refreshed>, DbErr> {
    let hash = hash(token);
    let used = db::one(
        conn,
        "UPDATE refresh_tokens SET used_at = $2 WHERE token_hash = $1 AND used_at IS NULL AND expires_at > $2
            AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = session_id AND s.must_change_password)
         RETURNING session_id",
        [hash.clone().into(), now.0.into()],
    )
    .await?;
    let Some(used) = used else {
        let sql = "SELECT t.session_id AS session_id, s.user_id AS user_id
                   FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id
                   WHERE t.token_hash = $1 AND t.used_at IS NOT NULL";
        let Some(known) = db::one(conn, sql, [hash.into()]).await? else { return Ok(Step::quiet(Refreshed::Refused)) };
        let session = SessionId(known.try_get("", "session_id")?);
        let user = UserId(known.try_get("", "user_id")?);
        return Ok(revoke(conn, now, session).await?.map(|ended| Refreshed::Reused { user, ended }));
    };
    let session = SessionId(used.try_get("", "session_id")?);
    let owner = db::one(
        conn,
        "SELECT user_id FROM sessions WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2",
        [session.into(), now.0.into()],
    )
    .await?;
    let user = match owner {
        Some(row) => super::store::get(conn, UserId(row.try_get("", "user_id")?)).await?,
        None => None,
    };
    let Some(user) = user.filter(|user| user.active) else { return Ok(Step::quiet(Refreshed::Refused)) };
    db::execute(
        conn,
        "UPDATE sessions SET expires_at = $2 WHERE id = $1",
        [session.into(), now.plus(REFRESH_TTL).0.into()],
    )
    .await?;
    let refresh_token = issue(conn, now, session, rng).await?;
    Ok(Step::quiet(Refreshed::Granted { user: Box::new(user), signed_in: SignedIn { session, refresh_token } }))
}

/// Ends a session; tells whether it was still going.
///
/// # Errors
/// The database's.
pub async fn revoke(conn: &impl ConnectionTrait, now: Timestamp, session: SessionId) -> Result<Step<bool>, DbErr> {
    let sql = "UPDATE sessions SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    let ended = db::execute(conn, sql, [session.into(), now.0.into()]).await? == 1;
    let events = if ended { vec![Event::SessionRevoked(session)] } else { Vec::new() };
    Ok(Step { value: ended, rings: Vec::new(), events })
}

/// How a session stands that has neither ended nor been revoked, and whose user may still sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionAccess {
    /// It is open to all that its user may do.
    Open,
    /// It is open to a change of the password alone.
    MustChangePassword,
}

/// How a session stands; `None`: it has ended.
///
/// # Errors
/// The database's.
pub async fn standing(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    session: SessionId,
) -> Result<Option<SessionAccess>, DbErr> {
    let row = db::one(
        conn,
        "SELECT s.must_change_password AS must FROM sessions s JOIN users u ON u.id = s.user_id
         WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > $2 AND u.active",
        [session.into(), now.0.into()],
    )
    .await?;
    let Some(row) = row else { return Ok(None) };
    let must_change: bool = row.try_get("", "must")?;
    Ok(Some(if must_change { SessionAccess::MustChangePassword } else { SessionAccess::Open }))
}

/// The sessions that were revoked since then, for who may have missed the news of it.
///
/// # Errors
/// The database's.
pub async fn revoked_since(conn: &impl ConnectionTrait, since: Timestamp) -> Result<Vec<SessionId>, DbErr> {
    let sql = "SELECT id FROM sessions WHERE revoked_at IS NOT NULL AND revoked_at >= $1";
    let rows = db::all(conn, sql, [since.0.into()]).await?;
    rows.iter().map(|row| Ok(SessionId(row.try_get("", "id")?))).collect()
}

/// The addresses from which an account signed in lately, of its last 1,000 sessions.
///
/// # Errors
/// The database's.
pub async fn known_addresses(conn: &impl ConnectionTrait, email: &str) -> Result<Vec<String>, DbErr> {
    let rows = db::all(
        conn,
        "SELECT DISTINCT latest.ip_address AS ip_address FROM (
             SELECT s.ip_address FROM sessions s JOIN users u ON u.id = s.user_id
             WHERE u.email = $1 AND s.ip_address IS NOT NULL ORDER BY s.id DESC LIMIT 1000
         ) AS latest",
        [email.trim().to_lowercase().into()],
    )
    .await?;
    rows.iter().map(|row| row.try_get("", "ip_address")).collect()
}
