//! `/console/password`: the reader's password. Who signed in with one that is good once sees this page alone.

use crate::fault::Fault;
use crate::guard::{self, Context, cookie_name, redirect, set_cookie};
use crate::ui::Ui;
use askama::Template;
use backplane::Limit;
use domain::audit_log::{self, Action};
use domain::db;
use domain::users::{self, password::PasswordError};
use faults::Commit;
use poem::Response;
use poem::http::{Method, StatusCode};
use rand::SeedableRng;
use rand::rngs::StdRng;

#[derive(Template)]
#[template(path = "pages/password.html")]
struct Password {
    ui: Ui,
    must: bool,
    /// For password managers: whose password it is.
    email: String,
    /// The key of what is wrong, and the field that it is about.
    wrong: Option<(&'static str, &'static str)>,
}

impl Password {
    fn is_wrong(&self, field: &str) -> bool {
        self.wrong.is_some_and(|(wrong, _)| wrong == field)
    }
}

/// The form, or the change.
pub(crate) async fn either(context: Context) -> Result<Response, Fault> {
    if context.method != Method::POST {
        return page(&context, None);
    }
    change(context).await
}

fn page(context: &Context, wrong: Option<(&'static str, &'static str)>) -> Result<Response, Fault> {
    let viewer = context.viewer()?;
    let (must, email) = (viewer.must_change(), viewer.user.email.clone());
    let page = Password { ui: context.ui.clone(), must, email, wrong };
    let mut response = guard::html(&page.ui, &page);
    if wrong.is_some() {
        response.set_status(StatusCode::BAD_REQUEST);
    }
    Ok(response)
}

async fn change(context: Context) -> Result<Response, Fault> {
    let (app, viewer) = (&context.app, context.viewer()?);
    let text = |name: &str| context.form(name).unwrap_or_default().to_owned();
    let (current, new, again) = (text("current_password"), text("new_password"), text("again"));
    if new != again {
        return page(&context, Some(("again", "password-differs")));
    }
    if new == current {
        return page(&context, Some(("new_password", "password-same")));
    }
    // Who has stolen a session guesses the password no faster here than at the sign-in: the count is the API's.
    let (key, limit) = (format!("password:{}", viewer.user.id), Limit { per_minute: app.settings.login_per_minute });
    let decision = app.backplane.limiter.check(&key, limit).await;
    if !decision.allowed {
        return Err(Fault::Limited(decision.reset_after.as_secs().max(1)));
    }
    let wrong = || page(&context, Some(("current_password", "password-wrong")));
    let present = users::password_of(app.db.read(), viewer.user.id).await?;
    if !users::password::verify(current, present.clone()).await {
        return wrong();
    }
    let present = present.ok_or(Fault::Ours)?;
    let new = match users::password::hashed(new).await {
        Ok(new) => new,
        Err(PasswordError::TooShort) => return page(&context, Some(("new_password", "password-short"))),
        Err(PasswordError::TooLong) => return page(&context, Some(("new_password", "password-long"))),
        Err(PasswordError::Hash) => return Err(Fault::Ours),
    };
    let (now, mut rng) = (app.clock.now(), StdRng::from_rng(&mut rand::rng()));
    let tx = app.db.begin().await?;
    let step = users::change_password(&tx, now, viewer.user.id, viewer.session, present, new).await?;
    if !step.value {
        return wrong();
    }
    let token = users::renew_browser_session(&tx, now, viewer.session, &mut rng).await?;
    audit_log::record(&tx, now, &context.origin(), Action::Password, Some(viewer.user.id)).await?;
    db::commit(tx, Commit::Session).await?;
    app.after.commit(step);
    tracing::info!(user = viewer.user.id.0, "a user changed their password; their other sessions have ended");
    let to = if viewer.must_change() { "/console?done=password" } else { "/console/account?done=password" };
    let mut response = redirect(to);
    let secure = app.settings.secure;
    set_cookie(&mut response, cookie_name(secure), &token, Some(users::BROWSER_TTL.as_secs()), secure);
    Ok(response)
}
