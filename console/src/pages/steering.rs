//! `/console/batches/all`: an act on all the batches that match, from its forecast to its button; `/console/batches/acts/{id}`: how
//! far one has come, and what it did with each.

use super::ROWS;
use super::batches::{filter_of, line_of};
use crate::fault::Fault;
use crate::filter::Chip;
use crate::guard::{self, Context, redirect};
use crate::ui::Ui;
use askama::Template;
use backplane::Limit;
use domain::audit_log::{self, Action};
use domain::batches::Filter;
use domain::model::SteeringAct;
use domain::queue::operations::{Halt, HaltError};
use domain::queue::steerings::{self, DONE, Steering, SteeringForecast, SteeringItem};
use domain::users;
use domain::{SteeringId, db};
use poem::Response;
use poem::http::{Method, StatusCode};

#[derive(Template)]
#[template(path = "pages/new_steering.html")]
struct NewPage {
    ui: Ui,
    act: SteeringAct,
    chips: Vec<Chip>,
    forecast: SteeringForecast,
    /// The list of those that match.
    list: String,
    /// Whether the number is typed before: what is cancelled does not go on.
    typed: bool,
    /// Whether somebody typed another number, or others match by now.
    mistyped: bool,
}

/// Shows the forecast, or makes the act.
pub(crate) async fn either(context: Context) -> Result<Response, Fault> {
    let line = line_of(&context);
    let filter = filter_of(&context, &line).await?;
    let word = context.query("act").unwrap_or_default();
    let act: SteeringAct = word.parse().map_err(|_| Fault::Bad("bad-choice", format!("act={word}")))?;
    if filter.is_empty() {
        return Err(Fault::Bad("steering-empty", String::new()));
    }
    let forecast = steerings::forecast(context.app.db.read(), act, &filter).await?;
    let typed = act == SteeringAct::Cancel;
    let mut mistyped = false;
    if context.method == Method::POST {
        // The number on the button, and the one that was typed, is what it acts on.
        let number = |name: &str| context.form(name).and_then(|text| text.trim().replace(',', "").parse::<i64>().ok());
        let told = number("expected") == Some(forecast.matched);
        if told && (!typed || number("typed") == Some(forecast.matched)) {
            return create(&context, act, filter, forecast.matched).await;
        }
        mistyped = true;
    }
    let list = line.address("/console/batches");
    let page = NewPage { ui: context.ui.clone(), act, chips: line.chips(""), forecast, list, typed, mistyped };
    let mut response = guard::html(&page.ui, &page);
    if mistyped {
        response.set_status(StatusCode::CONFLICT);
    }
    Ok(response)
}

async fn create(context: &Context, act: SteeringAct, filter: Filter, matched: i64) -> Result<Response, Fault> {
    let (app, user) = (&context.app, context.viewer()?.user.id);
    let limit = Limit { per_minute: app.settings.batch_per_minute };
    let decision = app.backplane.limiter.check(&format!("batch:{user}"), limit).await;
    if !decision.allowed {
        return Err(Fault::Limited(decision.reset_after.as_secs().max(1)));
    }
    let now = app.clock.now();
    let tx = app.db.begin().await?;
    let step = steerings::create(&tx, now, (act, &filter), matched, user).await?;
    audit_log::record(&tx, now, &context.origin(), Action::SteeringCreate, Some(step.value.id)).await?;
    db::commit(tx, faults::Commit::Steer).await?;
    let steering = app.after.commit(step);
    tracing::info!(steering = %steering.id, %user, matched, "an act on batches was asked for in the console");
    Ok(redirect(&format!("/console/batches/acts/{}", steering.id)))
}

impl NewPage {
    /// The key of the button's words.
    const fn button(&self) -> &'static str {
        match self.act {
            SteeringAct::Pause => "steering-do-pause",
            SteeringAct::Resume => "steering-do-resume",
            SteeringAct::Cancel => "steering-do-cancel",
        }
    }
}

#[derive(Template)]
#[template(path = "pages/steering.html", blocks = ["state"])]
struct Page {
    ui: Ui,
    steering: Steering,
    /// Who asked for it.
    by: String,
    progress: i64,
    can_undo: bool,
    can_stop: bool,
    items: Vec<SteeringItem>,
    next: Option<String>,
    later: bool,
}

impl Page {
    /// What was done with a batch, in words.
    fn result(&self, item: &SteeringItem) -> String {
        self.ui.t(if item.result == DONE { "operation-item-done" } else { "operation-item-changed" })
    }
}

fn id(context: &Context) -> Result<SteeringId, Fault> {
    context.path("id").parse().map_err(|_| Fault::NotFound)
}

/// Shows the act.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let db = context.app.db.read();
    let steering = steerings::get(db, id(&context)?).await?.ok_or(Fault::NotFound)?;
    let after: Option<i64> = match context.query("after") {
        Some(text) => Some(text.parse().map_err(|_| Fault::Bad("bad-choice", format!("after={text}")))?),
        None => None,
    };
    let mut items = steerings::steering_items(db, steering.id, after.unwrap_or(0), ROWS + 1).await?;
    let more = items.len() > ROWS;
    items.truncate(ROWS);
    let next = items.last().filter(|_| more);
    let next = next.map(|last| format!("/console/batches/acts/{}?after={}", steering.id, last.batch));
    let by = users::get(db, steering.created_by).await?;
    let page = Page {
        by: by.map_or_else(|| steering.created_by.to_string(), |user| user.full_name),
        progress: match steering.is_open() {
            true => ((steering.done + steering.skipped) * 100 / steering.matched.max(1)).min(100),
            false => 100,
        },
        can_undo: context.ui.may_steer() && steering.can_be_undone(),
        can_stop: context.ui.may_steer() && steering.is_open() && !steering.can_be_undone(),
        ui: context.ui.clone(),
        steering,
        items,
        next,
        later: after.is_some(),
    };
    Ok(match context.fragment() {
        Some("state") => guard::html(&page.ui, &page.as_state()),
        _ => guard::html(&page.ui, &page),
    })
}

/// Takes it back or stops it, and shows it again.
pub(crate) async fn act(context: Context) -> Result<Response, Fault> {
    let (how, done) = match context.path("act") {
        "undo" => (Halt::Undo, "operation-undone"),
        "stop" => (Halt::Stop, "operation-stopped"),
        _ => return Err(Fault::NotFound),
    };
    let (id, app) = (id(&context)?, &context.app);
    let now = app.clock.now();
    let tx = app.db.begin().await?;
    let halted = steerings::halt(&tx, now, id, how).await;
    halted.map_err(|error| match error {
        HaltError::NotFound => Fault::NotFound,
        HaltError::Conflict(_) => Fault::Conflict(context.ui.t("operation-too-late")),
        HaltError::Database(error) => error.into(),
    })?;
    audit_log::record(&tx, now, &context.origin(), Action::SteeringStop, Some(id)).await?;
    db::commit(tx, faults::Commit::Steer).await?;
    Ok(redirect(&format!("/console/batches/acts/{id}?done={done}")))
}
