//! `/console/operations/new`: what an act on all the jobs that match would do, and its button.

use super::jobs::{self, Row};
use crate::fault::Fault;
use crate::guard::{self, Context, redirect};
use crate::ui::Ui;
use askama::Template;
use backplane::Limit;
use domain::audit_log::{self, Action};
use domain::db;
use domain::jobs::list::{self, Filter};
use domain::model::{JobState, OperationAct};
use domain::queue::operations::{self, MAX_RATE, NewOperation};
use domain::queue::{self, Forecast};
use poem::Response;

#[derive(Template)]
#[template(path = "pages/queue/new_operation.html")]
struct NewPage {
    ui: Ui,
    act: OperationAct,
    filter: Filter,
    forecast: Forecast,
    rows: Vec<Row>,
    /// The list of those that match.
    list: String,
    /// Whether the number is typed before: what is cancelled is never done.
    typed: bool,
    /// Whether somebody typed another number.
    mistyped: bool,
}

/// What is done to which jobs, by the address or the form.
fn wanted(context: &Context) -> Result<(OperationAct, Filter), Fault> {
    let bad = |what: &str| Fault::Bad("bad-choice", what.to_owned());
    let text = context.query("act").unwrap_or_default();
    let act: OperationAct = text.parse().map_err(|_| bad(&format!("act={text}")))?;
    let filter = jobs::filter(context)?;
    if filter.is_empty() {
        return Err(bad("state="));
    }
    // Chosen ones are meant, and none is chosen: that is not all of them.
    if context.query("chosen").is_some() && filter.ids.is_none() {
        return Err(Fault::Bad("selected-none", list::MAX_CHOSEN.to_string()));
    }
    let filter = operations::filter_of(act, &filter).map_err(|_| bad(&format!("act={act}")))?;
    Ok((act, filter))
}

/// Shows the forecast, or makes the operation.
pub(crate) async fn either(context: Context) -> Result<Response, Fault> {
    let (act, filter) = wanted(&context)?;
    let now = context.ui.now;
    let forecast = queue::forecast(context.app.db.read(), now, act, &filter).await?;
    let typed = act == OperationAct::Cancel;
    let mut mistyped = false;
    if context.method == poem::http::Method::POST {
        // The number on the button, and the one that was typed, is what it acts on.
        let number = |name: &str| context.form(name).and_then(|text| text.trim().replace(',', "").parse::<i64>().ok());
        let told = number("expected") == Some(forecast.matched);
        if told && (!typed || number("typed") == Some(forecast.matched)) {
            return create(&context, act, filter, forecast.matched).await;
        }
        mistyped = true;
    }
    let page = NewPage {
        list: jobs::address(&filter, &[]),
        rows: forecast.samples.iter().cloned().map(|job| Row::of(job, now)).collect(),
        ui: context.ui.clone(),
        act,
        filter,
        forecast,
        typed,
        mistyped,
    };
    let mut response = guard::html(&page.ui, &page);
    if mistyped {
        response.set_status(poem::http::StatusCode::CONFLICT);
    }
    Ok(response)
}

/// The pace that the form gives; empty is none.
fn rate(context: &Context) -> Result<Option<u32>, Fault> {
    let text = context.form("rate").unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(None);
    }
    let rate = text.parse().ok().filter(|rate| (1..=MAX_RATE).contains(rate));
    rate.map(Some).ok_or_else(|| Fault::Bad("bad-rate", text.to_owned()))
}

async fn create(context: &Context, act: OperationAct, filter: Filter, matched: i64) -> Result<Response, Fault> {
    let rate_per_minute = rate(context)?;
    let (app, user) = (&context.app, context.viewer()?.user.id);
    let limit = Limit { per_minute: app.settings.batch_per_minute };
    let decision = app.backplane.limiter.check(&format!("batch:{user}"), limit).await;
    if !decision.allowed {
        return Err(Fault::Limited(decision.reset_after.as_secs().max(1)));
    }
    let now = app.clock.now();
    let new = NewOperation { act, filter, rate_per_minute, matched };
    let tx = app.db.begin().await?;
    let step = operations::create(&tx, now, &new, user).await?;
    audit_log::record(&tx, now, &context.origin(), Action::OperationCreate, Some(step.value.id)).await?;
    db::commit(tx, faults::Commit::Steer).await?;
    let operation = app.after.commit(step);
    tracing::info!(operation = %operation.id, %user, matched, "an operation was asked for in the console");
    Ok(redirect(&format!("/console/operations/{}", operation.id)))
}

/// The acts that fit a filter of the jobs' page, each with its address: what is dead is retried or cancelled, what waits for
/// its time is run.
pub(super) fn offers(filter: &Filter) -> Vec<(OperationAct, String)> {
    let acts: &[OperationAct] = match filter.state {
        Some(JobState::Dead) => &[OperationAct::Retry, OperationAct::Cancel],
        Some(JobState::Ready) => &[OperationAct::Run, OperationAct::Cancel],
        _ => &[],
    };
    let address = |act: &OperationAct| {
        let rest = jobs::address(filter, &[("act", act.to_string())]);
        rest.replacen("/console/jobs?", "/console/operations/new?", 1)
    };
    acts.iter().map(|act| (*act, address(act))).collect()
}
