//! `/console`: what needs a person, how far behind each lane is, and what is under way.

use super::batches::Row;
use crate::fault::Fault;
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use domain::Lane;
use domain::batches::{self, BatchStatus, Filter};
use domain::jobs::{self, Depth};
use domain::users::Permission;
use poem::Response;

/// How many batches under way are shown.
const SHOWN: u64 = 10;

/// How far behind a lane is.
struct LaneRow {
    lane: Lane,
    /// Jobs that wait.
    waiting: i64,
    /// Jobs at work.
    running: i64,
    /// The seconds for which the oldest job could have been at work already.
    behind_secs: i64,
}

/// Something that needs a person.
struct Need {
    /// The key of its words.
    key: &'static str,
    count: i64,
    /// Where it is mended.
    href: &'static str,
}

#[derive(Template)]
#[template(path = "pages/overview.html", blocks = ["now"])]
struct Overview {
    ui: Ui,
    lanes: Vec<LaneRow>,
    needs: Vec<Need>,
    /// Whether the reader may watch batches.
    watches: bool,
    /// Whether there is no batch at all yet.
    first: bool,
    rows: Vec<Row>,
}

fn lanes(depths: &[Depth]) -> Vec<LaneRow> {
    Lane::ALL
        .iter()
        .map(|lane| {
            let of = |state: &'static str| {
                depths.iter().filter(move |depth| depth.lane == lane.as_str() && depth.state == state)
            };
            let behind = of("ready").map(|depth| depth.oldest).max().unwrap_or_default();
            LaneRow {
                lane: *lane,
                waiting: of("ready").map(|depth| depth.jobs).sum(),
                running: of("running").map(|depth| depth.jobs).sum(),
                behind_secs: i64::try_from(behind.as_secs()).unwrap_or(i64::MAX),
            }
        })
        .collect()
}

/// Shows the overview.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let (db, now) = (context.app.db.read(), context.ui.now);
    let watches = context.viewer()?.may(Permission::BatchesRead);
    let queue = context.viewer()?.may(Permission::QueuesRead);
    let depths = if queue { jobs::depths(db, now).await? } else { Vec::new() };
    let mut needs = Vec::new();
    let dead: i64 = depths.iter().filter(|depth| depth.state == "dead").map(|depth| depth.jobs).sum();
    if dead > 0 {
        needs.push(Need { key: "need-dead", count: dead, href: "/console/batches?status=FAILED" });
    }
    let (mut rows, mut first) = (Vec::new(), false);
    if watches {
        let under_way = Filter { status: Some(BatchStatus::Processing), ..Filter::default() };
        let pending = Filter { status: Some(BatchStatus::Pending), ..Filter::default() };
        let mut found = batches::page(db, &under_way, None, SHOWN).await?;
        found.extend(batches::page(db, &pending, None, SHOWN).await?);
        let paused = found.iter().filter(|batch| batch.paused).count();
        if paused > 0 {
            let count = i64::try_from(paused).unwrap_or(i64::MAX);
            needs.push(Need { key: "need-paused", count, href: "/console/batches?status=PROCESSING" });
        }
        first = found.is_empty() && batches::page(db, &Filter::default(), None, 1).await?.is_empty();
        let sender_rate = context.app.settings.sender_rate_per_minute;
        rows = found.iter().map(|batch| Row::of(batch, now, sender_rate)).collect();
    }
    let lanes = if queue { lanes(&depths) } else { Vec::new() };
    let page = Overview { ui: context.ui.clone(), lanes, needs, watches, first, rows };
    Ok(match context.fragment() {
        Some("now") => guard::html(&page.ui, &page.as_now()),
        _ => guard::html(&page.ui, &page),
    })
}
