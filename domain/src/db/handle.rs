//! What statements are run on: a handle for single ones, a transaction for several.

use super::hold::WriterHolds;
use super::pool::{Ask, LentConnection, Pool, Unprepared, is_broken, query_error};
use super::sqlite::SqliteTx;
use async_trait::async_trait;
use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::{self, Executor, PgConnection, Sqlite, SqliteConnection, SqlitePool};
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement, Values,
};
use sea_query_sqlx::SqlxValues;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;

/// Where single statements go; each is its own transaction.
#[derive(Clone, Debug)]
pub struct Handle(pub(super) Kind);

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// `holds` where it is the one that writes.
    Sqlite {
        db: DatabaseConnection,
        holds: Option<WriterHolds>,
    },
    Postgres {
        pool: Pool,
        only_reads: bool,
    },
}

/// A transaction. Dropped before its commit, it is rolled back.
#[derive(Debug)]
pub struct Tx {
    kind: TxKind,
    rows: AtomicU64,
}

#[derive(Debug)]
enum TxKind {
    Sqlite(SqliteTx),
    Postgres(PgTx),
}

/// A connection to SQLite; who wants the writer waits for it here, in the order they came.
pub(super) async fn acquire(pool: &SqlitePool) -> Result<PoolConnection<Sqlite>, DbErr> {
    pool.acquire().await.map_err(|error| match error {
        sqlx::Error::PoolTimedOut => DbErr::ConnectionAcquire(ConnAcquireErr::Timeout),
        sqlx::Error::PoolClosed => DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed),
        other => DbErr::Conn(RuntimeErr::SqlxError(other.into())),
    })
}

/// A transaction on PostgreSQL. While a statement runs, the connection is the statement's: one that is dropped half-way
/// takes the connection with it.
struct PgTx(Mutex<TxState>);

enum TxState {
    Open(LentConnection),
    /// A statement was refused, so the server will undo everything.
    Failed(LentConnection),
    /// The connection broke, or a statement was dropped half-way.
    Gone,
}

impl std::fmt::Debug for PgTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PgTx")
    }
}

impl Tx {
    pub(super) const fn sqlite(tx: SqliteTx) -> Self {
        Self { kind: TxKind::Sqlite(tx), rows: AtomicU64::new(0) }
    }

    pub(super) fn postgres(lent: LentConnection) -> Self {
        Self { kind: TxKind::Postgres(PgTx(Mutex::new(TxState::Open(lent)))), rows: AtomicU64::new(0) }
    }

    /// How many rows its statements have written so far. Rows that a statement wrote and returned count where they were
    /// returned.
    pub fn rows_written(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    fn executed(&self, result: ExecResult) -> ExecResult {
        self.rows.fetch_add(result.rows_affected(), Ordering::Relaxed);
        result
    }

    fn returned(&self, sql: &str, rows: usize) {
        if !sql.trim_start().starts_with("SELECT") {
            self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        }
    }

    /// Commits. After an error for which [`super::Trouble::is_unsettled`] holds, nobody here knows whether it is committed.
    ///
    /// # Errors
    /// The database's; also when a statement of the transaction failed, whatever the caller made of that.
    pub async fn commit(self) -> Result<(), DbErr> {
        self.commit_as("other").await
    }

    /// As [`commit`](Self::commit), by a name under which it is measured.
    pub(super) async fn commit_as(self, name: &'static str) -> Result<(), DbErr> {
        let rows = self.rows_written();
        match self.kind {
            TxKind::Sqlite(tx) => tx.commit(name, rows).await,
            TxKind::Postgres(tx) => match std::mem::replace(&mut *tx.0.lock().await, TxState::Gone) {
                TxState::Open(mut lent) => {
                    let answer = lent.bounded(&Unprepared("COMMIT")).await;
                    if !answer.as_ref().is_err_and(is_broken) {
                        lent.give_back();
                        return answer.map(drop).map_err(query_error);
                    }
                    answer.map(drop).map_err(|error| DbErr::Exec(RuntimeErr::SqlxError(error.into())))
                }
                TxState::Failed(lent) => {
                    lent.roll_back();
                    Err(gone("a statement of the transaction failed; nothing was written"))
                }
                TxState::Gone => Err(gone("the transaction's connection broke; nothing was written")),
            },
        }
    }

    /// Rolls back now.
    ///
    /// # Errors
    /// The database's, which has rolled back all the same.
    pub async fn rollback(self) -> Result<(), DbErr> {
        match self.kind {
            TxKind::Sqlite(tx) => {
                tx.rollback().await;
                Ok(())
            }
            TxKind::Postgres(tx) => match std::mem::replace(&mut *tx.0.lock().await, TxState::Gone) {
                TxState::Open(mut lent) | TxState::Failed(mut lent) => {
                    let answer = lent.bounded(&Unprepared("ROLLBACK")).await;
                    if answer.is_ok() {
                        lent.give_back();
                    }
                    answer.map(drop).map_err(query_error)
                }
                TxState::Gone => Ok(()),
            },
        }
    }
}

fn gone(text: &str) -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(text.to_owned()))
}

impl PgTx {
    async fn run<A: Ask<PgConnection>>(&self, ask: &A) -> Result<A::Answer, DbErr> {
        let mut state = self.0.lock().await;
        let (mut lent, failed) = match std::mem::replace(&mut *state, TxState::Gone) {
            TxState::Open(lent) => (lent, false),
            TxState::Failed(lent) => (lent, true),
            TxState::Gone => return Err(gone("the transaction's connection broke; nothing was written")),
        };
        let answer = lent.bounded(ask).await;
        let refused = matches!(answer, Err(sqlx::Error::Database(_)));
        if !answer.as_ref().is_err_and(is_broken) {
            *state = if failed || refused { TxState::Failed(lent) } else { TxState::Open(lent) };
        }
        answer.map_err(query_error)
    }
}

impl Drop for PgTx {
    fn drop(&mut self) {
        match std::mem::replace(self.0.get_mut(), TxState::Gone) {
            TxState::Open(lent) | TxState::Failed(lent) => lent.roll_back(),
            TxState::Gone => {}
        }
    }
}

/// A statement, and what it answers with.
struct Execute(Statement);
struct QueryOne(Statement);
struct QueryAll(Statement);

fn parameters(statement: &Statement) -> SqlxValues {
    SqlxValues(statement.values.clone().unwrap_or_else(|| Values(Vec::new())))
}

/// The same for both databases: sqlx's types for them have nothing in common that could be written once.
macro_rules! asked_of {
    ($($connection:ty),+) => {$(
        impl Ask<$connection> for Execute {
            type Answer = ExecResult;

            async fn ask(&self, conn: &mut $connection) -> sqlx::Result<ExecResult> {
                let sql = sqlx::AssertSqlSafe(self.0.sql.as_str());
                sqlx::query_with(sql, parameters(&self.0)).execute(conn).await.map(Into::into)
            }
        }

        impl Ask<$connection> for QueryOne {
            type Answer = Option<QueryResult>;

            async fn ask(&self, conn: &mut $connection) -> sqlx::Result<Option<QueryResult>> {
                let sql = sqlx::AssertSqlSafe(self.0.sql.as_str());
                let row = sqlx::query_with(sql, parameters(&self.0)).fetch_optional(conn).await?;
                Ok(row.map(Into::into))
            }
        }

        impl Ask<$connection> for QueryAll {
            type Answer = Vec<QueryResult>;

            async fn ask(&self, conn: &mut $connection) -> sqlx::Result<Vec<QueryResult>> {
                let sql = sqlx::AssertSqlSafe(self.0.sql.as_str());
                let rows = sqlx::query_with(sql, parameters(&self.0)).fetch_all(conn).await?;
                Ok(rows.into_iter().map(Into::into).collect())
            }
        }

        impl Ask<$connection> for Unprepared<'_> {
            type Answer = ExecResult;

            async fn ask(&self, conn: &mut $connection) -> sqlx::Result<ExecResult> {
                conn.execute(sqlx::AssertSqlSafe(self.0.to_owned())).await.map(Into::into)
            }
        }
    )+};
}

asked_of!(PgConnection, SqliteConnection);

#[async_trait]
impl ConnectionTrait for Handle {
    fn get_database_backend(&self) -> DbBackend {
        match &self.0 {
            Kind::Sqlite { .. } => DbBackend::Sqlite,
            Kind::Postgres { .. } => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match &self.0 {
            Kind::Sqlite { db, holds: Some(holds) } => {
                holds.single(db.get_sqlite_connection_pool(), &Execute(statement)).await
            }
            Kind::Sqlite { db, holds: None } => db.execute_raw(statement).await,
            Kind::Postgres { pool, .. } => pool.single(false, &Execute(statement)).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match &self.0 {
            Kind::Sqlite { db, holds: Some(holds) } => {
                holds.single(db.get_sqlite_connection_pool(), &Unprepared(sql)).await
            }
            Kind::Sqlite { db, holds: None } => db.execute_unprepared(sql).await,
            Kind::Postgres { pool, .. } => pool.single(false, &Unprepared(sql)).await,
        }
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        match &self.0 {
            Kind::Sqlite { db, holds: Some(holds) } => {
                holds.single(db.get_sqlite_connection_pool(), &QueryOne(statement)).await
            }
            Kind::Sqlite { db, holds: None } => db.query_one_raw(statement).await,
            Kind::Postgres { pool, only_reads } => pool.single(*only_reads, &QueryOne(statement)).await,
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match &self.0 {
            Kind::Sqlite { db, holds: Some(holds) } => {
                holds.single(db.get_sqlite_connection_pool(), &QueryAll(statement)).await
            }
            Kind::Sqlite { db, holds: None } => db.query_all_raw(statement).await,
            Kind::Postgres { pool, only_reads } => pool.single(*only_reads, &QueryAll(statement)).await,
        }
    }
}

#[async_trait]
impl ConnectionTrait for Tx {
    fn get_database_backend(&self) -> DbBackend {
        match &self.kind {
            TxKind::Sqlite(_) => DbBackend::Sqlite,
            TxKind::Postgres(_) => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let statement = Execute(statement);
        match &self.kind {
            TxKind::Sqlite(tx) => tx.run(&statement).await,
            TxKind::Postgres(tx) => tx.run(&statement).await,
        }
        .map(|result| self.executed(result))
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match &self.kind {
            TxKind::Sqlite(tx) => tx.run(&Unprepared(sql)).await,
            TxKind::Postgres(tx) => tx.run(&Unprepared(sql)).await,
        }
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let statement = QueryOne(statement);
        let row = match &self.kind {
            TxKind::Sqlite(tx) => tx.run(&statement).await,
            TxKind::Postgres(tx) => tx.run(&statement).await,
        }?;
        self.returned(&statement.0.sql, usize::from(row.is_some()));
        Ok(row)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let statement = QueryAll(statement);
        let rows = match &self.kind {
            TxKind::Sqlite(tx) => tx.run(&statement).await,
            TxKind::Postgres(tx) => tx.run(&statement).await,
        }?;
        self.returned(&statement.0.sql, rows.len());
        Ok(rows)
    }
}
