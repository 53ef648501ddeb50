//! `/console/batches/selected`: batches that are steered together. Each for itself: what cannot be steered so is told, and the
//! others are.

use super::batch::{Act, in_flight, steered};
use super::batches::{Row, names};
use crate::fault::Fault;
use crate::guard::{self, Context, redirect};
use crate::ui::Ui;
use askama::Template;
use domain::BatchId;
use domain::batches::{self, Batch, ControlError};
use poem::Response;

/// How many batches are steered at once: as many as a list shows, a few times.
const MOST: usize = 200;

/// What became of one of them.
struct Outcome {
    id: BatchId,
    /// Why it was not steered; empty: it was.
    why: String,
}

#[derive(Template)]
#[template(path = "pages/selected.html")]
struct Selected {
    ui: Ui,
    /// The word of the act.
    act: &'static str,
    /// To be cancelled, once that is confirmed: nothing was done yet.
    asked: Vec<Row>,
    count: i64,
    /// How many recipients of those wait, and how many are in flight.
    left: i64,
    in_flight: i64,
    outcomes: Vec<Outcome>,
    /// How many were steered.
    done: i64,
    /// The act that takes it back.
    undo: Option<&'static str>,
}

/// The acts on many, with what takes each back.
fn act_of(context: &Context) -> Result<(&'static str, Act, Option<&'static str>), Fault> {
    Ok(match context.form("act") {
        Some("pause") => ("pause", Act::Pause, Some("resume")),
        Some("resume") => ("resume", Act::Resume, Some("pause")),
        Some("cancel") => ("cancel", Act::Cancel, Some("keep")),
        Some("keep") => ("keep", Act::Keep, None),
        other => return Err(Fault::Bad("bad-choice", other.unwrap_or_default().to_owned())),
    })
}

/// Without a selection there is nothing to be shown.
pub(crate) async fn either(context: Context) -> Result<Response, Fault> {
    if context.method != poem::http::Method::POST {
        return Ok(redirect("/console/batches"));
    }
    let (word, act, undo) = act_of(&context)?;
    let ids = context.form_all("id").map(|text| text.parse().map_err(|_| Fault::NotFound));
    let ids: Vec<BatchId> = ids.collect::<Result<_, _>>()?;
    if ids.is_empty() || ids.len() > MOST {
        return Err(Fault::Bad("selected-none", MOST.to_string()));
    }
    let mut page = Selected {
        ui: context.ui.clone(),
        act: word,
        asked: Vec::new(),
        count: 0,
        left: 0,
        in_flight: 0,
        outcomes: Vec::new(),
        done: 0,
        undo,
    };
    if matches!(act, Act::Cancel) && context.form("sure").is_none() {
        ask(&context, &ids, &mut page).await?;
        return Ok(guard::html(&page.ui, &page));
    }
    for id in ids {
        let why = match steered(&context, id, &act).await {
            Ok(()) => String::new(),
            Err(ControlError::NotFound) => context.ui.t("error-not-found-title"),
            Err(ControlError::Conflict(refused)) => context.ui.refused(&refused),
            Err(ControlError::OwnBatch) => context.ui.t("error-own"),
            Err(ControlError::Database(error)) => return Err(error.into()),
        };
        page.done += i64::from(why.is_empty());
        page.outcomes.push(Outcome { id, why });
    }
    Ok(guard::html(&page.ui, &page))
}

/// Says what a cancel of these would do.
async fn ask(context: &Context, ids: &[BatchId], page: &mut Selected) -> Result<(), Fault> {
    let mut open: Vec<Batch> = Vec::new();
    for id in ids {
        let batch = batches::get(context.app.db.read(), *id).await?.ok_or(Fault::NotFound)?;
        if !batch.summary.status.is_terminal() {
            open.push(batch);
        }
    }
    for batch in &open {
        let flying = in_flight(context, batch).await?;
        page.in_flight += flying;
        page.left += (batch.summary.total - batch.summary.processed() - flying).max(0);
    }
    page.count = i64::try_from(open.len()).unwrap_or(i64::MAX);
    let (now, rate) = (context.ui.now, context.app.settings.sender_rate_per_minute);
    let names = names(context, &open).await?;
    page.asked = open.iter().map(|batch| Row::of(batch, now, rate, &names)).collect();
    Ok(())
}
