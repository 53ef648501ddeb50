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
use entities::{SessionId, UserId};
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
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
    let row = db::one(
        conn,
        "INSERT INTO api_keys (user_id, session_id, name, prefix, key_hash, scopes, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id",
        [
            user.id.into(),
            session.into(),
            name.into(),
            prefix.into(),
            session::hash(&key).into(),
            scopes.join(" ").into(),
            now.0.into(),
            until.0.into(),
        ],
    )
    .await?
    .ok_or(DbErr::RecordNotInserted)?;
    Ok((row.try_get("", "id")?, key))
}

fn scopes(row: &QueryResult) -> Result<Vec<Permission>, DbErr> {
    // A scope that this release does not know permits nothing.
    let text: String = row.try_get("", "scopes")?;
    Ok(text.split(' ').filter_map(|scope| scope.parse().ok()).collect())
}

/// The keys of a user, or of all, in the order in which they were made.
///
/// # Errors
/// The database's.
pub async fn list_keys(conn: &impl ConnectionTrait, user: Option<UserId>) -> Result<Vec<ApiKey>, DbErr> {
    let time = |row: &QueryResult, column: &str| Ok::<_, DbErr>(row.try_get::<Option<i64>>("", column)?.map(Timestamp));
    let rows = db::all(
        conn,
        "SELECT k.id, u.email, k.name, k.prefix, k.scopes, k.created_at, k.expires_at, k.last_used_at, k.revoked_at
         FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.user_id = $1 OR $1 = 0 ORDER BY k.id",
        [user.unwrap_or(UserId(0)).into()],
    )
    .await?;
    rows.iter()
        .map(|row| {
            Ok(ApiKey {
                id: row.try_get("", "id")?,
                email: row.try_get("", "email")?,
                name: row.try_get("", "name")?,
                prefix: row.try_get("", "prefix")?,
                scopes: scopes(row)?,
                created_at: Timestamp(row.try_get("", "created_at")?),
                expires_at: Timestamp(row.try_get("", "expires_at")?),
                last_used_at: time(row, "last_used_at")?,
                revoked_at: time(row, "revoked_at")?,
            })
        })
        .collect()
}

/// Revokes a key; `None`: there is no such key. Tells whether it was still good.
///
/// # Errors
/// The database's.
pub async fn revoke_key(conn: &impl ConnectionTrait, now: Timestamp, id: i64) -> Result<Option<Step<bool>>, DbErr> {
    let Some(row) = db::one(conn, "SELECT session_id FROM api_keys WHERE id = $1", [id.into()]).await? else {
        return Ok(None);
    };
    let session = SessionId(row.try_get("", "session_id")?);
    db::execute(
        conn,
        "UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL",
        [id.into(), now.0.into()],
    )
    .await?;
    session::revoke(conn, now, session).await.map(Some)
}

/// Finds a key that was shown. Whether its session stands is another question.
///
/// # Errors
/// The database's.
pub async fn find_key(conn: &impl ConnectionTrait, now: Timestamp, key: &str) -> Result<Option<KnownKey>, DbErr> {
    let row = db::one(
        conn,
        "SELECT id, user_id, session_id, scopes, created_at, expires_at, last_used_at FROM api_keys
         WHERE key_hash = $1 AND revoked_at IS NULL AND expires_at > $2",
        [session::hash(key).into(), now.0.into()],
    )
    .await?;
    let Some(row) = row else { return Ok(None) };
    let Some(user) = store::get(conn, UserId(row.try_get("", "user_id")?)).await?.filter(|user| user.active) else {
        return Ok(None);
    };
    let seconds = |column: &str| Ok::<_, DbErr>(row.try_get::<i64>("", column)? / 1_000);
    let mut claims =
        Claims::of(&user, SessionId(row.try_get("", "session_id")?), seconds("created_at")?, seconds("expires_at")?);
    let scopes = scopes(&row)?;
    claims.permissions.retain(|permission| scopes.contains(permission));
    let last_used_at = row.try_get::<Option<i64>>("", "last_used_at")?.map(Timestamp);
    Ok(Some(KnownKey { id: row.try_get("", "id")?, claims, last_used_at }))
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
    db::execute(
        conn,
        "UPDATE api_keys SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)",
        [key.id.into(), now.0.into(), stale.0.into()],
    )
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
        let sql = "UPDATE api_keys SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL";
        db::execute(conn, sql, [user.into(), now.0.into()]).await?;
    }
    let spared = if keys { "" } else { " AND id NOT IN (SELECT session_id FROM api_keys WHERE user_id = $1)" };
    let sql = format!(
        "UPDATE sessions SET revoked_at = $2
         WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 AND id <> $3{spared} RETURNING id"
    );
    let rows = db::all(conn, sql, [user.into(), now.0.into(), except.unwrap_or(SessionId(0)).into()]).await?;
    let events = rows
        .iter()
        .map(|row| Ok(Event::SessionRevoked(SessionId(row.try_get("", "id")?))))
        .collect::<Result<Vec<_>, DbErr>>()?;
    Ok(Step { value: events.len(), rings: Vec::new(), events })
}
