//! Which contact went into which, so that links to the one that is gone find the other.

use crate::{ContactId, Timestamp};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "contact_merges")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub from_id: ContactId,
    pub into_id: ContactId,
    pub reason: String,
    /// A JSON object: how many rows of what went over.
    pub moved: String,
    pub merged_at: Timestamp,
}

super::by_key!(from_id);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The one that is gone.
    #[sea_orm(belongs_to = "super::contacts::Entity", from = "Column::FromId", to = "super::contacts::Column::Id")]
    Gone,
    /// The one that is there.
    #[sea_orm(belongs_to = "super::contacts::Entity", from = "Column::IntoId", to = "super::contacts::Column::Id")]
    Kept,
}

impl ActiveModelBehavior for ActiveModel {}
