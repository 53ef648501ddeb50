//! `/console/suppressions`: who wants no bulk messages, with the trail; adding a number, and ending its wish.

use super::{ROWS, Wrong};
use crate::fault::Fault;
use crate::guard::{self, Context, encoded, redirect};
use crate::ui::Ui;
use askama::Template;
use domain::audit_log::{self, Action};
use domain::contacts::phone::{self, Phone, Unmarked};
use domain::contacts::suppressions::{self, Begun, Cause, Filter, Suppression};
use domain::users::Permission;
use domain::{SuppressionId, db};
use faults::Commit;
use poem::Response;
use poem::http::{Method, StatusCode};
use std::collections::BTreeSet;

/// How many numbers can be added at once.
const MOST: usize = 500;

/// A row as it is shown.
struct Row {
    suppression: Suppression,
    phone: String,
    reason: &'static str,
}

#[derive(Template)]
#[template(path = "pages/suppressions.html")]
struct Page {
    ui: Ui,
    rows: Vec<Row>,
    phone: String,
    ended: bool,
    next: Option<String>,
    /// Numbers to be added, as they were written.
    numbers: String,
    wrong: Vec<Wrong>,
    may_write: bool,
    /// The number whose wish the page asks about.
    ask: Option<String>,
}

/// Reads a number as people write it: at home where the configuration says, or as the list shows it.
fn read(context: &Context, text: &str) -> Result<Phone, Wrong> {
    let as_listed = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    let home = Unmarked::ByPeople(context.app.settings.default_country);
    let unmarked = if as_listed { Unmarked::International } else { home };
    let told = |error| ("bad-number", format!("{text} ({})", context.ui.phone_error(error)));
    phone::read(text, unmarked).map(|reading| reading.phone).map_err(told)
}

/// The list, or adding numbers.
pub(crate) async fn either(context: Context) -> Result<Response, Fault> {
    if context.method != Method::POST {
        return show(&context, String::new(), Vec::new()).await;
    }
    context.needs(Permission::ContactsWrite)?;
    let written = context.form("numbers").unwrap_or_default().to_owned();
    let texts: Vec<&str> = written.split([',', ';', '\n', '\r']).map(str::trim).filter(|t| !t.is_empty()).collect();
    let (mut phones, mut wrong) = (BTreeSet::new(), Vec::new());
    if texts.is_empty() || texts.len() > MOST {
        wrong.push(("send-list-size", texts.len().to_string()));
    } else {
        for text in texts {
            match read(&context, text) {
                Ok(phone) => phones.extend([phone.as_digits().to_owned()]),
                Err(bad) => wrong.push(bad),
            }
        }
    }
    if !wrong.is_empty() {
        return show(&context, written, wrong).await;
    }
    let (app, now, user) = (&context.app, context.app.clock.now(), context.viewer()?.user.id);
    let tx = app.db.begin().await?;
    // In their order, so that two who add the same numbers cannot wait for each other.
    for phone in &phones {
        if let Begun::New(new) = suppressions::begin(&tx, now, phone, Cause::User(user)).await? {
            audit_log::record(&tx, now, &context.origin(), Action::SuppressionCreate, Some(new.id)).await?;
        }
    }
    db::commit(tx, Commit::Customer).await?;
    Ok(redirect("/console/suppressions?done=suppressed"))
}

async fn show(context: &Context, numbers: String, mut wrong: Vec<Wrong>) -> Result<Response, Fault> {
    let text = context.query("phone").unwrap_or_default().trim().to_owned();
    let mut filter = Filter { phone: None, with_ended: context.query("ended").is_some() };
    if !text.is_empty() {
        match read(context, &text) {
            Ok(phone) => filter.phone = Some(phone.as_digits().to_owned()),
            Err(bad) => wrong.push(bad),
        }
    }
    let before: Option<i64> = match context.query("before") {
        Some(text) => Some(text.parse().map_err(|_| Fault::Bad("bad-choice", format!("before={text}")))?),
        None => None,
    };
    let db = context.app.db.read();
    let mut found = suppressions::page(db, &filter, before.map(SuppressionId), ROWS + 1).await?;
    let more = found.len() > ROWS;
    found.truncate(ROWS);
    let sees = context.viewer()?.sees_phones();
    let part = if filter.with_ended { "&ended=yes" } else { "" };
    let next = found.last().filter(|_| more);
    let next = next.map(|last| format!("/console/suppressions?phone={}{part}&before={}", encoded(&text), last.id));
    let refused = !wrong.is_empty();
    let may_write = context.viewer()?.may(Permission::ContactsWrite);
    let page = Page {
        ui: context.ui.clone(),
        rows: found.into_iter().map(|suppression| row(suppression, sees)).collect(),
        ask: context.query("ask").filter(|_| may_write).map(str::to_owned),
        ended: filter.with_ended,
        phone: text,
        next,
        numbers,
        wrong,
        may_write,
    };
    let mut response = guard::html(&page.ui, &page);
    if refused {
        response.set_status(StatusCode::BAD_REQUEST);
    }
    Ok(response)
}

fn row(suppression: Suppression, sees: bool) -> Row {
    let phone = if sees { format!("+{}", suppression.phone) } else { phone::mask_digits(&suppression.phone) };
    Row { reason: suppression.reason.as_str(), phone, suppression }
}

/// Ends the wish of a number: batches write to it again.
pub(crate) async fn end(context: Context) -> Result<Response, Fault> {
    let text = context.form("phone").unwrap_or_default();
    let phone = read(&context, text).map_err(|(key, value)| Fault::Bad(key, value))?;
    let (app, now, user) = (&context.app, context.app.clock.now(), context.viewer()?.user.id);
    let tx = app.db.begin().await?;
    let ended = suppressions::end(&tx, now, phone.as_digits(), Cause::User(user)).await?.ok_or(Fault::NotFound)?;
    audit_log::record(&tx, now, &context.origin(), Action::SuppressionEnd, Some(ended.id)).await?;
    db::commit(tx, Commit::Customer).await?;
    Ok(redirect("/console/suppressions?done=unsuppressed"))
}
