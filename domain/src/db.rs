//! The database as the rules see it: one handle to write through, one to read through, and the few words in which the
//! two dialects differ.
//!
//! SQLite has one writer. The write handle has one connection there, so writers queue in this process in the order they
//! came and never meet `SQLITE_BUSY`; readers have their own connections and, in WAL mode, wait for nobody. On
//! PostgreSQL both handles are one pool.

use crate::time::Timestamp;
use faults::{Commit, Point, Side};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, QueryResult, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait, Value,
};
use std::sync::Arc;

/// Which database it is: for the few statements that cannot be said alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL 15 or later.
    Postgres,
    /// SQLite 3.40 or later, in WAL mode.
    Sqlite,
}

impl Dialect {
    /// The dialect that a connection or transaction speaks.
    pub fn of(conn: &impl ConnectionTrait) -> Self {
        match conn.get_database_backend() {
            DbBackend::Postgres => Self::Postgres,
            _ => Self::Sqlite,
        }
    }

    /// ` FOR UPDATE` where rows are locked one by one; nothing where the writer is alone anyway.
    #[must_use]
    pub const fn for_update(self) -> &'static str {
        match self {
            Self::Postgres => " FOR UPDATE",
            Self::Sqlite => "",
        }
    }

    /// ` FOR UPDATE SKIP LOCKED`, or nothing on SQLite.
    #[must_use]
    pub const fn for_update_skip_locked(self) -> &'static str {
        match self {
            Self::Postgres => " FOR UPDATE SKIP LOCKED",
            Self::Sqlite => "",
        }
    }

    /// A table expression named `r` over the JSON array of objects in parameter `$param`: how a set of rows goes to
    /// either database in one parameter. `columns` are name and PostgreSQL type.
    ///
    /// On SQLite its `LIMIT -1` is what keeps the set a table of its own: without it the planner may merge it into an
    /// `UPDATE … FROM` as the inner loop, and read the whole JSON again for each row of the updated table.
    #[must_use]
    pub fn rows(self, param: usize, columns: &[(&str, &str)]) -> String {
        match self {
            Self::Postgres => {
                let list: Vec<String> = columns.iter().map(|(name, ty)| format!("{name} {ty}")).collect();
                format!("json_to_recordset(${param}::text::json) AS r({})", list.join(", "))
            }
            Self::Sqlite => {
                let list: Vec<String> =
                    columns.iter().map(|(name, _)| format!("value ->> '{name}' AS {name}")).collect();
                format!("(SELECT {} FROM json_each(${param}) LIMIT -1) AS r", list.join(", "))
            }
        }
    }

    /// A condition that says again what a join with [`rows`](Self::rows) says: `column` is the `key` of one of the rows in
    /// `$param`. PostgreSQL plans by statistics, and a table that grew a moment ago has none: only with a list of keys does
    /// it look rows up one by one instead of reading a whole batch. SQLite needs no such word.
    #[must_use]
    pub fn among(self, column: &str, param: usize, key: &str, ty: &str) -> String {
        match self {
            Self::Postgres => format!(
                " AND {column} = ANY(ARRAY(SELECT (k ->> '{key}')::{ty} FROM json_array_elements(${param}::text::json) AS k))"
            ),
            Self::Sqlite => String::new(),
        }
    }

    /// The right side of a condition: one of the scalars in the JSON array in parameter `$param`, looked up one by one (see
    /// [`among`](Self::among)); `ty` is their PostgreSQL type.
    #[must_use]
    pub fn one_of(self, param: usize, ty: &str) -> String {
        match self {
            Self::Postgres => {
                format!("= ANY(ARRAY(SELECT v::{ty} FROM json_array_elements_text(${param}::text::json) AS v))")
            }
            Self::Sqlite => format!("IN (SELECT value FROM json_each(${param}))"),
        }
    }

    /// A table expression named `r(value)` over the JSON array of scalars in parameter `$param`; `ty` is the PostgreSQL
    /// type of its elements.
    #[must_use]
    pub fn values(self, param: usize, ty: &str) -> String {
        match self {
            Self::Postgres => {
                format!("(SELECT value::{ty} AS value FROM json_array_elements_text(${param}::text::json)) AS r")
            }
            Self::Sqlite => format!("(SELECT value FROM json_each(${param})) AS r"),
        }
    }
}

/// The parameter for [`Dialect::rows`] and its kind: rows as a JSON array, in one go.
///
/// # Errors
/// When a row cannot be said in JSON.
pub(crate) fn rows_json(rows: &[impl serde::Serialize]) -> Result<Value, DbErr> {
    serde_json::to_string(rows).map(Value::from).map_err(|e| DbErr::Json(e.to_string()))
}

/// What an error of the database says about trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is away, busy, out of something, or chose this transaction to give way to another: the same will work later, and
    /// is nobody's fault.
    Passing,
    /// The disk is full: the same will work when somebody has made room.
    DiskFull,
    /// The same will fail the same way.
    Lasting,
}

impl Trouble {
    /// Reads the database's own code: SQLSTATE (PostgreSQL 15, appendix A) or SQLite's primary result code.
    #[must_use]
    pub fn of(error: &DbErr) -> Self {
        use sea_orm::{RuntimeErr, SqlxError};
        let (DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error))) = error
        else {
            return if matches!(error, DbErr::ConnectionAcquire(_)) { Self::Passing } else { Self::Lasting };
        };
        match &**error {
            SqlxError::Database(refused) => refused.code().map_or(Self::Lasting, |code| Self::of_code(&code)),
            SqlxError::Io(_)
            | SqlxError::Tls(_)
            | SqlxError::Protocol(_)
            | SqlxError::PoolTimedOut
            | SqlxError::PoolClosed
            | SqlxError::WorkerCrashed => Self::Passing,
            _ => Self::Lasting,
        }
    }

    fn of_code(code: &str) -> Self {
        if code.len() == 5 {
            return match code {
                "53100" => Self::DiskFull,
                // Cancelled by its timeout, not locked in time, or the server is shutting down, starting, or a replica.
                "57014" | "55P03" | "25006" | "25P03" => Self::Passing,
                _ if ["08", "40", "53", "57P", "58"].iter().any(|class| code.starts_with(class)) => Self::Passing,
                _ => Self::Lasting,
            };
        }
        // An extended code has its primary one in the low byte (sqlite.org/rescode.html).
        match code.parse::<u32>().map(|code| code & 0xff) {
            Ok(13) => Self::DiskFull,
            // BUSY, LOCKED, NOMEM, INTERRUPT, IOERR, CANTOPEN, PROTOCOL
            Ok(5 | 6 | 7 | 9 | 10 | 14 | 15) => Self::Passing,
            _ => Self::Lasting,
        }
    }
}

/// The handles to the database.
#[derive(Clone, Debug)]
pub struct Db {
    write: DatabaseConnection,
    read: DatabaseConnection,
}

impl Db {
    /// Joins the two handles; on PostgreSQL give the same pool twice.
    #[must_use]
    pub fn new(write: DatabaseConnection, read: DatabaseConnection) -> Self {
        Self { write, read }
    }

    /// Where single reads go.
    #[must_use]
    pub fn read(&self) -> &DatabaseConnection {
        &self.read
    }

    /// Begins a transaction that may write. On SQLite it takes the write lock at once, so that it cannot fail half-way.
    ///
    /// # Errors
    /// The database's, when no connection is to be had.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        self.write
            .begin_with_options(TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..TransactionOptions::default()
            })
            .await
    }

    /// The connection for one statement that writes and is its own transaction.
    #[must_use]
    pub fn write(&self) -> &DatabaseConnection {
        &self.write
    }

    /// Closes both handles' connections; those that are in use are waited for.
    pub async fn close(&self) {
        for handle in [&self.write, &self.read] {
            if let Err(error) = handle.close_by_ref().await {
                tracing::debug!(%error, "a database connection did not close");
            }
        }
    }

    /// Which database it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        Dialect::of(&self.write)
    }

    /// What the database's own clock says.
    ///
    /// # Errors
    /// The database's.
    pub async fn now(&self) -> Result<Timestamp, DbErr> {
        let sql = match self.dialect() {
            Dialect::Postgres => "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now",
            Dialect::Sqlite => "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) AS now",
        };
        let row = one(&self.read, sql, []).await?.ok_or_else(|| DbErr::Custom("the clock gave no row".into()))?;
        Ok(Timestamp(row.try_get("", "now")?))
    }
}

/// Commits. Which transaction it is, is said for the tests that let it fail there.
///
/// # Errors
/// The database's. Then nobody knows whether it was committed: the answer may have been lost.
pub async fn commit(tx: DatabaseTransaction, which: Commit) -> Result<(), DbErr> {
    hit(Point::Commit(which, Side::Before))?;
    tx.commit().await?;
    hit(Point::Commit(which, Side::After))
}

/// A fail point whose error is one of the connection to the database.
///
/// # Errors
/// When a test asked for it.
pub fn hit(point: Point) -> Result<(), DbErr> {
    faults::hit(point).map_err(|error| DbErr::Conn(sea_orm::RuntimeErr::SqlxError(Arc::new(error.into()))))
}

/// Runs a statement with `$1`-style parameters (both databases take them) and returns the number of rows it changed.
///
/// # Errors
/// The database's.
pub async fn execute(
    conn: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: impl IntoIterator<Item = Value>,
) -> Result<u64, DbErr> {
    Ok(conn
        .execute_raw(Statement::from_sql_and_values(conn.get_database_backend(), sql, values))
        .await?
        .rows_affected())
}

/// Runs a query and returns its first row.
///
/// # Errors
/// The database's.
pub async fn one(
    conn: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: impl IntoIterator<Item = Value>,
) -> Result<Option<QueryResult>, DbErr> {
    conn.query_one_raw(Statement::from_sql_and_values(conn.get_database_backend(), sql, values)).await
}

/// Runs a query and returns all its rows. Callers bound the number with a `LIMIT` or by the size of their input.
///
/// # Errors
/// The database's.
pub async fn all(
    conn: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<QueryResult>, DbErr> {
    conn.query_all_raw(Statement::from_sql_and_values(conn.get_database_backend(), sql, values)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_whether_to_try_again() {
        // Serialisation failure, deadlock, too many connections, shutting down, statement_timeout; BUSY, BUSY_SNAPSHOT.
        for passing in ["40001", "40P01", "53300", "57P01", "57014", "08006", "5", "517", "10"] {
            assert_eq!(Trouble::of_code(passing), Trouble::Passing, "{passing}");
        }
        for full in ["53100", "13"] {
            assert_eq!(Trouble::of_code(full), Trouble::DiskFull, "{full}");
        }
        // Unique violation, undefined column, CONSTRAINT, CORRUPT.
        for lasting in ["23505", "42703", "19", "2067", "11", ""] {
            assert_eq!(Trouble::of_code(lasting), Trouble::Lasting, "{lasting}");
        }
        assert_eq!(Trouble::of(&DbErr::Custom("x".into())), Trouble::Lasting);
    }
}
