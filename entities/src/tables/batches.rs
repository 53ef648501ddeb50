//! Operations over many contacts.

use crate::{Approval, BatchId, BatchStatus, BatchType, GatewayId, OnUnknown, SenderId, Timestamp, UserId};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "batches")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: BatchId,
    #[sea_orm(column_name = "type")]
    pub batch_type: BatchType,
    pub status: BatchStatus,
    /// Absent: one that sends nothing.
    pub sender_id: Option<SenderId>,
    pub created_by: UserId,
    /// A JSON object: what was asked for.
    pub config: String,
    /// The text with placeholders.
    pub content: Option<String>,
    pub rate_per_minute: Option<i64>,
    /// How far a slot may be moved at random.
    pub jitter_ms: i64,
    pub on_unknown: OnUnknown,
    pub schedule_at: Option<Timestamp>,
    pub paused: bool,
    /// Whether its audience has become chunks.
    pub expanded: bool,
    /// Items.
    pub total: i64,
    pub succeeded: i64,
    pub failed: i64,
    pub skipped: i64,
    pub chunk_count: i64,
    /// The number of the chunk that is opened next.
    pub next_chunk: i64,
    pub chunks_left: i64,
    /// The next slot that is free at its own pace.
    pub next_slot_us: i64,
    /// Grows with every commit that changes the row.
    pub version: i64,
    pub error_message: Option<String>,
    pub created_at: Timestamp,
    /// When its first chunk was claimed.
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
    /// The cancelled batch whose rest it sends; unique.
    pub remainder_of: Option<BatchId>,
    /// Absent: no gateway was asked yet (0022).
    pub gateway_id: Option<GatewayId>,
    /// Absent: nobody needs to decide.
    pub approval: Option<Approval>,
}

super::by_key!(id);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::senders::Entity", from = "Column::SenderId", to = "super::senders::Column::Id")]
    Sender,
    #[sea_orm(belongs_to = "super::gateways::Entity", from = "Column::GatewayId", to = "super::gateways::Column::Id")]
    Gateway,
    #[sea_orm(belongs_to = "super::users::Entity", from = "Column::CreatedBy", to = "super::users::Column::Id")]
    Author,
    /// The batch whose rest it sends.
    #[sea_orm(belongs_to = "Entity", from = "Column::RemainderOf", to = "Column::Id")]
    Remainder,
    #[sea_orm(has_many = "super::batch_chunks::Entity")]
    Chunks,
    #[sea_orm(has_many = "super::batch_items::Entity")]
    Items,
    /// Of a send: its recipients (0037).
    #[sea_orm(has_many = "super::messages::Entity")]
    Messages,
    #[sea_orm(has_many = "super::jobs::Entity")]
    Jobs,
    #[sea_orm(has_many = "super::contact_traces::Entity")]
    Traces,
    #[sea_orm(has_one = "super::uploads::Entity")]
    Upload,
}

impl Related<super::senders::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Sender.def()
    }
}

impl Related<super::gateways::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Gateway.def()
    }
}

impl Related<super::users::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Author.def()
    }
}

impl Related<super::batch_chunks::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Chunks.def()
    }
}

impl Related<super::batch_items::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Items.def()
    }
}

impl Related<super::messages::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Messages.def()
    }
}

impl Related<super::jobs::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Jobs.def()
    }
}

impl Related<super::contact_traces::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Traces.def()
    }
}

impl Related<super::uploads::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Upload.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
