//! `/console/sign-in` and `/console/sign-out`.

use crate::fault::Fault;
use crate::guard::{self, Context, cookie_name, local, redirect, set_cookie};
use crate::ui::Ui;
use askama::Template;
use backplane::sign_in::{self, Limited};
use domain::audit_log::{self, Action, Actor};
use domain::db;
use domain::users;
use faults::Commit;
use poem::Response;
use poem::http::{Method, StatusCode};
use rand::SeedableRng;
use rand::rngs::StdRng;

#[derive(Template)]
#[template(path = "pages/sign_in.html")]
struct SignIn {
    ui: Ui,
    next: String,
    email: String,
    wrong: bool,
}

/// The form, or the sign-in.
pub(crate) async fn either(context: Context) -> Result<Response, Fault> {
    if context.method == Method::POST { sign_in(context).await } else { form(&context) }
}

fn form(context: &Context) -> Result<Response, Fault> {
    let next = local(context.query("next")).to_owned();
    if context.viewer.is_some() {
        return Ok(redirect(&next));
    }
    let page = SignIn { ui: context.ui.clone(), next, email: String::new(), wrong: false };
    Ok(guard::html(&page.ui, &page))
}

async fn sign_in(context: Context) -> Result<Response, Fault> {
    let app = &context.app;
    let next = local(context.form("next")).to_owned();
    let email = context.form("email").unwrap_or_default().trim().to_owned();
    let password = context.form("password").unwrap_or_default().to_owned();
    let wrong = |email: String| {
        let page = SignIn { ui: context.ui.clone(), next: next.clone(), email, wrong: true };
        let mut response = guard::html(&page.ui, &page);
        response.set_status(StatusCode::UNAUTHORIZED);
        response
    };
    if email.is_empty() || email.chars().count() > 254 || password.is_empty() || password.chars().count() > 256 {
        return Ok(wrong(email.chars().take(254).collect()));
    }
    let per_minute = app.settings.login_per_minute;
    match sign_in::check(&app.backplane, app.db.read(), &email, context.address, per_minute).await {
        Ok(_) => {}
        Err(Limited::Over(decision)) => return Err(Fault::Limited(decision.reset_after.as_secs().max(1))),
        Err(Limited::Database(error)) => return Err(error.into()),
    }
    let known = users::credentials(app.db.read(), &email).await?;
    let (known, hash) = known.map(|known| ((known.user, known.one_time), known.hash)).unzip();
    let (now, from) = (app.clock.now(), context.origin());
    // Not the address that was tried: people type passwords there.
    let whose = known.as_ref().map(|(user, _)| user.id);
    if !users::password::verify(password, hash).await {
        audit_log::record(app.db.write(), now, &from, Action::SignInFailed, whose).await?;
        return Ok(wrong(email));
    }
    let (user, one_time) = known.ok_or(Fault::Ours)?;
    let ip = context.address.map_or_else(|| "local".to_owned(), |ip| ip.to_string());
    let mut rng = StdRng::from_rng(&mut rand::rng());
    let tx = app.db.begin().await?;
    let agent = context.user_agent.as_deref();
    if one_time && !users::take_one_time(&tx, now, user.id).await? {
        tx.rollback().await?;
        audit_log::record(app.db.write(), now, &from, Action::SignInFailed, whose).await?;
        return Ok(wrong(email));
    }
    // A new token at each sign-in: one that somebody put into the browser beforehand is worth nothing.
    let (_, token) = users::open_browser_session(&tx, now, user.id, Some(&ip), agent, one_time, &mut rng).await?;
    audit_log::record(&tx, now, &from.with(Actor::User(user.id)), Action::SignIn, Some(user.id)).await?;
    db::commit(tx, Commit::Session).await?;
    let mut response = redirect(if one_time { "/console/password" } else { &next });
    let secure = app.settings.secure;
    set_cookie(&mut response, cookie_name(secure), &token, Some(users::BROWSER_TTL.as_secs()), secure);
    Ok(response)
}

/// Ends the session.
pub(crate) async fn sign_out(context: Context) -> Result<Response, Fault> {
    let (app, viewer, now) = (&context.app, context.viewer()?, context.app.clock.now());
    let tx = app.db.begin().await?;
    let step = users::revoke(&tx, now, viewer.session).await?;
    audit_log::record(&tx, now, &context.origin(), Action::SignOut, Some(viewer.user.id)).await?;
    db::commit(tx, Commit::Session).await?;
    app.after.commit(step);
    let mut response = redirect("/console/sign-in");
    set_cookie(&mut response, cookie_name(app.settings.secure), "", Some(0), app.settings.secure);
    Ok(response)
}
