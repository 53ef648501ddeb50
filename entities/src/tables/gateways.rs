//! Gateways that messages were left to.

use crate::{GatewayId, Timestamp};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "gateways")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: GatewayId,
    /// Unique.
    pub name: String,
    /// The network that it sends through, where it tells that.
    pub transport: Option<String>,
    pub first_seen_at: Timestamp,
    pub seen_at: Timestamp,
}

super::by_key!(id);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(has_many = "super::batches::Entity")]
    Batches,
    #[sea_orm(has_many = "super::messages::Entity")]
    Messages,
}

impl Related<super::batches::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Batches.def()
    }
}

impl Related<super::messages::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Messages.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
