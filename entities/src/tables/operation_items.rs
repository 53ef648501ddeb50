//! What an operation did to a job.

use crate::{JobId, OperationId, Timestamp};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "operation_items")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub operation_id: OperationId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub job_id: JobId,
    pub result: String,
    pub at: Timestamp,
}

super::by_key!(operation_id, job_id);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(
        belongs_to = "super::operations::Entity",
        from = "Column::OperationId",
        to = "super::operations::Column::Id"
    )]
    Operation,
    #[sea_orm(belongs_to = "super::jobs::Entity", from = "Column::JobId", to = "super::jobs::Column::Id")]
    Job,
}

impl Related<super::operations::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Operation.def()
    }
}

impl Related<super::jobs::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Job.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
