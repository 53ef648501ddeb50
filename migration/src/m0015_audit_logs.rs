//! The audit log: who changed what, from where. Rows are written and pruned, and never changed.

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
            "CREATE TABLE audit_logs (
                id {id},
                actor TEXT NOT NULL,
                user_id BIGINT,
                action TEXT NOT NULL,
                resource_id TEXT,
                ip_address TEXT,
                user_agent TEXT,
                created_at BIGINT NOT NULL
            )"
        );
        sql::run(manager, &[&table]).await?;
        if sql::is_postgres(manager) {
            let function = "CREATE FUNCTION audit_logs_refuse_change() RETURNS trigger LANGUAGE plpgsql AS
                            $$ BEGIN RAISE EXCEPTION 'audit_logs is never changed'; END $$";
            let trigger = "CREATE TRIGGER audit_logs_append_only BEFORE UPDATE ON audit_logs
                           FOR EACH STATEMENT EXECUTE FUNCTION audit_logs_refuse_change()";
            sql::run(manager, &[function, trigger]).await
        } else {
            let trigger = "CREATE TRIGGER audit_logs_append_only BEFORE UPDATE ON audit_logs
                           BEGIN SELECT RAISE(ABORT, 'audit_logs is never changed'); END";
            sql::run(manager, &[trigger]).await
        }
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(manager, &["DROP TABLE audit_logs"]).await?;
        if sql::is_postgres(manager) {
            sql::run(manager, &["DROP FUNCTION audit_logs_refuse_change()"]).await?;
        }
        Ok(())
    }
}
