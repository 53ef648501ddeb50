//! Receipts by our id that came before their message, or before its map.

use crate::{RowUuid, Timestamp};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "early_receipts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub uuid: RowUuid,
    /// 0 to 3.
    pub ack: i64,
    pub whatsapp_id: Option<String>,
    pub received_at: Timestamp,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    /// The number that the network resolved to.
    pub wa_id: Option<String>,
    /// What the spellings of that number have in common. The database's own.
    pub wa_key: Option<String>,
}

super::by_key!(uuid);

/// It stands by itself.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
