//! How the queue was, minute by minute (0049).

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "queue_samples")]
pub struct Model {
    /// Minutes since the epoch.
    #[sea_orm(primary_key, auto_increment = false)]
    pub minute: i64,
    pub waiting_critical: i64,
    pub waiting_default: i64,
    pub waiting_bulk: i64,
    pub behind_critical_ms: i64,
    pub behind_default_ms: i64,
    pub behind_bulk_ms: i64,
    pub running: i64,
    pub dead: i64,
    /// Absent: not known of this minute.
    pub ended: Option<i64>,
    pub died: Option<i64>,
    pub succeeded: i64,
    pub failed: i64,
}

super::by_key!(minute);

/// It stands by itself.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
