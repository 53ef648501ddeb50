//! `/console/contacts/{id}`: one contact, the conversation, and what batches did for it.

use super::contacts::shown_phone;
use crate::fault::Fault;
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use domain::MessageId;
use domain::batches::{self, ContactItem};
use domain::contacts::find::{self, Contact};
use domain::messages::history::{self, Direction, Message, Part};
use domain::users::Permission;
use poem::Response;

/// How many of the last messages, and of the newest batches, are shown.
const SHOWN: usize = 50;

#[derive(Template)]
#[template(path = "pages/contact.html")]
struct ContactPage {
    ui: Ui,
    contact: Contact,
    phone: String,
    /// `None`: the reader may not read conversations.
    messages: Option<Vec<Message>>,
    /// Whether there are older messages than those.
    older: bool,
    /// `None`: the reader may not watch batches.
    items: Option<Vec<ContactItem>>,
}

impl ContactPage {
    fn wrote(&self, message: &Message) -> bool {
        message.direction == Direction::Inbound
    }
}

/// Shows the contact.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
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
    let page = ContactPage {
        ui: context.ui.clone(),
        phone: shown_phone(&context, &contact)?,
        contact,
        messages,
        older,
        items,
    };
    Ok(guard::html(&page.ui, &page))
}
