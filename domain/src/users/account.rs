//! What becomes of an account: its password, and whether it may sign in.

use super::key::end_sessions;
use super::role::Role;
use super::store::{COLUMNS, PasswordState, User, read};
use crate::Step;
use crate::db;
use crate::time::Timestamp;
use entities::{SessionId, UserId};
use sea_orm::{ConnectionTrait, DbErr};

/// A user as an administrator sees one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Who it is.
    pub user: User,
    /// When somebody last signed in as them.
    pub last_login_at: Option<Timestamp>,
    /// Whether the password must be changed before anything else.
    pub must_change_password: bool,
}

/// All users, by address.
///
/// # Errors
/// The database's.
pub async fn list(conn: &impl ConnectionTrait) -> Result<Vec<Listed>, DbErr> {
    let sql = format!("SELECT {COLUMNS}, last_login_at, password_state FROM users ORDER BY email");
    let rows = db::all(conn, sql, []).await?;
    rows.iter()
        .map(|row| {
            Ok(Listed {
                user: read(row)?,
                last_login_at: row.try_get::<Option<i64>>("", "last_login_at")?.map(Timestamp),
                must_change_password: row.try_get::<String>("", "password_state")? != PasswordState::Chosen.as_str(),
            })
        })
        .collect()
}

/// Takes away a user's right to sign in, ends all sessions and revokes all API keys. Returns how many of those ended.
///
/// # Errors
/// The database's.
pub async fn disable(conn: &impl ConnectionTrait, now: Timestamp, user: UserId) -> Result<Step<usize>, DbErr> {
    set_active(conn, now, user, false).await?;
    end_sessions(conn, now, user, None, true).await
}

/// Lets a user sign in again. Keys and sessions that ended do not come back.
///
/// # Errors
/// The database's.
pub async fn enable(conn: &impl ConnectionTrait, now: Timestamp, user: UserId) -> Result<(), DbErr> {
    set_active(conn, now, user, true).await
}

async fn set_active(conn: &impl ConnectionTrait, now: Timestamp, user: UserId, active: bool) -> Result<(), DbErr> {
    let sql = "UPDATE users SET active = $2, updated_at = $3 WHERE id = $1";
    db::execute(conn, sql, [user.into(), active.into(), now.0.into()]).await.map(drop)
}

/// Gives a user another role, and ends all their sessions: what they may do follows from the next sign-in. Returns how many
/// sessions ended.
///
/// # Errors
/// The database's.
pub async fn set_role(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    user: UserId,
    role: Role,
) -> Result<Step<usize>, DbErr> {
    let sql = "UPDATE users SET role = $2, updated_at = $3 WHERE id = $1";
    db::execute(conn, sql, [user.into(), role.as_str().into(), now.0.into()]).await?;
    end_sessions(conn, now, user, None, false).await
}

/// Takes a one-time password for its one sign-in; `false`: somebody was quicker.
///
/// # Errors
/// The database's.
pub async fn take_one_time(conn: &impl ConnectionTrait, now: Timestamp, user: UserId) -> Result<bool, DbErr> {
    let sql = "UPDATE users SET password_state = $3, updated_at = $2 WHERE id = $1 AND password_state = $4";
    let (one_time, used) = (PasswordState::OneTime.as_str(), PasswordState::Used.as_str());
    Ok(db::execute(conn, sql, [user.into(), now.0.into(), used.into(), one_time.into()]).await? == 1)
}

/// Sets the hash of a user's password from outside, and ends all sessions; API keys stay. A `one_time` one is good for one
/// sign-in. Returns how many sessions ended.
///
/// # Errors
/// The database's.
pub async fn set_password(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    user: UserId,
    hash: String,
    one_time: bool,
) -> Result<Step<usize>, DbErr> {
    let state = if one_time { PasswordState::OneTime } else { PasswordState::Chosen };
    let sql = "UPDATE users SET password_hash = $2, password_state = $3, updated_at = $4 WHERE id = $1";
    db::execute(conn, sql, [user.into(), hash.into(), state.as_str().into(), now.0.into()]).await?;
    end_sessions(conn, now, user, None, false).await
}

/// The hash of a user's password, for who shows that they know it.
///
/// # Errors
/// The database's.
pub async fn password_of(conn: &impl ConnectionTrait, user: UserId) -> Result<Option<String>, DbErr> {
    let row = db::one(conn, "SELECT password_hash FROM users WHERE id = $1 AND active", [user.into()]).await?;
    row.map(|row| row.try_get("", "password_hash")).transpose()
}

/// Changes a password whose present hash was verified; `false`: somebody was quicker. All other sessions of the user end,
/// and this one is open to all that the user may do. API keys stay.
///
/// # Errors
/// The database's.
pub async fn change_password(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    user: UserId,
    session: SessionId,
    present: String,
    new: String,
) -> Result<Step<bool>, DbErr> {
    let sql = "UPDATE users SET password_hash = $3, password_state = $4, updated_at = $5
               WHERE id = $1 AND password_hash = $2";
    let state = PasswordState::Chosen.as_str();
    let values = [user.into(), present.into(), new.into(), state.into(), now.0.into()];
    if db::execute(conn, sql, values).await? == 0 {
        return Ok(Step::quiet(false));
    }
    let sql = "UPDATE sessions SET must_change_password = FALSE WHERE id = $1 AND must_change_password";
    db::execute(conn, sql, [session.into()]).await?;
    Ok(end_sessions(conn, now, user, Some(session), false).await?.map(|_| true))
}
