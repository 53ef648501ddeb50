//! What a reader keeps: views of lists, drafts of sends, and the numbers that their tests go to.

use crate::fault::Fault;
use crate::filter::Line;
use crate::guard::{self, Context, redirect};
use crate::ui::Ui;
use askama::Template;
use domain::audit_log::{self, Action};
use domain::contacts::phone::{self, Phone};
use domain::kept::drafts::{self, Draft};
use domain::kept::numbers;
use domain::kept::views::{self, MAX_LINE, MAX_NAME, NewView, View, ViewError};
use domain::users::Permission;
use domain::{UserId, ViewId, db};
use faults::Commit;
use poem::Response;

/// The views of a list, as they are shown below its filter line.
pub(crate) struct Views {
    /// The list, as its page is called.
    pub(crate) page: &'static str,
    /// The filter line that can be kept; empty: there is nothing to keep.
    pub(crate) line: String,
    pub(crate) rows: Vec<Shown>,
    /// Whether the reader may share one.
    pub(crate) shares: bool,
}

/// A view in the list.
pub(crate) struct Shown {
    pub(crate) id: ViewId,
    pub(crate) name: String,
    pub(crate) href: String,
    pub(crate) shared: bool,
    /// Whether the reader may delete it.
    pub(crate) deletes: bool,
    /// Whether it is what is shown now.
    pub(crate) here: bool,
}

fn shown(view: View, user: UserId, manages: bool, line: &Line) -> Shown {
    let its = Line::parse(&view.line);
    Shown {
        id: view.id,
        href: its.address(&format!("/console/{}", view.page)),
        here: its == *line,
        name: view.name,
        shared: view.shared,
        deletes: view.owner == user || view.shared && manages,
    }
}

/// The views of a list that the reader is shown.
pub(crate) async fn views_of(context: &Context, page: &'static str, line: &Line) -> Result<Views, Fault> {
    let viewer = context.viewer()?;
    let found = views::list(context.app.db.read(), viewer.user.id, Some(page)).await?;
    let manages = viewer.may(Permission::SettingsWrite);
    Ok(Views {
        page,
        line: line.to_string(),
        rows: found.into_iter().map(|view| shown(view, viewer.user.id, manages, line)).collect(),
        shares: viewer.may(Permission::BatchesWrite),
    })
}

/// `POST /console/views`: keeps the filter line of a list under a name.
pub(crate) async fn keep_view(context: Context) -> Result<Response, Fault> {
    let text = |name: &str| context.form(name).unwrap_or_default().trim().to_owned();
    let page = views::PAGES.into_iter().find(|page| Some(*page) == context.form("page")).ok_or(Fault::NotFound)?;
    context.needs(views::needs(page))?;
    let (name, line) = (text("name"), Line::parse(&text("line")));
    let told = line.to_string();
    if name.is_empty() || name.chars().count() > MAX_NAME {
        return Err(Fault::Bad("view-name", MAX_NAME.to_string()));
    }
    if told.is_empty() || told.chars().count() > MAX_LINE {
        return Err(Fault::Bad("view-line", MAX_LINE.to_string()));
    }
    let shared = context.form("shared").is_some();
    if shared {
        context.needs(Permission::BatchesWrite)?;
    }
    let (app, user, now) = (&context.app, context.viewer()?.user.id, context.app.clock.now());
    let tx = app.db.begin().await?;
    let new = NewView { page, name: &name, line: &told, shared };
    let kept = views::keep(&tx, now, user, new).await.map_err(|error| match error {
        ViewError::NameTaken => Fault::Bad("view-taken", name.clone()),
        ViewError::TooMany => Fault::Bad("view-many", views::MOST.to_string()),
        ViewError::Database(error) => error.into(),
    })?;
    audit_log::record(&tx, now, &context.origin(), Action::ViewCreate, Some(kept.id)).await?;
    db::commit(tx, Commit::Customer).await?;
    let to = line.address_with(&format!("/console/{page}"));
    Ok(redirect(&format!("{to}done=view-kept")))
}

/// `POST /console/views/{id}/delete`.
pub(crate) async fn delete_view(context: Context) -> Result<Response, Fault> {
    let id: ViewId = context.path("id").parse().map_err(|_| Fault::NotFound)?;
    let viewer = context.viewer()?;
    let (app, now) = (&context.app, context.app.clock.now());
    let page = views::PAGES.into_iter().find(|page| Some(*page) == context.form("page")).unwrap_or(views::PAGES[0]);
    let tx = app.db.begin().await?;
    if !views::delete(&tx, viewer.user.id, id, viewer.may(Permission::SettingsWrite)).await? {
        return Err(Fault::NotFound);
    }
    audit_log::record(&tx, now, &context.origin(), Action::ViewDelete, Some(id)).await?;
    db::commit(tx, Commit::Customer).await?;
    Ok(redirect(&format!("/console/{page}?done=view-deleted")))
}

#[derive(Template)]
#[template(path = "pages/drafts.html")]
struct Drafts {
    ui: Ui,
    rows: Vec<Draft>,
}

/// `/console/drafts`: sends that are filled in and not sent.
pub(crate) async fn drafts(context: Context) -> Result<Response, Fault> {
    let rows = drafts::list(context.app.db.read(), context.viewer()?.user.id).await?;
    let page = Drafts { ui: context.ui.clone(), rows };
    Ok(guard::html(&page.ui, &page))
}

/// `POST /console/drafts/{id}/delete`.
pub(crate) async fn delete_draft(context: Context) -> Result<Response, Fault> {
    let key = context.path("id");
    if !drafts::is_key(key) || !drafts::delete(context.app.db.write(), context.viewer()?.user.id, key).await? {
        return Err(Fault::NotFound);
    }
    Ok(redirect("/console/drafts?done=draft-deleted"))
}

/// `POST /console/account/test-numbers`: the numbers that the reader's tests go to.
pub(crate) async fn test_numbers(context: Context) -> Result<Response, Fault> {
    let mut phones: Vec<Phone> = Vec::new();
    let text = context.form("phones").unwrap_or_default();
    for one in text.split([',', ';', '\n', '\r']).map(str::trim).filter(|one| !one.is_empty()) {
        let phone = phone::normalise(one)
            .map_err(|error| Fault::Bad("bad-number", format!("{one} ({})", context.ui.phone_error(error))))?;
        if phones.iter().all(|known| known.as_digits() != phone.as_digits()) {
            phones.push(phone);
        }
    }
    if phones.len() > numbers::MOST {
        return Err(Fault::Bad("test-many", numbers::MOST.to_string()));
    }
    let (app, user, now) = (&context.app, context.viewer()?.user.id, context.app.clock.now());
    let tx = app.db.begin().await?;
    numbers::keep(&tx, user, &phones).await?;
    audit_log::record(&tx, now, &context.origin(), Action::TestNumbers, Some(user)).await?;
    db::commit(tx, Commit::Customer).await?;
    Ok(redirect("/console/account?done=test-kept"))
}
