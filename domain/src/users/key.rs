//! API keys: for programs, with their own permissions and an end.
//!
//! A key has a session of its own, so whatever asks whether a session stands (requests, sockets, streams) asks it of keys
//! too, and ending one ends all that was opened with it. The database has the key's hash alone: a key is 256 random bits,
//! so a fast hash is enough.

use super::role::Permission;
use super::session;
use super::store::{self, User};
use super::token::Claims;
use crate::db;
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::{SessionId, UserId, api_keys, users};
use rand::Rng;
use sea_orm::sea_query::IntoCondition;
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder};
use std::time::Duration;

/// What every key begins with.
pub const KEY_PREFIX: &str = "pk_";

/// How many of a key's characters are kept, for people to tell keys apart.
const SHOWN: usize = 10;

/// How exact `last_used_at` is: it is written at most so often.
const USED_EVERY: Duration = Duration::from_secs(60);

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What it is for.
    pub name: String,
    /// What it may do; each is permitted to its user.
    pub scopes: Vec<Permission>,
    /// How long it is good.
    pub ttl: Duration,
}

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The number.
    pub id: i64,
    /// Whose it is: its requests are this user's, and count towards this user's limits.
    pub email: String,
    /// What it is for.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// What it may do, as far as its user still may.
    pub scopes: Vec<Permission>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Why a key was not made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It would have no permission.
    #[error("a key needs at least one scope")]
    NoScope,
    /// Its user may not do that.
    #[error("{0} may not do {1}, so no key of theirs can")]
    NotPermitted(String, &'static str),
    /// The name is too long or empty.
    #[error("a key's name has 1 to 100 characters, none of them a control character")]
    BadName,
    /// The database's.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// A key that was shown, and for whom it speaks.
#[derive(Clone, Debug)]
pub struct KnownKey {
    /// The key's number.
    pub id: i64,
    /// As a token of its user with the key's permissions would say it.
    pub claims: Claims,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// Makes a key; returns it with its number. It is nowhere else.
///
/// # Errors
/// See [`KeyError`].
pub async fn add_key(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    user: &User,
    new: &NewKey,
    rng: &mut impl Rng,
) -> Result<(i64, String), KeyError> {
    let name = new.name.trim();
    if !(1..=100).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(KeyError::BadName);
    }
    if let Some(beyond) = new.scopes.iter().find(|scope| !user.role.permits(**scope)) {
        return Err(KeyError::NotPermitted(user.email.clone(), beyond.as_str()));
    }
    let scopes: Vec<&str> =
        Permission::ALL.iter().filter(|one| new.scopes.contains(one)).map(|one| one.as_str()).collect();
    if scopes.is_empty() {
        return Err(KeyError::NoScope);
    }
    let key = format!("{KEY_PREFIX}{}", hex::encode(rng.random::<[u8; 32]>()));
    let prefix: String = key.chars().take(SHOWN).collect();
    let until = now.plus(new.ttl);
    let session = session::insert(conn, now, user.id, until, None, Some("paceline key"), false).await?;
    let row = api_keys::ActiveModel {
        user_id: Set(user.id),
        session_id: Set(session),
        name: Set(name.to_owned()),
        prefix: Set(prefix),
        key_hash: Set(session::hash(&key)),
        scopes: Set(scopes.join(" ")),
        created_at: Set(now),
        expires_at: Set(until),
        ..Default::default()
    };
    Ok((api_keys::Entity::insert(row).exec(conn).await?.last_insert_id, key))
}

/// The permissions that a key has. A scope that this release does not know permits nothing.
fn permissions(scopes: &str) -> Vec<Permission> {
    scopes.split(' ').filter_map(|scope| scope.parse().ok()).collect()
}

/// The keys of a user, or of all, in the order in which they were made.
///
/// # Errors
/// The database's.
pub async fn list_keys(conn: &impl ConnectionTrait, user: Option<UserId>) -> Result<Vec<ApiKey>, DbErr> {
    let mut keys = api_keys::Entity::find().find_also_related(users::Entity).order_by_asc(api_keys::Column::Id);
    if let Some(user) = user {
        keys = keys.filter(api_keys::Column::UserId.eq(user));
    }
    let listed = |(key, user): (api_keys::Model, Option<users::Model>)| {
        user.map(|user| ApiKey {
            id: key.id,
            email: user.email,
            name: key.name,
            prefix: key.prefix,
            scopes: permissions(&key.scopes),
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
            revoked_at: key.revoked_at,
        })
    };
    Ok(keys.all(conn).await?.into_iter().filter_map(listed).collect())
}

/// Revokes a key; `None`: there is no such key. Tells whether it was still good.
///
/// # Errors
/// The database's.
pub async fn revoke_key(conn: &impl ConnectionTrait, now: Timestamp, id: i64) -> Result<Option<Step<bool>>, DbErr> {
    let Some(key) = api_keys::Entity::find_by_id(id).one(conn).await? else { return Ok(None) };
    revoke_keys(conn, now, api_keys::Column::Id.eq(id)).await?;
    session::revoke(conn, now, key.session_id).await.map(Some)
}

/// Marks the keys of these as revoked, those that were not.
async fn revoke_keys(conn: &impl ConnectionTrait, now: Timestamp, of: impl IntoCondition) -> Result<(), DbErr> {
    api_keys::Entity::update_many()
        .set(api_keys::ActiveModel { revoked_at: Set(Some(now)), ..Default::default() })
        .filter(of)
        .filter(api_keys::Column::RevokedAt.is_null())
        .exec(conn)
        .await
        .map(drop)
}

/// Finds a key that was shown. Whether its session stands is another question.
///
/// # Errors
/// The database's.
pub async fn find_key(conn: &impl ConnectionTrait, now: Timestamp, key: &str) -> Result<Option<KnownKey>, DbErr> {
    let found = api_keys::Entity::find()
        .filter(api_keys::Column::KeyHash.eq(session::hash(key)))
        .filter(api_keys::Column::RevokedAt.is_null())
        .filter(api_keys::Column::ExpiresAt.gt(now))
        .one(conn)
        .await?;
    let Some(found) = found else { return Ok(None) };
    let Some(user) = store::get(conn, found.user_id).await?.filter(|user| user.active) else { return Ok(None) };
    let seconds = |at: Timestamp| at.0 / 1_000;
    let mut claims = Claims::of(&user, found.session_id, seconds(found.created_at), seconds(found.expires_at));
    let scopes = permissions(&found.scopes);
    claims.permissions.retain(|permission| scopes.contains(permission));
    Ok(Some(KnownKey { id: found.id, claims, last_used_at: found.last_used_at }))
}

/// Notes that a key was used, unless that was noted a moment ago.
///
/// # Errors
/// The database's.
pub async fn key_used(conn: &impl ConnectionTrait, now: Timestamp, key: &KnownKey) -> Result<(), DbErr> {
    let stale = now.minus(USED_EVERY);
    if key.last_used_at.is_some_and(|at| at > stale) {
        return Ok(());
    }
    let used = api_keys::Column::LastUsedAt;
    api_keys::Entity::update_many()
        .set(api_keys::ActiveModel { last_used_at: Set(Some(now)), ..Default::default() })
        .filter(api_keys::Column::Id.eq(key.id))
        .filter(Condition::any().add(used.is_null()).add(used.lte(stale)))
        .exec(conn)
        .await
        .map(drop)
}

/// Ends a user's sessions but `except`, and with `keys` the API keys too.
///
/// # Errors
/// The database's.
pub async fn end_sessions(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    user: UserId,
    except: Option<SessionId>,
    keys: bool,
) -> Result<Step<usize>, DbErr> {
    if keys {
        revoke_keys(conn, now, api_keys::Column::UserId.eq(user)).await?;
    }
    let spared = if keys { "" } else { " AND id NOT IN (SELECT session_id FROM api_keys WHERE user_id = $1)" };
    let sql = format!(
        "UPDATE sessions SET revoked_at = $2
         WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 AND id <> $3{spared} RETURNING id"
    );
    let ended = db::values(conn, sql, [user.into(), now.0.into(), except.unwrap_or(SessionId(0)).into()]).await?;
    let events: Vec<Event> = ended.into_iter().map(Event::SessionRevoked).collect();
    Ok(Step { value: events.len(), rings: Vec::new(), events })
}
