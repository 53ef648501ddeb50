//! `/console/batches/{id}`: a batch, and the acts on it.

use super::{batch_of, moment, shown_status};
use crate::fault::Fault;
use crate::guard::{self, Context, redirect};
use crate::ui::Ui;
use askama::Template;
use backplane::Limit;
use domain::audit_log::{self, Action};
use domain::batches::{self, Batch, BatchStatus, ControlError, LimitedBy, Patch, SenderPace};
use domain::db::Trouble;
use domain::{Step, Timestamp, db};
use poem::Response;

/// The highest pace that can be asked for, in messages a minute.
const MAX_RATE: u32 = 600_000;

/// How often an act is tried when others are in the way.
const TRIES: u32 = 3;

#[derive(Template)]
#[template(path = "pages/batch.html", blocks = ["state"])]
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
    /// The pace before the one that was just set, to take it back.
    was: Option<i64>,
}

/// The longest request that is shown, in characters.
const MAX_CONFIG: usize = 4_096;

/// Shows the batch.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let batch = batch_of(&context).await?;
    let configured = context.app.settings.sender_rate_per_minute;
    let sender = batches::sender_paces(context.app.db.read(), configured).await?.of(&batch);
    let page = view(&context, batch, sender);
    Ok(match context.fragment() {
        Some("state") => guard::html(&page.ui, &page.as_state()),
        _ => guard::html(&page.ui, &page),
    })
}

fn view(context: &Context, batch: Batch, sender: SenderPace) -> BatchPage {
    let (ui, now) = (context.ui.clone(), context.ui.now);
    let pace = batch.effective_pace(now, &sender);
    let limited_by = pace.limited_by.map(|by| match by {
        LimitedBy::Batch => "limited-by-batch",
        LimitedBy::Sender => "limited-by-sender",
        LimitedBy::Gateway => "limited-by-gateway",
    });
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
            Some("cancel") if open && steers => Some("cancel"),
            Some("retry") if !open && steers => Some("retry"),
            _ => None,
        },
        can_pause: steers && open && !batch.paused,
        can_resume: steers && open && batch.paused,
        can_cancel: steers && open,
        can_retry: steers
            && summary.failed > 0
            && matches!(summary.status, BatchStatus::Completed | BatchStatus::Failed),
        can_pace: steers && open && batch.sender.is_some(),
        was: context.query("was").and_then(|rate| rate.parse().ok()),
        ui,
        batch,
    }
}

/// What a user does to a batch.
#[derive(Clone, Copy)]
enum Act {
    Pause,
    Resume,
    Cancel,
    Retry,
    Pace(Patch),
}

/// Steers the batch, and shows it again.
pub(crate) async fn act(context: Context) -> Result<Response, Fault> {
    let batch = batch_of(&context).await?;
    let (act, done) = match context.path("act") {
        "pause" => (Act::Pause, "paused"),
        "resume" => (Act::Resume, "resumed"),
        "cancel" => (Act::Cancel, "cancelled"),
        "retry" => (Act::Retry, "retried"),
        "pace" => (Act::Pace(pace(&context)?), "paced"),
        _ => return Err(Fault::NotFound),
    };
    let id = batch.summary.id;
    if matches!(act, Act::Retry) {
        limit_retries(&context).await?;
    }
    let mut tries = 1;
    let step = loop {
        match steer(&context, &batch, act).await {
            Err(ControlError::Database(error)) if tries < TRIES && Trouble::of(&error) == Trouble::Conflict => {
                tries += 1
            }
            done => break done?,
        }
    };
    context.app.after.commit(step);
    let user = context.viewer()?.user.id;
    tracing::info!(batch = %id, %user, act = done, "a batch was steered in the console");
    let was = batch.rate_per_minute.filter(|_| matches!(act, Act::Pace(_)));
    let was = was.map_or(String::new(), |rate| format!("&was={rate}"));
    Ok(redirect(&format!("/console/batches/{id}?done={done}{was}")))
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
    let rate: Option<u32> = text.parse().ok().filter(|rate| (1..=MAX_RATE).contains(rate));
    let rate = rate.ok_or_else(|| Fault::Bad("bad-rate", text.to_owned()))?;
    Ok(Patch { rate_per_minute: Some(rate), ..Patch::default() })
}

async fn steer(context: &Context, batch: &Batch, act: Act) -> Result<Step<Batch>, ControlError> {
    let (app, now, id) = (&context.app, context.app.clock.now(), batch.summary.id);
    let tx = app.db.begin().await?;
    let (step, action) = match act {
        Act::Pause => (batches::pause(&tx, id).await?, Action::BatchPause),
        Act::Resume => (batches::resume(&tx, now, id).await?, Action::BatchResume),
        Act::Cancel => (batches::cancel(&tx, now, id).await?, Action::BatchCancel),
        Act::Retry => (batches::retry(&tx, now, id).await?, Action::BatchRetry),
        Act::Pace(patch) => (batches::patch(&tx, now, id, patch).await?, Action::BatchUpdate),
    };
    audit_log::record(&tx, now, &context.origin(), action, Some(id)).await?;
    db::commit(tx, faults::Commit::Steer).await?;
    Ok(step)
}
