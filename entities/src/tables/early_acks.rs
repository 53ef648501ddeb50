//! Receipts by the network's id that came before it was known.

use crate::Timestamp;
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "early_acks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub whatsapp_id: String,
    /// 1 to 3.
    pub ack: i64,
    pub received_at: Timestamp,
}

super::by_key!(whatsapp_id);

/// It stands by itself.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
