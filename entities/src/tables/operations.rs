//! Acts on all the jobs or batches that match (0048).

use crate::{JobId, OperationId, OperationStatus, OperationTarget, Timestamp, UserId};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "operations")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: OperationId,
    pub target: OperationTarget,
    /// A word of the target's acts.
    pub act: String,
    pub status: OperationStatus,
    /// A JSON object.
    pub filter: String,
    /// The highest job or batch that is meant.
    pub upto: i64,
    pub rate_per_minute: Option<i64>,
    pub matched: i64,
    pub done: i64,
    pub skipped: i64,
    /// The job or batch behind which it goes on.
    pub next_id: i64,
    /// Its own job.
    pub job_id: Option<JobId>,
    pub created_by: UserId,
    pub created_at: Timestamp,
    pub starts_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

super::by_key!(id);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::jobs::Entity", from = "Column::JobId", to = "super::jobs::Column::Id")]
    Job,
    #[sea_orm(belongs_to = "super::users::Entity", from = "Column::CreatedBy", to = "super::users::Column::Id")]
    Author,
    #[sea_orm(has_many = "super::operation_items::Entity")]
    Items,
}

impl Related<super::jobs::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Job.def()
    }
}

impl Related<super::users::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Author.def()
    }
}

impl Related<super::operation_items::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Items.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
