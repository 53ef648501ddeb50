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
    /// The address of the newest ones, with the same filter.
    newest: String,
    /// How many came since the page was made; they wait behind a bar.
    newer: i64,
    /// Where the list fetches itself anew: no batch that is newer than its first comes in under the pointer.
    anew: String,
}

/// How far what is new is counted.
const NEWER: u64 = 1_000;

/// Reads a value that must be one of a set.
fn choice<T: std::str::FromStr>(context: &Context, name: &str) -> Result<Option<T>, Fault> {
    let read = |text: &str| text.parse().map_err(|_| Fault::Bad("bad-choice", format!("{name}={text}")));
    context.query(name).map(read).transpose()
}

/// Shows the list.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let kind: Option<BatchType> = choice(&context, "type")?;
    let status: Option<BatchStatus> = choice(&context, "status")?;
    let before: Option<BatchId> = choice(&context, "before")?;
    let filter = Filter { batch_type: kind, status, created_after: None };
    // 0 where the list was empty.
    let upto: Option<i64> = choice(&context, "upto")?;
    let upto = upto.map(BatchId);
    let db = context.app.db.read();
    let from = before.or(upto.map(|upto| BatchId(upto.0.saturating_add(1))));
    let mut found = batches::page(db, &filter, from, ROWS as u64 + 1).await?;
    let newer = match upto {
        Some(upto) if before.is_none() => batches::newer(db, &filter, upto, NEWER).await?,
        _ => 0,
    };
    let more = found.len() > ROWS;
    found.truncate(ROWS);
    let part = |name: &str, value: Option<String>| value.map_or(String::new(), |v| format!("{name}={}&", encoded(&v)));
    let chosen =
        format!("{}{}", part("type", kind.map(|k| k.to_string())), part("status", status.map(|s| s.to_string())));
    let older =
        found.last().filter(|_| more).map(|last| format!("/console/batches?{chosen}before={}", last.summary.id));
    let first = upto.or(found.first().map(|first| first.summary.id)).unwrap_or(BatchId(0));
    let anew =
        format!("/console/batches?{chosen}{}upto={first}&fragment=list", part("before", before.map(|b| b.to_string())));
    let newest = format!("/console/batches?{}", chosen.trim_end_matches('&')).trim_end_matches('?').to_owned();
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
        newer,
        anew,
        newest,
    };
    Ok(match context.fragment() {
        Some("list") => guard::html(&page.ui, &page.as_list()),
        _ => guard::html(&page.ui, &page),
    })
}
