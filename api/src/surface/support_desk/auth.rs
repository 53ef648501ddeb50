//! Signing in, going on, signing out.

use super::envelope::{Rejection, Success};
use crate::App;
use crate::foundation::auth::Shown;
use crate::foundation::body::SmallBody;
use crate::foundation::fields::Fields;
use crate::foundation::guard::Everybody;
use crate::foundation::refusal::{Kind, Refusal};
use crate::foundation::{auth, limits, origin};
use backplane::sign_in::{self, Limited};
use domain::audit_log::{self, Action, Actor};
use domain::users::{self, ACCESS_TTL, Permission, Refreshed, Role, User};
use domain::{Event, SessionId, db};
use faults::Commit;
use poem::Request;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi, SecurityScheme};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::Arc;

pub(crate) struct AuthRoutes {
    pub(super) app: Arc<App>,
}

/// `Authorization: Bearer <JWT>`, or an API key; checked by the route.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", bearer_format = "JWT")]
pub(super) struct Token(#[expect(dead_code, reason = "for the document")] poem_openapi::auth::Bearer);

/// Credentials.
#[derive(Debug, Object)]
#[oai(example)]
struct LoginRequest {
    /// The address.
    #[oai(validator(min_length = 1, max_length = 254))]
    email: String,
    /// The password.
    #[oai(validator(min_length = 1, max_length = 256))]
    password: String,
}

impl Example for LoginRequest {
    fn example() -> Self {
        Self { email: "ann@example.com".into(), password: "correct horse battery staple".into() }
    }
}

/// A refresh token.
#[derive(Debug, Object)]
struct RefreshRequest {
    /// The token; good once.
    #[oai(validator(min_length = 1, max_length = 256))]
    refresh_token: String,
}

/// A new password.
#[derive(Debug, Object)]
struct PasswordRequest {
    /// The present one.
    #[oai(validator(min_length = 1, max_length = 256))]
    current_password: String,
    /// The new one: 8 to 256 characters, and another.
    #[oai(validator(min_length = 8, max_length = 256))]
    new_password: String,
}

/// What a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename = "Role", rename_all = "snake_case")]
pub(super) enum RoleName {
    /// May do everything.
    Admin,
    /// Leads agents.
    Supervisor,
    /// Talks to contacts.
    Agent,
    /// Looks on.
    Guest,
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::Supervisor => Self::Supervisor,
            Role::Agent => Self::Agent,
            Role::Guest => Self::Guest,
        }
    }
}

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Admin => Self::Admin,
            RoleName::Supervisor => Self::Supervisor,
            RoleName::Agent => Self::Agent,
            RoleName::Guest => Self::Guest,
        }
    }
}

/// Who signed in.
#[derive(Debug, Object)]
struct UserView {
    /// The number.
    id: i64,
    /// The address.
    email: String,
    /// The name.
    full_name: String,
    /// What the user is.
    role: RoleName,
    /// A picture.
    avatar_url: Option<String>,
    /// What the user may do.
    permissions: Vec<String>,
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.0,
            email: user.email.clone(),
            full_name: user.full_name.clone(),
            role: user.role.into(),
            avatar_url: user.avatar_url.clone(),
            permissions: user.role.permissions().into_iter().map(Permission::as_str).map(str::to_owned).collect(),
        }
    }
}

/// A session's tokens and its user.
#[derive(Debug, Object)]
struct LoginView {
    /// Who signed in.
    user: UserView,
    /// The access token.
    token: String,
    /// How long the access token is good, in seconds.
    expires_in: u64,
    /// The refresh token, good once, for 30 days.
    refresh_token: String,
    /// Whether the password was good for this one sign-in: then the session is open to `POST /api/v1/auth/password` (and to
    /// logout) alone until it was changed there.
    must_change_password: bool,
}

/// A session's next tokens.
#[derive(Debug, Object)]
struct RefreshView {
    /// The access token.
    token: String,
    /// How long the access token is good, in seconds.
    expires_in: u64,
    /// The refresh token, good once, for 30 days.
    refresh_token: String,
}

/// Nothing.
#[derive(Debug, Object)]
struct Nothing {}

/// Where a request comes from, for limits. Headers that name somebody else are not believed.
fn network(request: &Request) -> String {
    request.remote_addr().as_socket_addr().map_or_else(|| "local".to_owned(), |addr| sign_in::network_of(addr.ip()))
}

impl AuthRoutes {
    async fn limit_sign_ins(&self, request: &Request, email: &str) -> Result<(), Refusal> {
        let app = &self.app;
        let address = request.remote_addr().as_socket_addr().map(|address| address.ip());
        let per_minute = app.settings.login_per_minute;
        match sign_in::check(&app.backplane, app.db.read(), email, address, per_minute).await {
            Ok(decisions) => {
                decisions.into_iter().for_each(|decision| limits::TightestLimit::note(request, decision));
                Ok(())
            }
            Err(Limited::Over(decision)) => Err(limits::over(decision)),
            Err(Limited::Database(error)) => Err(error.into()),
        }
    }

    async fn sign_in(&self, request: &Request, body: &[u8]) -> Result<LoginView, Refusal> {
        let app = &self.app;
        let mut f = Fields::parse(body)?;
        let email = f.required_text("email", 1..=254);
        let password = f.required_text("password", 1..=256);
        f.finish()?;
        let from = origin::of(request, Actor::Anonymous);
        self.limit_sign_ins(request, &email).await?;
        let known = users::credentials(app.db.read(), &email).await?;
        let (known, hash) = known.map(|known| ((known.user, known.one_time), known.hash)).unzip();
        let wrong = || Refusal::new(Kind::AuthRequired, "the address or the password is wrong");
        let now = app.clock.now();
        // Not the address that was tried: people type passwords there.
        let whose = known.as_ref().map(|(user, _)| user.id);
        if !users::password::verify(password, hash).await {
            audit_log::record(app.db.write(), now, &from, Action::SignInFailed, whose).await?;
            return Err(wrong());
        }
        let (user, one_time) = known.ok_or_else(Refusal::internal)?;
        let mut rng = StdRng::from_rng(&mut rand::rng());
        let tx = app.db.begin().await?;
        if one_time && !users::take_one_time(&tx, now, user.id).await? {
            tx.rollback().await?;
            audit_log::record(app.db.write(), now, &from, Action::SignInFailed, whose).await?;
            return Err(wrong());
        }
        let (ip, agent) = (from.ip_address().unwrap_or("local"), from.user_agent());
        let signed_in = users::open_session(&tx, now, user.id, Some(ip), agent, one_time, &mut rng).await?;
        let by = from.with(Actor::User(user.id));
        audit_log::record(&tx, now, &by, Action::SignIn, Some(user.id)).await?;
        db::commit(tx, Commit::Session).await?;
        let token = app.keys.issue(&user, signed_in.session, now, ACCESS_TTL).map_err(|_| Refusal::internal())?;
        Ok(LoginView {
            user: (&user).into(),
            token,
            expires_in: ACCESS_TTL.as_secs(),
            refresh_token: signed_in.refresh_token,
            must_change_password: one_time,
        })
    }

    async fn go_on(&self, request: &Request, body: &[u8]) -> Result<RefreshView, Refusal> {
        let app = &self.app;
        let mut f = Fields::parse(body)?;
        let token = f.required_text("refresh_token", 1..=256);
        f.finish()?;
        let key = format!("refresh:ip:{}", network(request));
        limits::TightestLimit::note(request, limits::check(app, &key, app.settings.general_per_minute).await?);
        let now = app.clock.now();
        let mut rng = StdRng::from_rng(&mut rand::rng());
        let tx = app.db.begin().await?;
        let step = users::refresh(&tx, now, &token, &mut rng).await?;
        if let Refreshed::Reused { user, ended: true } = &step.value {
            let by = origin::of(request, Actor::Anonymous);
            audit_log::record(&tx, now, &by, Action::SessionReused, Some(user)).await?;
        }
        db::commit(tx, Commit::Session).await?;
        match app.after(step) {
            Refreshed::Granted { user, signed_in } => {
                let token =
                    app.keys.issue(&user, signed_in.session, now, ACCESS_TTL).map_err(|_| Refusal::internal())?;
                Ok(RefreshView { token, expires_in: ACCESS_TTL.as_secs(), refresh_token: signed_in.refresh_token })
            }
            Refreshed::Refused => Err(Refusal::new(Kind::AuthRequired, "the refresh token is invalid or has expired")),
            Refreshed::Reused { .. } => {
                tracing::warn!("a refresh token was used twice; its session was revoked");
                Err(Refusal::new(Kind::AuthRequired, "the refresh token was used before; the session has ended"))
            }
        }
    }

    /// Who asks with a session of their own. A key has none to end and no password to change.
    fn in_session(request: &Request) -> Result<(auth::Caller, SessionId), Refusal> {
        let caller = request.extensions().get::<auth::Caller>().cloned();
        let caller = caller.ok_or_else(|| Refusal::new(Kind::AuthRequired, "a token is required"))?;
        if caller.1 == Shown::Key {
            let text = "an API key does not sign in or out; `paceline key revoke` ends it";
            return Err(Refusal::new(Kind::PermissionDenied, text));
        }
        let session = caller.0.session().ok_or_else(Refusal::internal)?;
        Ok((caller, session))
    }

    async fn change_password(&self, request: &Request, body: &[u8]) -> Result<(), Refusal> {
        let app = &self.app;
        let (caller, session) = Self::in_session(request)?;
        let user = caller.0.user_id;
        let mut f = Fields::parse(body)?;
        let current = f.required_text("current_password", 1..=256);
        let new = f.required_text("new_password", 8..=256);
        if new.trim().chars().count() < 8 {
            f.bad("new_password", "must have at least 8 characters between its spaces");
        } else if new == current {
            f.bad("new_password", "must be another than current_password");
        }
        f.finish()?;
        // Who has stolen a token guesses the password no faster here than at the sign-in.
        let key = format!("password:{user}");
        limits::TightestLimit::note(request, limits::check(app, &key, app.settings.login_per_minute).await?);
        let wrong = || Refusal::field("current_password", "is wrong");
        let present = users::password_of(app.db.read(), user).await?;
        if !users::password::verify(current, present.clone()).await {
            return Err(wrong());
        }
        let present = present.ok_or_else(Refusal::internal)?;
        let new =
            users::password::hashed(new).await.map_err(|error| Refusal::field("new_password", error.to_string()))?;
        let (now, by) = (app.clock.now(), origin::of_user(request, user));
        let tx = app.db.begin().await?;
        let step = users::change_password(&tx, now, user, session, present, new).await?;
        if !step.value {
            return Err(wrong());
        }
        audit_log::record(&tx, now, &by, Action::Password, Some(user)).await?;
        db::commit(tx, Commit::Session).await?;
        for event in &step.events {
            if let Event::SessionRevoked(session) = event {
                app.sessions.forget(*session);
            }
        }
        app.after(step);
        tracing::info!(user = user.0, "a user changed their password; their other sessions have ended");
        Ok(())
    }

    async fn sign_out(&self, request: &Request) -> Result<(), Refusal> {
        let app = &self.app;
        let (caller, session) = Self::in_session(request)?;
        let key = format!("general:{}", caller.0.user_id);
        limits::TightestLimit::note(request, limits::check(app, &key, app.settings.general_per_minute).await?);
        let (now, user) = (app.clock.now(), caller.0.user_id);
        let tx = app.db.begin().await?;
        let step = users::revoke(&tx, now, session).await?;
        audit_log::record(&tx, now, &origin::of_user(request, user), Action::SignOut, Some(user)).await?;
        db::commit(tx, Commit::Session).await?;
        app.sessions.forget(session);
        app.after(step);
        Ok(())
    }
}

/// Signing in and out.
#[OpenApi]
impl AuthRoutes {
    /// Signs in.
    #[oai(path = "/api/v1/auth/login", method = "post")]
    async fn login(
        &self,
        request: &Request,
        _everybody: Everybody,
        body: SmallBody<LoginRequest>,
    ) -> Result<Json<Success<LoginView>>, Rejection> {
        Ok(Success::new(self.sign_in(request, &body.bytes).await?))
    }

    /// Exchanges a refresh token for the session's next tokens.
    #[oai(path = "/api/v1/auth/refresh", method = "post")]
    async fn refresh(
        &self,
        request: &Request,
        _everybody: Everybody,
        body: SmallBody<RefreshRequest>,
    ) -> Result<Json<Success<RefreshView>>, Rejection> {
        Ok(Success::new(self.go_on(request, &body.bytes).await?))
    }

    /// Changes the password: all other sessions of the user end, and a session that had to change it is open. API keys
    /// stay. A refusal of `current_password` is a 400, so that no client takes it for the end of its session.
    #[oai(path = "/api/v1/auth/password", method = "post")]
    async fn password(
        &self,
        request: &Request,
        _token: Token,
        body: SmallBody<PasswordRequest>,
    ) -> Result<Json<Success<Nothing>>, Rejection> {
        self.change_password(request, &body.bytes).await?;
        Ok(Success::new(Nothing {}))
    }

    /// Ends the session.
    #[oai(path = "/api/v1/auth/logout", method = "post")]
    async fn logout(&self, request: &Request, _token: Token) -> Result<Json<Success<Nothing>>, Rejection> {
        self.sign_out(request).await?;
        Ok(Success::new(Nothing {}))
    }
}
