//! `/console/templates[/{id}]`: the texts that are kept, with what each would look like.

use super::ROWS;
use crate::fault::Fault;
use crate::guard::{self, Context, redirect};
use crate::ui::Ui;
use askama::Template;
use domain::audit_log::{self, Action};
use domain::messages::template::{MAX_CHARS, Recipient};
use domain::messages::templates::{self, StoreError, StoredTemplate};
use domain::{TemplateId, db};
use faults::Commit;
use poem::Response;
use poem::http::{Method, StatusCode};
use serde_json::json;

/// The longest name, in characters.
const MAX_NAME: usize = 120;

#[derive(Template)]
#[template(path = "pages/templates.html")]
struct Templates {
    ui: Ui,
    rows: Vec<StoredTemplate>,
    count: i64,
    /// The pages before and after.
    earlier: Option<String>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "pages/template.html")]
struct Page {
    ui: Ui,
    /// `None`: one that is not kept yet.
    id: Option<TemplateId>,
    name: String,
    content: String,
    /// What somebody would read, and what somebody of whom nothing is known.
    known: String,
    unknown: String,
    wrong: Option<(&'static str, String)>,
    /// Whether the page asks before the template is deleted.
    ask: bool,
}

impl Page {
    fn example(&self) -> &'static str {
        "{{ name | default(\"there\") }}"
    }
}

/// Lists them by name.
pub(crate) async fn list(context: Context) -> Result<Response, Fault> {
    let from: u64 = match context.query("from") {
        Some(text) => text.parse().map_err(|_| Fault::Bad("bad-choice", format!("from={text}")))?,
        None => 0,
    };
    let from = from.min(1_000_000);
    let (rows, count) = templates::list(context.app.db.read(), ROWS as u64, from).await?;
    let behind = from + ROWS as u64;
    let address = |from: u64| format!("/console/templates?from={from}");
    let page = Templates {
        ui: context.ui.clone(),
        rows,
        count,
        earlier: (from > 0).then(|| address(from.saturating_sub(ROWS as u64))),
        next: (i64::try_from(behind).unwrap_or(i64::MAX) < count).then(|| address(behind)),
    };
    Ok(guard::html(&page.ui, &page))
}

/// The form of a new one, or keeping it.
pub(crate) async fn new(context: Context) -> Result<Response, Fault> {
    edit(context, None).await
}

/// One of them, or changing it.
pub(crate) async fn one(context: Context) -> Result<Response, Fault> {
    let id: TemplateId = context.path("id").parse().map_err(|_| Fault::NotFound)?;
    edit(context, Some(id)).await
}

async fn edit(context: Context, id: Option<TemplateId>) -> Result<Response, Fault> {
    let (mut name, mut content) = (String::new(), String::new());
    if let Some(id) = id {
        let found = templates::get(context.app.db.read(), id).await?.ok_or(Fault::NotFound)?;
        (name, content) = (found.name, found.content);
    }
    if context.method != Method::POST {
        return Ok(page(&context, id, name, content, None));
    }
    context.needs(domain::users::Permission::BatchesWrite)?;
    name = context.form("name").unwrap_or_default().trim().to_owned();
    // Browsers send line ends as forms have them.
    content = context.form("content").unwrap_or_default().replace("\r\n", "\n");
    let long = |text: &str, most: usize| text.is_empty() || text.chars().count() > most;
    if long(&name, MAX_NAME) {
        return Ok(page(&context, id, name, content, Some(("template-name-long", MAX_NAME.to_string()))));
    }
    if long(&content, MAX_CHARS) {
        return Ok(page(&context, id, name, content, Some(("send-long-text", MAX_CHARS.to_string()))));
    }
    let wrong = match keep(&context, id, &name, &content).await {
        Ok(id) => return Ok(redirect(&format!("/console/templates/{id}?done=kept-template"))),
        Err(StoreError::NameTaken) => ("template-taken", name.clone()),
        Err(StoreError::Invalid(error)) => ("send-bad-text", error.to_string()),
        Err(StoreError::NotFound) => return Err(Fault::NotFound),
        Err(StoreError::Database(error)) => return Err(error.into()),
    };
    Ok(page(&context, id, name, content, Some(wrong)))
}

async fn keep(context: &Context, id: Option<TemplateId>, name: &str, content: &str) -> Result<TemplateId, StoreError> {
    let (app, now) = (&context.app, context.app.clock.now());
    let user = context.viewer.as_ref().map(|viewer| viewer.user.id).ok_or(StoreError::NotFound)?;
    let tx = app.db.begin().await?;
    let (kept, action) = match id {
        None => (templates::create(&tx, now, user, name, content).await?, Action::TemplateCreate),
        Some(id) => (templates::update(&tx, now, id, name, content).await?, Action::TemplateUpdate),
    };
    audit_log::record(&tx, now, &context.origin(), action, Some(kept.id)).await?;
    db::commit(tx, Commit::Customer).await?;
    Ok(kept.id)
}

fn page(
    context: &Context,
    id: Option<TemplateId>,
    name: String,
    content: String,
    wrong: Option<(&'static str, String)>,
) -> Response {
    let nothing = json!({});
    let shown = |name: Option<&str>| {
        let recipient = Recipient { name, phone: "60123456789", attributes: &nothing };
        templates::preview(&content, &recipient).unwrap_or_else(|error| error.to_string())
    };
    let (known, unknown) = match content.is_empty() {
        true => (String::new(), String::new()),
        false => (shown(Some("Mei Ling")), shown(None)),
    };
    let (refused, ask) = (wrong.is_some(), context.query("ask") == Some("delete"));
    let page = Page { ui: context.ui.clone(), id, name, content, known, unknown, wrong, ask };
    let mut response = guard::html(&page.ui, &page);
    if refused {
        response.set_status(StatusCode::BAD_REQUEST);
    }
    response
}

/// Forgets one. Batches that were accepted with it keep their text.
pub(crate) async fn delete(context: Context) -> Result<Response, Fault> {
    let id: TemplateId = context.path("id").parse().map_err(|_| Fault::NotFound)?;
    let (app, now) = (&context.app, context.app.clock.now());
    let tx = app.db.begin().await?;
    if !templates::delete(&tx, id).await? {
        return Err(Fault::NotFound);
    }
    audit_log::record(&tx, now, &context.origin(), Action::TemplateDelete, Some(id)).await?;
    db::commit(tx, Commit::Customer).await?;
    Ok(redirect("/console/templates?done=deleted-template"))
}
