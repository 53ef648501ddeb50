//! The queue's samples hour by hour: what a plot of seven days is made of.

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
                // Hours since the epoch; the columns are those of queue_samples.
                "CREATE TABLE queue_hours (
                    hour BIGINT NOT NULL PRIMARY KEY,
                    waiting_critical BIGINT NOT NULL,
                    waiting_default BIGINT NOT NULL,
                    waiting_bulk BIGINT NOT NULL,
                    behind_critical_ms BIGINT NOT NULL,
                    behind_default_ms BIGINT NOT NULL,
                    behind_bulk_ms BIGINT NOT NULL,
                    running BIGINT NOT NULL,
                    dead BIGINT NOT NULL,
                    ended BIGINT NOT NULL,
                    died BIGINT NOT NULL,
                    succeeded BIGINT NOT NULL,
                    failed BIGINT NOT NULL
                )",
                "INSERT INTO queue_hours (hour, waiting_critical, waiting_default, waiting_bulk, behind_critical_ms,
                                          behind_default_ms, behind_bulk_ms, running, dead, ended, died, succeeded, failed)
                 SELECT minute / 60, max(waiting_critical), max(waiting_default), max(waiting_bulk), max(behind_critical_ms),
                        max(behind_default_ms), max(behind_bulk_ms), max(running), max(dead), coalesce(sum(ended), 0),
                        coalesce(sum(died), 0), sum(succeeded), sum(failed)
                 FROM queue_samples GROUP BY minute / 60",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(manager, &["DROP TABLE queue_hours"]).await
    }
}
