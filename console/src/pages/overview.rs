//! `/console`: what needs a person, how far behind each lane is, the workers, and what is under way.

use super::batches::{Row, names};
use crate::fault::Fault;
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use domain::batches::{self, Batch, BatchStatus, Filter};
use domain::delivery::send;
use domain::jobs::{self, AtWork, Depth};
use domain::users::Permission;
use domain::{Lane, Timestamp};
use poem::Response;
use std::time::Duration;

/// How many batches under way are shown, and how many of each thing that needs a person.
const SHOWN: u64 = 10;

/// How many workers are shown.
const WORKERS: u64 = 50;

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
#[template(path = "pages/overview.html", blocks = ["now"])]
struct Overview {
    ui: Ui,
    lanes: Vec<LaneRow>,
    needs: Vec<Need>,
    workers: Vec<AtWork>,
    /// Whether the reader may watch the queue.
    queue: bool,
    /// Whether the reader may watch batches.
    watches: bool,
    /// Whether there is no batch at all yet.
    first: bool,
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
        let act = Some(Act::Look("/console/batches?status=FAILED".into(), "look-failed"));
        needs.push(Need { act, ..plain("need-dead", dead) });
    }
    if parked > 0 {
        needs.push(plain("need-parked", parked));
    }
    if lanes.iter().any(|lane| lane.running == 0 && lane.waiting > 0 && lane.behind > IDLE_FOR) {
        let waiting = lanes.iter().map(|lane| lane.waiting).sum();
        needs.push(plain("need-worker", waiting));
    }
    needs
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
    let mut needs: Vec<Need> =
        failed.iter().map(|b| need_of(b, "need-failed", Act::Look(page(b, "/failures"), "look-causes"))).collect();
    needs.extend(going.iter().filter(|batch| batch.paused).map(|b| {
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
    Ok(open.into_iter().map(need).collect())
}

/// Shows the overview.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let (db, now) = (context.app.db.read(), context.ui.now);
    let watches = context.viewer()?.may(Permission::BatchesRead);
    let queue = context.viewer()?.may(Permission::QueuesRead);
    let (mut needs, mut lane_rows, mut workers) = (Vec::new(), Vec::new(), Vec::new());
    if queue {
        let depths = jobs::depths(db, now).await?;
        lane_rows = lanes(&depths);
        needs = needs_of_queue(&depths, &lane_rows);
        needs.extend(circuits(&context).await?);
        workers = jobs::at_work(db, WORKERS).await?;
    }
    let (mut rows, mut first) = (Vec::new(), false);
    if watches {
        let with = |status| Filter { status: Some(status), ..Filter::default() };
        let mut going = batches::page(db, &with(BatchStatus::Processing), None, SHOWN).await?;
        going.extend(batches::page(db, &with(BatchStatus::Pending), None, SHOWN).await?);
        needs.extend(needs_of_batches(&context, &going, now).await?);
        first = going.is_empty() && batches::page(db, &Filter::default(), None, 1).await?.is_empty();
        let senders = batches::sender_paces(db, context.app.settings.sender_rate_per_minute).await?;
        let names = names(&context, &going).await?;
        let row = |batch: &Batch| Row::of(batch, now, senders.of(batch).rate_per_minute, &names);
        rows = going.iter().map(row).collect();
    }
    let page = Overview { ui: context.ui.clone(), lanes: lane_rows, needs, workers, queue, watches, first, rows };
    Ok(match context.fragment() {
        Some("now") => guard::html(&page.ui, &page.as_now()),
        _ => guard::html(&page.ui, &page),
    })
}
