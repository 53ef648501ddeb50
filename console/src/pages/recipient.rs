//! `/console/batches/{id}/recipients/{seq}`: one recipient, what became of it, and what it waits for.

use super::batch_of;
use super::recipients::shown_phone;
use crate::fault::Fault;
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use domain::batches::{self, Batch, Hold, Item};
use domain::{BatchId, Timestamp, senders};
use poem::Response;

/// What a recipient waits for: the key of its words, and the values that they take.
struct Wait {
    key: &'static str,
    at: Option<Timestamp>,
    rate: i64,
    /// The worker, where one has it.
    worker: String,
}

/// Something that happened, or will.
struct Moment {
    key: &'static str,
    at: Timestamp,
}

#[derive(Template)]
#[template(path = "pages/recipient.html")]
struct Recipient {
    ui: Ui,
    id: BatchId,
    item: Item,
    phone: String,
    waits: Vec<Wait>,
    moments: Vec<Moment>,
}

fn wait(hold: Hold) -> Wait {
    let key = match hold {
        Hold::UnderWay => "hold-under-way",
        Hold::AskedAgain(_) => "hold-asked-again",
        Hold::InDoubt => "hold-in-doubt",
        Hold::Approval => "hold-approval",
        Hold::Paused => "hold-paused",
        Hold::Scheduled(_) => "hold-scheduled",
        Hold::Retried(_) => "hold-retried",
        Hold::Sender(senders::Hold::Stopped) => "hold-sender-stopped",
        Hold::Sender(senders::Hold::Capped { .. }) => "hold-sender-capped",
        Hold::GatewayAway(_) => "hold-gateway",
        Hold::Throttled(_) => "hold-throttled",
        Hold::Suppressed => "hold-suppressed",
        Hold::NoNumber => "hold-no-number",
        Hold::NoContact => "hold-no-contact",
        Hold::AtWork { .. } => "hold-at-work",
        Hold::NoWorker(_) => "hold-no-worker",
        Hold::JobRetried(_) => "hold-job-retried",
        Hold::OtherRelease => "hold-other-release",
        Hold::Pace(_) => "hold-pace",
        Hold::Turn => "hold-turn",
    };
    let at = hold.at();
    let rate = if let Hold::Pace(rate) = hold { rate } else { 0 };
    let worker = if let Hold::AtWork { worker, .. } = hold { worker } else { String::new() };
    Wait { key, at, rate, worker }
}

fn moments(batch: &Batch, item: &Item) -> Vec<Moment> {
    let of = |key, at: Option<Timestamp>| at.map(|at| Moment { key, at });
    let mut moments: Vec<Moment> = [
        of("moment-accepted", Some(batch.summary.created_at)),
        of("moment-starts", batch.schedule_at),
        of("moment-first-attempt", item.started_at),
        of("next-attempt", item.next_attempt_at),
        of("moment-decided", item.finished_at),
    ]
    .into_iter()
    .flatten()
    .collect();
    // Stable: of two at once, the one that comes first by its nature.
    moments.sort_by_key(|moment| moment.at);
    moments
}

/// Shows the recipient.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let batch = batch_of(&context).await?;
    let (db, id) = (context.app.db.read(), batch.summary.id);
    let seq: i64 = context.path("seq").parse().map_err(|_| Fault::NotFound)?;
    let item = batches::item(db, id, seq).await?.ok_or(Fault::NotFound)?;
    let sender = batches::sender_paces(db, context.app.settings.sender_rate_per_minute).await?.of(&batch);
    let page = Recipient {
        ui: context.ui.clone(),
        id,
        phone: shown_phone(&context, &item)?,
        waits: batches::holds(db, context.ui.now, &batch, &sender, &item).await?.into_iter().map(wait).collect(),
        moments: moments(&batch, &item),
        item,
    };
    Ok(guard::html(&page.ui, &page))
}
