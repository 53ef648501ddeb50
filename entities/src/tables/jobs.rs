//! Claimed units of work.

use crate::{BatchId, JobId, JobState, Timestamp};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "jobs")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: JobId,
    /// A word of `domain::JobKind`, or one that only another release knows.
    pub kind: String,
    /// A word of `domain::Lane`.
    pub lane: String,
    pub state: JobState,
    pub batch_id: Option<BatchId>,
    pub chunk_no: Option<i64>,
    pub payload_version: i64,
    /// A JSON object.
    pub payload: String,
    /// When it may be claimed.
    pub run_at: Timestamp,
    pub rung_at: Option<Timestamp>,
    /// Claims.
    pub attempts: i64,
    /// Errors since it last got on.
    pub failures: i64,
    pub crashes: i64,
    /// Grows with every claim.
    pub fence: i64,
    pub lease_owner: Option<String>,
    pub lease_until: Option<Timestamp>,
    pub error: Option<String>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub timeouts: i64,
    pub claimed_at: Option<Timestamp>,
}

super::by_key!(id);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::batches::Entity", from = "Column::BatchId", to = "super::batches::Column::Id")]
    Batch,
    #[sea_orm(has_many = "super::job_events::Entity")]
    Events,
}

impl Related<super::batches::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Batch.def()
    }
}

impl Related<super::job_events::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Events.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
