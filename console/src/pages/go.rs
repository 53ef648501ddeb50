//! `/console/go?q=`: from what somebody has in hand to its page: a batch, a job, a person's number or name, a message's id.

use crate::fault::Fault;
use crate::guard::{Context, encoded, redirect};
use domain::batches;
use domain::contacts::find::{self, Search};
use domain::jobs::list;
use domain::messages::history;
use domain::users::Permission;
use domain::{BatchId, JobId};
use poem::Response;

/// From so many digits on it is a person's number first, and a batch's then.
const NUMBER_DIGITS: usize = 8;

/// The longest text that is looked for, in characters.
const MAX_TEXT: usize = 100;

/// Leads to the page of what is named.
pub(crate) async fn go(context: Context) -> Result<Response, Fault> {
    let text = context.query("q").unwrap_or_default().trim().trim_start_matches('#').to_owned();
    if text.is_empty() || text.chars().count() > MAX_TEXT {
        return Err(Fault::NotFound);
    }
    if history::is_id(&text) {
        return message(&context, &text).await;
    }
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let reads_contacts = context.ui.may(Permission::ContactsRead);
    if digits >= NUMBER_DIGITS
        && reads_contacts
        && let Some(found) = person(&context, &text).await?
    {
        return Ok(found);
    }
    if let Some(job) = text.strip_prefix(['j', 'J']).and_then(|rest| rest.parse::<JobId>().ok()) {
        context.needs(Permission::QueuesRead)?;
        list::get(context.app.db.read(), job).await?.ok_or(Fault::NotFound)?;
        return Ok(redirect(&format!("/console/jobs/{job}")));
    }
    if let Ok(id) = text.parse::<BatchId>() {
        context.needs(Permission::BatchesRead)?;
        if batches::get(context.app.db.read(), id).await?.is_some() {
            return Ok(redirect(&format!("/console/batches/{id}")));
        }
        return Err(Fault::NotFound);
    }
    context.needs(Permission::ContactsRead)?;
    match person(&context, &text).await? {
        Some(found) => Ok(found),
        None => Err(Fault::NotFound),
    }
}

/// The one person whom a text finds, or the list of those; `None`: it finds nobody.
async fn person(context: &Context, text: &str) -> Result<Option<Response>, Fault> {
    let search = Search { text: Some(text.to_owned()), ..Search::default() };
    let found = find::find(context.app.db.read(), &search, 0, 2).await?;
    Ok(match found.rows.as_slice() {
        [] => None,
        [one] => Some(redirect(&format!("/console/contacts/{}", one.id))),
        _ => Some(redirect(&format!("/console/contacts?q={}", encoded(text)))),
    })
}

/// The page of a message: its recipient's in its batch, else the person's.
async fn message(context: &Context, id: &str) -> Result<Response, Fault> {
    let found = history::of_id(context.app.db.read(), id).await?.ok_or(Fault::NotFound)?;
    if let Some((batch, seq)) = found.item {
        context.needs(Permission::BatchesRead)?;
        return Ok(redirect(&format!("/console/batches/{batch}/recipients/{seq}")));
    }
    context.needs(Permission::ContactsRead)?;
    let contact = found.contact.ok_or(Fault::NotFound)?;
    Ok(redirect(&format!("/console/contacts/{contact}")))
}
