//! The parts of batches that one job each works on.

use crate::{BatchId, RowUuid};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "batch_chunks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub batch_id: BatchId,
    /// From 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub no: i64,
    pub first_seq: i64,
    pub item_count: i64,
    /// Where the next claim begins.
    pub next_seq: i64,
    /// `waiting`, `open` or `closed`.
    pub state: String,
    pub passed_on: bool,
    /// Items that failed are to be tried again.
    pub retry: bool,
    /// A JSON array: recipients, contacts or rows as they came.
    pub data: String,
    pub lowest_contact: i64,
    pub highest_contact: i64,
    /// Of what is in flight without rows, the ids follow from it (0028).
    pub claim_id: Option<RowUuid>,
    /// Only items with this error are to be tried again.
    pub retry_code: Option<String>,
}

super::by_key!(batch_id, no);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::batches::Entity", from = "Column::BatchId", to = "super::batches::Column::Id")]
    Batch,
}

impl Related<super::batches::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Batch.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
