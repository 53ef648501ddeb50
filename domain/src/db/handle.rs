//! What statements are run on: a handle for single ones, a transaction for several.

use super::pool::{Ask, Lent, Pool, Unprepared, is_broken, query_error};
use async_trait::async_trait;
use sea_orm::sqlx::{self, PgConnection};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement, Values,
};
use sea_query_sqlx::SqlxValues;
use tokio::sync::Mutex;

/// Where single statements go; each is its own transaction.
#[derive(Clone, Debug)]
pub struct Handle(pub(super) Kind);

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Sqlite(DatabaseConnection),
    Postgres { pool: Pool, only_reads: bool },
}

/// A transaction. Dropped before its commit, it is rolled back.
#[derive(Debug)]
pub struct Tx(TxKind);

#[derive(Debug)]
enum TxKind {
    Sqlite(DatabaseTransaction),
    Postgres(PgTx),
}

/// A transaction on PostgreSQL. While a statement runs, the connection is the statement's: one that is dropped half-way
/// takes the connection with it.
struct PgTx(Mutex<State>);

enum State {
    Open(Lent),
    /// A statement was refused, so the server will undo everything.
    Failed(Lent),
    /// The connection broke, or a statement was dropped half-way.
    Gone,
}

impl std::fmt::Debug for PgTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PgTx")
    }
}

impl Tx {
    pub(super) const fn sqlite(tx: DatabaseTransaction) -> Self {
        Self(TxKind::Sqlite(tx))
    }

    pub(super) fn postgres(lent: Lent) -> Self {
        Self(TxKind::Postgres(PgTx(Mutex::new(State::Open(lent)))))
    }

    /// Commits. After an error for which [`super::Trouble::is_unsettled`] holds, nobody here knows whether it is committed.
    ///
    /// # Errors
    /// The database's; also when a statement of the transaction failed, whatever the caller made of that.
    pub async fn commit(self) -> Result<(), DbErr> {
        match self.0 {
            TxKind::Sqlite(tx) => tx.commit().await,
            TxKind::Postgres(tx) => match std::mem::replace(&mut *tx.0.lock().await, State::Gone) {
                State::Open(mut lent) => {
                    let answer = lent.bounded(&Unprepared("COMMIT")).await;
                    if !answer.as_ref().is_err_and(is_broken) {
                        lent.give_back();
                        return answer.map(drop).map_err(query_error);
                    }
                    answer.map(drop).map_err(|error| DbErr::Exec(RuntimeErr::SqlxError(error.into())))
                }
                State::Failed(lent) => {
                    lent.roll_back();
                    Err(gone("a statement of the transaction failed; nothing was written"))
                }
                State::Gone => Err(gone("the transaction's connection broke; nothing was written")),
            },
        }
    }

    /// Rolls back now.
    ///
    /// # Errors
    /// The database's, which has rolled back all the same.
    pub async fn rollback(self) -> Result<(), DbErr> {
        match self.0 {
            TxKind::Sqlite(tx) => tx.rollback().await,
            TxKind::Postgres(tx) => match std::mem::replace(&mut *tx.0.lock().await, State::Gone) {
                State::Open(mut lent) | State::Failed(mut lent) => {
                    let answer = lent.bounded(&Unprepared("ROLLBACK")).await;
                    if answer.is_ok() {
                        lent.give_back();
                    }
                    answer.map(drop).map_err(query_error)
                }
                State::Gone => Ok(()),
            },
        }
    }
}

fn gone(text: &str) -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(text.to_owned()))
}

impl PgTx {
    async fn run<A: Ask>(&self, ask: &A) -> Result<A::Answer, DbErr> {
        let mut state = self.0.lock().await;
        let (mut lent, failed) = match std::mem::replace(&mut *state, State::Gone) {
            State::Open(lent) => (lent, false),
            State::Failed(lent) => (lent, true),
            State::Gone => return Err(gone("the transaction's connection broke; nothing was written")),
        };
        let answer = lent.bounded(ask).await;
        let refused = matches!(answer, Err(sqlx::Error::Database(_)));
        if !answer.as_ref().is_err_and(is_broken) {
            *state = if failed || refused { State::Failed(lent) } else { State::Open(lent) };
        }
        answer.map_err(query_error)
    }
}

impl Drop for PgTx {
    fn drop(&mut self) {
        match std::mem::replace(self.0.get_mut(), State::Gone) {
            State::Open(lent) | State::Failed(lent) => lent.roll_back(),
            State::Gone => {}
        }
    }
}

/// A statement, and what it answers with.
struct Execute(Statement);
struct QueryOne(Statement);
struct QueryAll(Statement);

fn query(statement: &Statement) -> sqlx::query::Query<'_, sqlx::Postgres, SqlxValues> {
    let values = statement.values.clone().unwrap_or_else(|| Values(Vec::new()));
    sqlx::query_with(sqlx::AssertSqlSafe(statement.sql.as_str()), SqlxValues(values))
}

impl Ask for Execute {
    type Answer = ExecResult;

    async fn ask(&self, conn: &mut PgConnection) -> sqlx::Result<ExecResult> {
        query(&self.0).execute(conn).await.map(Into::into)
    }
}

impl Ask for QueryOne {
    type Answer = Option<QueryResult>;

    async fn ask(&self, conn: &mut PgConnection) -> sqlx::Result<Option<QueryResult>> {
        query(&self.0).fetch_optional(conn).await.map(|row| row.map(Into::into))
    }
}

impl Ask for QueryAll {
    type Answer = Vec<QueryResult>;

    async fn ask(&self, conn: &mut PgConnection) -> sqlx::Result<Vec<QueryResult>> {
        query(&self.0).fetch_all(conn).await.map(|rows| rows.into_iter().map(Into::into).collect())
    }
}

#[async_trait]
impl ConnectionTrait for Handle {
    fn get_database_backend(&self) -> DbBackend {
        match &self.0 {
            Kind::Sqlite(_) => DbBackend::Sqlite,
            Kind::Postgres { .. } => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match &self.0 {
            Kind::Sqlite(db) => db.execute_raw(statement).await,
            Kind::Postgres { pool, .. } => pool.single(false, &Execute(statement)).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match &self.0 {
            Kind::Sqlite(db) => db.execute_unprepared(sql).await,
            Kind::Postgres { pool, .. } => pool.single(false, &Unprepared(sql)).await,
        }
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        match &self.0 {
            Kind::Sqlite(db) => db.query_one_raw(statement).await,
            Kind::Postgres { pool, only_reads } => pool.single(*only_reads, &QueryOne(statement)).await,
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match &self.0 {
            Kind::Sqlite(db) => db.query_all_raw(statement).await,
            Kind::Postgres { pool, only_reads } => pool.single(*only_reads, &QueryAll(statement)).await,
        }
    }
}

#[async_trait]
impl ConnectionTrait for Tx {
    fn get_database_backend(&self) -> DbBackend {
        match &self.0 {
            TxKind::Sqlite(_) => DbBackend::Sqlite,
            TxKind::Postgres(_) => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match &self.0 {
            TxKind::Sqlite(tx) => tx.execute_raw(statement).await,
            TxKind::Postgres(tx) => tx.run(&Execute(statement)).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match &self.0 {
            TxKind::Sqlite(tx) => tx.execute_unprepared(sql).await,
            TxKind::Postgres(tx) => tx.run(&Unprepared(sql)).await,
        }
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        match &self.0 {
            TxKind::Sqlite(tx) => tx.query_one_raw(statement).await,
            TxKind::Postgres(tx) => tx.run(&QueryOne(statement)).await,
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match &self.0 {
            TxKind::Sqlite(tx) => tx.query_all_raw(statement).await,
            TxKind::Postgres(tx) => tx.run(&QueryAll(statement)).await,
        }
    }
}
