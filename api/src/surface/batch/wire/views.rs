//! What is answered.

use super::{Approval, BatchStatus, BatchType, ItemStatus, LimitedBy, PlannedAction};
use crate::foundation::time::Time;
use domain::batches::{self, Batch, BatchSummary, Item, SenderPaces, Stats};
use domain::messages::templates::StoredTemplate;
use domain::senders::Hold;
use domain::{Timestamp, contacts};
use poem_openapi::Object;
use poem_openapi::types::ToJSON;
use serde_json::Value;
use std::collections::BTreeMap;

/// A batch's status and counts.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct BatchStatusView {
    /// The batch.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    id: String,
    /// What it does.
    #[oai(rename = "type")]
    batch_type: BatchType,
    /// Where it stands.
    status: BatchStatus,
    /// Whether it is paused.
    paused: bool,
    /// How many items it has.
    #[oai(validator(minimum(value = "0")))]
    total_count: i64,
    /// How many are done with: succeeded, failed and skipped.
    #[oai(validator(minimum(value = "0")))]
    processed_count: i64,
    /// How many succeeded.
    #[oai(validator(minimum(value = "0")))]
    success_count: i64,
    /// How many failed.
    #[oai(validator(minimum(value = "0")))]
    failed_count: i64,
    /// The percentage of items that are processed, rounded down.
    #[oai(validator(minimum(value = "0"), maximum(value = "100")))]
    progress: i64,
    /// When it was accepted.
    created_at: Time,
    /// When its first item was claimed.
    started_at: Option<Time>,
    /// When it ended.
    completed_at: Option<Time>,
}

impl From<&BatchSummary> for BatchStatusView {
    fn from(s: &BatchSummary) -> Self {
        Self {
            id: s.id.to_string(),
            batch_type: s.batch_type.into(),
            status: s.status.into(),
            paused: s.paused,
            total_count: s.total,
            processed_count: s.processed(),
            success_count: s.succeeded,
            failed_count: s.failed,
            progress: s.progress(),
            created_at: s.created_at.into(),
            started_at: s.started_at.map(Time),
            completed_at: s.completed_at.map(Time),
        }
    }
}

/// A batch's status and counts as a socket's frame carries them.
pub(crate) fn summary_json(summary: &BatchSummary) -> Value {
    BatchStatusView::from(summary).to_json().unwrap_or_default()
}

/// Something that is taken, and will not do what it seems to.
#[derive(Debug, Object)]
pub(crate) struct Warning {
    /// The field.
    field: String,
    /// What to know of it.
    message: String,
}

/// What keeps an operation from going on.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct HoldView {
    /// A stable word: `sender_stopped`, `sender_cap` or `approval`.
    code: String,
    /// For people.
    message: String,
    /// When it ends by itself.
    until: Option<Time>,
}

impl From<Hold> for HoldView {
    fn from(hold: Hold) -> Self {
        let until = match hold {
            Hold::Stopped => None,
            Hold::Capped { until } => Some(Time(until)),
        };
        Self { code: hold.code().into(), message: hold.message().into(), until }
    }
}

/// A batch operation.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct BatchOperation {
    /// Status and counts.
    #[oai(flatten)]
    summary: BatchStatusView,
    /// The sender that its messages leave from. Absent where it sends nothing.
    sender: Option<String>,
    /// When it is to start.
    schedule_at: Option<Time>,
    /// Its own pace.
    #[oai(validator(minimum(value = "1"), maximum(value = "600000")))]
    rate_per_minute: Option<i64>,
    /// Its random extra delay.
    #[oai(validator(minimum(value = "0"), maximum(value = "600000")))]
    jitter_ms: Option<i64>,
    /// How many items were skipped.
    #[oai(validator(minimum(value = "0")))]
    skipped_count: i64,
    /// The pace that holds, in messages a minute: the least of its own and its sender's or, where the gateway holds it,
    /// how fast it went so far. Absent where nothing limits it.
    #[oai(validator(minimum(value = "0")))]
    effective_rate_per_minute: Option<i64>,
    /// What that pace is of. Absent where nothing limits it.
    limited_by: Option<LimitedBy>,
    /// What is taken, and will not do what it seems to. Absent where there is nothing to say.
    warnings: Option<Vec<Warning>>,
    /// Where its approval stands; one that waits for it is `PENDING` and paused. Absent where nobody was asked.
    approval: Option<Approval>,
    /// What keeps it from going on: its sender, or that it waits for a second person. Absent where nothing does.
    holds: Option<Vec<HoldView>>,
    /// How to go on with what a cancelled operation left.
    hint: Option<String>,
    /// Why it could not go on.
    error_message: Option<String>,
    /// Who asked for it: the user's number.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    created_by: String,
    /// The request without its lists, as it was changed since.
    config: Value,
    /// When it will probably end.
    estimated_completion_at: Option<Time>,
}

impl BatchOperation {
    pub(crate) fn of(batch: &Batch, now: Timestamp, senders: &SenderPaces) -> Self {
        let sends = batch.sender.is_some();
        let sender = senders.of(batch);
        let pace = batch.effective_pace(now, &sender);
        let hold = batch.held_by_sender(now, &sender);
        let above = batch.pace_above_senders(&sender).map(|limit| {
            vec![Warning {
                field: "ratePerMinute".into(),
                message: format!("is above the sender's limit: at most {limit} messages a minute leave"),
            }]
        });
        let approval = batch.awaits_approval().then(|| HoldView {
            code: "approval".into(),
            message: "a second person has to approve it: POST /batch/{id}/approve".into(),
            until: None,
        });
        let holds: Vec<HoldView> = hold.map(HoldView::from).into_iter().chain(approval).collect();
        Self {
            summary: (&batch.summary).into(),
            sender: sends.then_some(sender.name),
            schedule_at: batch.schedule_at.map(Time),
            rate_per_minute: batch.rate_per_minute,
            jitter_ms: sends.then_some(batch.jitter_ms),
            skipped_count: batch.summary.skipped,
            effective_rate_per_minute: pace.rate_per_minute,
            limited_by: pace.limited_by.map(Into::into),
            warnings: above,
            approval: batch.approval.map(Into::into),
            holds: (!holds.is_empty()).then_some(holds),
            hint: batch.hint(),
            error_message: batch.error_message.clone(),
            created_by: batch.created_by.to_string(),
            config: batch.config.clone(),
            // Nobody knows when a user lets a stopped sender go on.
            estimated_completion_at: batch
                .estimated_completion_at(now, sender.rate_per_minute)
                .filter(|_| hold != Some(Hold::Stopped))
                .map(Time),
        }
    }
}

/// Numbers over many batches.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct StatsView {
    /// How many batches match.
    #[oai(validator(minimum(value = "0")))]
    total: i64,
    /// How many of each type.
    by_type: BTreeMap<String, i64>,
    /// How many in each status.
    by_status: BTreeMap<String, i64>,
    /// The percentage of processed items that succeeded, rounded to one decimal; 0 when none were.
    #[oai(validator(minimum(value = "0"), maximum(value = "100")))]
    success_rate: f64,
    /// Items that are done with.
    #[oai(validator(minimum(value = "0")))]
    total_processed: i64,
    /// Items that succeeded.
    #[oai(validator(minimum(value = "0")))]
    total_success: i64,
    /// Items that failed.
    #[oai(validator(minimum(value = "0")))]
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
pub(crate) struct ItemView {
    /// Its place in the batch, from 0.
    #[oai(validator(minimum(value = "0")))]
    pub(crate) seq: i64,
    /// The contact; where the request named nobody, what it named; null while a row of an import has none.
    pub(crate) contact_id: Option<String>,
    /// The contact's number, masked for those who may not read contacts' data; null where there is none. Of an import's row that
    /// has no contact, the number as the file has it.
    pub(crate) phone: Option<String>,
    /// What the request named, where that is no contact: an id, or the number as the file has it, masked like `phone`.
    pub(crate) input: Option<String>,
    /// Where it stands.
    pub(crate) status: ItemStatus,
    /// How many attempts were made.
    #[oai(validator(minimum(value = "0")))]
    pub(crate) attempts: i64,
    /// A stable word for the last error.
    pub(crate) error_code: Option<String>,
    /// The last error for people.
    pub(crate) error_message: Option<String>,
    /// What is odd about it, though it was done: `unassigned_range` for a number outside its country's known ranges.
    pub(crate) warning: Option<String>,
    /// The message's id.
    pub(crate) message_id: Option<String>,
    /// When its first attempt began.
    pub(crate) started_at: Option<Time>,
    /// When it was finished.
    pub(crate) finished_at: Option<Time>,
    /// When it is tried next.
    pub(crate) next_attempt_at: Option<Time>,
}

impl ItemView {
    /// An item; its number is masked unless `plain`.
    pub(crate) fn of(item: Item, plain: bool) -> Self {
        Self {
            seq: item.seq,
            // The number of an import's row is no contact's id.
            contact_id: match (item.contact, &item.phone) {
                (Some(id), _) => Some(id.to_string()),
                (None, None) => item.input.clone(),
                (None, Some(_)) => None,
            },
            input: match (item.input, &item.phone) {
                (Some(input), Some(_)) if !plain => Some(contacts::phone::mask_digits(&input)),
                (input, _) => input,
            },
            phone: item.phone.map(|phone| if plain { phone } else { contacts::phone::mask_digits(&phone) }),
            status: item.status.into(),
            attempts: item.attempts,
            error_code: item.error_code,
            error_message: item.error_message,
            warning: item.warning,
            message_id: item.message_id,
            started_at: item.started_at.map(Time),
            finished_at: item.finished_at.map(Time),
            next_attempt_at: item.next_attempt_at.map(Time),
        }
    }
}

/// What one recipient would read.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct PreviewView {
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

/// A template.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct TemplateView {
    /// Its number.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    id: String,
    /// Its name.
    name: String,
    /// The text with placeholders.
    content: String,
    /// When it was made.
    created_at: Time,
    /// When it was last changed.
    updated_at: Time,
}

impl From<StoredTemplate> for TemplateView {
    fn from(template: StoredTemplate) -> Self {
        Self {
            id: template.id.to_string(),
            name: template.name,
            content: template.content,
            created_at: template.created_at.into(),
            updated_at: template.updated_at.into(),
        }
    }
}

/// A rendered text.
#[derive(Debug, Object)]
pub(crate) struct Rendered {
    /// The text.
    pub(crate) message: String,
}

/// What an import would do with a row.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct PlannedRowView {
    /// Its line.
    #[oai(validator(minimum(value = "1")))]
    pub(crate) line: i64,
    /// What would become of it.
    pub(crate) action: PlannedAction,
    /// The number as it was written.
    pub(crate) input: Option<String>,
    /// The normalised number.
    pub(crate) phone: Option<String>,
    /// The country that it was read as, by its two letters.
    pub(crate) country: Option<String>,
    /// What is odd about the number: `unassigned_range`.
    pub(crate) warning: Option<String>,
    /// The name.
    pub(crate) name: Option<String>,
    /// Its own tags.
    pub(crate) tags: Option<Vec<String>>,
    /// Further values.
    pub(crate) attributes: Option<BTreeMap<String, String>>,
    /// A stable word for why it would fail.
    pub(crate) reason: Option<String>,
    /// Why it would fail, for people.
    pub(crate) error: Option<String>,
    /// The cells of a row that would fail.
    pub(crate) cells: Option<Vec<String>>,
}

/// What an import would do: nothing was written.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct DryRun {
    /// True.
    pub(crate) dry_run: bool,
    /// How many rows there are.
    #[oai(validator(minimum(value = "0")))]
    pub(crate) total_count: i64,
    /// How many would become new contacts.
    #[oai(validator(minimum(value = "0")))]
    pub(crate) create_count: i64,
    /// How many would be merged into contacts that exist.
    #[oai(validator(minimum(value = "0")))]
    pub(crate) merge_count: i64,
    /// How many would be skipped.
    #[oai(validator(minimum(value = "0")))]
    pub(crate) skip_count: i64,
    /// How many would fail.
    #[oai(validator(minimum(value = "0")))]
    pub(crate) fail_count: i64,
    /// How many would fail for each reason.
    pub(crate) fail_reasons: BTreeMap<String, i64>,
    /// How many numbers are outside the known ranges of their country.
    #[oai(validator(minimum(value = "0")))]
    pub(crate) warning_count: i64,
    /// The country that numbers without a country's code were read in.
    pub(crate) default_country: Option<String>,
    /// What each column holds, for a file: its name, or its place, and the field.
    pub(crate) columns: Option<BTreeMap<String, String>>,
    /// The columns that are not read.
    pub(crate) ignored_columns: Option<Vec<String>>,
    /// The encoding of a CSV file.
    pub(crate) encoding: Option<String>,
    /// The sheet of a workbook that is read.
    pub(crate) sheet: Option<String>,
    /// All its sheets.
    pub(crate) sheets: Option<Vec<String>>,
    /// The first rows.
    pub(crate) rows: Vec<PlannedRowView>,
    /// The first errors by line.
    pub(crate) errors: Vec<PlannedRowView>,
    /// Whether there are more rows or errors than are shown, 100 of each; the counts are of all.
    pub(crate) truncated: bool,
}
