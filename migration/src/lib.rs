//! The schema, one file a step, up and down, the same on SQLite and PostgreSQL.
//!
//! A step that is released is never changed: the next one mends it.

mod m0001_users;
mod m0002_ledger;
mod m0003_templates;
mod m0004_workers;
mod m0005_conversations;
mod m0006_steps;
mod m0007_feed_and_jobs;
mod m0008_imports;
mod m0009_gateways;
mod m0010_people;
mod m0011_access;
mod m0012_erasure;
mod m0013_claims;
mod m0014_senders;
mod m0015_audit_logs;
mod m0016_browser_sessions;
mod m0017_one_row;
mod m0018_retry_code;
mod m0019_audit_reasons;
mod m0020_outbox;
mod m0021_queue;
mod m0022_samples;
mod m0023_operations;
mod m0024_approvals;
mod m0025_batch_paces;
mod m0026_kept;
mod m0027_steerings;
mod m0028_scheduled;
mod m0030_hours;
mod m0031_orders;
mod m0032_examinations;
mod m0033_operations;
mod m0034_labels;
mod sql;

pub use sea_orm_migration::MigratorTrait;
use sea_orm_migration::prelude::*;

/// Runs the steps in order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_users::Migration),
            Box::new(m0002_ledger::Migration),
            Box::new(m0003_templates::Migration),
            Box::new(m0004_workers::Migration),
            Box::new(m0005_conversations::Migration),
            Box::new(m0006_steps::Migration),
            Box::new(m0007_feed_and_jobs::Migration),
            Box::new(m0008_imports::Migration),
            Box::new(m0009_gateways::Migration),
            Box::new(m0010_people::Migration),
            Box::new(m0011_access::Migration),
            Box::new(m0012_erasure::Migration),
            Box::new(m0013_claims::Migration),
            Box::new(m0014_senders::Migration),
            Box::new(m0015_audit_logs::Migration),
            Box::new(m0016_browser_sessions::Migration),
            Box::new(m0017_one_row::Migration),
            Box::new(m0018_retry_code::Migration),
            Box::new(m0019_audit_reasons::Migration),
            Box::new(m0020_outbox::Migration),
            Box::new(m0021_queue::Migration),
            Box::new(m0022_samples::Migration),
            Box::new(m0023_operations::Migration),
            Box::new(m0024_approvals::Migration),
            Box::new(m0025_batch_paces::Migration),
            Box::new(m0026_kept::Migration),
            Box::new(m0027_steerings::Migration),
            Box::new(m0028_scheduled::Migration),
            Box::new(m0030_hours::Migration),
            Box::new(m0031_orders::Migration),
            Box::new(m0032_examinations::Migration),
            Box::new(m0033_operations::Migration),
            Box::new(m0034_labels::Migration),
        ]
    }
}
