//! What a sender's messages came to, minute by minute.

use crate::SenderId;
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sender_samples")]
pub struct Model {
    /// Minutes since the epoch.
    #[sea_orm(primary_key, auto_increment = false)]
    pub minute: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub sender_id: SenderId,
    pub decided: i64,
}

super::by_key!(minute, sender_id);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::senders::Entity", from = "Column::SenderId", to = "super::senders::Column::Id")]
    Sender,
}

impl Related<super::senders::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Sender.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
