//! Numbers to which people send tests.

use crate::UserId;
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "test_numbers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner: UserId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub place: i64,
    pub phone: String,
}

super::by_key!(owner, place);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::users::Entity", from = "Column::Owner", to = "super::users::Column::Id")]
    User,
}

impl Related<super::users::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::User.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
