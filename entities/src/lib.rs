//! The ledger's vocabulary at the storage boundary: typed ids, and the tables that are read and written one row at a
//! time as sea-orm entities.
//!
//! Times are milliseconds since the epoch in `BIGINT` columns on both databases: they compare and index alike, and no
//! driver's idea of a time zone gets between two machines. The hot, set-based statements are SQL in `domain`; what has
//! an entity here is what is handled as single rows.

mod ids;

pub use ids::{
    BatchId, ContactId, ConversationId, ExaminationId, GatewayId, JobId, MessageId, OperationId, SenderId, SessionId,
    SteeringId, SuppressionId, TagId, TemplateId, UserId, ViewId,
};
