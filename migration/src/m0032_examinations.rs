//! Examinations of the installation, each a job with its result.

use crate::sql::{self, identity};
use sea_orm_migration::prelude::*;

/// The step.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let id = identity(manager);
        let table = format!(
            "CREATE TABLE examinations (
                id {id},
                created_by BIGINT NOT NULL,
                created_at BIGINT NOT NULL,
                started_at BIGINT,
                ended_at BIGINT,
                job_id BIGINT,
                looking_at TEXT,
                compared BIGINT NOT NULL DEFAULT 0,
                checks TEXT NOT NULL DEFAULT '[]',
                version BIGINT NOT NULL DEFAULT 0
            )"
        );
        sql::run(manager, &[&table]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(manager, &["DROP TABLE examinations"]).await
    }
}
