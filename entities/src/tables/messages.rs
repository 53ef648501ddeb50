//! Messages, and recipients of sends: one row for both (0037).
//! A row without `direction` is a recipient who has no message yet, one without `seq` a message of no batch.

use crate::{
    BatchId, ContactId, ConversationId, Direction, GatewayId, ItemStatus, MessageId, MessageStatus, RowUuid, SenderId,
    Timestamp, UserId,
};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "messages")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: MessageId,
    /// The id over all delivery attempts; unique.
    pub uuid: Option<RowUuid>,
    pub contact_id: Option<ContactId>,
    pub batch_id: Option<BatchId>,
    /// The place in the batch, from 0.
    pub seq: Option<i64>,
    /// Absent: the default one.
    pub sender_id: Option<SenderId>,
    pub gateway_id: Option<GatewayId>,
    pub conversation_id: Option<ConversationId>,
    pub author_id: Option<UserId>,
    pub direction: Option<Direction>,
    pub status: Option<MessageStatus>,
    /// The highest receipt, 0 to 3.
    pub ack: i64,
    pub item_status: Option<ItemStatus>,
    /// Delivery attempts.
    pub attempts: i64,
    /// The claim that wrote it last.
    pub fence: i64,
    pub slot_us: Option<i64>,
    pub message_type: String,
    pub content: Option<String>,
    /// A JSON object.
    pub media: Option<String>,
    /// What the request named.
    pub input: Option<String>,
    /// The network's id; unique.
    pub whatsapp_id: Option<String>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub sent_at: Option<Timestamp>,
    pub delivered_at: Option<Timestamp>,
    pub read_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub next_attempt_at: Option<Timestamp>,
    /// How late the gateway told of it.
    pub seen_delay_ms: Option<i64>,
}

super::by_key!(id);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::contacts::Entity", from = "Column::ContactId", to = "super::contacts::Column::Id")]
    Contact,
    #[sea_orm(belongs_to = "super::batches::Entity", from = "Column::BatchId", to = "super::batches::Column::Id")]
    Batch,
    #[sea_orm(belongs_to = "super::senders::Entity", from = "Column::SenderId", to = "super::senders::Column::Id")]
    Sender,
    #[sea_orm(belongs_to = "super::gateways::Entity", from = "Column::GatewayId", to = "super::gateways::Column::Id")]
    Gateway,
    #[sea_orm(
        belongs_to = "super::conversations::Entity",
        from = "Column::ConversationId",
        to = "super::conversations::Column::Id"
    )]
    Conversation,
    #[sea_orm(belongs_to = "super::users::Entity", from = "Column::AuthorId", to = "super::users::Column::Id")]
    Author,
}

impl Related<super::contacts::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Contact.def()
    }
}

impl Related<super::batches::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Batch.def()
    }
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

impl Related<super::conversations::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Conversation.def()
    }
}

impl Related<super::users::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Author.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
