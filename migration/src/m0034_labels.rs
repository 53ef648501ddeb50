//! What the support desk sorts conversations by.

use crate::sql::{self, identity};
use sea_orm_migration::prelude::*;

/// The step.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let id = identity(manager);
        sql::run(
            manager,
            &[&format!(
                "CREATE TABLE labels (
                    id {id},
                    title TEXT NOT NULL,
                    key TEXT NOT NULL UNIQUE,
                    color TEXT NOT NULL,
                    created_by BIGINT NOT NULL,
                    created_at BIGINT NOT NULL
                )"
            )],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(manager, &["DROP TABLE labels"]).await
    }
}
