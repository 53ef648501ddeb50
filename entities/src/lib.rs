//! The ledger's vocabulary at the storage boundary: typed ids, the words in columns, and every table as a sea-orm entity
//! with its relations.
//!
//! Times are milliseconds since the epoch in `BIGINT` columns on both databases: they compare and index alike, and no
//! driver's idea of a time zone gets between two machines. What is handled as single rows is read and written by these
//! entities; what works on sets is SQL in `domain`, read into structs of these types.

mod ids;
mod names;
#[allow(missing_docs, reason = "a column whose name says it all has no comment")]
mod tables;
mod time;
mod uuid;

pub use ids::{
    BatchId, ContactId, ConversationId, ExaminationId, GatewayId, JobId, LabelId, MessageId, OperationId, SenderId,
    SessionId, SuppressionId, TagId, TemplateId, UserId, ViewId,
};
pub use names::{
    Approval, BatchAct, BatchStatus, BatchType, Direction, ItemStatus, JobAct, JobEventKind, JobState, MessageStatus,
    OnUnknown, OperationStatus, OperationTarget, PasswordState, TagOperation, UnknownName,
};
pub use tables::{
    api_keys, audit_logs, batch_chunks, batch_decisions, batch_items, batch_paces, batches, contact_activity,
    contact_identities, contact_merges, contact_tags, contact_traces, contacts, conversations, domain_events,
    domain_events_pruned, drafts, early_acks, early_receipts, examinations, gateways, idempotency_keys, job_events,
    jobs, labels, message_tallies, messages, operation_items, operations, queue_hours, queue_looks, queue_samples,
    refresh_tokens, saved_views, sender_samples, senders, sessions, suppressions, tags, templates, test_numbers,
    uploads, users, workers,
};
pub use time::Timestamp;
pub use uuid::RowUuid;
