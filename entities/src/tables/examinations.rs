//! Examinations of the installation, each a job.

use crate::{ExaminationId, JobId, Timestamp, UserId};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "examinations")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: ExaminationId,
    pub created_by: UserId,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub job_id: Option<JobId>,
    /// What it looks at now.
    pub looking_at: Option<String>,
    /// Messages of the gateway.
    pub compared: i64,
    /// A JSON array: what it found.
    pub checks: String,
    /// Grows with every change.
    pub version: i64,
}

super::by_key!(id);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::users::Entity", from = "Column::CreatedBy", to = "super::users::Column::Id")]
    Author,
    #[sea_orm(belongs_to = "super::jobs::Entity", from = "Column::JobId", to = "super::jobs::Column::Id")]
    Job,
}

impl Related<super::users::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Author.def()
    }
}

impl Related<super::jobs::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Job.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
