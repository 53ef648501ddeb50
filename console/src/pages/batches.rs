//! `/console/batches`: all batches, the newest first, by type and status.

use super::{ROWS, moment, shown_status};
use crate::fault::Fault;
use crate::guard::{self, Context, encoded};
use crate::ui::Ui;
use askama::Template;
use domain::batches::{self, Batch, BatchStatus, BatchType, Filter};
use domain::{BatchId, Timestamp};
use poem::Response;

/// A batch in a list.
pub(crate) struct Row {
    pub(super) id: BatchId,
    pub(super) kind: BatchType,
    pub(super) status: &'static str,
    pub(super) total: i64,
    pub(super) processed: i64,
    pub(super) failed: i64,
    pub(super) progress: i64,
    pub(super) moment_key: Option<&'static str>,
    pub(super) moment_at: Timestamp,
    pub(super) created_at: Timestamp,
}

impl Row {
    pub(super) fn of(batch: &Batch, now: Timestamp, sender_rate: Option<i64>) -> Self {
        let summary = &batch.summary;
        let moment = moment(batch, now, sender_rate);
        Self {
            id: summary.id,
            kind: summary.batch_type,
            status: shown_status(batch),
            total: summary.total,
            processed: summary.processed(),
            failed: summary.failed,
            progress: summary.progress(),
            moment_key: moment.as_ref().map(|moment| moment.key),
            moment_at: moment.map_or(summary.created_at, |moment| moment.at),
            created_at: summary.created_at,
        }
    }
}

#[derive(Template)]
#[template(path = "pages/batches.html", blocks = ["list"])]
struct Batches {
    ui: Ui,
    rows: Vec<Row>,
    kinds: &'static [BatchType],
    statuses: &'static [BatchStatus],
    kind: Option<BatchType>,
    status: Option<BatchStatus>,
    /// The address of the older ones.
    older: Option<String>,
    /// Whether this is not the newest page.
    later: bool,
}

/// Reads a value that must be one of a set.
fn choice<T: std::str::FromStr>(context: &Context, name: &str) -> Result<Option<T>, Fault> {
    let read = |text: &str| text.parse().map_err(|_| Fault::Bad(format!("{name}: {text:?} is not one of its values")));
    context.query(name).map(read).transpose()
}

/// Shows the list.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let kind: Option<BatchType> = choice(&context, "type")?;
    let status: Option<BatchStatus> = choice(&context, "status")?;
    let before: Option<BatchId> = choice(&context, "before")?;
    let filter = Filter { batch_type: kind, status, created_after: None };
    let mut found = batches::page(context.app.db.read(), &filter, before, ROWS as u64 + 1).await?;
    let more = found.len() > ROWS;
    found.truncate(ROWS);
    let older = found.last().filter(|_| more).map(|last| {
        let part =
            |name: &str, value: Option<String>| value.map_or(String::new(), |v| format!("{name}={}&", encoded(&v)));
        let (kind, status) = (part("type", kind.map(|k| k.to_string())), part("status", status.map(|s| s.to_string())));
        format!("/console/batches?{kind}{status}before={}", last.summary.id)
    });
    let (now, sender_rate) = (context.ui.now, context.app.settings.sender_rate_per_minute);
    let page = Batches {
        ui: context.ui.clone(),
        rows: found.iter().map(|batch| Row::of(batch, now, sender_rate)).collect(),
        kinds: BatchType::ALL,
        statuses: BatchStatus::ALL,
        kind,
        status,
        older,
        later: before.is_some(),
    };
    Ok(match context.fragment() {
        Some("list") => guard::html(&page.ui, &page.as_list()),
        _ => guard::html(&page.ui, &page),
    })
}
