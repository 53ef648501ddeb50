//! Sessions and refresh tokens.
//!
//! A refresh token is good once: each use gives the next one of its session. A token that is used a second time was
//! stolen, by whoever came first or by whoever came second: the whole session ends.

use super::store::User;
use crate::db;
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::{SessionId, UserId, refresh_tokens, sessions, users};
use rand::Rng;
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect};
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
    signed_in(conn, now, user).await?;
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
    let row = sessions::ActiveModel {
        user_id: Set(user),
        created_at: Set(now),
        expires_at: Set(until),
        ip_address: Set(ip_address.map(str::to_owned)),
        user_agent: Set(user_agent.map(str::to_owned)),
        must_change_password: Set(must_change),
        ..Default::default()
    };
    Ok(sessions::Entity::insert(row).exec(conn).await?.last_insert_id)
}

/// Notes that a user has just signed in.
pub(super) async fn signed_in(conn: &impl ConnectionTrait, now: Timestamp, user: UserId) -> Result<(), DbErr> {
    let change = users::ActiveModel { last_login_at: Set(Some(now)), ..Default::default() };
    users::Entity::update_many().set(change).filter(users::Column::Id.eq(user)).exec(conn).await.map(drop)
}

async fn issue(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    session: SessionId,
    rng: &mut impl Rng,
) -> Result<String, DbErr> {
    let token = hex::encode(rng.random::<[u8; 32]>());
    let row = refresh_tokens::ActiveModel {
        session_id: Set(session),
        token_hash: Set(hash(&token)),
        issued_at: Set(now),
        expires_at: Set(now.plus(REFRESH_TTL)),
        ..Default::default()
    };
    refresh_tokens::Entity::insert(row).exec(conn).await?;
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
    let used: Option<SessionId> = db::value(
        conn,
        "UPDATE refresh_tokens SET used_at = $2 WHERE token_hash = $1 AND used_at IS NULL AND expires_at > $2
            AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = session_id AND s.must_change_password)
         RETURNING session_id",
        [hash.clone().into(), now.0.into()],
    )
    .await?;
    let Some(session) = used else {
        let known = sessions::Entity::find()
            .inner_join(refresh_tokens::Entity)
            .filter(refresh_tokens::Column::TokenHash.eq(hash))
            .filter(refresh_tokens::Column::UsedAt.is_not_null())
            .one(conn)
            .await?;
        let Some(known) = known else { return Ok(Step::quiet(Refreshed::Refused)) };
        let user = known.user_id;
        return Ok(revoke(conn, now, known.id).await?.map(|ended| Refreshed::Reused { user, ended }));
    };
    let standing = sessions::Entity::find_by_id(session)
        .filter(sessions::Column::RevokedAt.is_null())
        .filter(sessions::Column::ExpiresAt.gt(now))
        .one(conn)
        .await?;
    let user = match standing {
        Some(row) => super::store::get(conn, row.user_id).await?,
        None => None,
    };
    let Some(user) = user.filter(|user| user.active) else { return Ok(Step::quiet(Refreshed::Refused)) };
    sessions::Entity::update_many()
        .set(sessions::ActiveModel { expires_at: Set(now.plus(REFRESH_TTL)), ..Default::default() })
        .filter(sessions::Column::Id.eq(session))
        .exec(conn)
        .await?;
    let refresh_token = issue(conn, now, session, rng).await?;
    Ok(Step::quiet(Refreshed::Granted { user: Box::new(user), signed_in: SignedIn { session, refresh_token } }))
}

/// Ends a session; tells whether it was still going.
///
/// # Errors
/// The database's.
pub async fn revoke(conn: &impl ConnectionTrait, now: Timestamp, session: SessionId) -> Result<Step<bool>, DbErr> {
    let ended = sessions::Entity::update_many()
        .set(sessions::ActiveModel { revoked_at: Set(Some(now)), ..Default::default() })
        .filter(sessions::Column::Id.eq(session))
        .filter(sessions::Column::RevokedAt.is_null())
        .exec(conn)
        .await?;
    let ended = ended.rows_affected == 1;
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

impl SessionAccess {
    pub(super) const fn of(must_change_password: bool) -> Self {
        if must_change_password { Self::MustChangePassword } else { Self::Open }
    }
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
    let must_change: Option<bool> = sessions::Entity::find_by_id(session)
        .inner_join(users::Entity)
        .filter(sessions::Column::RevokedAt.is_null())
        .filter(sessions::Column::ExpiresAt.gt(now))
        .filter(users::Column::Active.eq(true))
        .select_only()
        .column(sessions::Column::MustChangePassword)
        .into_tuple()
        .one(conn)
        .await?;
    Ok(must_change.map(SessionAccess::of))
}

/// The sessions that were revoked since then, for who may have missed the news of it.
///
/// # Errors
/// The database's.
pub async fn revoked_since(conn: &impl ConnectionTrait, since: Timestamp) -> Result<Vec<SessionId>, DbErr> {
    // The first condition is that of the index.
    sessions::Entity::find()
        .filter(sessions::Column::RevokedAt.is_not_null())
        .filter(sessions::Column::RevokedAt.gte(since))
        .select_only()
        .column(sessions::Column::Id)
        .into_tuple()
        .all(conn)
        .await
}

/// The addresses from which an account signed in lately, of its last 1,000 sessions.
///
/// # Errors
/// The database's.
pub async fn known_addresses(conn: &impl ConnectionTrait, email: &str) -> Result<Vec<String>, DbErr> {
    db::values(
        conn,
        "SELECT DISTINCT latest.ip_address AS ip_address FROM (
             SELECT s.ip_address FROM sessions s JOIN users u ON u.id = s.user_id
             WHERE u.email = $1 AND s.ip_address IS NOT NULL ORDER BY s.id DESC LIMIT 1000
         ) AS latest",
        [email.trim().to_lowercase().into()],
    )
    .await
}
