//! `/console/users`: who may sign in and what they may do. A new user, and one who forgot, gets a password that is good once; it
//! is shown this once.

use super::Wrong;
use crate::fault::Fault;
use crate::guard::{self, Context, redirect};
use crate::ui::Ui;
use askama::Template;
use domain::audit_log::{self, Action};
use domain::users::{self, Listed, NewUser, Role, User, UserError, password};
use domain::{UserId, db};
use faults::Commit;
use poem::Response;
use poem::http::{Method, StatusCode};

/// The longest name, in characters.
const MAX_NAME: usize = 120;

/// A password that is good once, and whose it is.
struct Once {
    email: String,
    password: String,
}

#[derive(Template)]
#[template(path = "pages/users.html")]
struct Page {
    ui: Ui,
    users: Vec<Listed>,
    roles: [Role; 4],
    /// Who looks on: nobody takes away what they may themselves.
    own: UserId,
    email: String,
    name: String,
    role: String,
    wrong: Option<Wrong>,
    once: Option<Once>,
}

impl Page {
    fn has(&self, listed: &Listed, role: &Role) -> bool {
        listed.user.role == *role
    }

    fn chosen(&self, role: &Role) -> bool {
        self.role == role.as_str()
    }
}

/// The list, or a new user.
pub(crate) async fn either(context: Context) -> Result<Response, Fault> {
    if context.method != Method::POST {
        return page(&context, None, None).await;
    }
    let text = |name: &str| context.form(name).unwrap_or_default().trim().to_owned();
    let (email, full_name) = (text("email"), text("name"));
    if full_name.is_empty() || full_name.chars().count() > MAX_NAME {
        return page(&context, Some(("user-name", MAX_NAME.to_string())), None).await;
    }
    let role: Role = text("role").parse().map_err(|_| Fault::Bad("bad-choice", text("role")))?;
    let password = fresh();
    let (app, now) = (&context.app, context.app.clock.now());
    let tx = app.db.begin().await?;
    let new = NewUser { email: email.clone(), full_name, role, password: password.clone() };
    let user = match users::create_one_time(&tx, now, new).await {
        Ok(user) => user,
        Err(UserError::BadEmail(email)) => return page(&context, Some(("user-email", email)), None).await,
        Err(UserError::EmailTaken) => return page(&context, Some(("user-taken", email)), None).await,
        Err(UserError::Password(_)) => return Err(Fault::Ours),
        Err(UserError::Database(error)) => return Err(error.into()),
    };
    audit_log::record(&tx, now, &context.origin(), Action::UserCreate, Some(user.id)).await?;
    db::commit(tx, Commit::Session).await?;
    page(&context, None, Some(Once { email: user.email, password })).await
}

/// A password that nobody can guess: 80 bits.
fn fresh() -> String {
    hex::encode(rand::random::<[u8; 10]>())
}

async fn page(context: &Context, wrong: Option<Wrong>, once: Option<Once>) -> Result<Response, Fault> {
    let text = |name: &str| context.form(name).filter(|_| once.is_none()).unwrap_or_default().to_owned();
    let page = Page {
        users: users::list(context.app.db.read()).await?,
        roles: Role::ALL,
        own: context.viewer()?.user.id,
        email: text("email"),
        name: text("name"),
        role: if text("role").is_empty() { Role::Agent.as_str().to_owned() } else { text("role") },
        ui: context.ui.clone(),
        wrong,
        once,
    };
    let mut response = guard::html(&page.ui, &page);
    if page.wrong.is_some() {
        response.set_status(StatusCode::BAD_REQUEST);
    }
    Ok(response)
}

/// Changes what a user may do, or ends what they have open.
pub(crate) async fn act(context: Context) -> Result<Response, Fault> {
    let id: i64 = context.path("id").parse().map_err(|_| Fault::NotFound)?;
    let user = users::get(context.app.db.read(), UserId(id)).await?.ok_or(Fault::NotFound)?;
    let act = context.path("act").to_owned();
    // Whoever locked themselves out could not be let in again.
    if matches!(act.as_str(), "role" | "block") && user.id == context.viewer()?.user.id {
        return Err(Fault::Conflict(context.ui.t("users-own")));
    }
    if act == "password" {
        return one_time(&context, user).await;
    }
    let (app, now) = (&context.app, context.app.clock.now());
    let tx = app.db.begin().await?;
    let (step, action) = match act.as_str() {
        "role" => {
            let text = context.form("role").unwrap_or_default();
            let role: Role = text.parse().map_err(|_| Fault::Bad("bad-choice", text.to_owned()))?;
            (users::set_role(&tx, now, user.id, role).await?, Action::UserRole)
        }
        "block" => (users::disable(&tx, now, user.id).await?, Action::UserDisable),
        "unblock" => {
            users::enable(&tx, now, user.id).await?;
            (domain::Step::quiet(0), Action::UserEnable)
        }
        "sign-out" => (users::end_sessions(&tx, now, user.id, None, false).await?, Action::UserSignOut),
        _ => return Err(Fault::NotFound),
    };
    audit_log::record(&tx, now, &context.origin(), action, Some(user.id)).await?;
    db::commit(tx, Commit::Session).await?;
    app.after.commit(step);
    Ok(redirect("/console/users?done=user-changed"))
}

async fn one_time(context: &Context, user: User) -> Result<Response, Fault> {
    let password = fresh();
    let hash = password::hashed(password.clone()).await.map_err(|_| Fault::Ours)?;
    let (app, now) = (&context.app, context.app.clock.now());
    let tx = app.db.begin().await?;
    let step = users::set_password(&tx, now, user.id, hash, true).await?;
    audit_log::record(&tx, now, &context.origin(), Action::Password, Some(user.id)).await?;
    db::commit(tx, Commit::Session).await?;
    app.after.commit(step);
    page(context, None, Some(Once { email: user.email, password })).await
}
