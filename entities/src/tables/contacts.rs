//! People who are written to. One that is deleted or was merged keeps its row without what is personal.

use crate::{ContactId, RowUuid, Timestamp};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "contacts")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: ContactId,
    /// Unique.
    pub identifier: RowUuid,
    /// Digits without `+`.
    pub phone: Option<String>,
    pub name: Option<String>,
    pub source: Option<String>,
    /// A JSON object.
    pub attributes: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
    /// What users make of it.
    pub status: String,
    pub remark: Option<String>,
    pub photo_url: Option<String>,
    /// Since when it gets no bulk messages.
    pub suppressed_at: Option<Timestamp>,
    /// What the spellings of the number have in common. The database's own; unique.
    pub phone_key: Option<String>,
}

super::by_key!(id);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(has_one = "super::contact_activity::Entity")]
    Activity,
    #[sea_orm(has_many = "super::contact_identities::Entity")]
    Identities,
    #[sea_orm(has_many = "super::contact_tags::Entity")]
    ContactTags,
    #[sea_orm(has_many = "super::conversations::Entity")]
    Conversations,
    #[sea_orm(has_many = "super::messages::Entity")]
    Messages,
    #[sea_orm(has_many = "super::suppressions::Entity")]
    Suppressions,
}

impl Related<super::contact_activity::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Activity.def()
    }
}

impl Related<super::contact_identities::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Identities.def()
    }
}

impl Related<super::contact_tags::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::ContactTags.def()
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

impl Related<super::suppressions::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Suppressions.def()
    }
}

impl Related<super::tags::Entity> for Entity {
    fn to() -> RelationDef {
        super::contact_tags::Relation::Tag.def()
    }

    fn via() -> Option<RelationDef> {
        Some(super::contact_tags::Relation::Contact.def().rev())
    }
}

impl ActiveModelBehavior for ActiveModel {}
