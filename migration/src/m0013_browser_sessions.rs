//! Sessions of browsers: the cookie that names one, as its hash.

use crate::sql;
use sea_orm_migration::prelude::*;

/// The step.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                "CREATE TABLE browser_sessions (
                    token_hash TEXT NOT NULL PRIMARY KEY,
                    session_id BIGINT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
                    used_at BIGINT NOT NULL
                )",
                "CREATE INDEX browser_sessions_session ON browser_sessions (session_id)",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(manager, &["DROP TABLE browser_sessions"]).await
    }
}
