//! What operators see of the queue: what went wrong with a job and who steered it, when each claim was made, and which
//! release a worker is of.

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
                // A job has so many places, and what comes later takes an old one: its history is bounded by its key.
                "CREATE TABLE job_events (
                    job_id BIGINT NOT NULL,
                    place BIGINT NOT NULL,
                    attempt BIGINT NOT NULL,
                    what TEXT NOT NULL,
                    detail TEXT,
                    worker TEXT,
                    user_id BIGINT,
                    at BIGINT NOT NULL,
                    again_at BIGINT,
                    PRIMARY KEY (job_id, place)
                )",
                "CREATE INDEX jobs_paused ON jobs (id) WHERE state = 'paused'",
                "CREATE INDEX jobs_cancelled ON jobs (id) WHERE state = 'cancelled'",
                "ALTER TABLE jobs ADD COLUMN claimed_at BIGINT",
                "ALTER TABLE workers ADD COLUMN version TEXT",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                "ALTER TABLE workers DROP COLUMN version",
                "ALTER TABLE jobs DROP COLUMN claimed_at",
                "DROP INDEX jobs_cancelled",
                "DROP INDEX jobs_paused",
                "DROP TABLE job_events",
            ],
        )
        .await
    }
}
