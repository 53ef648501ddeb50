//! `/console/contacts`: contacts by a part of their number or name, and by tag.

use super::ROWS;
use crate::fault::Fault;
use crate::guard::{self, Context, encoded};
use crate::ui::Ui;
use askama::Template;
use domain::contacts::find::{self, Contact, Search};
use domain::contacts::phone;
use poem::Response;

/// The longest text that is looked for, in characters.
const MAX_CHARS: usize = 200;

/// A contact in the list.
struct Row {
    contact: Contact,
    phone: String,
}

#[derive(Template)]
#[template(path = "pages/contacts.html")]
struct Contacts {
    ui: Ui,
    rows: Vec<Row>,
    text: String,
    tag: String,
    next: Option<String>,
}

/// A contact's number, in full for who may see it so.
pub(super) fn shown_phone(context: &Context, contact: &Contact) -> Result<String, Fault> {
    let sees_phones = context.viewer()?.sees_phones();
    Ok(contact
        .phone
        .as_deref()
        .map_or(String::new(), |number| if sees_phones { format!("+{number}") } else { phone::mask_digits(number) }))
}

/// Shows those who are found.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let wanted = |name: &str| {
        let text = context.query(name).map(str::trim).filter(|text| !text.is_empty());
        match text {
            Some(text) if text.chars().count() > MAX_CHARS => Err(Fault::Bad("bad-search", MAX_CHARS.to_string())),
            text => Ok(text.map(str::to_owned)),
        }
    };
    let search = Search { text: wanted("q")?, tag: wanted("tag")?, phone: None };
    let after: i64 = match context.query("after") {
        Some(text) => text.parse().map_err(|_| Fault::Bad("bad-choice", format!("after={text}")))?,
        None => 0,
    };
    let page = find::find(context.app.db.read(), &search, after, ROWS).await?;
    let rows = page.rows.into_iter().map(|contact| Ok(Row { phone: shown_phone(&context, &contact)?, contact }));
    let rows = rows.collect::<Result<Vec<_>, Fault>>()?;
    let (text, tag) = (search.text.unwrap_or_default(), search.tag.unwrap_or_default());
    let next =
        page.next.map(|next| format!("/console/contacts?q={}&tag={}&after={next}", encoded(&text), encoded(&tag)));
    let page = Contacts { ui: context.ui.clone(), rows, text, tag, next };
    Ok(guard::html(&page.ui, &page))
}
