//! Changing a user on behalf of another, who gives nobody more than they have.

use super::account::{self, Listed, set};
use super::key::end_sessions;
use super::role::{Permission, Role};
use super::token::Claims;
use crate::db::{self, Dialect};
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::{PasswordState, UserId, users};
use sea_orm::{ActiveValue::Set, ConnectionTrait, DbErr};
use std::fmt;

/// The longest name, in characters.
pub const MAX_NAME: usize = 100;

/// The longest address of a picture, in characters.
pub const MAX_PICTURE: usize = 500;

/// Whether a text is a name: 1 to [`MAX_NAME`] characters between its spaces, none of them a control character.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.trim().chars().count()) && !text.chars().any(char::is_control)
}

/// Whether a text is the address of a picture: `https://` or `http://` with a host, without spaces and control
/// characters. Another scheme would run in the pages that show it.
#[must_use]
pub fn is_picture(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let hosted = rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_alphanumeric() || c == '['));
    hosted && text.chars().count() <= MAX_PICTURE && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// A password that a user is given.
#[derive(Clone)]
pub struct GivenPassword {
    /// Its hash.
    pub hash: String,
    /// Whether it is good for one sign-in, which asks for another.
    pub one_time: bool,
}

impl fmt::Debug for GivenPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GivenPassword").field("one_time", &self.one_time).finish_non_exhaustive()
    }
}

/// What is to be another of a user; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    /// The name; see [`is_name`].
    pub full_name: Option<String>,
    /// The picture; see [`is_picture`]. `Some(None)`: none.
    pub avatar_url: Option<Option<String>>,
    /// What the user is. Ends all their sessions.
    pub role: Option<Role>,
    /// Whether the user may sign in. `false` ends all their sessions and revokes all their API keys.
    pub active: Option<bool>,
    /// The password. Ends all their sessions.
    pub password: Option<GivenPassword>,
}

/// What of a user was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The user, as they are now.
    pub user: Listed,
    /// Whether the name or the picture is another.
    pub profile: bool,
    /// Whether the role is another.
    pub role: bool,
    /// Whether they may sign in, if that is other than before.
    pub active: Option<bool>,
    /// Whether the password is another.
    pub password: bool,
}

/// Why a user was not changed, or not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such user.
    #[error("no such user")]
    NotFound,
    /// Users do not change their own role, right to sign in or password this way.
    #[error("nobody changes this of their own account here")]
    Own(&'static str),
    /// The role, before or after, permits something that whoever asks may not do.
    #[error("needs the permission {}, which the role {role} has", .lacks.as_str())]
    Beyond {
        /// The role.
        role: Role,
        /// The first such permission.
        lacks: Permission,
    },
    /// Whoever asks may not do so any more.
    #[error("needs the permission users:manage")]
    NotPermitted,
    /// The database's.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// Whether `by` may make users of this role and change them: nobody has power over what is beyond their own permissions, so
/// that an API key that may manage users and nothing else makes no administrator.
///
/// # Errors
/// [`ChangeError::Beyond`] with the first permission that they lack.
pub fn may_govern(by: &Claims, role: Role) -> Result<(), ChangeError> {
    let beyond = role.permissions().into_iter().find(|permission| !by.permits(*permission));
    beyond.map_or(Ok(()), |lacks| Err(ChangeError::Beyond { role, lacks }))
}

/// Changes a user. What is given and is so already changes nothing.
///
/// An administrator always remains: nobody takes the role or the sign-in from themselves, and of two who take them from
/// each other at once the second is refused.
///
/// # Errors
/// See [`ChangeError`].
pub async fn change(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    by: &Claims,
    id: UserId,
    change: UserChange,
) -> Result<Step<Changed>, ChangeError> {
    // Both rows, in the order of their ids: what was read of either holds until the commit.
    let sql = format!("SELECT id FROM users WHERE id IN ($1, $2) ORDER BY id{}", Dialect::of(conn).for_update());
    let _locked: Vec<UserId> = db::values(conn, sql, [id.into(), by.user_id.into()]).await?;
    let asks = super::get(conn, by.user_id).await?;
    if !asks.is_some_and(|asks| asks.active && asks.role.permits(Permission::UsersManage)) {
        return Err(ChangeError::NotPermitted);
    }
    let before = account::listed(conn, id).await?.ok_or(ChangeError::NotFound)?;
    let role = change.role.filter(|role| *role != before.user.role);
    let active = change.active.filter(|active| *active != before.user.active);
    if id == by.user_id {
        let own = [(role.is_some(), "role"), (active.is_some(), "active"), (change.password.is_some(), "password")];
        if let Some((_, field)) = own.into_iter().find(|(asked, _)| *asked) {
            return Err(ChangeError::Own(field));
        }
    }
    may_govern(by, before.user.role)?;
    role.map_or(Ok(()), |role| may_govern(by, role))?;
    let full_name = change.full_name.map(|name| name.trim().to_owned()).filter(|name| *name != before.user.full_name);
    let avatar_url = change.avatar_url.filter(|url| *url != before.user.avatar_url);
    let (profile, password) = (full_name.is_some() || avatar_url.is_some(), change.password.is_some());
    let mut row = users::ActiveModel::default();
    full_name.into_iter().for_each(|name| row.full_name = Set(name));
    avatar_url.into_iter().for_each(|url| row.avatar_url = Set(url));
    role.into_iter().for_each(|role| row.role = Set(role.as_str().to_owned()));
    active.into_iter().for_each(|active| row.active = Set(active));
    if let Some(given) = change.password {
        row.password_hash = Set(given.hash);
        row.password_state = Set(if given.one_time { PasswordState::OneTime } else { PasswordState::Chosen });
    }
    if profile || password || role.is_some() || active.is_some() {
        set(conn, now, id, row).await?;
    }
    let disabled = active == Some(false);
    let events: Vec<Event> = match disabled || password || role.is_some() {
        true => end_sessions(conn, now, id, None, disabled).await?.events,
        false => Vec::new(),
    };
    let user = account::listed(conn, id).await?.ok_or(ChangeError::NotFound)?;
    let value = Changed { user, profile, role: role.is_some(), active, password };
    Ok(Step { value, rings: Vec::new(), events })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_an_address_on_the_web() {
        for fine in ["https://example.com/a.png", "http://[2001:db8::1]/a", "https://bücher.example/a?b=c#d"] {
            assert!(is_picture(fine), "{fine}");
        }
        let long = format!("https://example.com/{}", "a".repeat(MAX_PICTURE));
        for bad in
            ["", "a.png", "//example.com/a", "javascript:alert(1)", "https://", "https:///a", "https://a b", &long]
        {
            assert!(!is_picture(bad), "{bad}");
        }
    }

    #[test]
    fn a_name_can_be_read() {
        assert!(is_name("王小明") && is_name(" Ann "));
        for bad in ["", "  ", "a\u{7}b", &"x".repeat(MAX_NAME + 1)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
