//! Up to where the outbox was thrown away, for each of its two kinds.

use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "domain_events_pruned")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub bulk: bool,
    pub pruned_to: i64,
}

super::by_key!(bulk);

/// It stands by itself.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
