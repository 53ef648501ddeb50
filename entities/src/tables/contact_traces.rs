//! Where batches keep what somebody typed of a number, for its deletion (0025).

use crate::BatchId;
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "contact_traces")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub phone_key: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub batch_id: BatchId,
    /// The place in the batch, from 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
}

super::by_key!(phone_key, batch_id, seq);

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
