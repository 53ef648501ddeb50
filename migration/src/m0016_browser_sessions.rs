//! Sessions of browsers: the hash of the cookie that names one, and when it was last used.

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
                "ALTER TABLE sessions ADD COLUMN browser_hash TEXT",
                "ALTER TABLE sessions ADD COLUMN used_at BIGINT",
                "CREATE UNIQUE INDEX sessions_browser ON sessions (browser_hash) WHERE browser_hash IS NOT NULL",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                // Without the column nobody can use them: they must not look open.
                "UPDATE sessions SET revoked_at = created_at WHERE revoked_at IS NULL AND browser_hash IS NOT NULL",
                "DROP INDEX sessions_browser",
                "ALTER TABLE sessions DROP COLUMN used_at",
                "ALTER TABLE sessions DROP COLUMN browser_hash",
            ],
        )
        .await
    }
}
