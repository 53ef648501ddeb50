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

/// A recipient's phone number, in full for who may see it so; of one that nothing was read of yet, the contact's own number.
pub(super) fn shown_phone(context: &Context, item: &Item) -> Result<String, Fault> {
    let sees_phones = context.viewer()?.sees_phones();
    Ok(match &item.phone {
        Some(phone) if sees_phones => phone.clone(),
        Some(phone) => phone::mask_digits(phone),
        None => item.contact.map_or(String::new(), |contact| context.ui.tv("contact-number", &contact.to_string())),
    })
}

/// Shows the recipients.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let batch = batch_of(&context).await?;
    let id = batch.summary.id;
    let bad = |name: &str, text: &str| Fault::Bad("bad-choice", format!("{name}={text}"));
    let status: Option<ItemStatus> =
        context.query("status").map(|text| text.parse().map_err(|_| bad("status", text))).transpose()?;
    let after: Option<i64> =
        context.query("after").map(|text| text.parse().map_err(|_| bad("after", text))).transpose()?;
    let page = batches::items(context.app.db.read(), id, status, after, ROWS).await?.ok_or(Fault::NotFound)?;
    let rows = page.rows.into_iter().map(|item| Ok(Row { phone: shown_phone(&context, &item)?, item }));
    let rows = rows.collect::<Result<Vec<_>, Fault>>()?;
    let next = page.next.map(|next| {
        let status = status.map_or(String::new(), |status| format!("status={}&", encoded(status.as_str())));
        format!("/console/batches/{id}/recipients?{status}after={next}")
    });
    let page = Recipients { ui: context.ui.clone(), id, rows, statuses: ItemStatus::ALL, status, next };
    Ok(guard::html(&page.ui, &page))
}
