//! How the queue was, hour by hour: the samples of its minutes as one.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "queue_hours")]
pub struct Model {
    /// Hours since the epoch.
    #[sea_orm(primary_key, auto_increment = false)]
    pub hour: i64,
    pub waiting_critical: i64,
    pub waiting_default: i64,
    pub waiting_bulk: i64,
    pub behind_critical_ms: i64,
    pub behind_default_ms: i64,
    pub behind_bulk_ms: i64,
    pub running: i64,
    pub dead: i64,
    pub ended: i64,
    pub died: i64,
    pub succeeded: i64,
    pub failed: i64,
}

super::by_key!(hour);

/// It stands by itself.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
