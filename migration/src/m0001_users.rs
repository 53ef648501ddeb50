//! Users, their sessions and refresh tokens.

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
                    "CREATE TABLE users (
                        id {id},
                        email TEXT NOT NULL,
                        full_name TEXT NOT NULL,
                        role TEXT NOT NULL,
                        password_hash TEXT NOT NULL,
                        avatar_url TEXT,
                        active BOOLEAN NOT NULL DEFAULT TRUE,
                        created_at BIGINT NOT NULL,
                        updated_at BIGINT NOT NULL,
                        last_login_at BIGINT
                    )"
                ),
                "CREATE UNIQUE INDEX users_email ON users (email)",
                &format!(
                    "CREATE TABLE sessions (
                        id {id},
                        user_id BIGINT NOT NULL,
                        created_at BIGINT NOT NULL,
                        expires_at BIGINT NOT NULL,
                        revoked_at BIGINT,
                        ip_address TEXT,
                        user_agent TEXT
                    )"
                ),
                "CREATE INDEX sessions_user ON sessions (user_id)",
                &format!(
                    "CREATE TABLE refresh_tokens (
                        id {id},
                        session_id BIGINT NOT NULL,
                        token_hash TEXT NOT NULL,
                        issued_at BIGINT NOT NULL,
                        expires_at BIGINT NOT NULL,
                        used_at BIGINT
                    )"
                ),
                "CREATE UNIQUE INDEX refresh_tokens_hash ON refresh_tokens (token_hash)",
                "CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id)",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(manager, &["DROP TABLE refresh_tokens", "DROP TABLE sessions", "DROP TABLE users"]).await
    }
}
