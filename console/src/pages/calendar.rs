//! `/console/calendar?week=`: what will start by itself, day by day, in the reader's zone; and the same as a file for calendars.
//!
//! A batch is moved by its date field, or dragged to another day, which can be taken back; and taken off by the cancel of its page: until it starts, nothing of it was done.

use super::batches::names;
use super::shown_status;
use crate::fault::Fault;
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use domain::batches::{self, Batch};
use domain::{BatchId, Timestamp, UserId};
use poem::Response;
use poem::http::header;
use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

const DAY_MS: i64 = 86_400_000;

/// How many days the file has.
const FILE_DAYS: u64 = 90;

/// The longest name of an entry, in characters.
const MAX_NAME: usize = 60;

/// Something that starts.
struct Entry {
    batch: Batch,
    status: &'static str,
    at: Timestamp,
    /// Its time as a field takes it: local, to the minute.
    field: String,
    name: String,
    by: String,
}

/// A day of the week.
struct Day {
    /// Its noon, which is that day in every zone near the reader's.
    noon: Timestamp,
    date: String,
    today: bool,
    /// Whether it is over: nothing can be moved there.
    past: bool,
    entries: Vec<Entry>,
}

/// A move that can be taken back.
struct Undo {
    batch: BatchId,
    /// When it was to start before, in UTC, as a form names a time.
    at: String,
}

/// The move that the address tells of.
fn undo(context: &Context) -> Option<Undo> {
    let batch = context.query("moved")?.parse().ok()?;
    let at = Timestamp(context.query("was")?.parse().ok()?);
    Some(Undo { batch, at: at.to_rfc3339().trim_end_matches('Z').to_owned() })
}

/// Where the calendar is shown again after a batch was moved, with what it takes to take that back.
pub(super) fn moved(back: &str, batch: BatchId, was: Option<Timestamp>) -> String {
    let sign = if back.contains('?') { '&' } else { '?' };
    let was = was.map_or(String::new(), |was| format!("&moved={batch}&was={}", was.0));
    format!("{back}{sign}done=moved{was}")
}

#[derive(Template)]
#[template(path = "pages/calendar.html", blocks = ["week"])]
struct Calendar {
    ui: Ui,
    days: Vec<Day>,
    /// The Monday of the week, and those before and after it.
    week: String,
    before: String,
    after: String,
    /// The minutes of the reader's zone before UTC.
    offset: i64,
    /// Whether there are more than are shown.
    more: bool,
    /// What was moved just now.
    undo: Option<Undo>,
}

/// A day, as `2026-11-30`, of days since the epoch.
fn date(day: i64) -> String {
    let text = Timestamp(day.saturating_mul(DAY_MS)).to_rfc3339();
    text.get(..10).unwrap_or(&text).to_owned()
}

/// The Monday on or before a day, both in days since the epoch, which was a Thursday.
const fn monday(day: i64) -> i64 {
    day - (day + 3).rem_euclid(7)
}

/// The local time that a field takes: `2026-11-30T09:00`.
fn field(at: Timestamp, offset: i64) -> String {
    let text = Timestamp(at.0.saturating_sub(offset * 60_000)).to_rfc3339();
    text.get(..16).unwrap_or(&text).to_owned()
}

fn entry(batch: Batch, offset: i64, names: &HashMap<UserId, String>) -> Option<Entry> {
    let at = batch.schedule_at?;
    Some(Entry {
        status: shown_status(&batch),
        at,
        field: field(at, offset),
        name: batch.name(MAX_NAME),
        by: names.get(&batch.created_by).cloned().unwrap_or_default(),
        batch,
    })
}

/// Shows a week.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let offset = context.zone_offset;
    let local_day = |at: Timestamp| (at.0 - offset * 60_000).div_euclid(DAY_MS);
    let today = local_day(context.ui.now);
    let first = monday(match context.query("week") {
        Some(text) => {
            let day = Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")).map(|day| day.0.div_euclid(DAY_MS));
            day.map_err(|_| Fault::Bad("bad-day", format!("week={text}")))?
        }
        None => today,
    });
    let start = |day: i64| Timestamp(day.saturating_mul(DAY_MS).saturating_add(offset * 60_000));
    let found = batches::scheduled(context.app.db.read(), start(first), start(first + 7)).await?;
    let more = u64::try_from(found.len()).unwrap_or(u64::MAX) >= batches::MOST_SCHEDULED;
    let names = names(&context, &found).await?;
    let mut days: Vec<Day> = (first..first + 7)
        .map(|day| Day {
            noon: start(day).plus(Duration::from_secs(12 * 3_600)),
            date: date(day),
            today: day == today,
            past: day < today,
            entries: Vec::new(),
        })
        .collect();
    for entry in found.into_iter().filter_map(|batch| entry(batch, offset, &names)) {
        let place = usize::try_from(local_day(entry.at) - first).ok();
        if let Some(day) = place.and_then(|place| days.get_mut(place)) {
            day.entries.push(entry);
        }
    }
    let page = Calendar {
        ui: context.ui.clone(),
        days,
        week: date(first),
        before: date(first - 7),
        after: date(first + 7),
        offset,
        more,
        undo: undo(&context).filter(|_| context.ui.may_steer()),
    };
    Ok(match context.fragment() {
        Some("week") => guard::html(&page.ui, &page.as_week()),
        _ => guard::html(&page.ui, &page),
    })
}

/// A text as iCalendar (RFC 5545, 3.3.11) takes it.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\\' | ';' | ',' => escaped.extend(['\\', c]),
            '\n' => escaped.push_str("\\n"),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// A line folded to at most 75 bytes (RFC 5545, 3.1).
fn folded(line: &str) -> String {
    let (mut folded, mut bytes) = (String::new(), 0);
    for c in line.chars() {
        if bytes + c.len_utf8() > 74 {
            folded.push_str("\r\n ");
            bytes = 1;
        }
        folded.push(c);
        bytes += c.len_utf8();
    }
    folded.push_str("\r\n");
    folded
}

/// A time as iCalendar writes it, in UTC.
fn stamp(at: Timestamp) -> String {
    let text = at.to_rfc3339();
    format!("{}Z", text.get(..19).unwrap_or(&text).replace(['-', ':'], ""))
}

/// What will start in the next weeks, as iCalendar.
fn calendar(ui: &Ui, found: &[Batch]) -> String {
    let mut text = String::from("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Paceline//Console//EN\r\n");
    for batch in found {
        let Some(at) = batch.schedule_at else { continue };
        let id = batch.summary.id;
        let title = format!("{} · {}", ui.tv("batch-number", &id.to_string()), batch.name(MAX_NAME));
        let what = format!(
            "{} · {}",
            ui.state("status-", shown_status(batch)),
            ui.tn("calendar-recipients", &batch.summary.total)
        );
        let mut event = String::new();
        // Writing to a text cannot fail.
        let _fine = write!(
            event,
            "BEGIN:VEVENT\nUID:batch-{id}@paceline\nDTSTAMP:{}\nDTSTART:{}\nSUMMARY:{}\nDESCRIPTION:{}\nEND:VEVENT",
            stamp(ui.now),
            stamp(at),
            escaped(&title),
            escaped(&what)
        );
        text.extend(event.split('\n').map(folded));
    }
    text.push_str("END:VCALENDAR\r\n");
    text
}

/// The next weeks as a file.
pub(crate) async fn file(context: Context) -> Result<Response, Fault> {
    let now = context.ui.now;
    let to = now.plus(Duration::from_secs(FILE_DAYS * 86_400));
    let found = batches::scheduled(context.app.db.read(), now, to).await?;
    Ok(Response::builder()
        .content_type("text/calendar; charset=utf-8")
        .header(header::CONTENT_DISPOSITION, "attachment; filename=\"paceline.ics\"")
        .header(header::CACHE_CONTROL, "no-store")
        .body(calendar(&context.ui, &found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_begins_on_monday() {
        // 2026-11-27 is a Friday.
        let day = Timestamp::parse_rfc3339("2026-11-27T00:00:00Z").expect("a time").0 / DAY_MS;
        assert_eq!(date(monday(day)), "2026-11-23");
        assert_eq!(date(monday(monday(day))), "2026-11-23");
        assert_eq!(date(monday(monday(day) - 1)), "2026-11-16");
        assert_eq!(date(monday(0)), "1969-12-29");
    }

    #[test]
    fn a_field_has_the_readers_time() {
        let at = Timestamp::parse_rfc3339("2026-11-27T23:30:00Z").expect("a time");
        assert_eq!((field(at, 0), field(at, -60)), ("2026-11-27T23:30".into(), "2026-11-28T00:30".into()));
    }

    #[test]
    fn a_text_does_not_end_its_line() {
        assert_eq!(escaped("a;b,c\\d\ne\r"), "a\\;b\\,c\\\\d\\ne");
        assert_eq!(stamp(Timestamp(0)), "19700101T000000Z");
        let long = folded(&"数".repeat(60));
        assert!(long.split("\r\n").all(|line| line.len() <= 75), "{long}");
        assert_eq!(long.replace("\r\n ", ""), format!("{}\r\n", "数".repeat(60)));
    }
}
