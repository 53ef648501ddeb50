//! `/console/batches/{id}`: a batch, and the acts on it.

use super::course::{self, Course, MAX_RATE, WhatIf};
use super::{approval, batch_of, calendar, moment, new_send, shown_status};
use crate::fault::Fault;
use crate::guard::{self, Context, redirect};
use crate::ui::Ui;
use askama::Template;
use backplane::Limit;
use domain::audit_log::{self, Action};
use domain::batches::{self, Batch, BatchStatus, ControlError, ItemStatus, Patch, SenderPace};
use domain::db::Trouble;
use domain::{BatchId, Timestamp, db};
use poem::Response;

/// How many attempts under way are counted.
const MAX_IN_FLIGHT: usize = 1_000;

/// How often an act is tried when others are in the way.
const TRIES: u32 = 3;

#[derive(Template)]
#[template(path = "pages/batch.html", blocks = ["state", "pace", "whatif"])]
struct BatchPage {
    ui: Ui,
    batch: Batch,
    status: &'static str,
    progress: i64,
    /// Recipients that nothing is decided about yet.
    left: i64,
    moment_key: Option<&'static str>,
    moment_at: Timestamp,
    /// Messages a minute at most, and the key of what limits them.
    rate: Option<i64>,
    limited_by: Option<&'static str>,
    /// The request, for people.
    config: String,
    /// The act that the page asks about.
    ask: Option<&'static str>,
    can_pause: bool,
    can_resume: bool,
    can_cancel: bool,
    can_retry: bool,
    can_pace: bool,
    /// When it is to be cancelled, unless that is taken back.
    cancel_at: Option<Timestamp>,
    /// Recipients whose attempt is under way.
    in_flight: i64,
    /// The pace before the one that was just set, to take it back.
    was: Option<i64>,
    /// How fast it went; `None`: it has not begun.
    course: Option<Course>,
    /// What happens at another pace; `None`: nothing is left to be sent.
    what_if: Option<WhatIf>,
    /// Where its approval stands, where somebody was asked.
    approval: Option<approval::Shown>,
}

/// The longest request that is shown, in characters.
const MAX_CONFIG: usize = 4_096;

/// Shows the batch.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let batch = batch_of(&context).await?;
    let configured = context.app.settings.sender_rate_per_minute;
    let sender = batches::sender_paces(context.app.db.read(), configured).await?.of(&batch);
    let db = context.app.db.read();
    let cancel_at = batches::cancel_at(db, batch.summary.id).await?;
    let mut page = view(&context, batch, sender, cancel_at);
    if matches!(context.fragment(), None | Some("pace")) {
        page.course = course::course(&context, &page.batch).await?;
    }
    if matches!(context.fragment(), None | Some("whatif")) {
        page.what_if = course::what_if(&context, &page.batch, page.rate).await?;
    }
    page.approval = approval::shown(&context, &page.batch).await?;
    if page.ask == Some("cancel") {
        page.in_flight = in_flight(&context, &page.batch).await?;
        page.left = (page.left - page.in_flight).max(0);
    }
    Ok(match context.fragment() {
        Some("state") => guard::html(&page.ui, &page.as_state()),
        Some("pace") => guard::html(&page.ui, &page.as_pace()),
        Some("whatif") => guard::html(&page.ui, &page.as_whatif()),
        _ => guard::html(&page.ui, &page),
    })
}

/// How many recipients' attempts are under way; as many as are claimed at once, so that they can be counted.
pub(super) async fn in_flight(context: &Context, batch: &Batch) -> Result<i64, Fault> {
    let (db, id) = (context.app.db.read(), batch.summary.id);
    let sending = batches::items(db, id, Some(ItemStatus::Sending), None, MAX_IN_FLIGHT).await?;
    Ok(sending.map_or(0, |page| i64::try_from(page.rows.len()).unwrap_or(i64::MAX)))
}

fn view(context: &Context, batch: Batch, sender: SenderPace, cancel_at: Option<Timestamp>) -> BatchPage {
    let (ui, now) = (context.ui.clone(), context.ui.now);
    let pace = batch.effective_pace(now, &sender);
    let limited_by = pace.limited_by.map(course::limited_by);
    let (summary, moment) = (&batch.summary, moment(&batch, now, sender.rate_per_minute));
    let open = !summary.status.is_terminal();
    let steers = ui.may_steer();
    let config: String =
        serde_json::to_string_pretty(&batch.config).unwrap_or_default().chars().take(MAX_CONFIG).collect();
    BatchPage {
        status: shown_status(&batch),
        progress: summary.progress(),
        left: (summary.total - summary.processed()).max(0),
        moment_key: moment.as_ref().map(|moment| moment.key),
        moment_at: moment.map_or(summary.created_at, |moment| moment.at),
        rate: pace.rate_per_minute,
        limited_by,
        config,
        ask: match context.query("ask") {
            Some("cancel") if open && steers && cancel_at.is_none() => Some("cancel"),
            Some("retry") if !open && steers => Some("retry"),
            _ => None,
        },
        can_pause: steers && open && !batch.paused,
        can_resume: steers && open && batch.paused && !batch.awaits_approval(),
        can_cancel: steers && open && cancel_at.is_none(),
        cancel_at: cancel_at.filter(|_| open),
        in_flight: 0,
        can_retry: steers
            && summary.failed > 0
            && matches!(summary.status, BatchStatus::Completed | BatchStatus::Failed),
        can_pace: steers && open && batch.sender.is_some(),
        course: None,
        what_if: None,
        approval: None,
        was: context.query("was").and_then(|rate| rate.parse().ok()),
        ui,
        batch,
    }
}

/// What a user does to a batch.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Pause,
    Resume,
    /// Cancels it in a moment, until which that can be taken back.
    Cancel,
    /// Takes that back.
    Keep,
    /// Tries again what failed; with a code, what failed with it alone.
    Retry(Option<String>),
    Pace(Patch),
    /// Gives it another time.
    Move(Patch),
}

impl Act {
    /// The word of the notice on top; of a cancel the page has one of its own.
    const fn done(&self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Cancel => "",
            Self::Keep => "kept",
            Self::Retry(_) => "retried",
            Self::Pace(_) => "paced",
            Self::Move(_) => "moved",
        }
    }
}

/// Steers the batch, and shows it again.
pub(crate) async fn act(context: Context) -> Result<Response, Fault> {
    let batch = batch_of(&context).await?;
    let act = match context.path("act") {
        "pause" => Act::Pause,
        "resume" => Act::Resume,
        "cancel" => Act::Cancel,
        "keep" => Act::Keep,
        "retry" => Act::Retry(context.form("code").filter(|code| !code.is_empty()).map(str::to_owned)),
        "pace" => Act::Pace(pace(&context)?),
        "move" => Act::Move(time(&context)?),
        _ => return Err(Fault::NotFound),
    };
    let id = batch.summary.id;
    if matches!(act, Act::Retry(_)) {
        limit_retries(&context).await?;
    }
    steered(&context, id, &act).await?;
    let was = batch.rate_per_minute.filter(|_| matches!(act, Act::Pace(_)));
    let was = was.map_or(String::new(), |rate| format!("&was={rate}"));
    if matches!(act, Act::Move(_)) && context.form("back").is_some_and(|back| back.starts_with("/console/calendar")) {
        let back = guard::local(context.form("back"));
        return Ok(redirect(&calendar::moved(back, id, batch.schedule_at)));
    }
    let done = act.done();
    let done = if done.is_empty() { String::new() } else { format!("?done={done}{was}") };
    Ok(redirect(&format!("/console/batches/{id}{done}")))
}

/// Steers a batch; a user does not have to know that others were in the way.
pub(super) async fn steered(context: &Context, id: BatchId, act: &Act) -> Result<(), ControlError> {
    let mut tries = 1;
    loop {
        match steer(context, id, act).await {
            Err(ControlError::Database(error)) if tries < TRIES && Trouble::of(&error) == Trouble::Conflict => {
                tries += 1
            }
            Err(error) => return Err(error),
            Ok(()) => break,
        }
    }
    let user = context.viewer.as_ref().map(|viewer| viewer.user.id.0);
    tracing::info!(batch = %id, user, ?act, "a batch was steered in the console");
    Ok(())
}

/// A retry makes work, as a new batch does: it is counted with those of the API.
async fn limit_retries(context: &Context) -> Result<(), Fault> {
    let limit = Limit { per_minute: context.app.settings.batch_per_minute };
    let key = format!("batch:{}", context.viewer()?.user.id);
    let decision = context.app.backplane.limiter.check(&key, limit).await;
    if decision.allowed { Ok(()) } else { Err(Fault::Limited(decision.reset_after.as_secs().max(1))) }
}

fn pace(context: &Context) -> Result<Patch, Fault> {
    let text = context.form("rate").unwrap_or_default().trim();
    let rate: Option<u32> = text.parse().ok().filter(|rate| (1..=MAX_RATE).contains(&i64::from(*rate)));
    let rate = rate.ok_or_else(|| Fault::Bad("bad-rate", text.to_owned()))?;
    Ok(Patch { rate_per_minute: Some(rate), ..Patch::default() })
}

/// The time that the form gives: one that does not lie in the past.
fn time(context: &Context) -> Result<Patch, Fault> {
    let text = |name: &str| context.form(name).unwrap_or_default().trim();
    let at = new_send::local_time(text("at"), text("offset"));
    let at = at.ok_or_else(|| Fault::Bad("bad-time", text("at").to_owned()))?;
    if at < context.ui.now.minus(batches::SCHEDULE_SLACK) {
        return Err(Fault::Bad("send-past", text("at").to_owned()));
    }
    Ok(Patch { schedule_at: Some(at), ..Patch::default() })
}

async fn steer(context: &Context, id: BatchId, act: &Act) -> Result<(), ControlError> {
    let (app, now) = (&context.app, context.app.clock.now());
    let tx = app.db.begin().await?;
    let mut ring = None;
    let (step, action) = match act {
        Act::Pause => (batches::pause(&tx, id).await?, Action::BatchPause),
        Act::Resume => (batches::resume(&tx, now, id).await?, Action::BatchResume),
        Act::Cancel => {
            let user = context.viewer.as_ref().map(|viewer| viewer.user.id).ok_or(ControlError::NotFound)?;
            let step = batches::cancel_later(&tx, now, id, user).await?;
            ring = Some((step.value.job, step.value.at));
            (step.map(|asked| asked.batch), Action::BatchCancelAsk)
        }
        Act::Keep => (batches::keep(&tx, now, id).await?, Action::BatchKeep),
        Act::Retry(Some(code)) => (batches::retry_cause(&tx, now, id, code).await?, Action::BatchRetry),
        Act::Retry(None) => (batches::retry(&tx, now, id).await?, Action::BatchRetry),
        Act::Pace(patch) | Act::Move(patch) => (batches::patch(&tx, now, id, *patch).await?, Action::BatchUpdate),
    };
    audit_log::record(&tx, now, &context.origin(), action, Some(id)).await?;
    db::commit(tx, faults::Commit::Steer).await?;
    app.after.commit(step);
    if let Some((job, at)) = ring {
        app.after.ring_at(job.kind.lane(), job, at);
    }
    Ok(())
}
