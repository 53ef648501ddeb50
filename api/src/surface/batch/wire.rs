//! The surface's types on the wire.

use domain::batches::{self, Batch, BatchSummary, Item, Stats};
use domain::messages::templates::StoredTemplate;
use domain::{Timestamp, contacts};
use poem_openapi::types::ToJSON;
use poem_openapi::{Enum, Object};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a batch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "UPPERCASE")]
pub(super) enum BatchType {
    /// Sends a message to many contacts.
    Send,
    /// Imports contacts.
    Import,
    /// Changes tags.
    Tag,
    /// Deletes contacts.
    Delete,
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "UPPERCASE")]
pub(super) enum BatchStatus {
    /// Accepted, not started or waiting for its time.
    Pending,
    /// Under way.
    Processing,
    /// Every item was processed.
    Completed,
    /// It could not go on, or every item failed.
    Failed,
    /// Stopped by a user.
    Cancelled,
}

/// Where an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(super) enum ItemStatus {
    /// Not started, or waiting.
    Pending,
    /// Claimed for an attempt.
    Sending,
    /// Done.
    Succeeded,
    /// Could not be done.
    Failed,
    /// Nothing needed doing.
    Skipped,
    /// Its batch was cancelled first.
    Cancelled,
    /// An attempt was made and its outcome is not known.
    Unknown,
}

/// What a change of tags does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(super) enum TagOperation {
    /// Adds them.
    Add,
    /// Removes them.
    Remove,
    /// Makes them the only ones.
    Set,
}

/// What becomes of a send whose outcome is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(super) enum OnUnknown {
    /// It is sent again under the same id.
    Resend,
    /// It is left for a person to decide.
    Hold,
}

macro_rules! same {
    ($wire:ident <=> $domain:path { $($variant:ident),+ }) => {
        impl From<$domain> for $wire {
            fn from(value: $domain) -> Self {
                match value { $(<$domain>::$variant => Self::$variant,)+ }
            }
        }
        impl From<$wire> for $domain {
            fn from(value: $wire) -> Self {
                match value { $($wire::$variant => Self::$variant,)+ }
            }
        }
    };
}

same!(BatchType <=> batches::BatchType { Send, Import, Tag, Delete });
same!(BatchStatus <=> batches::BatchStatus { Pending, Processing, Completed, Failed, Cancelled });
same!(ItemStatus <=> batches::ItemStatus { Pending, Sending, Succeeded, Failed, Skipped, Cancelled, Unknown });

/// A batch's status and counts.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(super) struct BatchStatusView {
    /// The batch.
    id: String,
    /// What it does.
    #[oai(rename = "type")]
    batch_type: BatchType,
    /// Where it stands.
    status: BatchStatus,
    /// How many items it has.
    total_count: i64,
    /// How many are done with: succeeded, failed and skipped.
    processed_count: i64,
    /// How many succeeded.
    success_count: i64,
    /// How many failed.
    failed_count: i64,
    /// The percentage of items that are processed, rounded down.
    #[oai(validator(minimum(value = "0"), maximum(value = "100")))]
    progress: i64,
    /// When it was accepted.
    created_at: String,
    /// When its first item was claimed.
    started_at: Option<String>,
    /// When it ended.
    completed_at: Option<String>,
}

impl From<&BatchSummary> for BatchStatusView {
    fn from(s: &BatchSummary) -> Self {
        Self {
            id: s.id.to_string(),
            batch_type: s.batch_type.into(),
            status: s.status.into(),
            total_count: s.total,
            processed_count: s.processed(),
            success_count: s.succeeded,
            failed_count: s.failed,
            progress: s.progress(),
            created_at: s.created_at.to_rfc3339(),
            started_at: s.started_at.map(Timestamp::to_rfc3339),
            completed_at: s.completed_at.map(Timestamp::to_rfc3339),
        }
    }
}

/// A batch's status and counts as a socket's frame carries them.
pub(crate) fn summary_json(summary: &BatchSummary) -> Value {
    BatchStatusView::from(summary).to_json().unwrap_or_default()
}

/// A batch operation.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(super) struct BatchOperation {
    /// Status and counts.
    #[oai(flatten)]
    summary: BatchStatusView,
    /// When it is to start.
    schedule_at: Option<String>,
    /// Its own pace.
    rate_per_minute: Option<i64>,
    /// Its random extra delay.
    jitter_ms: Option<i64>,
    /// How many items were skipped.
    skipped_count: i64,
    /// Whether it is paused.
    paused: bool,
    /// Why it could not go on.
    error_message: Option<String>,
    /// Who asked for it.
    created_by: String,
    /// The request without its lists.
    config: Value,
    /// When it will probably end.
    estimated_completion_at: Option<String>,
}

impl BatchOperation {
    pub(super) fn of(batch: &Batch, now: Timestamp, sender_rate: Option<i64>) -> Self {
        let sends = batch.sender.is_some();
        Self {
            summary: (&batch.summary).into(),
            schedule_at: batch.schedule_at.map(Timestamp::to_rfc3339),
            rate_per_minute: batch.rate_per_minute,
            jitter_ms: sends.then_some(batch.jitter_ms),
            skipped_count: batch.summary.skipped,
            paused: batch.paused,
            error_message: batch.error_message.clone(),
            created_by: batch.created_by.to_string(),
            config: batch.config.clone(),
            estimated_completion_at: batch.estimated_completion_at(now, sender_rate).map(Timestamp::to_rfc3339),
        }
    }
}

/// Numbers over many batches.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct StatsView {
    /// How many batches match.
    total: i64,
    /// How many of each type.
    by_type: BTreeMap<String, i64>,
    /// How many in each status.
    by_status: BTreeMap<String, i64>,
    /// The percentage of processed items that succeeded, rounded to one decimal; 0 when none were.
    success_rate: f64,
    /// Items that are done with.
    total_processed: i64,
    /// Items that succeeded.
    total_success: i64,
    /// Items that failed.
    total_failed: i64,
}

impl From<&Stats> for StatsView {
    fn from(stats: &Stats) -> Self {
        Self {
            total: stats.total,
            by_type: stats.by_type.iter().map(|(name, n)| (name.to_string(), *n)).collect(),
            by_status: stats.by_status.iter().map(|(name, n)| (name.to_string(), *n)).collect(),
            success_rate: stats.success_rate(),
            total_processed: stats.processed,
            total_success: stats.succeeded,
            total_failed: stats.failed,
        }
    }
}

/// One recipient, row or contact of a batch.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct ItemView {
    /// Its place in the batch, from 0.
    pub(super) seq: i64,
    /// The contact; null while there is none.
    pub(super) contact_id: Option<String>,
    /// The contact's number, masked for those who may not read contacts' data; or what the request named.
    pub(super) phone: Option<String>,
    /// Where it stands.
    pub(super) status: ItemStatus,
    /// How many attempts were made.
    pub(super) attempts: i64,
    /// A stable word for the last error.
    pub(super) error_code: Option<String>,
    /// The last error for people.
    pub(super) error_message: Option<String>,
    /// The message's id.
    pub(super) message_id: Option<String>,
    /// When its first attempt began.
    pub(super) started_at: Option<String>,
    /// When it was finished.
    pub(super) finished_at: Option<String>,
    /// When it is tried next.
    pub(super) next_attempt_at: Option<String>,
}

impl ItemView {
    /// An item; its number is masked unless `plain`.
    pub(super) fn of(item: Item, plain: bool) -> Self {
        Self {
            seq: item.seq,
            contact_id: item.contact.map(|id| id.to_string()),
            phone: item.phone.map(|phone| if plain { phone } else { contacts::phone::mask_digits(&phone) }),
            status: item.status.into(),
            attempts: item.attempts,
            error_code: item.error_code,
            error_message: item.error_message,
            message_id: item.message_id,
            started_at: item.started_at.map(Timestamp::to_rfc3339),
            finished_at: item.finished_at.map(Timestamp::to_rfc3339),
            next_attempt_at: item.next_attempt_at.map(Timestamp::to_rfc3339),
        }
    }
}

/// What one recipient would read.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(super) struct PreviewView {
    /// The recipient as the request named it.
    contact_id: String,
    /// The recipient's number, masked.
    phone: Option<String>,
    /// The message.
    message: Option<String>,
    /// Why there is none.
    error: Option<String>,
}

impl From<batches::Preview> for PreviewView {
    fn from(preview: batches::Preview) -> Self {
        let (message, error) = match preview.text {
            Ok(text) => (Some(text), None),
            Err(error) => (None, Some(error)),
        };
        Self { contact_id: preview.contact, phone: preview.phone, message, error }
    }
}

/// Contacts chosen by their tags.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct AudienceRequest {
    /// Everyone.
    all: Option<bool>,
    /// Has at least one of these tags.
    tags_any: Option<Vec<String>>,
    /// Has every one of these tags.
    tags_all: Option<Vec<String>>,
    /// Has none of these tags.
    tags_none: Option<Vec<String>>,
}

/// A send to many contacts.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct SendRequest {
    /// Contact ids: numbers or identifiers. Either these or an audience.
    contact_ids: Option<Vec<String>>,
    /// Whom to write to, by tags.
    audience: Option<AudienceRequest>,
    /// The message, with placeholders; required unless a template is given.
    content: Option<String>,
    /// The template to send.
    template_id: Option<String>,
    /// The pace.
    #[oai(validator(minimum(value = "1"), maximum(value = "600000")))]
    rate_per_minute: Option<i64>,
    /// A random extra delay before each message, up to this many milliseconds.
    #[oai(validator(minimum(value = "0"), maximum(value = "600000")))]
    jitter_ms: Option<i64>,
    /// When to start, RFC 3339.
    schedule_at: Option<String>,
    /// What becomes of a send whose outcome is not known.
    on_unknown: Option<OnUnknown>,
}

/// A change of many contacts' tags.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct TagRequest {
    /// Contact ids.
    contact_ids: Vec<String>,
    /// The tags.
    tags: Vec<String>,
    /// What to do with them.
    operation: TagOperation,
}

/// A deletion of many contacts.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct DeleteRequest {
    /// Contact ids.
    contact_ids: Vec<String>,
}

/// A contact to be imported.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct ImportContact {
    /// The number, with its country's code.
    #[oai(rename = "phoneE164")]
    phone_e164: String,
    /// The name.
    name: Option<String>,
    /// Its own tags.
    tags: Option<Vec<String>>,
}

/// An import of contacts.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct ImportRequest {
    /// The contacts.
    contacts: Vec<ImportContact>,
    /// Whether contacts that exist are skipped (the default) or merged into.
    skip_duplicates: Option<bool>,
    /// Tags for all of them.
    tags: Option<Vec<String>>,
    /// Where they come from.
    source: Option<String>,
}

/// A change of a batch's pace or time.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct PatchRequest {
    /// A new pace.
    #[oai(validator(minimum(value = "1"), maximum(value = "600000")))]
    rate_per_minute: Option<i64>,
    /// A new jitter.
    #[oai(validator(minimum(value = "0"), maximum(value = "600000")))]
    jitter_ms: Option<i64>,
    /// Another time to start.
    schedule_at: Option<String>,
}

/// A template to be kept.
#[derive(Debug, Object)]
pub(super) struct TemplateRequest {
    /// Its name.
    name: String,
    /// The text with placeholders.
    content: String,
}

/// Values to try a template with.
#[derive(Debug, Object)]
pub(super) struct TemplatePreviewRequest {
    /// The name.
    name: Option<String>,
    /// The number.
    phone: Option<String>,
    /// Further values.
    attributes: Option<Value>,
}

/// A template.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(super) struct TemplateView {
    /// Its number.
    id: String,
    /// Its name.
    name: String,
    /// The text with placeholders.
    content: String,
    /// When it was made.
    created_at: String,
    /// When it was last changed.
    updated_at: String,
}

impl From<StoredTemplate> for TemplateView {
    fn from(template: StoredTemplate) -> Self {
        Self {
            id: template.id.to_string(),
            name: template.name,
            content: template.content,
            created_at: template.created_at.to_rfc3339(),
            updated_at: template.updated_at.to_rfc3339(),
        }
    }
}

/// A rendered text.
#[derive(Debug, Object)]
pub(super) struct Rendered {
    /// The text.
    pub(super) message: String,
}

/// What an import would do with a row.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(super) struct PlannedRowView {
    /// Its line.
    pub(super) line: i64,
    /// `create`, `merge`, `skip` or `fail`.
    pub(super) action: String,
    /// The normalised number.
    pub(super) phone: Option<String>,
    /// The name.
    pub(super) name: Option<String>,
    /// Its own tags.
    pub(super) tags: Option<Vec<String>>,
    /// Further values.
    pub(super) attributes: Option<BTreeMap<String, String>>,
    /// Why it would fail.
    pub(super) error: Option<String>,
}

/// What an import would do: nothing was written.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(super) struct DryRun {
    /// True.
    pub(super) dry_run: bool,
    /// How many rows there are.
    pub(super) total_count: i64,
    /// How many would become new contacts.
    pub(super) create_count: i64,
    /// How many would be merged into contacts that exist.
    pub(super) merge_count: i64,
    /// How many would be skipped.
    pub(super) skip_count: i64,
    /// How many would fail.
    pub(super) fail_count: i64,
    /// What each column holds, for a file: its name, or its place, and the field.
    pub(super) columns: Option<BTreeMap<String, String>>,
    /// The first rows.
    pub(super) rows: Vec<PlannedRowView>,
    /// The first errors by line.
    pub(super) errors: Vec<PlannedRowView>,
    /// Whether there are more rows or errors than are shown, 100 of each; the counts are of all.
    pub(super) truncated: bool,
}
