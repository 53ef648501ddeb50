//! The database of a simulation, and transactions that go wrong.

use domain::db;
use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr};

/// Contacts that are there; the first ten have a tag.
pub(crate) const CONTACTS: i64 = 60;
const TAGGED: i64 = 10;

/// A ledger in memory, with contacts.
pub(crate) async fn open() -> DatabaseConnection {
    let mut options = ConnectOptions::new("sqlite::memory:");
    // One connection: another would be another memory.
    options.max_connections(1).idle_timeout(std::time::Duration::from_secs(86_400)).sqlx_logging(false);
    let db = Database::connect(options).await.expect("opened");
    Migrator::up(&db, None).await.expect("migrated");
    let contacts = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {CONTACTS})
         INSERT INTO contacts (identifier, phone, created_at, updated_at)
         SELECT 'contact ' || i, '6012' || (3000000 + i), 0, 0 FROM n;
         INSERT INTO tags (id, name, created_at) VALUES (1, 'few', 0);
         INSERT INTO contact_tags (contact_id, tag_id) SELECT id, 1 FROM contacts WHERE id <= {TAGGED}"
    );
    db.execute_unprepared(&contacts).await.expect("written");
    db
}

/// As it was before anything was sent.
pub(crate) async fn clear(db: &DatabaseConnection) {
    db.execute_unprepared(
        "DELETE FROM batches; DELETE FROM batch_chunks; DELETE FROM batch_items; DELETE FROM jobs; DELETE FROM messages;
         DELETE FROM early_receipts; DELETE FROM workers; DELETE FROM contact_traces; UPDATE contacts SET deleted_at = NULL;
         DELETE FROM sqlite_sequence WHERE name IN ('batches', 'jobs', 'messages');
         UPDATE senders SET next_slot_us = 0, circuit_failures = 0, circuit_opened = 0, circuit_until = NULL,
            circuit_probing = FALSE, circuit_reason = NULL",
    )
    .await
    .expect("cleared");
}

/// A number that a query gives.
pub(crate) async fn number(conn: &impl ConnectionTrait, sql: &str) -> i64 {
    let row = db::one(conn, sql, []).await.expect("read").expect("a row");
    row.try_get("", "n").expect("a number")
}

/// How a transaction ends for the one who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is committed.
    Committed,
    /// The connection broke before: nothing is written.
    Broken,
    /// It is committed, and the answer is lost.
    Unheard,
    /// It is committed, or not, and nobody is left to hear of it: the process died.
    Died { committed: bool },
}

/// What a step gives to the one who made it.
pub(crate) enum Heard<T> {
    /// It was done, and this came of it.
    Done(T),
    /// It failed, for all that is known.
    Error(DbErr),
    /// There is nobody to hear.
    Nobody,
}

/// The error of a connection that broke.
pub(crate) fn broken() -> DbErr {
    DbErr::Conn(sea_orm::RuntimeErr::SqlxError(std::sync::Arc::new(sea_orm::SqlxError::Io(
        std::io::ErrorKind::ConnectionReset.into(),
    ))))
}

/// Makes a step in a transaction, which ends as its fate wants.
pub(crate) async fn step<T>(
    db: &DatabaseConnection,
    fate: Fate,
    work: impl AsyncFnOnce(&sea_orm::DatabaseTransaction) -> Result<T, DbErr>,
) -> Heard<T> {
    use sea_orm::TransactionTrait;
    let tx = db.begin().await.expect("begun");
    let made = match work(&tx).await {
        Ok(made) => made,
        Err(error) => {
            tx.rollback().await.expect("rolled back");
            return Heard::Error(error);
        }
    };
    match fate {
        Fate::Broken | Fate::Died { committed: false } => tx.rollback().await.expect("rolled back"),
        Fate::Committed | Fate::Unheard | Fate::Died { committed: true } => tx.commit().await.expect("committed"),
    }
    match fate {
        Fate::Committed => Heard::Done(made),
        Fate::Broken | Fate::Unheard => Heard::Error(broken()),
        Fate::Died { .. } => Heard::Nobody,
    }
}
