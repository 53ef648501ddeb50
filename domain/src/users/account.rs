//! What becomes of an account: its password, and whether it may sign in.

use super::key::end_sessions;
use super::role::Role;
use super::store::User;
use crate::time::Timestamp;
use crate::{Step, db};
use entities::{PasswordState, SessionId, UserId, sessions, users};
use sea_orm::sea_query::{Expr, Func, LikeExpr};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, ExprTrait, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, Select,
};

/// A user as an administrator sees one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Who it is.
    pub user: User,
    /// When somebody last signed in as them.
    pub last_login_at: Option<Timestamp>,
    /// Whether the password must be changed before anything else.
    pub must_change_password: bool,
    /// When the user was made.
    pub created_at: Timestamp,
    /// When the user was last changed.
    pub updated_at: Timestamp,
}

impl TryFrom<users::Model> for Listed {
    type Error = DbErr;

    fn try_from(row: users::Model) -> Result<Self, DbErr> {
        Ok(Self {
            last_login_at: row.last_login_at,
            must_change_password: row.password_state != PasswordState::Chosen,
            created_at: row.created_at,
            updated_at: row.updated_at,
            user: User::try_from(row)?,
        })
    }
}

/// Which users are looked for; all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserSearch {
    /// A part of the name or of the address, whatever its case.
    pub text: Option<String>,
    /// What they are.
    pub role: Option<Role>,
    /// Whether they may sign in.
    pub active: Option<bool>,
}

impl UserSearch {
    fn select(&self) -> Select<users::Entity> {
        use users::Column;
        let text = self.text.as_deref().map(|text| {
            let like = || LikeExpr::new(db::part(&text.to_lowercase())).escape('\\');
            let has = |column: Column| Expr::expr(Func::lower(Expr::col(column))).like(like());
            // SQLite's `lower` knows no letters beyond ASCII: a name is found as it is written, too.
            let written = Expr::col(Column::FullName).like(LikeExpr::new(db::part(text)).escape('\\'));
            Condition::any().add(has(Column::FullName)).add(written).add(has(Column::Email))
        });
        let condition = Condition::all()
            .add_option(text)
            .add_option(self.role.map(|role| Column::Role.eq(role.as_str())))
            .add_option(self.active.map(|active| Column::Active.eq(active)));
        users::Entity::find().filter(condition)
    }
}

/// A page of the users that match, by address: `limit` behind the first `offset`; and how many match.
///
/// # Errors
/// The database's.
pub async fn page(
    conn: &impl ConnectionTrait,
    search: &UserSearch,
    limit: u64,
    offset: u64,
) -> Result<(Vec<Listed>, u64), DbErr> {
    let rows = search.select().order_by_asc(users::Column::Email).limit(limit).offset(offset).all(conn).await?;
    let listed = rows.into_iter().map(Listed::try_from).collect::<Result<_, _>>()?;
    Ok((listed, search.select().count(conn).await?))
}

/// A user as an administrator sees one.
///
/// # Errors
/// The database's.
pub async fn listed(conn: &impl ConnectionTrait, id: UserId) -> Result<Option<Listed>, DbErr> {
    users::Entity::find_by_id(id).one(conn).await?.map(Listed::try_from).transpose()
}

/// All users, by address.
///
/// # Errors
/// The database's.
pub async fn list(conn: &impl ConnectionTrait) -> Result<Vec<Listed>, DbErr> {
    let rows = users::Entity::find().order_by_asc(users::Column::Email).all(conn).await?;
    rows.into_iter().map(Listed::try_from).collect()
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
    set(conn, now, user, users::ActiveModel { active: Set(active), ..Default::default() }).await
}

/// Writes what is set of a user's row; a user who is not there is no error.
pub(super) async fn set(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    user: UserId,
    change: users::ActiveModel,
) -> Result<(), DbErr> {
    let change = users::ActiveModel { updated_at: Set(now), ..change };
    users::Entity::update_many().set(change).filter(users::Column::Id.eq(user)).exec(conn).await.map(drop)
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
    set(conn, now, user, users::ActiveModel { role: Set(role.as_str().to_owned()), ..Default::default() }).await?;
    end_sessions(conn, now, user, None, false).await
}

/// Takes a one-time password for its one sign-in; `false`: somebody was quicker.
///
/// # Errors
/// The database's.
pub async fn take_one_time(conn: &impl ConnectionTrait, now: Timestamp, user: UserId) -> Result<bool, DbErr> {
    let used =
        users::ActiveModel { password_state: Set(PasswordState::Used), updated_at: Set(now), ..Default::default() };
    let taken = users::Entity::update_many()
        .set(used)
        .filter(users::Column::Id.eq(user))
        .filter(users::Column::PasswordState.eq(PasswordState::OneTime))
        .exec(conn)
        .await?;
    Ok(taken.rows_affected == 1)
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
    let change = users::ActiveModel { password_hash: Set(hash), password_state: Set(state), ..Default::default() };
    set(conn, now, user, change).await?;
    end_sessions(conn, now, user, None, false).await
}

/// The hash of a user's password, for who shows that they know it.
///
/// # Errors
/// The database's.
pub async fn password_of(conn: &impl ConnectionTrait, user: UserId) -> Result<Option<String>, DbErr> {
    let found = users::Entity::find_by_id(user).filter(users::Column::Active.eq(true));
    found.select_only().column(users::Column::PasswordHash).into_tuple().one(conn).await
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
    let change = users::ActiveModel {
        password_hash: Set(new),
        password_state: Set(PasswordState::Chosen),
        updated_at: Set(now),
        ..Default::default()
    };
    let changed = users::Entity::update_many()
        .set(change)
        .filter(users::Column::Id.eq(user))
        .filter(users::Column::PasswordHash.eq(present))
        .exec(conn)
        .await?;
    if changed.rows_affected == 0 {
        return Ok(Step::quiet(false));
    }
    sessions::Entity::update_many()
        .col_expr(sessions::Column::MustChangePassword, Expr::value(false))
        .filter(sessions::Column::Id.eq(session))
        .filter(sessions::Column::MustChangePassword.eq(true))
        .exec(conn)
        .await?;
    Ok(end_sessions(conn, now, user, Some(session), false).await?.map(|_| true))
}
