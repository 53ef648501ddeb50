//! `/console/jobs/{id}`: a job with its past, and the acts on it.

use super::{moment, shown_state};
use crate::fault::Fault;
use crate::guard::{self, Context, redirect};
use crate::ui::Ui;
use askama::Template;
use domain::audit_log::{self, Action};
use domain::db::Trouble;
use domain::jobs::history::{self, JobEvent};
use domain::jobs::list::{self, Job};
use domain::queue::{self, Act, SteerError, Unfit};
use domain::users::{self, Permission};
use domain::{JobId, Step, Timestamp, UserId, db};
use poem::Response;
use std::collections::BTreeMap;

/// The longest payload that is shown, in characters.
const MAX_PAYLOAD: usize = 4_096;

/// How often an act is tried when others are in the way.
const TRIES: u32 = 3;

#[derive(Template)]
#[template(path = "pages/queue/job.html", blocks = ["state"])]
struct JobPage {
    ui: Ui,
    job: Job,
    state: &'static str,
    moment_key: &'static str,
    moment_at: Timestamp,
    events: Vec<JobEvent>,
    /// The names of those who steered it.
    names: BTreeMap<UserId, String>,
    payload: String,
    /// Whether the page asks about the job's cancelling.
    ask: bool,
    can_retry: bool,
    can_cancel: bool,
    can_run: bool,
    can_move: bool,
    /// The time before the one that was just set.
    was: Option<Timestamp>,
    /// Whether its batch is steered in its place.
    of_batch: bool,
}

impl JobPage {
    /// How often in a row it went wrong, in one way or another.
    fn in_a_row(&self) -> i64 {
        self.job.failures + self.job.crashes + self.job.timeouts
    }

    fn name(&self, user: &UserId) -> String {
        self.names.get(user).cloned().unwrap_or_else(|| user.to_string())
    }
}

fn id(context: &Context) -> Result<JobId, Fault> {
    context.path("id").parse().map_err(|_| Fault::NotFound)
}

/// Shows the job.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let (db, now) = (context.app.db.read(), context.ui.now);
    let (job, payload) = list::get(db, id(&context)?).await?.ok_or(Fault::NotFound)?;
    let events = history::of(db, job.id).await?;
    let mut names = BTreeMap::new();
    for user in events.iter().filter_map(|event| event.user) {
        if !names.contains_key(&user)
            && let Some(found) = users::get(db, user).await?
        {
            names.insert(user, found.full_name);
        }
    }
    let manages = context.ui.may(Permission::QueuesManage);
    let can = |act| manages && queue::unfit(now, &job, act).is_none();
    let (moment_key, moment_at) = moment(&job, now);
    let payload = match &payload {
        serde_json::Value::Object(object) if object.is_empty() => String::new(),
        payload => serde_json::to_string_pretty(payload).unwrap_or_default().chars().take(MAX_PAYLOAD).collect(),
    };
    let page = JobPage {
        state: shown_state(&job, now),
        moment_key,
        moment_at,
        can_retry: can(Act::Retry),
        can_cancel: can(Act::Cancel),
        can_run: can(Act::RunNow),
        can_move: can(Act::Move(now)),
        ask: context.query("ask") == Some("cancel") && can(Act::Cancel),
        was: context.query("was").and_then(|ms| ms.parse().ok()).map(Timestamp),
        of_batch: [Act::Retry, Act::Cancel, Act::RunNow]
            .into_iter()
            .any(|act| matches!(queue::unfit(now, &job, act), Some(Unfit::OfBatch | Unfit::Paused))),
        ui: context.ui.clone(),
        events,
        names,
        payload,
        job,
    };
    Ok(match context.fragment() {
        Some("state") => guard::html(&page.ui, &page.as_state()),
        _ => guard::html(&page.ui, &page),
    })
}

/// The time that a form gives, with the offset of the reader's zone; a time that is past is now.
fn wanted(context: &Context) -> Result<Timestamp, Fault> {
    let text = context.form("at").unwrap_or_default().trim();
    let offset: i64 = context.form("offset").unwrap_or_default().parse().unwrap_or(0);
    let seconds = if text.len() == 16 { ":00Z" } else { "Z" };
    let utc = Timestamp::parse_rfc3339(&format!("{text}{seconds}"));
    let utc = utc.map_err(|_| Fault::Bad("bad-time", text.to_owned()))?;
    Ok(Timestamp(utc.0.saturating_add(offset.saturating_mul(60_000))).max(context.ui.now))
}

/// Steers the job, and shows it again.
pub(crate) async fn act(context: Context) -> Result<Response, Fault> {
    let id = id(&context)?;
    let (act, action, done) = match context.path("act") {
        "retry" => (Act::Retry, Action::JobRetry, "job-retried"),
        "cancel" => (Act::Cancel, Action::JobCancel, "job-cancelled"),
        "run" => (Act::RunNow, Action::JobRun, "job-run"),
        "move" => (Act::Move(wanted(&context)?), Action::JobMove, "job-moved"),
        _ => return Err(Fault::NotFound),
    };
    let before = list::get(context.app.db.read(), id).await?.ok_or(Fault::NotFound)?.0.run_at;
    let mut tries = 1;
    let step = loop {
        match steer(&context, id, act, action).await {
            Err(SteerError::Database(error)) if tries < TRIES && Trouble::of(&error) == Trouble::Conflict => tries += 1,
            done => break done,
        }
    };
    context.app.after.commit(step.map_err(|error| match error {
        SteerError::NotFound => Fault::NotFound,
        SteerError::Unfit(_, unfit) => Fault::Conflict(context.ui.state("unfit-", unfit.code())),
        SteerError::Database(error) => error.into(),
    })?);
    let user = context.viewer()?.user.id;
    tracing::info!(job = %id, %user, act = action.as_str(), "a job was steered in the console");
    let was = if matches!(act, Act::Move(_)) { format!("&was={}", before.0) } else { String::new() };
    Ok(redirect(&format!("/console/jobs/{id}?done={done}{was}")))
}

async fn steer(context: &Context, id: JobId, act: Act, action: Action) -> Result<Step<Job>, SteerError> {
    let (app, now, by) = (&context.app, context.app.clock.now(), context.origin());
    let tx = app.db.begin().await?;
    let step = queue::steer(&tx, now, id, act, by.user()).await?;
    audit_log::record(&tx, now, &by, action, Some(id)).await?;
    db::commit(tx, faults::Commit::Steer).await?;
    Ok(step)
}
