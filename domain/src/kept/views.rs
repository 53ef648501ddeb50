//! Views of lists: a filter line with a name, one's own or for all.

use crate::db;
use crate::time::Timestamp;
use crate::users::Permission;
use entities::{UserId, ViewId};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, SqlErr};

/// The most views that one user has, and that a list is shown with of others.
pub const MOST: u64 = 100;

/// The longest name, in characters.
pub const MAX_NAME: usize = 60;

/// The longest filter line, in characters.
pub const MAX_LINE: usize = 500;

/// The lists that have views, as their pages are called below `/console`.
pub const PAGES: [&str; 5] = ["batches", "contacts", "statistics", "audit", "jobs"];

/// What it takes to see a list, and so to be told of views of it.
#[must_use]
pub fn needs(page: &str) -> Permission {
    match page {
        "contacts" => Permission::ContactsRead,
        "audit" => Permission::UsersRead,
        "jobs" => Permission::QueuesRead,
        _ => Permission::BatchesRead,
    }
}

/// A view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its number.
    pub id: ViewId,
    /// Whose it is.
    pub owner: UserId,
    /// Which list it is of: one of [`PAGES`].
    pub page: String,
    /// Its name; its owner has no other of this list with it.
    pub name: String,
    /// The filter line.
    pub line: String,
    /// Whether all who see the list are shown it.
    pub shared: bool,
    /// When it was kept.
    pub created_at: Timestamp,
}

/// Why a view was not kept.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The owner has a view of this list with this name.
    #[error("another of your views of this list has this name")]
    NameTaken,
    /// The owner has [`MOST`] of them.
    #[error("you have as many views as can be kept: delete one first")]
    TooMany,
    /// The database's.
    #[error(transparent)]
    Database(DbErr),
}

impl From<DbErr> for ViewError {
    fn from(error: DbErr) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => Self::NameTaken,
            _ => Self::Database(error),
        }
    }
}

const COLUMNS: &str = "id, owner, page, name, line, shared, created_at";

fn view(row: &QueryResult) -> Result<View, DbErr> {
    Ok(View {
        id: ViewId(row.try_get("", "id")?),
        owner: UserId(row.try_get("", "owner")?),
        page: row.try_get("", "page")?,
        name: row.try_get("", "name")?,
        line: row.try_get("", "line")?,
        shared: row.try_get("", "shared")?,
        created_at: Timestamp(row.try_get("", "created_at")?),
    })
}

/// A view to be kept. The surface has checked its lengths.
#[derive(Clone, Copy, Debug)]
pub struct NewView<'a> {
    /// Of which list: one of [`PAGES`].
    pub page: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The filter line.
    pub line: &'a str,
    /// Whether all who see the list are to be shown it.
    pub shared: bool,
}

/// Keeps a view.
///
/// # Errors
/// See [`ViewError`].
pub async fn keep(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    owner: UserId,
    new: NewView<'_>,
) -> Result<View, ViewError> {
    let row = db::one(conn, "SELECT count(*) AS n FROM saved_views WHERE owner = $1", [owner.into()]).await?;
    let kept: i64 = row.map_or(Ok(0), |row| row.try_get("", "n"))?;
    if kept.unsigned_abs() >= MOST {
        return Err(ViewError::TooMany);
    }
    let sql = format!(
        "INSERT INTO saved_views (owner, page, name, line, shared, created_at) VALUES ($1, $2, $3, $4, $5, $6)
         RETURNING {COLUMNS}"
    );
    let values = [owner.into(), new.page.into(), new.name.into(), new.line.into(), new.shared.into(), now.0.into()];
    Ok(view(&db::one(conn, sql, values).await?.ok_or(DbErr::RecordNotInserted)?)?)
}

/// The views of a list that a user is shown: their own first, then those that others share, each by name. `page` absent: of all
/// lists.
///
/// # Errors
/// The database's.
pub async fn list(conn: &impl ConnectionTrait, user: UserId, page: Option<&str>) -> Result<Vec<View>, DbErr> {
    let of_page = "AND (CAST($2 AS TEXT) IS NULL OR page = $2)";
    let sql = format!(
        "SELECT {COLUMNS} FROM (SELECT {COLUMNS} FROM saved_views WHERE owner = $1 {of_page} ORDER BY name LIMIT {MOST}) a
         UNION ALL
         SELECT {COLUMNS} FROM (SELECT {COLUMNS} FROM saved_views WHERE shared AND owner <> $1 {of_page} ORDER BY name, id
                                LIMIT {MOST}) b"
    );
    db::all(conn, sql, [user.into(), page.into()]).await?.iter().map(view).collect()
}

/// Deletes a view of a user's own; of others' too for who `manages` them. `false`: there is none, or it is somebody else's.
///
/// # Errors
/// The database's.
pub async fn delete(conn: &impl ConnectionTrait, user: UserId, id: ViewId, manages: bool) -> Result<bool, DbErr> {
    let sql = "DELETE FROM saved_views WHERE id = $1 AND (owner = $2 OR (shared AND $3))";
    Ok(db::execute(conn, sql, [id.into(), user.into(), manages.into()]).await? == 1)
}
