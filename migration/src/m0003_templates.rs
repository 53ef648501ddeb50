//! Templates, and the answers that idempotency keys remember.

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
            &[
                &format!(
                    "CREATE TABLE templates (
                        id {id},
                        name TEXT NOT NULL,
                        content TEXT NOT NULL,
                        created_by BIGINT NOT NULL,
                        created_at BIGINT NOT NULL,
                        updated_at BIGINT NOT NULL
                    )"
                ),
                "CREATE UNIQUE INDEX templates_name ON templates (name)",
                "CREATE TABLE idempotency_keys (
                    user_id BIGINT NOT NULL,
                    key TEXT NOT NULL,
                    request_hash TEXT NOT NULL,
                    owner TEXT NOT NULL,
                    locked_until BIGINT NOT NULL,
                    status_code BIGINT,
                    response_body TEXT,
                    created_at BIGINT NOT NULL,
                    PRIMARY KEY (user_id, key)
                )",
                "CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at)",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(manager, &["DROP TABLE idempotency_keys", "DROP TABLE templates"]).await
    }
}
