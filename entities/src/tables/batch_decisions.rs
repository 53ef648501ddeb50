//! Who let a send go that a second person has to decide about, or refused it.

use crate::{BatchId, Timestamp, UserId};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "batch_decisions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub batch_id: BatchId,
    pub decided_by: UserId,
    pub decided_at: Timestamp,
    pub reason: Option<String>,
}

super::by_key!(batch_id);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::batches::Entity", from = "Column::BatchId", to = "super::batches::Column::Id")]
    Batch,
    #[sea_orm(belongs_to = "super::users::Entity", from = "Column::DecidedBy", to = "super::users::Column::Id")]
    DecidedBy,
}

impl Related<super::batches::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Batch.def()
    }
}

impl Related<super::users::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::DecidedBy.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
