//! Labels: what the support desk sorts conversations by.

use crate::time::Timestamp;
use entities::{LabelId, UserId, labels};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DbErr, DerivePartialModel, EntityTrait, PaginatorTrait, QueryOrder, SqlErr,
};

/// The most labels that there are.
pub const MOST: u64 = 500;

/// The longest title, in characters.
pub const MAX_TITLE: usize = 50;

/// The colour of a label that was given none.
pub const DEFAULT_COLOR: &str = "#1f6feb";

/// A label.
#[derive(Clone, Debug, PartialEq, Eq, DerivePartialModel)]
#[sea_orm(entity = "labels::Entity")]
pub struct Label {
    /// Its number.
    pub id: LabelId,
    /// Its title; no other label has it, whatever its case.
    pub title: String,
    /// Its colour, as `#1f6feb`.
    pub color: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Why a label was not made.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The title is none.
    #[error("must have 1 to {MAX_TITLE} characters that can be read")]
    BadTitle,
    /// The colour is none.
    #[error("must be a colour as #1f6feb")]
    BadColor,
    /// Another label has the title.
    #[error("another label has this title")]
    TitleTaken,
    /// There are [`MOST`] of them.
    #[error("there are {MOST} labels, which is as many as there can be")]
    TooMany,
    /// The database's.
    #[error(transparent)]
    Database(DbErr),
}

impl From<DbErr> for LabelError {
    fn from(error: DbErr) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => Self::TitleTaken,
            _ => Self::Database(error),
        }
    }
}

/// A title as it is kept: single spaces, and none around it.
///
/// # Errors
/// [`LabelError::BadTitle`].
pub fn title(text: &str) -> Result<String, LabelError> {
    let title = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let fine = (1..=MAX_TITLE).contains(&title.chars().count()) && !title.chars().any(char::is_control);
    if fine { Ok(title) } else { Err(LabelError::BadTitle) }
}

/// A colour as it is kept: `#` and six hexadecimal digits, in small letters.
///
/// # Errors
/// [`LabelError::BadColor`].
pub fn color(text: &str) -> Result<String, LabelError> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
    let fine = digits.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    if fine { Ok(text.to_ascii_lowercase()) } else { Err(LabelError::BadColor) }
}

/// Makes a label, in [`DEFAULT_COLOR`] if none is given.
///
/// # Errors
/// See [`LabelError`].
pub async fn create(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    by: UserId,
    title: &str,
    color: Option<&str>,
) -> Result<Label, LabelError> {
    let title = self::title(title)?;
    let color = self::color(color.unwrap_or(DEFAULT_COLOR))?;
    if labels::Entity::find().count(conn).await? >= MOST {
        return Err(LabelError::TooMany);
    }
    let row = labels::ActiveModel {
        title: Set(title.clone()),
        key: Set(title.to_lowercase()),
        color: Set(color.clone()),
        created_by: Set(by),
        created_at: Set(now),
        ..Default::default()
    };
    let id = labels::Entity::insert(row).exec(conn).await?.last_insert_id;
    Ok(Label { id, title, color, created_at: now })
}

/// All labels, by title.
///
/// # Errors
/// The database's.
pub async fn list(conn: &impl ConnectionTrait) -> Result<Vec<Label>, DbErr> {
    labels::Entity::find().order_by_asc(labels::Column::Key).into_partial_model().all(conn).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_kept_with_single_spaces() {
        assert_eq!(title("  Big \n order ").ok().as_deref(), Some("Big order"));
        assert_eq!(title(&"退".repeat(MAX_TITLE)).ok(), Some("退".repeat(MAX_TITLE)));
        for bad in ["", " \t", "a\u{7}b", &"x".repeat(MAX_TITLE + 1)] {
            assert!(matches!(title(bad), Err(LabelError::BadTitle)), "{bad:?}");
        }
    }

    #[test]
    fn a_colour_has_six_digits() {
        assert_eq!(color("#1F6FEB").ok().as_deref(), Some(DEFAULT_COLOR));
        for bad in ["", "#fff", "1f6feb", "#1f6fe", "#1f6feg", "#é1f6f", "red"] {
            assert!(matches!(color(bad), Err(LabelError::BadColor)), "{bad:?}");
        }
    }
}
