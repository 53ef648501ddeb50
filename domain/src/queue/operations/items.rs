//! What an operation did, one by one.

use crate::time::Timestamp;
use entities::{OperationId, operation_items};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, DerivePartialModel, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

/// What an operation did with a job or a batch.
#[derive(Clone, Debug, PartialEq, Eq, DerivePartialModel)]
#[sea_orm(entity = "operation_items::Entity")]
pub struct OperationItem {
    /// The number of the job or the batch, as the operation's target says.
    #[sea_orm(from_col = "target_id")]
    pub target: i64,
    /// [`DONE`], [`CHANGED`], or why the act did not fit a job ([`Unfit::code`](crate::queue::Unfit::code)).
    pub result: String,
    /// When.
    pub at: Timestamp,
}

/// The word of what it was done to.
pub const DONE: &str = "done";

/// The word of what was no longer as the filter says.
pub const CHANGED: &str = "changed";

/// What an operation did, one by one in the order of the numbers, behind `after`; at most `limit`.
///
/// # Errors
/// The database's.
pub async fn operation_items(
    conn: &impl ConnectionTrait,
    id: OperationId,
    after: i64,
    limit: usize,
) -> Result<Vec<OperationItem>, DbErr> {
    operation_items::Entity::find()
        .filter(operation_items::Column::OperationId.eq(id))
        .filter(operation_items::Column::TargetId.gt(after))
        .order_by_asc(operation_items::Column::TargetId)
        .limit(limit as u64)
        .into_partial_model()
        .all(conn)
        .await
}
