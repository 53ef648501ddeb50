//! What a sign-in opened: tokens, sockets and streams end with it.

use crate::{SessionId, Timestamp, UserId};
use sea_orm::entity::prelude::*;

/// A row.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: SessionId,
    pub user_id: UserId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
    /// Cut to 64 characters.
    pub ip_address: Option<String>,
    /// Cut to 200 characters.
    pub user_agent: Option<String>,
    /// It is open to a change of the password alone.
    pub must_change_password: bool,
    /// Of the token in a browser's cookie; unique.
    pub browser_hash: Option<String>,
    /// When a browser last asked for something, to the minute.
    pub used_at: Option<Timestamp>,
}

super::by_key!(id);

/// What it hangs together with.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::users::Entity", from = "Column::UserId", to = "super::users::Column::Id")]
    User,
    #[sea_orm(has_many = "super::refresh_tokens::Entity")]
    RefreshTokens,
    /// The key that it is the session of.
    #[sea_orm(has_one = "super::api_keys::Entity")]
    ApiKey,
}

impl Related<super::users::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::User.def()
    }
}

impl Related<super::refresh_tokens::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::RefreshTokens.def()
    }
}

impl Related<super::api_keys::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::ApiKey.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
