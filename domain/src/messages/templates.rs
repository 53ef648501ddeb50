//! Templates that users keep.

use super::template::{Recipient, Template, TemplateError};
use crate::db;
use crate::time::Timestamp;
use entities::{TemplateId, UserId};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, SqlErr};

/// A template as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
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

const COLUMNS: &str = "id, name, content, created_at, updated_at";

fn read(row: &QueryResult) -> Result<StoredTemplate, DbErr> {
    Ok(StoredTemplate {
        id: TemplateId(row.try_get("", "id")?),
        name: row.try_get("", "name")?,
        content: row.try_get("", "content")?,
        created_at: Timestamp(row.try_get("", "created_at")?),
        updated_at: Timestamp(row.try_get("", "updated_at")?),
    })
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
    let sql = format!(
        "INSERT INTO templates (name, content, created_by, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)
         RETURNING {COLUMNS}"
    );
    let row = db::one(conn, sql, [name.into(), content.into(), by.into(), now.0.into()]).await?;
    Ok(read(&row.ok_or(DbErr::RecordNotInserted)?)?)
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
    let sql =
        format!("UPDATE templates SET name = $2, content = $3, updated_at = $4 WHERE id = $1 RETURNING {COLUMNS}");
    let row = db::one(conn, sql, [id.into(), name.into(), content.into(), now.0.into()]).await?;
    Ok(read(&row.ok_or(StoreError::NotFound)?)?)
}

/// Reads a template.
///
/// # Errors
/// The database's.
pub async fn get(conn: &impl ConnectionTrait, id: TemplateId) -> Result<Option<StoredTemplate>, DbErr> {
    let row = db::one(conn, format!("SELECT {COLUMNS} FROM templates WHERE id = $1"), [id.into()]).await?;
    row.as_ref().map(read).transpose()
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
    let sql = format!("SELECT {COLUMNS} FROM templates ORDER BY name LIMIT {limit} OFFSET {offset}");
    let rows = db::all(conn, sql, []).await?.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let count = db::one(conn, "SELECT count(*) AS n FROM templates", []).await?;
    Ok((rows, count.map_or(Ok(0), |row| row.try_get("", "n"))?))
}

/// Forgets a template; tells whether there was one.
///
/// # Errors
/// The database's.
pub async fn delete(conn: &impl ConnectionTrait, id: TemplateId) -> Result<bool, DbErr> {
    Ok(db::execute(conn, "DELETE FROM templates WHERE id = $1", [id.into()]).await? == 1)
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
