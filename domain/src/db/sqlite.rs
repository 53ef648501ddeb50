//! A transaction on SQLite.
//!
//! Begun, committed and rolled back in words, past sqlx's own count of open transactions. SQLite undoes a transaction by
//! itself when its disk is full; sqlx does not learn of it, and takes the next transaction for one within another: its
//! commit then commits nothing, and nor does any after it.

use super::handle::acquire;
use super::hold::{WriterHold, WriterHolds};
use super::pool::{Ask, Unprepared, query_error};
use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::{self, Sqlite, SqliteConnection, SqlitePool};
use sea_orm::{ConnAcquireErr, DbErr};
use std::fmt;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

/// A transaction. Dropped before its commit, it is rolled back.
pub(super) struct SqliteTx(Mutex<WriteConnection>);

/// The connection, and whether a transaction is open on it. A statement that is dropped half-way is still done, and then
/// undone with the others.
struct WriteConnection {
    conn: Option<PoolConnection<Sqlite>>,
    open: bool,
    /// Since the writer is ours.
    hold: WriterHold,
}

impl fmt::Debug for SqliteTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SqliteTx")
    }
}

impl SqliteTx {
    /// Begins; the write lock is taken at once.
    pub(super) async fn begin(pool: &SqlitePool, holds: WriterHolds) -> Result<Self, DbErr> {
        let conn = acquire(pool).await?;
        // Open from here on: who leaves before the answer comes must not leave a transaction behind.
        let tx = Self(Mutex::new(WriteConnection { conn: Some(conn), open: true, hold: holds.begin() }));
        tx.run(&Unprepared("BEGIN IMMEDIATE")).await?;
        Ok(tx)
    }

    /// Does something in the transaction.
    pub(super) async fn run<A: Ask<SqliteConnection>>(&self, ask: &A) -> Result<A::Answer, DbErr> {
        ask.ask(self.0.lock().await.conn()?).await.map_err(query_error)
    }

    /// Commits, by the name under which it is measured. What cannot be committed is undone.
    pub(super) async fn commit(self, name: &'static str, rows: u64) -> Result<(), DbErr> {
        let mut writer = self.0.into_inner();
        writer.hold.ends(name, rows);
        Unprepared("COMMIT").ask(writer.conn()?).await.map_err(query_error)?;
        writer.open = false;
        Ok(())
    }

    /// Rolls back now.
    pub(super) async fn rollback(self) {
        let mut writer = self.0.into_inner();
        if let Some(conn) = writer.conn.take() {
            undo(conn).await;
        }
    }
}

impl WriteConnection {
    fn conn(&mut self) -> Result<&mut SqliteConnection, DbErr> {
        self.conn.as_deref_mut().ok_or(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed))
    }
}

impl Drop for WriteConnection {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        // Without a runtime the process ends, and the file is as it was.
        if let (Some(conn), Ok(runtime)) = (self.conn.take(), Handle::try_current()) {
            runtime.spawn(undo(conn));
        }
    }
}

/// Undoes what is open, if SQLite has not done so already; a connection of which that is not certain is closed.
async fn undo(mut conn: PoolConnection<Sqlite>) {
    let clean = match Unprepared("ROLLBACK").ask(&mut *conn).await {
        Ok(_) => true,
        Err(sqlx::Error::Database(error)) => error.message().contains("no transaction is active"),
        Err(_) => false,
    };
    if !clean {
        tracing::warn!("a connection to SQLite is given up: its transaction was not rolled back");
        if let Err(error) = conn.close().await {
            tracing::warn!(%error, "it did not close in good order");
        }
    }
}
