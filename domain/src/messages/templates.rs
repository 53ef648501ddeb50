//! Templates that users keep.

use super::template::{Recipient, Template, TemplateError};
use crate::time::Timestamp;
use entities::{TemplateId, UserId, templates};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, DerivePartialModel, EntityTrait, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, SqlErr,
};

/// A template as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, DerivePartialModel)]
#[sea_orm(entity = "templates::Entity")]
pub struct StoredTemplate {
    /// Its number.
    pub id: TemplateId,
    /// Its name; no other template has it.
    pub name: String,
    /// The text with placeholders.
    pub content: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Why a template was not kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another template has the name.
    #[error("another template has this name")]
    NameTaken,
    /// There is no such template.
    #[error("no such template")]
    NotFound,
    /// The content does not parse.
    #[error(transparent)]
    Invalid(#[from] TemplateError),
    /// The database's.
    #[error(transparent)]
    Database(DbErr),
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => Self::NameTaken,
            _ => Self::Database(error),
        }
    }
}

/// Keeps a new template.
///
/// # Errors
/// See [`StoreError`].
pub async fn create(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    by: UserId,
    name: &str,
    content: &str,
) -> Result<StoredTemplate, StoreError> {
    Template::parse(content)?;
    let row = templates::ActiveModel {
        name: Set(name.to_owned()),
        content: Set(content.to_owned()),
        created_by: Set(by),
        created_at: Set(now),
        updated_at: Set(now),
        ..Default::default()
    };
    let id = templates::Entity::insert(row).exec(conn).await?.last_insert_id;
    let (name, content) = (name.to_owned(), content.to_owned());
    Ok(StoredTemplate { id, name, content, created_at: now, updated_at: now })
}

/// Changes a template. Batches that were accepted with it keep their text.
///
/// # Errors
/// See [`StoreError`].
pub async fn update(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: TemplateId,
    name: &str,
    content: &str,
) -> Result<StoredTemplate, StoreError> {
    Template::parse(content)?;
    let change = templates::ActiveModel {
        name: Set(name.to_owned()),
        content: Set(content.to_owned()),
        updated_at: Set(now),
        ..Default::default()
    };
    templates::Entity::update_many().set(change).filter(templates::Column::Id.eq(id)).exec(conn).await?;
    get(conn, id).await?.ok_or(StoreError::NotFound)
}

/// Reads a template.
///
/// # Errors
/// The database's.
pub async fn get(conn: &impl ConnectionTrait, id: TemplateId) -> Result<Option<StoredTemplate>, DbErr> {
    templates::Entity::find_by_id(id).into_partial_model().one(conn).await
}

/// The content of a template.
pub(crate) async fn content(conn: &impl ConnectionTrait, id: TemplateId) -> Result<Option<String>, DbErr> {
    Ok(get(conn, id).await?.map(|template| template.content))
}

/// Lists templates by name, and counts them all.
///
/// # Errors
/// The database's.
pub async fn list(conn: &impl ConnectionTrait, limit: u64, offset: u64) -> Result<(Vec<StoredTemplate>, i64), DbErr> {
    let page = templates::Entity::find().order_by_asc(templates::Column::Name).limit(limit).offset(offset);
    let rows = page.into_partial_model().all(conn).await?;
    let count = templates::Entity::find().count(conn).await?;
    Ok((rows, i64::try_from(count).unwrap_or(i64::MAX)))
}

/// Forgets a template; tells whether there was one.
///
/// # Errors
/// The database's.
pub async fn delete(conn: &impl ConnectionTrait, id: TemplateId) -> Result<bool, DbErr> {
    Ok(templates::Entity::delete_by_id(id).exec(conn).await?.rows_affected == 1)
}

/// Renders a text for made-up values: what a user sees while writing.
///
/// # Errors
/// The place and reason of the first error; a rendering error is at line 1, column 1.
pub fn preview(content: &str, recipient: &Recipient<'_>) -> Result<String, TemplateError> {
    Template::parse(content)?.render(recipient).map_err(|error| TemplateError {
        line: 1,
        column: 1,
        message: error.to_string(),
    })
}
