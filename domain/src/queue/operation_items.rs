//! What an operation did, job by job.

use crate::time::Timestamp;
use entities::{JobId, OperationId, operation_items};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, DerivePartialModel, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

/// What an operation did with a job.
#[derive(Clone, Debug, PartialEq, Eq, DerivePartialModel)]
#[sea_orm(entity = "operation_items::Entity")]
pub struct OperationItem {
    /// The job.
    #[sea_orm(from_col = "job_id")]
    pub job: JobId,
    /// `done`, `changed`, or why the act did not fit it ([`Unfit::code`](super::Unfit::code)).
    pub result: String,
    /// When.
    pub at: Timestamp,
}

/// The word of a job that was no longer as the filter says.
pub(super) const CHANGED: &str = "changed";

/// What an operation did, job by job in the order of their numbers, behind `after`; at most `limit`.
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
        .filter(operation_items::Column::JobId.gt(after))
        .order_by_asc(operation_items::Column::JobId)
        .limit(limit as u64)
        .into_partial_model()
        .all(conn)
        .await
}
