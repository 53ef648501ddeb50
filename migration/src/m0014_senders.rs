//! Senders that can be stopped and capped, and which of them each message and conversation has.

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
                "ALTER TABLE senders ADD COLUMN paused BOOLEAN NOT NULL DEFAULT FALSE",
                "ALTER TABLE senders ADD COLUMN daily_cap BIGINT",
                // How many messages it took on a day: days of UTC since the epoch.
                "ALTER TABLE senders ADD COLUMN used_day BIGINT NOT NULL DEFAULT 0",
                "ALTER TABLE senders ADD COLUMN used BIGINT NOT NULL DEFAULT 0",
                "ALTER TABLE senders ADD COLUMN updated_at BIGINT NOT NULL DEFAULT 0",
                // Null: the default one, which all messages of before left from.
                "ALTER TABLE messages ADD COLUMN sender_id BIGINT",
                "ALTER TABLE conversations ADD COLUMN sender_id BIGINT",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                "ALTER TABLE conversations DROP COLUMN sender_id",
                "ALTER TABLE messages DROP COLUMN sender_id",
                "ALTER TABLE senders DROP COLUMN updated_at",
                "ALTER TABLE senders DROP COLUMN used",
                "ALTER TABLE senders DROP COLUMN used_day",
                "ALTER TABLE senders DROP COLUMN daily_cap",
                "ALTER TABLE senders DROP COLUMN paused",
            ],
        )
        .await
    }
}
