//! What is talked about with a contact over one channel, from its opening to its close.

use crate::{ContactId, ConversationId, RowUuid, SenderId, Timestamp};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "conversations")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: ConversationId,
    /// Unique.
    pub uuid: RowUuid,
    pub contact_id: ContactId,
    /// `whatsapp`.
    pub channel: String,
    /// `open`, `resolved` or `closed`; one that is not closed at most for a contact and channel.
    pub status: String,
    pub unread: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    /// Absent: the default one.
    pub sender_id: Option<SenderId>,
}

super::by_key!(id);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::contacts::Entity", from = "Column::ContactId", to = "super::contacts::Column::Id")]
    Contact,
    #[sea_orm(belongs_to = "super::senders::Entity", from = "Column::SenderId", to = "super::senders::Column::Id")]
    Sender,
    #[sea_orm(has_many = "super::messages::Entity")]
    Messages,
}

impl Related<super::contacts::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Contact.def()
    }
}

impl Related<super::senders::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Sender.def()
    }
}

impl Related<super::messages::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Messages.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
