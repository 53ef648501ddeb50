//! Users as rows.

use super::password::{self, PasswordError};
use super::role::Role;
use crate::db::{self, Dialect};
use crate::time::Timestamp;
use entities::UserId;
use sea_orm::{ConnectionTrait, DbErr, QueryResult, SqlErr};
use serde_json::json;
use std::collections::HashMap;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The number.
    pub id: UserId,
    /// The address that signs in, in lower case.
    pub email: String,
    /// The name.
    pub full_name: String,
    /// What the user is.
    pub role: Role,
    /// A picture.
    pub avatar_url: Option<String>,
    /// Whether the user may sign in.
    pub active: bool,
}

/// A user to be made.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The address.
    pub email: String,
    /// The name.
    pub full_name: String,
    /// What the user is.
    pub role: Role,
    /// The password.
    pub password: String,
}

/// Why a user was not made.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The address is none.
    #[error("{0:?} is no e-mail address")]
    BadEmail(String),
    /// Somebody has it.
    #[error("a user with this address exists")]
    EmailTaken,
    /// The password cannot be taken.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The database's.
    #[error(transparent)]
    Database(DbErr),
}

pub(super) const COLUMNS: &str = "id, email, full_name, role, avatar_url, active";

pub(super) fn read(row: &QueryResult) -> Result<User, DbErr> {
    let role: String = row.try_get("", "role")?;
    Ok(User {
        id: UserId(row.try_get("", "id")?),
        email: row.try_get("", "email")?,
        full_name: row.try_get("", "full_name")?,
        role: role.parse().map_err(|e: crate::ring::UnknownName| DbErr::Type(e.to_string()))?,
        avatar_url: row.try_get("", "avatar_url")?,
        active: row.try_get("", "active")?,
    })
}

/// How a user's password stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PasswordState {
    /// The user's own.
    Chosen,
    /// Good for one sign-in, which may change it and nothing else.
    OneTime,
    /// It had that one sign-in.
    Used,
}

impl PasswordState {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::OneTime => "one_time",
            Self::Used => "used",
        }
    }
}

/// Makes a user. Takes as long as hashing a password does.
///
/// # Errors
/// See [`UserError`].
pub async fn create(conn: &impl ConnectionTrait, now: Timestamp, new: NewUser) -> Result<User, UserError> {
    insert(conn, now, new, PasswordState::Chosen).await
}

/// Makes a user whose password is good for one sign-in, which asks for a new one.
///
/// # Errors
/// See [`UserError`].
pub async fn create_one_time(conn: &impl ConnectionTrait, now: Timestamp, new: NewUser) -> Result<User, UserError> {
    insert(conn, now, new, PasswordState::OneTime).await
}

async fn insert(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    new: NewUser,
    state: PasswordState,
) -> Result<User, UserError> {
    let email = new.email.trim().to_lowercase();
    let fine = email.len() <= 254
        && !email.contains(char::is_whitespace)
        && email.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    if !fine {
        return Err(UserError::BadEmail(new.email));
    }
    let hash = password::hashed(new.password).await?;
    let sql = format!(
        "INSERT INTO users (email, full_name, role, password_hash, password_state, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6) RETURNING {COLUMNS}"
    );
    let values = [
        email.into(),
        new.full_name.into(),
        new.role.as_str().into(),
        hash.into(),
        state.as_str().into(),
        now.0.into(),
    ];
    match db::one(conn, sql, values).await {
        Ok(Some(row)) => read(&row).map_err(UserError::Database),
        Ok(None) => Err(UserError::Database(DbErr::RecordNotInserted)),
        Err(error) => match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => Err(UserError::EmailTaken),
            _ => Err(UserError::Database(error)),
        },
    }
}

/// Reads a user.
///
/// # Errors
/// The database's.
pub async fn get(conn: &impl ConnectionTrait, id: UserId) -> Result<Option<User>, DbErr> {
    let row = db::one(conn, format!("SELECT {COLUMNS} FROM users WHERE id = $1"), [id.into()]).await?;
    row.as_ref().map(read).transpose()
}

/// Finds a user by address.
///
/// # Errors
/// The database's.
pub async fn by_email(conn: &impl ConnectionTrait, email: &str) -> Result<Option<User>, DbErr> {
    let email = email.trim().to_lowercase();
    let row = db::one(conn, format!("SELECT {COLUMNS} FROM users WHERE email = $1"), [email.into()]).await?;
    row.as_ref().map(read).transpose()
}

/// What a sign-in is checked against.
pub struct Credentials {
    /// Who it is.
    pub user: User,
    /// The password's hash.
    pub hash: String,
    /// Whether the password is good for one sign-in.
    pub one_time: bool,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user.id).finish_non_exhaustive()
    }
}

/// A user who may sign in, with the hash of the password. One whose one-time password was used may not.
///
/// # Errors
/// The database's.
pub async fn credentials(conn: &impl ConnectionTrait, email: &str) -> Result<Option<Credentials>, DbErr> {
    let email = email.trim().to_lowercase();
    let sql = format!(
        "SELECT {COLUMNS}, password_hash, password_state FROM users
         WHERE email = $1 AND active AND password_state <> 'used'"
    );
    let row = db::one(conn, sql, [email.into()]).await?;
    row.map(|row| {
        Ok(Credentials {
            user: read(&row)?,
            hash: row.try_get("", "password_hash")?,
            one_time: row.try_get::<String>("", "password_state")? == PasswordState::OneTime.as_str(),
        })
    })
    .transpose()
}

/// The names of users, of those that are there.
///
/// # Errors
/// The database's.
pub async fn names(conn: &impl ConnectionTrait, ids: &[UserId]) -> Result<HashMap<UserId, String>, DbErr> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!("SELECT id, full_name FROM users WHERE id {}", Dialect::of(conn).one_of(1, "bigint"));
    let rows = db::all(conn, sql, [json!(ids).to_string().into()]).await?;
    rows.iter().map(|row| Ok((UserId(row.try_get("", "id")?), row.try_get("", "full_name")?))).collect()
}

/// Whether there is no user at all: the very first start.
///
/// # Errors
/// The database's.
pub async fn none_exists(conn: &impl ConnectionTrait) -> Result<bool, DbErr> {
    Ok(db::one(conn, "SELECT id FROM users LIMIT 1", []).await?.is_none())
}
