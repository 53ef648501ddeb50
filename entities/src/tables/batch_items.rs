//! Items of imports, tags and deletes that have a row. A send's are in `messages`.

use crate::{BatchId, ContactId, ItemStatus, Timestamp};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "batch_items")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub batch_id: BatchId,
    /// The place in the batch, from 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub contact_id: Option<ContactId>,
    /// What the request named.
    pub input: Option<String>,
    pub item_status: ItemStatus,
    pub attempts: i64,
    /// The claim that wrote it last.
    pub fence: i64,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub warning: Option<String>,
    /// Where in the file it was.
    pub source_row: Option<String>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

super::by_key!(batch_id, seq);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::batches::Entity", from = "Column::BatchId", to = "super::batches::Column::Id")]
    Batch,
    #[sea_orm(belongs_to = "super::contacts::Entity", from = "Column::ContactId", to = "super::contacts::Column::Id")]
    Contact,
}

impl Related<super::batches::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Batch.def()
    }
}

impl Related<super::contacts::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Contact.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
