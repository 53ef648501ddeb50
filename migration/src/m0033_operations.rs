//! Acts on batches are operations, too: one table says of each what it is done to.
//!
//! An act on batches that was there gets a new number, behind those of the operations. The records of the audit log keep the
//! one that it had: they are never changed.

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
                "ALTER TABLE operations ADD COLUMN target TEXT NOT NULL DEFAULT 'jobs'",
                "ALTER TABLE operations ADD COLUMN of_steering BIGINT",
                "ALTER TABLE operation_items RENAME COLUMN job_id TO target_id",
                "INSERT INTO operations (target, act, status, filter, upto, matched, done, skipped, next_id, job_id,
                                         created_by, created_at, starts_at, ended_at, of_steering)
                 SELECT 'batches', act, status, filter, upto, matched, done, skipped, next_id, job_id, created_by,
                        created_at, starts_at, ended_at, id
                 FROM steerings ORDER BY id",
                "INSERT INTO operation_items (operation_id, target_id, result, at)
                 SELECT o.id, i.batch_id, i.result, i.at
                 FROM steering_items i JOIN operations o ON o.of_steering = i.steering_id",
                "UPDATE jobs SET kind = 'operation', payload =
                    (SELECT '{\"operation\":' || o.id || '}' FROM operations o
                     WHERE o.of_steering IS NOT NULL AND o.job_id = jobs.id)
                 WHERE kind = 'steering'
                   AND id IN (SELECT o.job_id FROM operations o WHERE o.of_steering IS NOT NULL)",
                // Those of acts that were thrown away by now are over, and no release knows them any more.
                "DELETE FROM job_events WHERE job_id IN (SELECT id FROM jobs WHERE kind = 'steering')",
                "DELETE FROM jobs WHERE kind = 'steering'",
                "UPDATE operations SET filter = replace(filter, '\"kind\":\"steering\"', '\"kind\":\"operation\"')
                 WHERE target = 'jobs'",
                "ALTER TABLE operations DROP COLUMN of_steering",
                "DROP TABLE steering_items",
                "DROP TABLE steerings",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let id = sql::identity(manager);
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
                        ended_at BIGINT,
                        of_operation BIGINT
                    )"
                ),
                "CREATE TABLE steering_items (
                    steering_id BIGINT NOT NULL,
                    batch_id BIGINT NOT NULL,
                    result TEXT NOT NULL,
                    at BIGINT NOT NULL,
                    PRIMARY KEY (steering_id, batch_id)
                )",
                "INSERT INTO steerings (act, status, filter, upto, matched, done, skipped, next_id, job_id, created_by,
                                        created_at, starts_at, ended_at, of_operation)
                 SELECT act, status, filter, upto, matched, done, skipped, next_id, job_id, created_by, created_at,
                        starts_at, ended_at, id
                 FROM operations WHERE target = 'batches' ORDER BY id",
                "INSERT INTO steering_items (steering_id, batch_id, result, at)
                 SELECT s.id, i.target_id, i.result, i.at
                 FROM operation_items i JOIN steerings s ON s.of_operation = i.operation_id",
                "UPDATE jobs SET kind = 'steering', payload =
                    (SELECT '{\"steering\":' || s.id || '}' FROM steerings s WHERE s.job_id = jobs.id)
                 WHERE kind = 'operation' AND id IN (SELECT job_id FROM steerings)",
                "DELETE FROM operation_items WHERE operation_id IN (SELECT id FROM operations WHERE target = 'batches')",
                "DELETE FROM operations WHERE target = 'batches'",
                "ALTER TABLE steerings DROP COLUMN of_operation",
                "ALTER TABLE operation_items RENAME COLUMN target_id TO job_id",
                "ALTER TABLE operations DROP COLUMN target",
            ],
        )
        .await
    }
}
