//! What a steering did to a batch.

use crate::{BatchId, SteeringId, Timestamp};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "steering_items")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub steering_id: SteeringId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub batch_id: BatchId,
    pub result: String,
    pub at: Timestamp,
}

super::by_key!(steering_id, batch_id);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(
        belongs_to = "super::steerings::Entity",
        from = "Column::SteeringId",
        to = "super::steerings::Column::Id"
    )]
    Steering,
    #[sea_orm(belongs_to = "super::batches::Entity", from = "Column::BatchId", to = "super::batches::Column::Id")]
    Batch,
}

impl Related<super::steerings::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Steering.def()
    }
}

impl Related<super::batches::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Batch.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
