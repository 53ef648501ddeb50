//! Signing in, going on, signing out.

use super::envelope::{Failure, Success};
use crate::App;
use crate::foundation::body::SmallBody;
use crate::foundation::fields::Fields;
use crate::foundation::refusal::{Kind, Refusal};
use crate::foundation::{auth, limits};
use backplane::sign_in::{self, Limited};
use domain::db;
use domain::users::{self, ACCESS_TTL, Permission, Refreshed, Role, User};
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

/// `Authorization: Bearer <JWT>`; checked by the route.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", bearer_format = "JWT")]
struct Token(#[expect(dead_code, reason = "for the document")] poem_openapi::auth::Bearer);

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

/// What a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename = "Role", rename_all = "snake_case")]
enum RoleName {
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
    /// The access token, good for 15 minutes.
    token: String,
    /// The refresh token, good once, for 30 days.
    refresh_token: String,
}

/// A session's next tokens.
#[derive(Debug, Object)]
struct RefreshView {
    /// The access token, good for 15 minutes.
    token: String,
    /// The refresh token, good once, for 30 days.
    refresh_token: String,
}

/// Nothing.
#[derive(Debug, Object)]
struct Nothing {}

/// Where a request comes from, for the session's record.
fn address(request: &Request) -> String {
    request.remote_addr().as_socket_addr().map_or_else(|| "local".to_owned(), |addr| addr.ip().to_string())
}

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
                decisions.into_iter().for_each(|decision| limits::Standing::note(request, decision));
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
        let ip = address(request);
        self.limit_sign_ins(request, &email).await?;
        let known = users::credentials(app.db.read(), &email).await?;
        let (user, hash) = known.unzip();
        if !users::password::verify(password, hash).await {
            return Err(Refusal::new(Kind::AuthRequired, "the address or the password is wrong"));
        }
        let user = user.ok_or_else(Refusal::internal)?;
        let now = app.clock.now();
        let agent = request.header("user-agent").map(|agent| agent.chars().take(200).collect::<String>());
        let mut rng = StdRng::from_rng(&mut rand::rng());
        let tx = app.db.begin().await?;
        let signed_in = users::open_session(&tx, now, user.id, Some(&ip), agent.as_deref(), &mut rng).await?;
        db::commit(tx, Commit::Session).await?;
        let token = app.keys.issue(&user, signed_in.session, now, ACCESS_TTL).map_err(|_| Refusal::internal())?;
        Ok(LoginView { user: (&user).into(), token, refresh_token: signed_in.refresh_token })
    }

    async fn go_on(&self, request: &Request, body: &[u8]) -> Result<RefreshView, Refusal> {
        let app = &self.app;
        let mut f = Fields::parse(body)?;
        let token = f.required_text("refresh_token", 1..=256);
        f.finish()?;
        let key = format!("refresh:ip:{}", network(request));
        limits::Standing::note(request, limits::check(app, &key, app.settings.general_per_minute).await?);
        let now = app.clock.now();
        let mut rng = StdRng::from_rng(&mut rand::rng());
        let tx = app.db.begin().await?;
        let step = users::refresh(&tx, now, &token, &mut rng).await?;
        db::commit(tx, Commit::Session).await?;
        match app.after(step) {
            Refreshed::Granted { user, signed_in } => {
                let token =
                    app.keys.issue(&user, signed_in.session, now, ACCESS_TTL).map_err(|_| Refusal::internal())?;
                Ok(RefreshView { token, refresh_token: signed_in.refresh_token })
            }
            Refreshed::Refused => Err(Refusal::new(Kind::AuthRequired, "the refresh token is invalid or has expired")),
            Refreshed::Reused => {
                tracing::warn!("a refresh token was used twice; its session was revoked");
                Err(Refusal::new(Kind::AuthRequired, "the refresh token was used before; the session has ended"))
            }
        }
    }

    async fn sign_out(&self, request: &Request) -> Result<(), Refusal> {
        let app = &self.app;
        let caller = auth::identify(app, auth::bearer(request)).await?;
        let key = format!("general:{}", caller.0.user_id);
        limits::Standing::note(request, limits::check(app, &key, app.settings.general_per_minute).await?);
        let session = caller.0.session().ok_or_else(Refusal::internal)?;
        let step = users::revoke(app.db.write(), app.clock.now(), session).await?;
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
        body: SmallBody<LoginRequest>,
    ) -> Result<Json<Success<LoginView>>, Failure> {
        Ok(Success::new(self.sign_in(request, &body.bytes).await?))
    }

    /// Exchanges a refresh token for the session's next tokens.
    #[oai(path = "/api/v1/auth/refresh", method = "post")]
    async fn refresh(
        &self,
        request: &Request,
        body: SmallBody<RefreshRequest>,
    ) -> Result<Json<Success<RefreshView>>, Failure> {
        Ok(Success::new(self.go_on(request, &body.bytes).await?))
    }

    /// Ends the session.
    #[oai(path = "/api/v1/auth/logout", method = "post")]
    async fn logout(&self, request: &Request, _token: Token) -> Result<Json<Success<Nothing>>, Failure> {
        self.sign_out(request).await?;
        Ok(Success::new(Nothing {}))
    }
}
