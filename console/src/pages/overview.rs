//! `/console`: what needs a person, how far behind each lane is, the workers, and what is under way.

use super::batches::{Row, names};
use super::queue::plots::{self, Plot};
use crate::fault::Fault;
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use domain::batches::{self, Approval, Batch, BatchStatus, Filter};
use domain::delivery::send;
use domain::jobs::Depth;
use domain::queue::samples::{self, Sample, Span, Standing};
use domain::queue::{self, Worker};
use domain::users::Permission;
use domain::{Lane, Timestamp};
use poem::Response;
use std::time::Duration;

/// How many batches under way are shown, and how many of each thing that needs a person.
const SHOWN: u64 = 10;

/// How many workers are shown.
const WORKERS: usize = 20;

/// After how long without a look of a scheduler it is late: it takes one every five seconds.
const LATE_AFTER: Duration = Duration::from_secs(30);

/// How full a disk may be, in percent, before that needs a person.
const DISK_FULL: i64 = 90;

/// For how long a batch that failed needs a person.
const FAILED_FOR: Duration = Duration::from_secs(24 * 3600);

/// How long a lane may be behind, with nobody at work in it, before that needs a person.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// How far behind a lane is.
struct LaneRow {
    lane: Lane,
    /// Jobs that wait.
    waiting: i64,
    /// Jobs at work.
    running: i64,
    /// For how long the oldest job could have been at work already.
    behind: Duration,
}

impl LaneRow {
    fn behind_secs(&self) -> i64 {
        i64::try_from(self.behind.as_secs()).unwrap_or(i64::MAX)
    }
}

/// Something that needs a person.
struct Need {
    /// The key of its words, with the values that they take.
    key: &'static str,
    value: String,
    count: i64,
    /// Its cause, as it was told.
    cause: String,
    act: Option<Act>,
}

/// The one act that mends it.
enum Act {
    /// A page, and the key of the link's words.
    Look(String, &'static str),
    /// A form, and the key of its button's words.
    Do(String, &'static str),
}

impl Need {
    fn text(&self, ui: &Ui) -> String {
        ui.tnv(self.key, &self.count, &self.value)
    }
}

#[derive(Template)]
#[template(path = "pages/overview.html", blocks = ["now", "plots"])]
struct Overview {
    ui: Ui,
    lanes: Vec<LaneRow>,
    needs: Vec<Need>,
    workers: Vec<Worker>,
    /// When the lanes were counted, where that was not now.
    counted_at: Option<Timestamp>,
    plots: Vec<Plot>,
    span: Span,
    spans: [Span; 3],
    /// What the plots show, where the reader asks for the figures.
    samples: Option<Vec<Sample>>,
    /// Whether the reader may watch the queue.
    queue: bool,
    /// Whether the reader may watch batches.
    watches: bool,
    /// Whether there is no batch at all yet.
    first: bool,
    /// Whether made-up contacts can be made.
    sample: bool,
    rows: Vec<Row>,
}

fn lanes(depths: &[Depth]) -> Vec<LaneRow> {
    let row = |lane: &Lane| {
        let of = |state: &'static str| {
            depths.iter().filter(move |depth| depth.lane == lane.as_str() && depth.state == state)
        };
        LaneRow {
            lane: *lane,
            waiting: of("ready").map(|depth| depth.jobs).sum(),
            running: of("running").map(|depth| depth.jobs).sum(),
            behind: of("ready").map(|depth| depth.oldest).max().unwrap_or_default(),
        }
    };
    let mut rows: Vec<LaneRow> = Lane::ALL.iter().map(row).collect();
    // Stable: of lanes that are as far behind, the more urgent first.
    rows.sort_by_key(|row| std::cmp::Reverse(row.behind.as_secs()));
    rows
}

fn in_state(depths: &[Depth], state: &str) -> i64 {
    depths.iter().filter(|depth| depth.state == state).map(|depth| depth.jobs).sum()
}

/// What is wrong with the queue.
fn needs_of_queue(depths: &[Depth], lanes: &[LaneRow]) -> Vec<Need> {
    let plain = |key, count| Need { key, value: String::new(), count, cause: String::new(), act: None };
    let mut needs = Vec::new();
    let (dead, parked) = (in_state(depths, "dead"), in_state(depths, "parked"));
    if dead > 0 {
        let act = Some(Act::Look("/console/jobs?state=dead".into(), "look-dead"));
        needs.push(Need { act, ..plain("need-dead", dead) });
    }
    if parked > 0 {
        let act = Some(Act::Look("/console/jobs?state=parked".into(), "jobs"));
        needs.push(Need { act, ..plain("need-parked", parked) });
    }
    if lanes.iter().any(|lane| lane.running == 0 && lane.waiting > 0 && lane.behind > IDLE_FOR) {
        let waiting = lanes.iter().map(|lane| lane.waiting).sum();
        needs.push(plain("need-worker", waiting));
    }
    needs
}

/// What is wrong with the processes: a scheduler that is late, releases that are mixed, a disk that fills.
fn needs_of_processes(context: &Context, standing: &Standing, workers: &[Worker]) -> Vec<Need> {
    let need = |key, value: String, count, act| Need { key, value, count, cause: String::new(), act };
    let mut needs = Vec::new();
    if let Some((looked_at, _)) = &standing.scheduler
        && context.ui.now.since(*looked_at) > LATE_AFTER
    {
        let minutes = i64::try_from(context.ui.now.since(*looked_at).as_secs() / 60).unwrap_or(i64::MAX);
        needs.push(need("need-scheduler", String::new(), minutes, None));
    }
    let scheduler = standing.scheduler.as_ref().map(|(_, version)| version.as_str());
    let mut versions: Vec<&str> =
        workers.iter().filter_map(|worker| worker.version.as_deref()).chain(scheduler).collect();
    versions.sort_unstable();
    versions.dedup();
    if versions.len() > 1 {
        let act = Act::Look("/console/workers".into(), "workers");
        needs.push(need("need-mixed", versions.join(", "), 0, Some(act)));
    }
    let disk = context.app.settings.data_dir.as_deref().and_then(disk_used);
    if let Some(percent) = disk.filter(|percent| *percent >= DISK_FULL) {
        needs.push(need("need-disk", String::new(), percent, None));
    }
    needs
}

/// How full the disk of a folder is, in percent; `None` where that cannot be told.
pub(super) fn disk_used(dir: &std::path::Path) -> Option<i64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    let (all, free) = (stat.f_blocks, stat.f_bavail);
    (all > 0).then(|| i64::try_from((all - free.min(all)) * 100 / all).unwrap_or(100))
}

/// A batch that needs a person.
fn need_of(batch: &Batch, key: &'static str, act: Act) -> Need {
    Need {
        key,
        value: batch.summary.id.to_string(),
        count: batch.summary.failed,
        cause: batch.error_message.clone().unwrap_or_default(),
        act: Some(act),
    }
}

/// What is wrong with batches, of those under way and of those that ended lately.
async fn needs_of_batches(context: &Context, going: &[Batch], now: Timestamp) -> Result<Vec<Need>, Fault> {
    let steers = context.ui.may_steer();
    let lately = Some(now.minus(FAILED_FOR));
    let filter = Filter { status: Some(BatchStatus::Failed), created_after: lately, ..Filter::default() };
    let failed = batches::page(context.app.db.read(), &filter, None, SHOWN).await?;
    let page = |batch: &Batch, rest: &str| format!("/console/batches/{}{rest}", batch.summary.id);
    let waiting = Filter { approval: Some(Approval::Pending), ..Filter::default() };
    let waiting = batches::page(context.app.db.read(), &waiting, None, SHOWN).await?;
    let look = if context.ui.may(Permission::BatchesApprove) { "look-approval" } else { "look-batch" };
    let mut needs: Vec<Need> = waiting
        .iter()
        .map(|b| Need { count: b.summary.total, ..need_of(b, "need-approval", Act::Look(page(b, ""), look)) })
        .collect();
    needs.extend(failed.iter().map(|b| need_of(b, "need-failed", Act::Look(page(b, "/failures"), "look-causes"))));
    needs.extend(going.iter().filter(|batch| batch.paused && !batch.awaits_approval()).map(|b| {
        let act = match steers {
            true => Act::Do(page(b, "/resume"), "act-resume"),
            false => Act::Look(page(b, ""), "look-batch"),
        };
        need_of(b, "need-paused", act)
    }));
    Ok(needs)
}

async fn circuits(context: &Context) -> Result<Vec<Need>, Fault> {
    let open = send::open_circuits(context.app.db.read()).await?;
    let need = |circuit: send::OpenCircuit| Need {
        key: "need-circuit",
        value: circuit.sender,
        count: i64::try_from(circuit.until.since(context.ui.now).as_secs()).unwrap_or(i64::MAX),
        cause: circuit.reason,
        act: None,
    };
    let look =
        |need: Need| Need { act: Some(Act::Look(format!("/console/senders/{}", need.value), "look-sender")), ..need };
    Ok(open.into_iter().map(need).map(look).collect())
}

/// Shows the overview.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let span: Span = match context.query("span") {
        None => Span::Hour,
        Some(text) => text.parse().map_err(|_| Fault::Bad("bad-choice", format!("span={text}")))?,
    };
    let figures = context.query("figures").is_some();
    let part = context.fragment().filter(|part| ["now", "plots"].contains(part));
    let Some(part) = part else {
        let page = read(&context, context.ui.clone(), None, span, figures).await?;
        return Ok(guard::html(&page.ui, &page));
    };
    // Everybody's overview fetches these at once when something has changed.
    let (name, version) = (format!("overview {part} {} {figures}", span.as_str()), context.app.live.version());
    let make = async |ui: Ui| {
        let page = read(&context, ui, Some(part), span, figures).await?;
        let text = if part == "now" { page.as_now().render() } else { page.as_plots().render() };
        text.map_err(|error| {
            tracing::error!(%error, "a template could not be written");
            Fault::Ours
        })
    };
    let text = context.app.parts.get(&name, version, &context.ui, make).await?;
    Ok(guard::written(&context.ui, text))
}

/// Reads what the overview shows, or a part of it.
async fn read(context: &Context, ui: Ui, part: Option<&str>, span: Span, figures: bool) -> Result<Overview, Fault> {
    let (db, now) = (context.app.db.read(), context.ui.now);
    let watches = context.viewer()?.may(Permission::BatchesRead);
    let queue = context.viewer()?.may(Permission::QueuesRead);
    let (mut needs, mut lane_rows, mut workers) = (Vec::new(), Vec::new(), Vec::new());
    let (mut counted_at, mut plots, mut shown) = (None, Vec::new(), None);
    if queue && part != Some("plots") {
        let standing = samples::standing(db, now).await?;
        lane_rows = lanes(&standing.depths);
        needs = needs_of_queue(&standing.depths, &lane_rows);
        workers = queue::workers(db).await?;
        needs.extend(needs_of_processes(context, &standing, &workers));
        workers.truncate(WORKERS);
        needs.extend(circuits(context).await?);
        counted_at = standing.counted_at;
    }
    if queue && part != Some("now") {
        let found = samples::samples(db, now, span).await?;
        plots = plots::plots(now, span, &found);
        shown = figures.then_some(found);
    }
    let (mut rows, mut first) = (Vec::new(), false);
    if watches && part != Some("plots") {
        let with = |status| Filter { status: Some(status), ..Filter::default() };
        let mut going = batches::page(db, &with(BatchStatus::Processing), None, SHOWN).await?;
        going.extend(batches::page(db, &with(BatchStatus::Pending), None, SHOWN).await?);
        needs.extend(needs_of_batches(context, &going, now).await?);
        first = going.is_empty() && batches::page(db, &Filter::default(), None, 1).await?.is_empty();
        let senders = batches::sender_paces(db, context.app.settings.sender_rate_per_minute).await?;
        let names = names(context, &going).await?;
        let row = |batch: &Batch| Row::of(batch, now, senders.of(batch).rate_per_minute, &names);
        rows = going.iter().map(row).collect();
    }
    Ok(Overview {
        ui,
        lanes: lane_rows,
        needs,
        workers,
        counted_at,
        plots,
        span,
        spans: Span::ALL,
        samples: shown,
        queue,
        watches,
        first,
        sample: first && context.app.settings.simulator && context.ui.may_steer(),
        rows,
    })
}
