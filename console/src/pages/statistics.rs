//! `/console/statistics`: what batches did, by type, by status and by day; as a file too.

use super::kept::{Views, views_of};
use crate::fault::Fault;
use crate::filter::{Chip, Line};
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use domain::batches::{self, BatchStatus, BatchType, Day, Filter, Stats};
use poem::Response;
use poem::http::header;

const PATH: &str = "/console/statistics";

/// What the filter line knows.
const KEYS: [&str; 3] = ["type", "status", "days"];

/// How many days are shown where nothing is said.
const DAYS: u16 = 30;

/// The plot's box, in its own units.
const WIDTH: i64 = 720;
const HEIGHT: i64 = 160;

/// A part of all: its text's key, how many, and how many of a hundred.
struct Part {
    key: String,
    count: i64,
    percent: i64,
}

/// A day's column in the plot.
struct Bar {
    day: Day,
    x: i64,
    width: i64,
    good_y: i64,
    good: i64,
    bad_y: i64,
    bad: i64,
}

#[derive(Template)]
#[template(path = "pages/statistics.html")]
struct Page {
    ui: Ui,
    line: String,
    chips: Vec<Chip>,
    views: Views,
    known: Vec<String>,
    stats: Stats,
    rate: String,
    types: Vec<Part>,
    statuses: Vec<Part>,
    days: i64,
    bars: Vec<Bar>,
    most: i64,
    file: String,
}

impl Page {
    fn width(&self) -> i64 {
        WIDTH
    }

    fn height(&self) -> i64 {
        HEIGHT
    }
}

fn filter_of(context: &Context) -> Result<(Line, Filter, u16), Fault> {
    let line = Line::parse(context.query("q").unwrap_or_default());
    line.knows(&KEYS)?;
    let days = match line.get("days") {
        None => DAYS,
        Some(text) => {
            let days = text.parse().ok().filter(|days| (1..=366).contains(days));
            days.ok_or_else(|| Fault::Bad("bad-days", text.to_owned()))?
        }
    };
    let filter = Filter {
        batch_type: line.choice("type", BatchType::ALL)?,
        status: line.choice("status", BatchStatus::ALL)?,
        ..Filter::default()
    };
    Ok((line, filter, days))
}

fn parts<'a, T: ToString + 'a>(counts: impl Iterator<Item = (&'a T, &'a i64)>, first: &str, all: i64) -> Vec<Part> {
    let part = |(name, count): (&T, &i64)| Part {
        key: format!("{first}{}", name.to_string().to_lowercase()),
        count: *count,
        percent: count * 100 / all.max(1),
    };
    counts.map(part).collect()
}

fn bars(days: Vec<Day>) -> (Vec<Bar>, i64) {
    let most = days.iter().map(|day| day.succeeded + day.failed).max().unwrap_or_default();
    let step = WIDTH / i64::try_from(days.len().max(1)).unwrap_or(WIDTH);
    let high = |count: i64| count * HEIGHT / most.max(1);
    let bar = |(place, day): (i64, Day)| {
        let (good, bad) = (high(day.succeeded), high(day.failed));
        let (good_y, bad_y) = (HEIGHT - good, HEIGHT - good - bad);
        Bar { day, x: place * step, width: (step - 2).max(1), good_y, good, bad_y, bad }
    };
    ((0..).zip(days).map(bar).collect(), most)
}

/// Shows the statistics.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let (line, filter, days) = filter_of(&context)?;
    let (db, now) = (context.app.db.read(), context.ui.now);
    let stats = batches::stats(db, &filter).await?;
    let (bars, most) = bars(batches::days(db, now, &filter, days).await?);
    let of = |key: &str, one: &dyn ToString| format!("{key}:{}", one.to_string().to_ascii_lowercase());
    let known = BatchType::ALL.iter().map(|one| of("type", one)).chain(["days:7".into(), "days:90".into()]);
    let page = Page {
        ui: context.ui.clone(),
        chips: line.chips(PATH),
        views: views_of(&context, "statistics", &line).await?,
        file: line.address("/console/statistics.csv"),
        line: line.to_string(),
        known: known.collect(),
        rate: format!("{:.1}", stats.success_rate()),
        types: parts(stats.by_type.iter(), "type-", stats.total),
        statuses: parts(stats.by_status.iter(), "status-", stats.total),
        days: i64::from(days),
        stats,
        bars,
        most,
    };
    Ok(guard::html(&page.ui, &page))
}

/// The days as a file.
pub(crate) async fn file(context: Context) -> Result<Response, Fault> {
    let (_, filter, days) = filter_of(&context)?;
    let days = batches::days(context.app.db.read(), context.ui.now, &filter, days).await?;
    let body = batches::write_days(&days).map_err(|_| Fault::Ours)?;
    Ok(Response::builder()
        .content_type("text/csv; charset=utf-8")
        .header(header::CONTENT_DISPOSITION, "attachment; filename=\"statistics.csv\"")
        .header(header::CACHE_CONTROL, "no-store")
        .body(body))
}
