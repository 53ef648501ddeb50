//! `/console/jobs`: jobs by lane, kind, state, batch and text of error.

use super::{moment, shown_state};
use crate::fault::Fault;
use crate::filter::Line;
use crate::guard::{self, Context};
use crate::pages::kept::{Views, views_of};
use crate::pages::{ROWS, new_operation};
use crate::ui::Ui;
use askama::Template;
use domain::jobs::list::{self, Filter, Job, ListCursor};
use domain::model::{JobAct, JobState};
use domain::queue::{self, Act};
use domain::users::Permission;
use domain::{BatchId, JobId, JobKind, Lane, Timestamp};
use poem::Response;

/// How far what is new is counted.
const NEWER: u64 = 1_000;

/// The longest error that a list shows, in characters.
const MAX_ERROR: usize = 160;

/// A job in the list.
pub(crate) struct Row {
    pub(crate) job: Job,
    pub(crate) state: &'static str,
    pub(crate) error: String,
    pub(crate) moment_key: &'static str,
    pub(crate) moment_at: Timestamp,
    /// What may be done to it, and whether that is asked before: the act's word in its address.
    pub(crate) acts: Vec<(&'static str, bool)>,
}

impl Row {
    pub(crate) fn of(job: Job, now: Timestamp) -> Self {
        let (moment_key, moment_at) = moment(&job, now);
        let error = job.error.as_deref().unwrap_or_default();
        let cut: String = error.chars().take(MAX_ERROR).collect();
        let error = if cut.len() < error.len() { format!("{cut}…") } else { cut };
        let acts = [("retry", Act::Retry, false), ("run", Act::RunNow, false), ("cancel", Act::Cancel, true)];
        let acts = acts.into_iter().filter(|(_, act, _)| queue::unfit(now, &job, *act).is_none());
        let acts = acts.map(|(word, _, asks)| (word, asks)).collect();
        Self { state: shown_state(&job, now), error, moment_key, moment_at, acts, job }
    }
}

#[derive(Template)]
#[template(path = "pages/queue/jobs.html", blocks = ["list"])]
struct Jobs {
    ui: Ui,
    rows: Vec<Row>,
    filter: Filter,
    lanes: [Lane; 3],
    kinds: &'static [JobKind],
    states: &'static [JobState],
    /// The address of the next page.
    next: Option<String>,
    /// Whether there is more to be looked at that this page did not.
    partial: bool,
    /// Whether this is not the first page.
    later: bool,
    /// The address of the first page, with the same filter.
    first: String,
    /// What may be done to all that match, each with its page.
    offers: Vec<(JobAct, String)>,
    /// How many came since the page was made; they wait behind a bar.
    newer: i64,
    /// Where the list fetches itself anew: the same jobs, so that nothing moves under the pointer.
    anew: String,
    /// Whether the reader may act on jobs.
    manages: bool,
    /// The filters that are kept under a name.
    views: Views,
}

impl Jobs {
    fn batch(&self) -> String {
        self.filter.batch.map_or(String::new(), |batch| batch.to_string())
    }

    fn error(&self) -> &str {
        self.filter.error.as_deref().unwrap_or_default()
    }
}

/// Reads a value that must be one of a set.
fn read<T: std::str::FromStr>(name: &str, text: Option<&str>) -> Result<Option<T>, Fault> {
    let read = |text: &str| text.parse().map_err(|_| Fault::Bad("bad-choice", format!("{name}={text}")));
    text.map(read).transpose()
}

/// The same of a value of the address.
fn choice<T: std::str::FromStr>(context: &Context, name: &str) -> Result<Option<T>, Fault> {
    read(name, context.query(name).map(str::trim).filter(|text| !text.is_empty()))
}

/// The jobs that the address names one by one.
fn chosen(context: &Context) -> Result<Option<Vec<JobId>>, Fault> {
    let read = |(_, text): &(String, String)| text.parse().map_err(|_| Fault::Bad("bad-choice", format!("id={text}")));
    let ids = context.query.iter().filter(|(name, _)| name == "id").map(read).collect::<Result<Vec<JobId>, _>>()?;
    match ids.len() {
        0 => Ok(None),
        1..=list::MAX_CHOSEN => Ok(Some(ids)),
        _ => Err(Fault::Bad("selected-none", list::MAX_CHOSEN.to_string())),
    }
}

/// What a filter line can say of jobs: what the fields do, in one line, as a view keeps it.
const KEYS: [&str; 5] = ["state", "lane", "kind", "batch", "error"];

/// What the address says of the jobs that are wanted, by its values or by a line.
pub(crate) fn filter(context: &Context) -> Result<Filter, Fault> {
    let line = Line::parse(context.query("q").unwrap_or_default());
    line.knows(&KEYS)?;
    let said = |name: &str| context.query(name).map(str::trim).filter(|text| !text.is_empty()).or(line.get(name));
    let error = said("error");
    if error.is_some_and(|text| text.chars().count() > list::MAX_TEXT) {
        return Err(Fault::Bad("bad-search", list::MAX_TEXT.to_string()));
    }
    Ok(Filter {
        lane: read("lane", said("lane"))?,
        kind: read("kind", said("kind"))?,
        state: read("state", said("state"))?,
        batch: read::<BatchId>("batch", said("batch"))?,
        error: error.map(str::to_owned),
        ids: chosen(context)?,
    })
}

/// The filter as a line, to be kept; jobs that are chosen one by one are not part of it.
fn line_of(filter: &Filter) -> Line {
    let mut line = Line::default();
    line.set("state", filter.state.map(|state| state.to_string()).unwrap_or_default());
    line.set("lane", filter.lane.map(|lane| lane.to_string()).unwrap_or_default());
    line.set("kind", filter.kind.map(|kind| kind.to_string()).unwrap_or_default());
    line.set("batch", filter.batch.map(|batch| batch.to_string()).unwrap_or_default());
    line.set("error", filter.error.clone().unwrap_or_default());
    line
}

/// A filter as the address says it: the jobs' page with it.
pub(crate) fn address(filter: &Filter, more: &[(&str, String)]) -> String {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    let mut add = |name, value: Option<String>| {
        if let Some(value) = value {
            pairs.push((name, value));
        }
    };
    add("state", filter.state.map(|state| state.to_string()));
    add("lane", filter.lane.map(|lane| lane.to_string()));
    add("kind", filter.kind.map(|kind| kind.to_string()));
    add("batch", filter.batch.map(|batch| batch.to_string()));
    add("error", filter.error.clone());
    pairs.extend(filter.ids.iter().flatten().map(|id| ("id", id.to_string())));
    pairs.extend(more.iter().cloned());
    match serde_urlencoded::to_string(&pairs) {
        Ok(text) if !text.is_empty() => format!("/console/jobs?{text}"),
        _ => "/console/jobs".to_owned(),
    }
}

/// A filter in words, a condition each.
pub(crate) fn said(ui: &Ui, filter: &Filter) -> Vec<String> {
    let batch = filter.batch.map(|batch| batch.to_string());
    let parts = [
        ("job-state", filter.state.map(|state| ui.state("state-", state))),
        ("lane", filter.lane.map(|lane| ui.state("lane-", lane))),
        ("job-kind", filter.kind.map(|kind| ui.state("kind-", kind))),
        ("batch", batch),
        ("job-error", filter.error.clone()),
    ];
    let chosen = filter.ids.as_ref().and_then(|ids| i64::try_from(ids.len()).ok());
    let chosen = chosen.map(|jobs| format!("{} {}", ui.t("chosen"), ui.number(&jobs)));
    parts.into_iter().filter_map(|(key, value)| Some(format!("{}: {}", ui.t(key), value?))).chain(chosen).collect()
}

/// The numbers of the jobs that a list already shows.
fn shown(context: &Context) -> Result<Option<Vec<i64>>, Fault> {
    let Some(text) = context.query("ids") else { return Ok(None) };
    let bad = || Fault::Bad("bad-choice", "ids".to_owned());
    let ids = text.split('-').map(str::parse).collect::<Result<Vec<i64>, _>>().map_err(|_| bad())?;
    if ids.len() > ROWS { Err(bad()) } else { Ok(Some(ids)) }
}

/// Shows the list.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let filter = filter(&context)?;
    let after: Option<ListCursor> = choice(&context, "after")?;
    let (db, now) = (context.app.db.read(), context.ui.now);
    let upto: Option<i64> = choice(&context, "upto")?;
    let place = after.map(|place| ("after", place.to_string()));
    let (found, next, partial, newer, upto) = match (shown(&context)?, upto) {
        (Some(ids), Some(upto)) => {
            let newer = if after.is_none() { list::newer(db, &filter, upto, NEWER).await? } else { 0 };
            let next: Option<ListCursor> = choice(&context, "next")?;
            (list::by_ids(db, &ids).await?, next, context.query("partial").is_some(), newer, upto)
        }
        _ => {
            let upto = list::newest(db).await?;
            let page = list::page(db, &filter, after, ROWS).await?;
            (page.rows, page.next, page.partial, 0, upto)
        }
    };
    let ids: Vec<String> = found.iter().map(|job| job.id.to_string()).collect();
    let mut more = vec![("upto", upto.to_string()), ("fragment", "list".to_owned())];
    more.extend(place);
    more.extend((!ids.is_empty()).then(|| ("ids", ids.join("-"))));
    more.extend(next.map(|next| ("next", next.to_string())));
    more.extend(partial.then(|| ("partial", "1".to_owned())));
    let manages = context.ui.may(Permission::QueuesManage);
    let page = Jobs {
        ui: context.ui.clone(),
        rows: found.into_iter().map(|job| Row::of(job, now)).collect(),
        lanes: Lane::ALL,
        kinds: JobKind::ALL,
        states: JobState::ALL,
        next: next.map(|next| address(&filter, &[("after", next.to_string())])),
        partial,
        later: after.is_some(),
        offers: if manages { new_operation::offers(&filter) } else { Vec::new() },
        manages,
        views: views_of(&context, "jobs", &line_of(&filter)).await?,
        first: address(&filter, &[]),
        newer,
        anew: address(&filter, &more),
        filter,
    };
    Ok(match context.fragment() {
        Some("list") => guard::html(&page.ui, &page.as_list()),
        _ => guard::html(&page.ui, &page),
    })
}
