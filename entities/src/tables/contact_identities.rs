//! Addresses of contacts beside the number that messages go to.

use crate::{ContactId, Timestamp};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "contact_identities")]
pub struct Model {
    /// `phone`, `bsuid`, `lid`, `jid` or `wa_id`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub value: String,
    pub contact_id: ContactId,
    pub created_at: Timestamp,
    /// Of a number, what its spellings have in common. The database's own.
    pub phone_key: Option<String>,
}

super::by_key!(kind, value);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::contacts::Entity", from = "Column::ContactId", to = "super::contacts::Column::Id")]
    Contact,
}

impl Related<super::contacts::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Contact.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
