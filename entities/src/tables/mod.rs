//! The tables, a module each, as `migration` leaves them; `tests/schema.rs` holds every one against both databases.
//!
//! A column whose name says it all has no comment. Times are [`Timestamp`](crate::Timestamp)s; a column that ends in `_us` is
//! microseconds since the epoch, one in `_ms` a length in milliseconds.

pub mod api_keys;
pub mod audit_logs;
pub mod batch_chunks;
pub mod batch_decisions;
pub mod batch_items;
pub mod batch_paces;
pub mod batches;
pub mod contact_activity;
pub mod contact_identities;
pub mod contact_merges;
pub mod contact_tags;
pub mod contact_traces;
pub mod contacts;
pub mod conversations;
pub mod domain_events;
pub mod domain_events_pruned;
pub mod drafts;
pub mod early_acks;
pub mod early_receipts;
pub mod examinations;
pub mod gateways;
pub mod idempotency_keys;
pub mod job_events;
pub mod jobs;
pub mod labels;
pub mod message_tallies;
pub mod messages;
pub mod operation_items;
pub mod operations;
pub mod queue_hours;
pub mod queue_looks;
pub mod queue_samples;
pub mod refresh_tokens;
pub mod saved_views;
pub mod sender_samples;
pub mod senders;
pub mod sessions;
pub mod suppressions;
pub mod tags;
pub mod templates;
pub mod test_numbers;
pub mod uploads;
pub mod users;
pub mod workers;

/// A row shows its key alone: what else it has may be a text, a number or a hash, and none of these reaches a log.
macro_rules! by_key {
    ($($key:ident),+) => {
        impl std::fmt::Debug for Model {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(<Entity as sea_orm::EntityName>::table_name(&Entity))
                    $(.field(stringify!($key), &self.$key))+
                    .finish_non_exhaustive()
            }
        }
    };
}
use by_key;
