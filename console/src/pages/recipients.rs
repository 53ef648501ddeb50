//! `/console/batches/{id}/recipients`: each recipient with what became of it.

use super::{ROWS, batch_of};
use crate::fault::Fault;
use crate::guard::{self, Context, encoded};
use crate::ui::Ui;
use askama::Template;
use domain::BatchId;
use domain::batches::{self, Item, ItemStatus};
use domain::contacts::phone;
use poem::Response;

/// A recipient in the list.
struct Row {
    item: Item,
    phone: String,
}

#[derive(Template)]
#[template(path = "pages/recipients.html")]
struct Recipients {
    ui: Ui,
    id: BatchId,
    rows: Vec<Row>,
    statuses: &'static [ItemStatus],
    status: Option<ItemStatus>,
    next: Option<String>,
}

/// Shows the recipients.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let batch = batch_of(&context).await?;
    let id = batch.summary.id;
    let bad = |name: &str, text: &str| Fault::Bad(format!("{name}: {text:?} is not one of its values"));
    let status: Option<ItemStatus> =
        context.query("status").map(|text| text.parse().map_err(|_| bad("status", text))).transpose()?;
    let after: Option<i64> =
        context.query("after").map(|text| text.parse().map_err(|_| bad("after", text))).transpose()?;
    let page = batches::items(context.app.db.read(), id, status, after, ROWS).await?.ok_or(Fault::NotFound)?;
    let sees_phones = context.viewer()?.sees_phones();
    let shown = |item: &Item| match &item.phone {
        Some(phone) if sees_phones => phone.clone(),
        Some(phone) => phone::mask_digits(phone),
        None => String::new(),
    };
    let rows = page.rows.into_iter().map(|item| Row { phone: shown(&item), item }).collect();
    let next = page.next.map(|next| {
        let status = status.map_or(String::new(), |status| format!("status={}&", encoded(status.as_str())));
        format!("/console/batches/{id}/recipients?{status}after={next}")
    });
    let page = Recipients { ui: context.ui.clone(), id, rows, statuses: ItemStatus::ALL, status, next };
    Ok(guard::html(&page.ui, &page))
}
