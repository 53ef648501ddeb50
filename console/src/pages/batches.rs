//! `/console/batches`: all batches, the newest first, by a filter line; and which of them to steer together.

use super::kept::{Views, views_of};
use super::{ROWS, moment, shown_status};
use crate::fault::Fault;
use crate::filter::{Chip, Line};
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use domain::batches::{self, Approval, Batch, BatchStatus, BatchType, Filter};
use domain::model::BatchAct;
use domain::users::{self, Permission};
use domain::{BatchId, Timestamp, UserId};
use poem::Response;
use std::collections::HashMap;

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
    /// Who asked for it; empty where only the number is known.
    pub(super) by: String,
    pub(super) by_id: UserId,
    /// What may be done to it: the act's word in its address.
    pub(super) acts: Vec<&'static str>,
    /// What may be done once that is asked.
    pub(super) asked: Vec<&'static str>,
}

impl Row {
    pub(super) fn of(batch: &Batch, now: Timestamp, sender_rate: Option<i64>, names: &HashMap<UserId, String>) -> Self {
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
            by: names.get(&batch.created_by).cloned().unwrap_or_default(),
            by_id: batch.created_by,
            acts: match (summary.status.is_terminal(), batch.paused) {
                (true, _) => Vec::new(),
                (false, true) => vec!["resume"],
                (false, false) => vec!["pause"],
            },
            asked: match summary.status {
                BatchStatus::Pending | BatchStatus::Processing => vec!["cancel"],
                BatchStatus::Completed | BatchStatus::Failed if summary.failed > 0 => vec!["retry"],
                BatchStatus::Completed | BatchStatus::Failed | BatchStatus::Cancelled => Vec::new(),
            },
        }
    }
}

/// The names of those who asked for batches, for who may read users; others see their numbers.
pub(super) async fn names(context: &Context, of: &[Batch]) -> Result<HashMap<UserId, String>, Fault> {
    if !context.ui.may(Permission::UsersRead) {
        return Ok(HashMap::new());
    }
    let mut ids: Vec<UserId> = of.iter().map(|batch| batch.created_by).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(users::names(context.app.db.read(), &ids).await?)
}

#[derive(Template)]
#[template(path = "pages/batches.html", blocks = ["list"])]
struct Batches {
    ui: Ui,
    rows: Vec<Row>,
    /// The filter line.
    line: String,
    chips: Vec<Chip>,
    views: Views,
    /// Lines that can be completed.
    known: Vec<String>,
    /// The address of the older ones.
    older: Option<String>,
    /// Whether this is not the newest page.
    later: bool,
    /// The address of the newest ones, with the same filter.
    newest: String,
    /// How many came since the page was made; they wait behind a bar.
    newer: i64,
    /// What may be done to all that match, each with its page; nothing where all would.
    offers: Vec<(BatchAct, String)>,
    /// Where the list fetches itself anew: no batch that is newer than its first comes in under the pointer.
    anew: String,
}

const PATH: &str = "/console/batches";

/// What the filter line knows.
const KEYS: [&str; 7] = ["status", "type", "creator", "text", "after", "before", "approval"];

/// How far what is new is counted.
const NEWER: u64 = 1_000;

/// The longest text that is looked for, in characters.
const MAX_TEXT: usize = 200;

/// Reads a number of the address.
fn number(context: &Context, name: &str) -> Result<Option<i64>, Fault> {
    let read = |text: &str| text.parse().map_err(|_| Fault::Bad("bad-choice", format!("{name}={text}")));
    context.query(name).map(read).transpose()
}

/// A day as a filter names it, from its midnight in UTC on.
pub(super) fn day(line: &Line, key: &str) -> Result<Option<Timestamp>, Fault> {
    let read = |text: &str| {
        let day = Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")).or_else(|_| Timestamp::parse_rfc3339(text));
        day.map_err(|_| Fault::Bad("bad-day", format!("{key}:{text}")))
    };
    line.get(key).map(read).transpose()
}

/// Who is named by `creator:`: oneself, a number or, for who may read users, an address.
pub(super) async fn creator(context: &Context, line: &Line) -> Result<Option<UserId>, Fault> {
    let Some(text) = line.get("creator") else { return Ok(None) };
    let unknown = || Fault::Bad("bad-creator", text.to_owned());
    if text == "me" {
        return Ok(Some(context.viewer()?.user.id));
    }
    if let Ok(id) = text.parse() {
        return Ok(Some(UserId(id)));
    }
    context.needs(Permission::UsersRead)?;
    let found = users::by_email(context.app.db.read(), text).await?;
    found.map(|user| Some(user.id)).ok_or_else(unknown)
}

/// The line of the address; the values that links name by themselves are conditions of it.
pub(super) fn line_of(context: &Context) -> Line {
    let mut line = Line::parse(context.query("q").unwrap_or_default());
    for key in ["type", "status"] {
        if let Some(value) = context.query(key) {
            line.set(key, value.to_ascii_lowercase());
        }
    }
    line
}

pub(super) async fn filter_of(context: &Context, line: &Line) -> Result<Filter, Fault> {
    line.knows(&KEYS)?;
    let text = line.get("text").map(str::to_owned);
    if text.as_ref().is_some_and(|text| text.chars().count() > MAX_TEXT) {
        return Err(Fault::Bad("bad-search", MAX_TEXT.to_string()));
    }
    Ok(Filter {
        batch_type: line.choice("type", BatchType::ALL)?,
        status: line.choice("status", BatchStatus::ALL)?,
        approval: line.choice("approval", Approval::ALL)?,
        created_after: day(line, "after")?,
        created_before: day(line, "before")?,
        created_by: creator(context, line).await?,
        text,
    })
}

/// The acts on all that match.
fn offers(line: &Line) -> Vec<(BatchAct, String)> {
    let address = |act: &BatchAct| format!("{}act={act}", line.address_with("/console/batches/all"));
    BatchAct::ALL.iter().map(|act| (*act, address(act))).collect()
}

fn known() -> Vec<String> {
    let of = |key: &str, one: &dyn ToString| format!("{key}:{}", one.to_string().to_ascii_lowercase());
    let statuses = BatchStatus::ALL.iter().map(|one| of("status", one));
    let types = BatchType::ALL.iter().map(|one| of("type", one));
    let approvals = Approval::ALL.iter().map(|one| of("approval", one));
    statuses.chain(types).chain(approvals).chain(["creator:me".to_owned()]).collect()
}

/// Shows the list.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let line = line_of(&context);
    let filter = filter_of(&context, &line).await?;
    let before = number(&context, "before")?.map(BatchId);
    // 0 where the list was empty.
    let upto = number(&context, "upto")?.map(BatchId);
    let db = context.app.db.read();
    let from = before.or(upto.map(|upto| BatchId(upto.0.saturating_add(1))));
    let mut found = batches::page(db, &filter, from, ROWS as u64 + 1).await?;
    let newer = match upto {
        Some(upto) if before.is_none() => batches::newer(db, &filter, upto, NEWER).await?,
        _ => 0,
    };
    let more = found.len() > ROWS;
    found.truncate(ROWS);
    let with = line.address_with(PATH);
    let older = found.last().filter(|_| more).map(|last| format!("{with}before={}", last.summary.id));
    let first = upto.or(found.first().map(|first| first.summary.id)).unwrap_or(BatchId(0));
    let before_part = before.map_or(String::new(), |before| format!("before={before}&"));
    let anew = format!("{with}{before_part}upto={first}&fragment=list");
    let (now, sender_rate) = (context.ui.now, context.app.settings.sender_rate_per_minute);
    let names = names(&context, &found).await?;
    let page = Batches {
        ui: context.ui.clone(),
        rows: found.iter().map(|batch| Row::of(batch, now, sender_rate, &names)).collect(),
        chips: line.chips(PATH),
        views: views_of(&context, "batches", &line).await?,
        newest: line.address(PATH),
        line: line.to_string(),
        known: known(),
        offers: if filter.is_empty() || !context.ui.may_steer() { Vec::new() } else { offers(&line) },
        older,
        later: before.is_some(),
        newer,
        anew,
    };
    Ok(match context.fragment() {
        Some("list") => guard::html(&page.ui, &page.as_list()),
        _ => guard::html(&page.ui, &page),
    })
}
