//! Worker processes that are there.

use crate::Timestamp;
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "workers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner: String,
    pub started_at: Timestamp,
    pub seen_at: Timestamp,
    /// Its release.
    pub version: Option<String>,
    /// It is to take nothing new.
    pub draining: bool,
    /// How many jobs at once it is to have; absent: as many as it was started with.
    pub critical_places: Option<i64>,
    pub default_places: Option<i64>,
    pub bulk_places: Option<i64>,
    /// Since when it does what is asked; absent: it does not yet.
    pub obeyed_at: Option<Timestamp>,
}

super::by_key!(owner);

/// It stands by itself.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
