//! `/console/contacts`: contacts by a part of their number or name, by tag and by attribute.

use super::ROWS;
use super::kept::{Views, views_of};
use crate::fault::Fault;
use crate::filter::{Chip, Line};
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use domain::contacts::find::{self, Contact, MAX_ATTRIBUTES, Search};
use domain::contacts::phone;
use poem::Response;

/// The longest text that is looked for, in characters.
const MAX_CHARS: usize = 200;

const PATH: &str = "/console/contacts";

/// What the filter line knows, beside attributes.
const KEYS: [&str; 2] = ["text", "tag"];

/// What stands before an attribute's name.
const ATTRIBUTE: &str = "attr.";

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
    line: String,
    chips: Vec<Chip>,
    views: Views,
    known: Vec<String>,
    next: Option<String>,
    /// Whether there may be fewer than could be shown.
    partial: bool,
}

/// A contact's number, in full for who may see it so.
pub(super) fn shown_phone(context: &Context, contact: &Contact) -> Result<String, Fault> {
    let sees_phones = context.viewer()?.sees_phones();
    Ok(contact
        .phone
        .as_deref()
        .map_or(String::new(), |number| if sees_phones { format!("+{number}") } else { phone::mask_digits(number) }))
}

/// What the line looks for.
fn search_of(line: &Line) -> Result<Search, Fault> {
    line.knows_also(&KEYS, ATTRIBUTE)?;
    let wanted = |name: &str| line.get(name).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let attributes: Vec<(String, String)> =
        line.beginning(ATTRIBUTE).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    if attributes.len() > MAX_ATTRIBUTES || attributes.iter().any(|(name, _)| name.is_empty()) {
        return Err(Fault::Bad("bad-attributes", MAX_ATTRIBUTES.to_string()));
    }
    let search = Search { text: wanted("text"), tag: wanted("tag"), phone: None, attributes };
    let texts = search.text.iter().chain(&search.tag).chain(search.attributes.iter().map(|(_, value)| value));
    if texts.into_iter().any(|text| text.chars().count() > MAX_CHARS) {
        return Err(Fault::Bad("bad-search", MAX_CHARS.to_string()));
    }
    Ok(search)
}

/// Shows those who are found.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let mut line = Line::parse(context.query("q").unwrap_or_default());
    if let Some(tag) = context.query("tag") {
        line.set("tag", tag.to_owned());
    }
    let search = search_of(&line)?;
    let after: i64 = match context.query("after") {
        Some(text) => text.parse().map_err(|_| Fault::Bad("bad-choice", format!("after={text}")))?,
        None => 0,
    };
    let page = find::find(context.app.db.read(), &search, after, ROWS).await?;
    let rows = page.rows.into_iter().map(|contact| Ok(Row { phone: shown_phone(&context, &contact)?, contact }));
    let rows = rows.collect::<Result<Vec<_>, Fault>>()?;
    let next = page.next.map(|next| format!("{}after={next}", line.address_with(PATH)));
    let page = Contacts {
        ui: context.ui.clone(),
        rows,
        chips: line.chips(PATH),
        views: views_of(&context, "contacts", &line).await?,
        line: line.to_string(),
        known: ["tag:vip", "attr.city:Berlin"].map(str::to_owned).to_vec(),
        next,
        partial: page.partial,
    };
    Ok(guard::html(&page.ui, &page))
}
