//! `/console/senders/{name}`: who uses a sender's limit, who waits, and the acts on it.

use super::{Health, health};
use crate::fault::Fault;
use crate::guard::{self, Context, encoded, redirect};
use crate::ui::Ui;
use askama::Template;
use domain::audit_log::{self, Action};
use domain::batches::LimitedBy;
use domain::db::Trouble;
use domain::queue::{self, SenderUse, User};
use domain::senders::{self, Patch, Sender, SenderError};
use domain::users::Permission;
use domain::{Step, db};
use poem::Response;

/// How often an act is tried when others are in the way.
const TRIES: u32 = 3;

#[derive(Template)]
#[template(path = "pages/queue/sender.html", blocks = ["state"])]
struct SenderPage {
    ui: Ui,
    found: SenderUse,
    health: Health,
    used_today: i64,
    /// For how many seconds its slots are handed out already.
    booked_secs: i64,
    can_pause: bool,
    can_resume: bool,
    can_pace: bool,
    /// The limit before the one that was just set, to take it back.
    was: Option<i64>,
}

impl SenderPage {
    fn name(&self) -> &str {
        &self.found.sender.name
    }

    fn limit_key(&self, user: &User) -> Option<&'static str> {
        user.pace.limited_by.map(|by| match by {
            LimitedBy::Batch => "limited-by-batch",
            LimitedBy::Sender => "limited-by-sender",
            LimitedBy::Gateway => "limited-by-gateway",
        })
    }
}

/// Shows the sender.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let (now, configured) = (context.ui.now, context.app.settings.sender_rate_per_minute);
    let found = queue::sender_use(context.app.db.read(), now, context.path("name"), configured).await?;
    let found = found.ok_or(Fault::NotFound)?;
    let (manages, settings) = (context.ui.may(Permission::QueuesManage), context.ui.may(Permission::SettingsWrite));
    let paused = found.sender.allowance.paused;
    let page = SenderPage {
        health: health(&found.sender, now),
        used_today: found.sender.allowance.used_today(now),
        booked_secs: i64::try_from(found.booked.as_secs()).unwrap_or(i64::MAX),
        can_pause: manages && !paused,
        can_resume: manages && paused,
        can_pace: settings,
        was: context.query("was").and_then(|rate| rate.parse().ok()),
        ui: context.ui.clone(),
        found,
    };
    Ok(match context.fragment() {
        Some("state") => guard::html(&page.ui, &page.as_state()),
        _ => guard::html(&page.ui, &page),
    })
}

/// The limit that a form gives: empty is the configured one.
fn rate(context: &Context) -> Result<Option<u32>, Fault> {
    let text = context.form("rate").unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(None);
    }
    let rate = text.parse().ok().filter(|rate| (1..=senders::MAX_RATE).contains(rate));
    rate.map(Some).ok_or_else(|| Fault::Bad("bad-sender-rate", text.to_owned()))
}

/// Steers the sender, and shows it again.
pub(crate) async fn act(context: Context) -> Result<Response, Fault> {
    let (patch, done) = match context.path("act") {
        "pause" => (Patch { paused: Some(true), ..Patch::default() }, "sender-paused"),
        "resume" => (Patch { paused: Some(false), ..Patch::default() }, "sender-resumed"),
        "pace" => {
            // Its limit is a setting: who lets it go on need not be who may say how fast.
            context.needs(Permission::SettingsWrite)?;
            (Patch { rate_per_minute: Some(rate(&context)?), ..Patch::default() }, "sender-paced")
        }
        _ => return Err(Fault::NotFound),
    };
    let name = context.path("name").to_owned();
    let before = senders::by_name(context.app.db.read(), &name).await?.ok_or(Fault::NotFound)?;
    let mut tries = 1;
    let step = loop {
        match steer(&context, &before, patch).await {
            Err(SenderError::Database(error)) if tries < TRIES && Trouble::of(&error) == Trouble::Conflict => {
                tries += 1;
            }
            done => break done,
        }
    };
    context.app.after.commit(step.map_err(|error| match error {
        SenderError::NotFound | SenderError::NameTaken => Fault::NotFound,
        SenderError::Database(error) => error.into(),
    })?);
    let user = context.viewer()?.user.id;
    tracing::info!(sender = name, %user, act = done, "a sender was steered in the console");
    let was = before.rate_per_minute.filter(|_| patch.rate_per_minute.is_some());
    let was = was.map_or(String::new(), |rate| format!("&was={rate}"));
    Ok(redirect(&format!("/console/senders/{}?done={done}{was}", encoded(&name))))
}

async fn steer(context: &Context, sender: &Sender, patch: Patch) -> Result<Step<Sender>, SenderError> {
    let (app, now) = (&context.app, context.app.clock.now());
    let tx = app.db.begin().await?;
    let step = senders::patch(&tx, now, sender.id, patch, app.settings.sender_rate_per_minute).await?;
    audit_log::record(&tx, now, &context.origin(), Action::SenderUpdate, Some(sender.id)).await?;
    db::commit(tx, faults::Commit::Steer).await?;
    Ok(step)
}
