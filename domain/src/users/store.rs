//! Users as rows.

use super::password::{self, PasswordError};
use super::role::Role;
use crate::db::{self, Dialect};
use crate::time::Timestamp;
use entities::{PasswordState, UnknownName, UserId, users};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, DerivePartialModel, EntityTrait, QueryFilter, QuerySelect,
    SqlErr,
};
use serde_json::json;
use std::collections::HashMap;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, DerivePartialModel)]
#[sea_orm(entity = "users::Entity")]
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

impl TryFrom<users::Model> for User {
    type Error = DbErr;

    fn try_from(row: users::Model) -> Result<Self, DbErr> {
        Ok(Self {
            id: row.id,
            email: row.email,
            full_name: row.full_name,
            role: row.role.parse().map_err(|error: UnknownName| DbErr::Type(error.to_string()))?,
            avatar_url: row.avatar_url,
            active: row.active,
        })
    }
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
    let row = users::ActiveModel {
        email: Set(email.clone()),
        full_name: Set(new.full_name.clone()),
        role: Set(new.role.as_str().to_owned()),
        password_hash: Set(hash),
        password_state: Set(state),
        created_at: Set(now),
        updated_at: Set(now),
        ..Default::default()
    };
    match users::Entity::insert(row).exec(conn).await {
        Ok(made) => Ok(User {
            id: made.last_insert_id,
            email,
            full_name: new.full_name,
            role: new.role,
            avatar_url: None,
            active: true,
        }),
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
    users::Entity::find_by_id(id).into_partial_model().one(conn).await
}

/// Finds a user by address.
///
/// # Errors
/// The database's.
pub async fn by_email(conn: &impl ConnectionTrait, email: &str) -> Result<Option<User>, DbErr> {
    let email = email.trim().to_lowercase();
    users::Entity::find().filter(users::Column::Email.eq(email)).into_partial_model().one(conn).await
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
    let row = users::Entity::find()
        .filter(users::Column::Email.eq(email))
        .filter(users::Column::Active.eq(true))
        .filter(users::Column::PasswordState.ne(PasswordState::Used))
        .one(conn)
        .await?;
    let credentials = |row: users::Model| {
        Ok(Credentials {
            hash: row.password_hash.clone(),
            one_time: row.password_state == PasswordState::OneTime,
            user: User::try_from(row)?,
        })
    };
    row.map(credentials).transpose()
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
    Ok(db::values(conn, sql, [json!(ids).to_string().into()]).await?.into_iter().collect())
}

/// Whether there is no user at all: the very first start.
///
/// # Errors
/// The database's.
pub async fn none_exists(conn: &impl ConnectionTrait) -> Result<bool, DbErr> {
    let any: Option<UserId> =
        users::Entity::find().select_only().column(users::Column::Id).into_tuple().one(conn).await?;
    Ok(any.is_none())
}
