//! Who this gateway is: a name that lives as long as its store.

use super::beside;
use crate::sqlite::{OpenError, StoreFile};
use sqlx::{Connection, SqliteConnection};

/// From which step of the schema on a store has a name.
const SINCE: i64 = 3;

/// The name that the gateway has over a network, made at its first start over it: what one network took says nothing of
/// another.
pub(crate) async fn identity(file: &StoreFile, transport: &str) -> Result<String, OpenError> {
    let failed = |error| OpenError::Sqlite(file.path.clone(), error);
    let mut conn = file.connect().await.map_err(failed)?;
    let sql = "INSERT INTO identity (transport, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    let name = format!("gw-{:032x}", rand::random::<u128>());
    sqlx::query(sql).bind(transport).bind(name).execute(&mut conn).await.map_err(failed)?;
    let name = read(&mut conn, transport).await.map_err(failed)?.unwrap_or_default();
    conn.close().await.map_err(failed)?;
    Ok(name)
}

/// The same of the store in a folder, whether or not a gateway runs there; `None`: it has none yet.
pub(crate) async fn identity_in(dir: &std::path::Path, transport: &str) -> Result<Option<String>, OpenError> {
    let file = beside(dir)?;
    let failed = |error| OpenError::Sqlite(file.path.clone(), error);
    let mut conn = file.connect().await.map_err(failed)?;
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut conn).await.map_err(failed)?;
    let name = if version >= SINCE { read(&mut conn, transport).await.map_err(failed)? } else { None };
    conn.close().await.map_err(failed)?;
    Ok(name)
}

async fn read(conn: &mut SqliteConnection, transport: &str) -> Result<Option<String>, sqlx::Error> {
    let sql = "SELECT name FROM identity WHERE transport = ?1";
    sqlx::query_scalar(sql).bind(transport).fetch_optional(conn).await
}
