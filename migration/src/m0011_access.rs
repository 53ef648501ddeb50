//! Access: passwords that are good once, sessions that may only change one, and API keys.

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
                // `one_time`: the password is good for one sign-in; `used`: it had that one.
                "ALTER TABLE users ADD COLUMN password_state TEXT NOT NULL DEFAULT 'chosen'",
                // Signed in with a password that must be changed first.
                "ALTER TABLE sessions ADD COLUMN must_change_password BOOLEAN NOT NULL DEFAULT FALSE",
                // What ended lately is looked for every second, by processes that may have missed the news.
                "CREATE INDEX sessions_revoked ON sessions (revoked_at) WHERE revoked_at IS NOT NULL",
                // Each key has a session of its own: what ends a session ends the key, its sockets and its streams.
                &format!(
                    "CREATE TABLE api_keys (
                        id {id},
                        user_id BIGINT NOT NULL,
                        session_id BIGINT NOT NULL,
                        name TEXT NOT NULL,
                        prefix TEXT NOT NULL,
                        key_hash TEXT NOT NULL,
                        scopes TEXT NOT NULL,
                        created_at BIGINT NOT NULL,
                        expires_at BIGINT NOT NULL,
                        last_used_at BIGINT,
                        revoked_at BIGINT
                    )"
                ),
                "CREATE UNIQUE INDEX api_keys_hash ON api_keys (key_hash)",
                "CREATE INDEX api_keys_user ON api_keys (user_id, id)",
                "CREATE UNIQUE INDEX api_keys_session ON api_keys (session_id)",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                // Nothing but the table says that they were keys': without it they must not stay open.
                "UPDATE sessions SET revoked_at = created_at WHERE revoked_at IS NULL
                    AND (must_change_password OR id IN (SELECT session_id FROM api_keys))",
                "DROP TABLE api_keys",
                "DROP INDEX sessions_revoked",
                "ALTER TABLE sessions DROP COLUMN must_change_password",
                "ALTER TABLE users DROP COLUMN password_state",
            ],
        )
        .await
    }
}
