//! What an operation did to a job or a batch.

use crate::{OperationId, Timestamp};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "operation_items")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub operation_id: OperationId,
    #[sea_orm(primary_key, auto_increment = false)]
    /// The job or the batch, as the operation's target says.
    pub target_id: i64,
    pub result: String,
    pub at: Timestamp,
}

super::by_key!(operation_id, target_id);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(
        belongs_to = "super::operations::Entity",
        from = "Column::OperationId",
        to = "super::operations::Column::Id"
    )]
    Operation,
}

impl Related<super::operations::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Operation.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
