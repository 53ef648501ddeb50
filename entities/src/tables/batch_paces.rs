//! How fast batches went: a row for a span of time, the longer the older the batch is.

use crate::{BatchId, Timestamp};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "batch_paces")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub batch_id: BatchId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub since: Timestamp,
    pub seen_at: Timestamp,
    /// Items.
    pub decided: i64,
    /// What it was allowed a minute; absent: nothing of ours limited it, or the configuration did.
    pub may: Option<i64>,
}

super::by_key!(batch_id, since);

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
