//! Sessions of browsers. A cookie holds a random token that names the session; the session's row has the token's hash.
//!
//! Such a session ends [`BROWSER_TTL`] after the sign-in, after [`BROWSER_IDLE`] without a request, when it is revoked, or
//! when its user may no longer sign in.

use super::session::{SessionAccess, hash, insert, signed_in};
use super::store::User;
use crate::time::Timestamp;
use entities::{SessionId, UserId, sessions, users};
use rand::Rng;
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, DerivePartialModel, EntityTrait, QueryFilter};
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
    signed_in(conn, now, user).await?;
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
    let change =
        sessions::ActiveModel { browser_hash: Set(Some(hash(&token))), used_at: Set(Some(now)), ..Default::default() };
    sessions::Entity::update_many().set(change).filter(sessions::Column::Id.eq(session)).exec(conn).await?;
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
    let row = sessions::Entity::find()
        .inner_join(users::Entity)
        .filter(sessions::Column::BrowserHash.eq(hash(token)))
        .filter(sessions::Column::UsedAt.gt(now.minus(BROWSER_IDLE)))
        .filter(sessions::Column::RevokedAt.is_null())
        .filter(sessions::Column::ExpiresAt.gt(now))
        .filter(users::Column::Active.eq(true))
        .into_partial_model::<Row>()
        .one(conn)
        .await?;
    Ok(row.map(|row| BrowserSession {
        id: row.id,
        user: row.user,
        standing: SessionAccess::of(row.must_change_password),
    }))
}

#[derive(DerivePartialModel)]
#[sea_orm(entity = "sessions::Entity")]
struct Row {
    id: SessionId,
    must_change_password: bool,
    #[sea_orm(nested)]
    user: User,
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
    sessions::Entity::update_many()
        .set(sessions::ActiveModel { used_at: Set(Some(now)), ..Default::default() })
        .filter(sessions::Column::Id.eq(session))
        .filter(sessions::Column::UsedAt.lte(now.minus(USE_WRITTEN_EVERY)))
        .exec(conn)
        .await
        .map(drop)
}
