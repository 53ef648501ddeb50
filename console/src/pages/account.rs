//! `/console/account`: the reader's own account, and the language.

use crate::fault::Fault;
use crate::guard::{self, Context, LANGUAGE_COOKIE, cookie_name, local, redirect, set_cookie};
use crate::i18n::Language;
use crate::ui::Ui;
use askama::Template;
use domain::audit_log::{self, Action};
use domain::db;
use domain::kept::numbers;
use domain::users::{self, User};
use faults::Commit;
use poem::Response;

#[derive(Template)]
#[template(path = "pages/account.html")]
struct Account {
    ui: Ui,
    user: User,
    permissions: Vec<&'static str>,
    /// The numbers that the reader's tests go to, a line each.
    numbers: String,
}

/// Shows the account.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let user = context.viewer()?.user.clone();
    let permissions = user.role.permissions().iter().map(|permission| permission.as_str()).collect();
    let numbers = numbers::list(context.app.db.read(), user.id).await?;
    let numbers = numbers.iter().map(|digits| format!("+{digits}")).collect::<Vec<_>>().join("\n");
    let page = Account { ui: context.ui.clone(), user, permissions, numbers };
    Ok(guard::html(&page.ui, &page))
}

/// Ends all sessions of the reader, this one among them.
pub(crate) async fn everywhere(context: Context) -> Result<Response, Fault> {
    let (app, now, user) = (&context.app, context.app.clock.now(), context.viewer()?.user.id);
    let tx = app.db.begin().await?;
    // Of this user all that a browser or a client signed in with; API keys are no sessions of people and stay.
    let step = users::end_sessions(&tx, now, user, None, false).await?;
    audit_log::record(&tx, now, &context.origin(), Action::SignOut, Some(user)).await?;
    db::commit(tx, Commit::Session).await?;
    app.after.commit(step);
    let mut response = redirect("/console/sign-in");
    set_cookie(&mut response, cookie_name(app.settings.secure), "", Some(0), app.settings.secure);
    Ok(response)
}

/// For how long a browser keeps the language, in seconds.
const LANGUAGE_KEPT: u64 = 365 * 24 * 3600;

/// Changes the language of this browser.
pub(crate) async fn language(context: Context) -> Result<Response, Fault> {
    let wanted = context.form("language").unwrap_or_default();
    let language = Language::of_tag(wanted).ok_or_else(|| Fault::Bad("bad-language", wanted.to_owned()))?;
    let back = context.form("next").unwrap_or_default();
    let back = if back.starts_with("/console/sign-in") { "/console/sign-in" } else { local(Some(back)) };
    let mut response = redirect(back);
    set_cookie(&mut response, LANGUAGE_COOKIE, language.tag(), Some(LANGUAGE_KEPT), context.app.settings.secure);
    Ok(response)
}
