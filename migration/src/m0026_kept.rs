//! What users keep for themselves: views of lists, drafts, and the numbers that tests go to.

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
                    "CREATE TABLE saved_views (
                        id {id},
                        owner BIGINT NOT NULL,
                        page TEXT NOT NULL,
                        name TEXT NOT NULL,
                        line TEXT NOT NULL,
                        shared BOOLEAN NOT NULL,
                        created_at BIGINT NOT NULL,
                        UNIQUE (owner, page, name)
                    )"
                ),
                "CREATE INDEX saved_views_shared ON saved_views (page, id) WHERE shared",
                "CREATE TABLE drafts (
                    owner BIGINT NOT NULL,
                    key TEXT NOT NULL,
                    name TEXT NOT NULL,
                    fields TEXT NOT NULL,
                    updated_at BIGINT NOT NULL,
                    PRIMARY KEY (owner, key)
                )",
                "CREATE INDEX drafts_updated ON drafts (updated_at)",
                "CREATE TABLE test_numbers (
                    owner BIGINT NOT NULL,
                    place BIGINT NOT NULL,
                    phone TEXT NOT NULL,
                    PRIMARY KEY (owner, place)
                )",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(manager, &["DROP TABLE test_numbers", "DROP TABLE drafts", "DROP TABLE saved_views"]).await
    }
}
