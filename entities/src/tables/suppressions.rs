//! Numbers' wishes to get no bulk messages. Rows are ended, never deleted.

use crate::{ContactId, MessageId, SuppressionId, Timestamp, UserId};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "suppressions")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: SuppressionId,
    /// Digits without `+`.
    pub phone: String,
    pub contact_id: Option<ContactId>,
    /// A word of `domain::contacts::suppressions::Reason`.
    pub reason: String,
    /// The word that the contact wrote.
    pub word: Option<String>,
    /// The message that it was in.
    pub message_id: Option<MessageId>,
    pub created_by: Option<UserId>,
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub ended_reason: Option<String>,
    pub ended_word: Option<String>,
    pub ended_message_id: Option<MessageId>,
    pub ended_by: Option<UserId>,
    /// What the spellings of the number have in common. The database's own; unique among those that have not ended.
    pub phone_key: Option<String>,
}

super::by_key!(id);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::contacts::Entity", from = "Column::ContactId", to = "super::contacts::Column::Id")]
    Contact,
    /// The message that wished it.
    #[sea_orm(belongs_to = "super::messages::Entity", from = "Column::MessageId", to = "super::messages::Column::Id")]
    Message,
    /// The message that ended it.
    #[sea_orm(
        belongs_to = "super::messages::Entity",
        from = "Column::EndedMessageId",
        to = "super::messages::Column::Id"
    )]
    EndedBy,
}

impl Related<super::contacts::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Contact.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
