//! `/console/contacts/{id}`: one contact, the conversation, and what batches did for it.

use super::contacts::shown_phone;
use crate::fault::Fault;
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use backplane::Limit;
use domain::audit_log::{self, Action, MAX_REASON};
use domain::batches::{self, ContactItem};
use domain::contacts::find::{self, Contact};
use domain::contacts::suppressions::{self, Filter, Suppression};
use domain::messages::history::{self, Direction, Message, Part};
use domain::users::Permission;
use domain::{MessageId, db};
use faults::Commit;
use poem::Response;

/// How many of the last messages, and of the newest batches, are shown.
const SHOWN: usize = 50;

#[derive(Template)]
#[template(path = "pages/contact.html")]
struct ContactPage {
    ui: Ui,
    contact: Contact,
    phone: String,
    /// Whether the reader does not see the whole number.
    masked: bool,
    /// `None`: the reader may not read conversations.
    messages: Option<Vec<Message>>,
    /// Whether there are older messages than those.
    older: bool,
    /// `None`: the reader may not watch batches.
    items: Option<Vec<ContactItem>>,
    /// When the number was suppressed, and when that ended: the newest first.
    trail: Vec<Suppression>,
}

impl ContactPage {
    fn wrote(&self, message: &Message) -> bool {
        message.direction == Direction::Inbound
    }
}

/// How many numbers are unmasked for one user in a minute; the count is the API's.
const UNMASKED_PER_MINUTE: u32 = 10;

/// Shows the contact with its whole number, to somebody who gives a reason: both are in the audit log.
pub(crate) async fn unmask(context: Context) -> Result<Response, Fault> {
    let reason = context.form("reason").unwrap_or_default().trim().to_owned();
    if reason.is_empty() || reason.chars().count() > MAX_REASON {
        return Err(Fault::Bad("unmask-reason", MAX_REASON.to_string()));
    }
    let (app, user) = (&context.app, context.viewer()?.user.id);
    let limit = Limit { per_minute: UNMASKED_PER_MINUTE };
    let decision = app.backplane.limiter.check(&format!("unmask:{user}"), limit).await;
    if !decision.allowed {
        return Err(Fault::Limited(decision.reset_after.as_secs().max(1)));
    }
    let id = find::resolve(app.db.read(), context.path("id")).await?.ok_or(Fault::NotFound)?;
    let (now, tx) = (app.clock.now(), app.db.begin().await?);
    audit_log::record_for(&tx, now, &context.origin(), Action::ContactUnmask, Some(id), Some(&reason)).await?;
    db::commit(tx, Commit::Customer).await?;
    page(&context, true).await
}

/// Shows the contact.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    page(&context, false).await
}

async fn page(context: &Context, whole: bool) -> Result<Response, Fault> {
    let (db, viewer) = (context.app.db.read(), context.viewer()?);
    let id = find::resolve(db, context.path("id")).await?.ok_or(Fault::NotFound)?;
    let contact = find::get(db, id).await?.ok_or(Fault::NotFound)?;
    let (mut messages, mut older, mut items) = (None, false, None);
    if viewer.may(Permission::ConversationsRead) {
        // Nothing comes after the last number: these are the newest.
        let (last, more) = history::list(db, id, Part::Before(MessageId(i64::MAX)), SHOWN).await?.unwrap_or_default();
        (messages, older) = (Some(last), more);
    }
    if viewer.may(Permission::BatchesRead) {
        let found = batches::items_of_contact(db, id, None, None, SHOWN).await?;
        items = Some(found.map(|(items, _)| items).unwrap_or_default());
    }
    let filter = Filter { phone: contact.phone.clone(), with_ended: true };
    let trail = match filter.phone {
        Some(_) => suppressions::page(db, &filter, None, SHOWN).await?,
        None => Vec::new(),
    };
    let page = ContactPage {
        trail,
        ui: context.ui.clone(),
        phone: match contact.phone.as_deref().filter(|_| whole) {
            Some(phone) => format!("+{phone}"),
            None => shown_phone(context, &contact)?,
        },
        masked: !whole && contact.phone.is_some() && !viewer.sees_phones(),
        contact,
        messages,
        older,
        items,
    };
    Ok(guard::html(&page.ui, &page))
}
