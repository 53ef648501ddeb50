//! The stream's events become the domain's: ids and words of our own in place of the CRM's JSON.
//!
//! Events are kept for a day at most, to be resumed from. What is there is not carried over: whoever comes back from before
//! is told to read the lists again, as after a long absence. Numbers go on where they were, so nobody takes an old position
//! for a new one.

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
                &begin_anew("crm_events"),
                "ALTER TABLE crm_events RENAME TO domain_events",
                "ALTER TABLE domain_events RENAME COLUMN data TO event",
                "ALTER TABLE crm_events_pruned RENAME TO domain_events_pruned",
                "DELETE FROM domain_events",
                "DROP INDEX crm_events_people",
                "DROP INDEX crm_events_bulk",
                "CREATE INDEX domain_events_people ON domain_events (id) WHERE NOT bulk",
                "CREATE INDEX domain_events_bulk ON domain_events (id) WHERE bulk",
            ],
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        sql::run(
            manager,
            &[
                &begin_anew("domain_events"),
                "DELETE FROM domain_events",
                "DROP INDEX domain_events_people",
                "DROP INDEX domain_events_bulk",
                "ALTER TABLE domain_events_pruned RENAME TO crm_events_pruned",
                "ALTER TABLE domain_events RENAME COLUMN event TO data",
                "ALTER TABLE domain_events RENAME TO crm_events",
                "CREATE INDEX crm_events_people ON crm_events (id) WHERE NOT bulk",
                "CREATE INDEX crm_events_bulk ON crm_events (id) WHERE bulk",
            ],
        )
        .await
    }
}

/// Writes down that all events of a table are thrown away.
fn begin_anew(events: &str) -> String {
    format!(
        "UPDATE {events}_pruned SET pruned_to = (SELECT max(id) FROM {events})
         WHERE pruned_to < (SELECT max(id) FROM {events})"
    )
}
