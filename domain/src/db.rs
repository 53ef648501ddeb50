//! The database as the rules see it: one handle to write through, one to read through, and the few words in which the
//! two dialects differ.
//!
//! SQLite has one writer. The write handle has one connection there, so writers queue in this process in the order they
//! came and never meet `SQLITE_BUSY`; readers have their own connections and, in WAL mode, wait for nobody. Since all
//! wait for the one writer, no transaction keeps it for long: what grows with a batch is done in steps of
//! [`Dialect::step_rows`], and how long the writer was held is measured (`hold`). On PostgreSQL both handles are one
//! pool, in which no step waits for ever (`pool`).

mod handle;
mod hold;
mod json;
mod pool;
mod set;
mod sqlite;
mod trouble;

pub use handle::{Handle, Tx};
pub use json::Json;
pub use pool::Limits;
pub(crate) use set::Set;
pub use trouble::Trouble;

use crate::time::Timestamp;
use faults::{Commit, Point, Side};
use handle::Kind;
use hold::WriterHolds;
use pool::Pool;
use sea_orm::sea_query::ArrayType;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, FromQueryResult, QueryResult, RuntimeErr, Statement,
    TryGetableMany, Value,
};
use sqlite::SqliteTx;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

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

    /// How many rows one transaction of a work that grows with its batch writes. On SQLite everybody waits for it: there it
    /// is a small part of 100 ms. On PostgreSQL it bounds how long rows are locked, and how much a statement does.
    #[must_use]
    pub const fn step_rows(self) -> usize {
        match self {
            Self::Postgres => 5_000,
            Self::Sqlite => 1_000,
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

    /// ` FOR KEY SHARE`: the row may change and may not go; nothing on SQLite.
    #[must_use]
    pub const fn for_key_share(self) -> &'static str {
        match self {
            Self::Postgres => " FOR KEY SHARE",
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

    /// The right side of a condition, and its parameter `$param`: one of these numbers, looked up one by one.
    #[must_use]
    pub(crate) fn one_of_numbers(self, param: usize, numbers: &[i64]) -> (String, Value) {
        match self {
            Self::Postgres => {
                let all = numbers.iter().copied().map(Value::from).collect();
                (format!("= ANY(${param}::bigint[])"), Value::Array(ArrayType::BigInt, Some(Box::new(all))))
            }
            Self::Sqlite => (self.one_of(param, "bigint"), serde_json::json!(numbers).to_string().into()),
        }
    }

    /// As [`one_of_numbers`](Self::one_of_numbers), of UUIDs.
    #[must_use]
    pub(crate) fn one_of_uuids(self, param: usize, ids: &[Uuid]) -> (String, Value) {
        match self {
            Self::Postgres => {
                let all = ids.iter().copied().map(Value::from).collect();
                (format!("= ANY(${param}::uuid[])"), Value::Array(ArrayType::Uuid, Some(Box::new(all))))
            }
            Self::Sqlite => (self.one_of(param, "uuid"), serde_json::json!(ids).to_string().into()),
        }
    }

    /// A condition that at most `limit` rows of `table` fulfil, of those that fulfil `condition` (which may end in an
    /// `ORDER BY`); `key` are the columns of its primary key. Each is looked up by its place, whatever statistics say.
    #[must_use]
    pub fn some_of(self, table: &str, key: &str, condition: &str, limit: u64) -> String {
        match self {
            Self::Postgres => {
                format!("ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {condition} LIMIT {limit} FOR UPDATE))")
            }
            Self::Sqlite => format!("({key}) IN (SELECT {key} FROM {table} WHERE {condition} LIMIT {limit})"),
        }
    }

    /// The parameter `$param`, a text, as the value of a UUID column.
    #[must_use]
    pub fn uuid(self, param: usize) -> String {
        match self {
            Self::Postgres => format!("${param}::text::uuid"),
            Self::Sqlite => format!("${param}"),
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

/// How often the database's clock is read for one answer, and what is quick enough.
const CLOCK_READINGS: usize = 3;
const CLOCK_QUICK: Duration = Duration::from_millis(100);

/// The handles to the database.
#[derive(Clone, Debug)]
pub struct Db {
    write: Handle,
    read: Handle,
    vital: Handle,
    holds: WriterHolds,
}

/// Connections for what a process says of itself: one for its being there, one for its leases.
const VITAL_CONNECTIONS: u32 = 2;

impl Db {
    /// SQLite: a handle with one connection to write through, and one to read through.
    #[must_use]
    pub fn sqlite(write: DatabaseConnection, read: DatabaseConnection) -> Self {
        let holds = WriterHolds::default();
        let write = Handle(Kind::Sqlite { db: write, holds: Some(holds.clone()) });
        let read = Handle(Kind::Sqlite { db: read, holds: None });
        Self { vital: write.clone(), write, read, holds }
    }

    /// PostgreSQL. Connects once, to tell whether it is there.
    ///
    /// # Errors
    /// When it cannot be reached within the limits.
    pub async fn postgres(options: PgConnectOptions, limits: Limits) -> Result<Self, DbErr> {
        // Connected to when it is first used: only who holds leases does.
        let vital = Pool::new(options.clone(), Limits { connections: VITAL_CONNECTIONS, ..limits });
        let pool = Pool::new(options, limits);
        pool.acquire().await?.give_back();
        let handle = |only_reads| Handle(Kind::Postgres { pool: pool.clone(), only_reads });
        let vital = Handle(Kind::Postgres { pool: vital, only_reads: false });
        Ok(Self { write: handle(false), read: handle(true), vital, holds: WriterHolds::default() })
    }

    /// Where single reads go.
    #[must_use]
    pub fn read(&self) -> &Handle {
        &self.read
    }

    /// Begins a transaction that may write. On SQLite it takes the write lock at once, so that it cannot fail half-way.
    ///
    /// # Errors
    /// The database's, when no connection is to be had.
    pub async fn begin(&self) -> Result<Tx, DbErr> {
        match &self.write.0 {
            Kind::Sqlite { db, .. } => {
                Ok(Tx::sqlite(SqliteTx::begin(db.get_sqlite_connection_pool(), self.holds.clone()).await?))
            }
            Kind::Postgres { pool, .. } => Ok(Tx::postgres(pool.begin().await?)),
        }
    }

    /// The connection for one statement that writes and is its own transaction.
    #[must_use]
    pub fn write(&self) -> &Handle {
        &self.write
    }

    /// Where a process says that it is there and keeps its leases: on PostgreSQL over connections of their own, so that no
    /// work is in the way of it. On SQLite the writer.
    #[must_use]
    pub fn vital(&self) -> &Handle {
        &self.vital
    }

    /// Closes all handles' connections; those that are in use are waited for.
    pub async fn close(&self) {
        for handle in [&self.write, &self.read, &self.vital] {
            match &handle.0 {
                Kind::Sqlite { db, .. } => {
                    if let Err(error) = db.close_by_ref().await {
                        tracing::debug!(%error, "a database connection did not close");
                    }
                }
                Kind::Postgres { pool, .. } => pool.close().await,
            }
        }
    }

    /// Which database it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        Dialect::of(&self.write)
    }

    /// What the database's own clock says. It was read half-way between the question and the answer: when they are far
    /// apart, as when a connection had to be made first, it is asked again, and the quickest answer counts.
    ///
    /// # Errors
    /// The database's.
    pub async fn now(&self) -> Result<Timestamp, DbErr> {
        let mut best: Option<(Duration, Timestamp)> = None;
        for _ in 0..CLOCK_READINGS {
            let began = Instant::now();
            let read = self.read_clock().await?;
            let took = began.elapsed();
            if best.is_none_or(|(quickest, _)| took < quickest) {
                best = Some((took, read.plus(began.elapsed() - took / 2)));
            } else if let Some((_, now)) = &mut best {
                *now = now.plus(took);
            }
            if took < CLOCK_QUICK {
                break;
            }
        }
        best.map(|(_, now)| now).ok_or_else(|| DbErr::RecordNotFound("the database's clock".into()))
    }

    async fn read_clock(&self) -> Result<Timestamp, DbErr> {
        let sql = match self.dialect() {
            Dialect::Postgres => "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now",
            Dialect::Sqlite => "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) AS now",
        };
        value(&self.read, sql, []).await?.ok_or_else(|| DbErr::RecordNotFound("the database's clock".into()))
    }
}

/// Commits. Which transaction it is, is said for the tests that let it fail there.
///
/// # Errors
/// The database's. [`Trouble::is_unsettled`] tells whether it may have been committed all the same.
pub async fn commit(tx: Tx, which: Commit) -> Result<(), DbErr> {
    hit(Point::Commit(which, Side::Before))?;
    tx.commit_as(which.name()).await?;
    hit(Point::Commit(which, Side::After))
}

/// A fail point whose error is one of the connection to the database.
///
/// # Errors
/// When a test asked for it.
pub fn hit(point: Point) -> Result<(), DbErr> {
    let broken = |error: std::io::Error| DbErr::Exec(RuntimeErr::SqlxError(Arc::new(error.into())));
    faults::hit(point).map_err(broken)
}

/// A text as a part of another, as `LIKE … ESCAPE '\'` looks for it.
pub(crate) fn part(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
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

/// Runs a query and returns its first row, read by the names of its columns.
///
/// # Errors
/// The database's; also when the row is no `T`.
pub async fn one_as<T: FromQueryResult>(
    conn: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: impl IntoIterator<Item = Value>,
) -> Result<Option<T>, DbErr> {
    one(conn, sql, values).await?.map(|row| T::from_query_result(&row, "")).transpose()
}

/// Runs a query and returns all its rows, read by the names of their columns. See [`all`].
///
/// # Errors
/// The database's; also when a row is no `T`.
pub async fn all_as<T: FromQueryResult>(
    conn: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<T>, DbErr> {
    all(conn, sql, values).await?.iter().map(|row| T::from_query_result(row, "")).collect()
}

/// Runs a query of one column, or of a few that make a tuple, and returns what its first row has there.
///
/// # Errors
/// The database's; also when that is no `T`.
pub async fn value<T: TryGetableMany>(
    conn: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: impl IntoIterator<Item = Value>,
) -> Result<Option<T>, DbErr> {
    one(conn, sql, values).await?.map(|row| T::try_get_many_by_index(&row).map_err(DbErr::from)).transpose()
}

/// The same for all rows. See [`all`].
///
/// # Errors
/// The database's; also when a row has no `T`.
pub async fn values<T: TryGetableMany>(
    conn: &impl ConnectionTrait,
    sql: impl Into<String>,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<T>, DbErr> {
    all(conn, sql, values).await?.iter().map(|row| T::try_get_many_by_index(row).map_err(DbErr::from)).collect()
}
