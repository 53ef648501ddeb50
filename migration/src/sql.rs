//! The words in which the two databases' schemas differ. Steps are written as SQL: it is what operators read when they
//! look at a table, and the partial indexes and fill factors below have no builder.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend};

/// Whether the step runs on PostgreSQL.
pub(crate) fn is_postgres(manager: &SchemaManager) -> bool {
    manager.get_database_backend() == DbBackend::Postgres
}

/// The type of a column that numbers its rows, never giving a number twice.
pub(crate) fn identity(manager: &SchemaManager) -> &'static str {
    if is_postgres(manager) {
        "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    } else {
        "INTEGER PRIMARY KEY AUTOINCREMENT"
    }
}

/// The type of a UUID column: 16 bytes on PostgreSQL, its text on SQLite. Statements read it as text.
pub(crate) fn uuid(manager: &SchemaManager) -> &'static str {
    if is_postgres(manager) { "UUID" } else { "TEXT" }
}

/// Runs the statements in order.
pub(crate) async fn run(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    for statement in statements {
        manager.get_connection().execute_unprepared(statement).await?;
    }
    Ok(())
}
