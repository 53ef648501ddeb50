//! `/console/operations/new` on jobs and `/console/batches/all` on batches: what an act on all that match would do, and its
//! button.

use super::batches as batch_list;
use super::operation;
use super::queue::jobs;
use crate::fault::Fault;
use crate::guard::{self, Context, redirect};
use crate::ui::Ui;
use askama::Template;
use backplane::Limit;
use domain::audit_log::{self, Action};
use domain::jobs::list::{self, Filter};
use domain::model::{BatchAct, JobAct, JobState, OperationTarget};
use domain::queue::operations::{self, Aim, MAX_RATE, NewOperation, of_batches, of_jobs};
use domain::{BatchId, db};
use poem::Response;
use poem::http::{Method, StatusCode};

/// An operation that could be made, as it is shown before.
struct Asked {
    aim: Aim,
    /// The filter, in words.
    chips: Vec<String>,
    /// How many match.
    matched: i64,
    /// Whether there may be more.
    at_least: bool,
    /// To how many of them it would be done.
    fit: i64,
    /// How many are left out, and why.
    left_out: Vec<(&'static str, i64)>,
    /// Some of them, where they are jobs.
    jobs: Vec<jobs::Row>,
    /// Some of them, where they are batches.
    batches: Vec<BatchId>,
    /// The list of those that match.
    list: String,
}

#[derive(Template)]
#[template(path = "pages/new_operation.html")]
struct NewPage {
    ui: Ui,
    asked: Asked,
    /// Whether somebody typed another number, or others match by now.
    mistyped: bool,
}

impl NewPage {
    fn on_jobs(&self) -> bool {
        self.asked.aim.target() == OperationTarget::Jobs
    }

    /// The question.
    fn ask(&self) -> String {
        let Asked { aim, .. } = &self.asked;
        self.ui.state(&format!("operation-ask-{}-", aim.target()), aim.act())
    }

    fn forecast(&self) -> String {
        let least = if self.asked.at_least { "-least" } else { "" };
        self.ui.tn(&format!("operation-fit-{}{least}", self.asked.aim.target()), &self.asked.fit)
    }

    fn button(&self) -> String {
        let Asked { aim, fit, .. } = &self.asked;
        self.ui.tn(&format!("operation-do-{}-{}", aim.target(), aim.act()), fit)
    }

    /// Whether the number is typed before: what is cancelled is never done.
    fn typed(&self) -> bool {
        typed(&self.asked.aim)
    }
}

fn typed(aim: &Aim) -> bool {
    matches!(aim, Aim::Jobs(JobAct::Cancel, _) | Aim::Batches(BatchAct::Cancel, _))
}

/// `/console/operations/new`: on jobs.
pub(crate) async fn on_jobs(context: Context) -> Result<Response, Fault> {
    let bad = |what: &str| Fault::Bad("bad-choice", what.to_owned());
    let text = context.query("act").unwrap_or_default();
    let act: JobAct = text.parse().map_err(|_| bad(&format!("act={text}")))?;
    let filter = jobs::filter(&context)?;
    if filter.is_empty() {
        return Err(bad("state="));
    }
    // Chosen ones are meant, and none is chosen: that is not all of them.
    if context.query("chosen").is_some() && filter.ids.is_none() {
        return Err(Fault::Bad("selected-none", list::MAX_CHOSEN.to_string()));
    }
    let filter = of_jobs::filter_of(act, &filter).map_err(|_| bad(&format!("act={act}")))?;
    let now = context.ui.now;
    let forecast = of_jobs::forecast(context.app.db.read(), now, act, &filter).await?;
    let asked = Asked {
        chips: jobs::said(&context.ui, &filter),
        matched: forecast.matched,
        at_least: forecast.at_least,
        fit: forecast.fit,
        left_out: forecast.left_out.iter().map(|(why, jobs)| (why.code(), *jobs)).collect(),
        jobs: forecast.samples.into_iter().map(|job| jobs::Row::of(job, now)).collect(),
        batches: Vec::new(),
        list: jobs::address(&filter, &[]),
        aim: Aim::Jobs(act, filter),
    };
    either(context, asked).await
}

/// `/console/batches/all`: on batches.
pub(crate) async fn on_batches(context: Context) -> Result<Response, Fault> {
    let line = batch_list::line_of(&context);
    let filter = batch_list::filter_of(&context, &line).await?;
    let text = context.query("act").unwrap_or_default();
    let act: BatchAct = text.parse().map_err(|_| Fault::Bad("bad-choice", format!("act={text}")))?;
    if filter.is_empty() {
        return Err(Fault::Bad("operation-empty", String::new()));
    }
    let forecast = of_batches::forecast(context.app.db.read(), act, &filter).await?;
    let asked = Asked {
        chips: line.chips("").into_iter().map(|chip| chip.text).collect(),
        matched: forecast.matched,
        at_least: forecast.at_least,
        fit: forecast.matched,
        left_out: Vec::new(),
        jobs: Vec::new(),
        batches: forecast.samples,
        list: line.address("/console/batches"),
        aim: Aim::Batches(act, filter),
    };
    either(context, asked).await
}

/// Shows the forecast, or makes the operation.
async fn either(context: Context, asked: Asked) -> Result<Response, Fault> {
    let mut mistyped = false;
    if context.method == Method::POST {
        // The number on the button, and the one that was typed, is what it acts on.
        let number = |name: &str| context.form(name).and_then(|text| text.trim().replace(',', "").parse::<i64>().ok());
        let told = number("expected") == Some(asked.matched);
        if told && (!typed(&asked.aim) || number("typed") == Some(asked.matched)) {
            return create(&context, asked.aim, asked.matched).await;
        }
        mistyped = true;
    }
    let page = NewPage { ui: context.ui.clone(), asked, mistyped };
    let mut response = guard::html(&page.ui, &page);
    if mistyped {
        response.set_status(StatusCode::CONFLICT);
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

async fn create(context: &Context, aim: Aim, matched: i64) -> Result<Response, Fault> {
    let rate_per_minute = rate(context)?;
    let (app, user) = (&context.app, context.viewer()?.user.id);
    let limit = Limit { per_minute: app.settings.batch_per_minute };
    let decision = app.backplane.limiter.check(&format!("batch:{user}"), limit).await;
    if !decision.allowed {
        return Err(Fault::Limited(decision.reset_after.as_secs().max(1)));
    }
    let now = app.clock.now();
    let target = aim.target();
    let new = NewOperation { aim, rate_per_minute, matched };
    let tx = app.db.begin().await?;
    let step = operations::create(&tx, now, &new, user).await?;
    audit_log::record(&tx, now, &context.origin(), Action::OperationCreate, Some(step.value.id)).await?;
    db::commit(tx, faults::Commit::Steer).await?;
    let made = app.after.commit(step);
    tracing::info!(operation = %made.id, %target, %user, matched, "an operation was asked for in the console");
    Ok(redirect(&operation::address(target, made.id)))
}

/// The acts that fit a filter of the jobs' page, each with its address: what is dead is retried or cancelled, what waits for
/// its time is run.
pub(super) fn offers(filter: &Filter) -> Vec<(JobAct, String)> {
    let acts: &[JobAct] = match filter.state {
        Some(JobState::Dead) => &[JobAct::Retry, JobAct::Cancel],
        Some(JobState::Ready) => &[JobAct::Run, JobAct::Cancel],
        _ => &[],
    };
    let address = |act: &JobAct| {
        let rest = jobs::address(filter, &[("act", act.to_string())]);
        rest.replacen("/console/jobs?", "/console/operations/new?", 1)
    };
    acts.iter().map(|act| (*act, address(act))).collect()
}
