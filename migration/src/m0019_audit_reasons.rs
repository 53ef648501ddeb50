//! What was done with one thing is found by it, and a record may say for what reason.

use crate::sql;
use sea_orm_migration::prelude::*;

/// The step.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let index = "CREATE INDEX audit_logs_resource ON audit_logs (resource_id, id) WHERE resource_id IS NOT NULL";
        sql::run(manager, &[index, "ALTER TABLE audit_logs ADD COLUMN reason TEXT"]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let back = ["ALTER TABLE audit_logs DROP COLUMN reason", "DROP INDEX audit_logs_resource"];
        sql::run(manager, &back).await
    }
}
