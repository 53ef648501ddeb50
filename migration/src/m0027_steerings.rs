//! Acts on all the batches that match, each a piece of work of its own.

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
                    "CREATE TABLE steerings (
                        id {id},
                        act TEXT NOT NULL,
                        status TEXT NOT NULL,
                        filter TEXT NOT NULL,
                        upto BIGINT NOT NULL,
                        matched BIGINT NOT NULL,
                        done BIGINT NOT NULL DEFAULT 0,
                        skipped BIGINT NOT NULL DEFAULT 0,
                        next_id BIGINT NOT NULL DEFAULT 0,
                        job_id BIGINT,
                        created_by BIGINT NOT NULL,
                        created_at BIGINT NOT NULL,
                        starts_at BIGINT NOT NULL,
                        ended_at BIGINT
                    )"
                ),
                "CREATE TABLE steering_items (
                    steering_id BIGINT NOT NULL,
                    batch_id BIGINT NOT NULL,
                    result TEXT NOT NULL,
                    at BIGINT NOT NULL,
                    PRIMARY KEY (steering_id, batch_id)
                )",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                "DROP TABLE steering_items",
                "DROP TABLE steerings",
                // A release that knows no such jobs would keep them parked for ever.
                "DELETE FROM jobs WHERE kind = 'steering'",
            ],
        )
        .await
    }
}
