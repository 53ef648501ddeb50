//! What the scheduler saw last. One row.

use crate::Timestamp;
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "queue_looks")]
pub struct Model {
    /// 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub one: i64,
    pub looked_at: Timestamp,
    pub version: String,
    /// JSON.
    pub depths: String,
}

super::by_key!(one);

/// It stands by itself.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
