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
    let (key, at, rate) = match hold {
        Hold::UnderWay => ("hold-under-way", None, 0),
        Hold::Paused => ("hold-paused", None, 0),
        Hold::Scheduled(at) => ("hold-scheduled", Some(at), 0),
        Hold::Retried(at) => ("hold-retried", Some(at), 0),
        Hold::Sender(senders::Hold::Stopped) => ("hold-sender-stopped", None, 0),
        Hold::Sender(senders::Hold::Capped { until }) => ("hold-sender-capped", Some(until), 0),
        Hold::GatewayAway => ("hold-gateway", None, 0),
        Hold::Throttled(at) => ("hold-throttled", Some(at), 0),
        Hold::Pace(rate) => ("hold-pace", None, rate),
        Hold::Turn => ("hold-turn", None, 0),
    };
    Wait { key, at, rate }
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
    let before = seq.checked_sub(1).filter(|before| *before >= 0);
    let page = batches::items(db, id, None, before, 1).await?.ok_or(Fault::NotFound)?;
    let item = page.rows.into_iter().next().filter(|item| item.seq == seq).ok_or(Fault::NotFound)?;
    let sender = batches::sender_paces(db, context.app.settings.sender_rate_per_minute).await?.of(&batch);
    let page = Recipient {
        ui: context.ui.clone(),
        id,
        phone: shown_phone(&context, &item)?,
        waits: batch.holds(context.ui.now, &sender, &item).into_iter().map(wait).collect(),
        moments: moments(&batch, &item),
        item,
    };
    Ok(guard::html(&page.ui, &page))
}
