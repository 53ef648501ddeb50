//! Somebody with a connection, who asks for a turn before each statement.

use domain::Timestamp;
use sea_orm::prelude::async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement,
    TransactionTrait,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::{mpsc, oneshot};

/// A turn that somebody asks for.
pub(super) struct Ask {
    pub(super) actor: usize,
    /// What they would do.
    pub(super) what: String,
    /// Whether they are in a transaction then.
    pub(super) open: bool,
    pub(super) go: oneshot::Sender<()>,
}

/// Somebody.
#[derive(Clone)]
pub(super) struct Actor {
    pub(super) id: usize,
    pub(super) name: &'static str,
    pub(super) db: DatabaseConnection,
    pub(super) clock: Arc<AtomicI64>,
    /// Where turns are asked for; `None`: nobody else is there.
    pub(super) asks: Option<mpsc::UnboundedSender<Ask>>,
}

/// A connection or a transaction whose statements wait for their turns.
pub(super) struct Gated<'a, C> {
    conn: &'a C,
    actor: &'a Actor,
    open: bool,
}

impl Actor {
    pub(super) fn now(&self) -> Timestamp {
        Timestamp(self.clock.load(Ordering::Relaxed))
    }

    /// Waits for a turn.
    async fn turn(&self, what: &str, open: bool) {
        let Some(asks) = &self.asks else { return };
        let (go, gone) = oneshot::channel();
        let what: String = what.split_whitespace().take(9).collect::<Vec<_>>().join(" ");
        asks.send(Ask { actor: self.id, what, open, go }).expect("somebody conducts");
        gone.await.expect("the turn comes");
    }

    /// For single statements, each its own transaction.
    pub(super) fn single(&self) -> Gated<'_, DatabaseConnection> {
        Gated { conn: &self.db, actor: self, open: false }
    }

    /// Makes a step in a transaction.
    pub(super) async fn step<T>(
        &self,
        work: impl AsyncFnOnce(&Gated<'_, DatabaseTransaction>) -> Result<T, DbErr>,
    ) -> Result<T, DbErr> {
        let tx = self.db.begin().await?;
        match work(&Gated { conn: &tx, actor: self, open: true }).await {
            Ok(made) => {
                self.turn("COMMIT", false).await;
                tx.commit().await?;
                Ok(made)
            }
            Err(error) => {
                tx.rollback().await?;
                Err(error)
            }
        }
    }
}

#[async_trait]
impl<C: ConnectionTrait> ConnectionTrait for Gated<'_, C> {
    fn get_database_backend(&self) -> DbBackend {
        self.conn.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.actor.turn(&statement.sql, self.open).await;
        self.conn.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.actor.turn(sql, self.open).await;
        self.conn.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.actor.turn(&statement.sql, self.open).await;
        self.conn.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.actor.turn(&statement.sql, self.open).await;
        self.conn.query_all_raw(statement).await
    }
}
