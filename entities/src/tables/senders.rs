//! Numbers that messages leave from, each with a pace, a cap and a stop of its own (0032).

use crate::{SenderId, Timestamp};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "senders")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: SenderId,
    /// Unique.
    pub name: String,
    /// Absent: the configured one.
    pub rate_per_minute: Option<i64>,
    /// The next slot that is free, for batches (0002).
    pub next_slot_us: i64,
    pub created_at: Timestamp,
    /// Failures in a row of its gateway (0016).
    pub circuit_failures: i64,
    /// How often the circuit opened since its gateway last worked.
    pub circuit_opened: i64,
    /// Until when nothing leaves.
    pub circuit_until: Option<Timestamp>,
    /// Whether one message is out that will tell.
    pub circuit_probing: bool,
    pub circuit_reason: Option<String>,
    /// The next slot that is free, for single messages.
    pub urgent_slot_us: i64,
    /// Until when its gateway asked it to wait.
    pub throttled_until: Option<Timestamp>,
    pub paused: bool,
    /// The most messages in a day of UTC.
    pub daily_cap: Option<i64>,
    /// The day that is counted, in days since the epoch.
    pub used_day: i64,
    /// Messages on that day.
    pub used: i64,
    pub updated_at: Timestamp,
}

super::by_key!(id);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(has_many = "super::batches::Entity")]
    Batches,
    #[sea_orm(has_many = "super::conversations::Entity")]
    Conversations,
    #[sea_orm(has_many = "super::messages::Entity")]
    Messages,
    #[sea_orm(has_many = "super::sender_samples::Entity")]
    Samples,
}

impl Related<super::batches::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Batches.def()
    }
}

impl Related<super::conversations::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Conversations.def()
    }
}

impl Related<super::messages::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Messages.def()
    }
}

impl Related<super::sender_samples::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Samples.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
