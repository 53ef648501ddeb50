//! `/console/senders`: what messages leave from, and how it is.

use super::{Health, health};
use crate::fault::Fault;
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use domain::queue::samples;
use domain::senders::{self, Sender};
use domain::users::Permission;
use poem::Response;

/// A sender in the list.
struct Row {
    sender: Sender,
    health: Health,
    /// Its limit a minute.
    rate: Option<i64>,
    used_today: i64,
    /// How many messages of batches were decided in the last whole minute.
    in_use: i64,
    /// Whether its slots are handed out ahead of now.
    full: bool,
}

#[derive(Template)]
#[template(path = "pages/queue/senders.html", blocks = ["now"])]
struct Senders {
    ui: Ui,
    rows: Vec<Row>,
    /// Whether the reader may act on them.
    manages: bool,
}

/// Shows the list.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let now = context.ui.now;
    let configured = context.app.settings.sender_rate_per_minute;
    let in_use = samples::pace_in_use(context.app.db.read(), now).await?;
    let row = |sender: Sender| Row {
        in_use: in_use.get(&sender.id).copied().unwrap_or_default(),
        health: health(&sender, now),
        rate: sender.rate_per_minute.or(configured),
        used_today: sender.allowance.used_today(now),
        full: sender.booked_until > now,
        sender,
    };
    let rows = senders::list(context.app.db.read()).await?.into_iter().map(row).collect();
    let page = Senders { ui: context.ui.clone(), rows, manages: context.ui.may(Permission::QueuesManage) };
    Ok(match context.fragment() {
        Some("now") => guard::html(&page.ui, &page.as_now()),
        _ => guard::html(&page.ui, &page),
    })
}
