//! Who works: the processes that claim jobs, so that the jobs of one that died are taken back before their leases end.
//! And of each sender, whether its gateway works: the state of its circuit breaker.

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
                "CREATE TABLE workers (
                    owner TEXT NOT NULL PRIMARY KEY,
                    started_at BIGINT NOT NULL,
                    seen_at BIGINT NOT NULL
                )",
                "ALTER TABLE senders ADD COLUMN circuit_failures BIGINT NOT NULL DEFAULT 0",
                "ALTER TABLE senders ADD COLUMN circuit_opened BIGINT NOT NULL DEFAULT 0",
                "ALTER TABLE senders ADD COLUMN circuit_until BIGINT",
                "ALTER TABLE senders ADD COLUMN circuit_probing BOOLEAN NOT NULL DEFAULT FALSE",
                "ALTER TABLE senders ADD COLUMN circuit_reason TEXT",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                "ALTER TABLE senders DROP COLUMN circuit_reason",
                "ALTER TABLE senders DROP COLUMN circuit_probing",
                "ALTER TABLE senders DROP COLUMN circuit_until",
                "ALTER TABLE senders DROP COLUMN circuit_opened",
                "ALTER TABLE senders DROP COLUMN circuit_failures",
                "DROP TABLE workers",
            ],
        )
        .await
    }
}
