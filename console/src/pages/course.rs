//! How fast a batch went against what it may, and when it would end at another pace: parts of its page.

use super::queue::plots::{HEIGHT, WIDTH, edge};
use crate::fault::Fault;
use crate::guard::Context;
use crate::ui::Ui;
use domain::Timestamp;
use domain::batches::{self, Batch, LimitedBy, PaceSample, SendPlan};

/// The highest pace that can be asked for, in messages a minute.
pub(super) const MAX_RATE: i64 = 600_000;

/// The slider's least upper end, and how many steps it has.
const LEAST_MOST: i64 = 600;
const STEPS: i64 = 100;

/// The plot of a batch's pace.
pub(super) struct Course {
    /// The lines' points: what was decided a minute, and what might have been.
    pub(super) went: String,
    pub(super) may: Vec<String>,
    /// The value at its upper edge.
    pub(super) most: i64,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// The newest of each.
    pub(super) last: i64,
    pub(super) last_may: Option<i64>,
    /// The figures, where the reader asks for them.
    pub(super) figures: Vec<PaceSample>,
}

impl Course {
    /// What it shows, for who cannot see it.
    pub(super) fn label(&self, ui: &Ui) -> String {
        let may = self.last_may.map_or_else(|| "–".to_owned(), |may| ui.number(&may));
        format!("{} {}, {} {may}", ui.t("course-went"), ui.number(&self.last), ui.t("course-may"))
    }
}

/// Draws samples; `None`: there is none, or they cover no time.
fn drawn(samples: &[PaceSample]) -> Option<Course> {
    let (first, last) = (samples.first()?, samples.last()?);
    let (from, to) = (first.from, last.to);
    let span = to.0 - from.0;
    if span <= 0 {
        return None;
    }
    // Far above what it did, what it may is no scale for it.
    let most = samples.iter().map(|one| one.per_minute).max()?.max(1);
    let may = samples.iter().filter_map(|one| one.may).max().unwrap_or(0);
    let most = edge(most.max(may.min(most.saturating_mul(4))));
    let x = |at: Timestamp| (at.0 - from.0).saturating_mul(WIDTH) / span;
    let y = |value: i64| HEIGHT - value.min(most) * HEIGHT / most;
    let step = |one: &PaceSample, value: i64| format!("{},{} {},{}", x(one.from), y(value), x(one.to), y(value));
    let went = samples.iter().map(|one| step(one, one.per_minute)).collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for one in samples {
        match (one.may, lines.last_mut().filter(|_| goes_on)) {
            (Some(may), Some(line)) => *line = format!("{line} {}", step(one, may)),
            (Some(may), None) => lines.push(step(one, may)),
            (None, _) => {}
        }
        goes_on = one.may.is_some();
    }
    Some(Course { went, may: lines, most, from, to, last: last.per_minute, last_may: last.may, figures: Vec::new() })
}

/// The plot of a batch's pace; `None`: it has not begun.
pub(super) async fn course(context: &Context, batch: &Batch) -> Result<Option<Course>, Fault> {
    let configured = context.app.settings.sender_rate_per_minute;
    let samples = batches::pace_samples(context.app.db.read(), context.ui.now, batch, configured).await?;
    let Some(mut course) = drawn(&samples) else { return Ok(None) };
    if context.query("figures").is_some() {
        course.figures = samples;
    }
    Ok(Some(course))
}

/// What happens at another pace.
pub(super) struct WhatIf {
    /// The pace that is asked about.
    pub(super) rate: i64,
    /// The slider's upper end and its step.
    pub(super) most: i64,
    pub(super) step: i64,
    pub(super) plan: SendPlan,
    /// The key of what limits it.
    pub(super) limited_by: &'static str,
    /// Whether somebody asked, and did not just look on.
    pub(super) asked: bool,
}

/// The slider's pace, and what happens at it; `None`: nothing is left to be sent. `now_rate` is the pace that holds now.
pub(super) async fn what_if(context: &Context, batch: &Batch, now_rate: Option<i64>) -> Result<Option<WhatIf>, Fault> {
    if batch.summary.status.is_terminal() || batch.sender.is_none() {
        return Ok(None);
    }
    let asked = match context.query("what_if") {
        Some(text) => {
            let rate = text.parse().ok().filter(|rate| (1..=MAX_RATE).contains(rate));
            Some(rate.ok_or_else(|| Fault::Bad("bad-rate", text.to_owned()))?)
        }
        None => None,
    };
    let present = now_rate.or(batch.rate_per_minute).unwrap_or(0);
    let (most, step) = slider(present.max(asked.unwrap_or(0)));
    let rate = asked.unwrap_or(present).clamp(1, MAX_RATE);
    let (db, configured) = (context.app.db.read(), context.app.settings.sender_rate_per_minute);
    let what_if = u32::try_from(rate).ok();
    let plan = batches::forecast(db, context.ui.now, batch, what_if, configured).await?;
    Ok(plan.map(|plan| WhatIf {
        rate,
        most,
        step,
        limited_by: limited_by(plan.limited_by),
        plan,
        asked: asked.is_some(),
    }))
}

/// The upper end and the step of a slider on which a pace stands in the middle.
fn slider(present: i64) -> (i64, i64) {
    let most = edge(present.saturating_mul(2).clamp(LEAST_MOST, MAX_RATE)).min(MAX_RATE);
    (most, (most / STEPS).max(1))
}

/// The key of what limits a pace.
pub(super) const fn limited_by(by: LimitedBy) -> &'static str {
    match by {
        LimitedBy::Batch => "limited-by-batch",
        LimitedBy::Sender => "limited-by-sender",
        LimitedBy::Gateway => "limited-by-gateway",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_is_drawn_from_its_start_to_its_end() {
        let one = |from: i64, to: i64, per_minute, may| PaceSample {
            from: Timestamp(from),
            to: Timestamp(to),
            decided: 0,
            per_minute,
            may,
        };
        let samples = [one(0, 100, 0, Some(50)), one(100, 200, 100, None), one(200, 400, 50, Some(100))];
        let course = drawn(&samples).expect("there is a course");
        assert_eq!(course.went, "0,120 150,120 150,0 300,0 300,60 600,60");
        assert_eq!(course.may, ["0,60 150,60", "300,0 600,0"]);
        assert_eq!((course.most, course.last, course.last_may), (100, 50, Some(100)));
        assert!(drawn(&[]).is_none() && drawn(&samples[..0]).is_none());
    }

    #[test]
    fn what_it_may_does_not_flatten_what_it_did() {
        let sample =
            PaceSample { from: Timestamp(0), to: Timestamp(60_000), decided: 10, per_minute: 10, may: Some(600_000) };
        assert_eq!(drawn(&[sample]).map(|course| course.most), Some(50));
    }

    #[test]
    fn the_slider_reaches_beyond_the_present_pace() {
        for (present, most) in [(0, 1_000), (60, 1_000), (4_800, 10_000), (600_000, 600_000)] {
            assert_eq!(slider(present), (most, most / STEPS), "{present}");
        }
    }
}
