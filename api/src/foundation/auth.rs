//! Who asks.

use super::refusal::{Kind, Refusal};
use crate::App;
use domain::SessionId;
use domain::users::{self, Claims, Permission, Role};
use moka::sync::Cache;
use poem::Request;
use std::time::Duration;

/// How long a session that was found live is believed to be: a log-out is told to all processes, and this bounds what
/// happens when the news is lost.
const BELIEVED: Duration = Duration::from_secs(5);

/// Sessions that were found live a moment ago.
pub(crate) struct Sessions(Cache<SessionId, ()>);

impl Default for Sessions {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(100_000).time_to_live(BELIEVED).build())
    }
}

impl Sessions {
    pub(crate) fn forget(&self, session: SessionId) {
        self.0.invalidate(&session);
    }
}

/// Who asks, shown by a token that stands.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) Claims);

impl Caller {
    /// Refuses a caller who may not.
    pub(crate) fn needs(&self, permission: Permission) -> Result<(), Refusal> {
        if self.0.permits(permission) {
            return Ok(());
        }
        Err(Refusal::new(Kind::PermissionDenied, format!("needs the permission {}", permission.as_str())))
    }

    /// Whether phone numbers are shown in full: guests see them masked.
    pub(crate) fn sees_phones(&self) -> bool {
        self.0.role != Role::Guest
    }
}

/// The token of an `Authorization: Bearer` header.
pub(crate) fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request.header("authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Finds out who shows a token.
pub(crate) async fn identify(app: &App, token: Option<&str>) -> Result<Caller, Refusal> {
    let refuse = |message: &str| Refusal::new(Kind::AuthRequired, message);
    let token = token.ok_or_else(|| refuse("a token is required: Authorization: Bearer <token>"))?;
    let now = app.clock.now();
    let claims = app.keys.verify(token, now).map_err(|error| refuse(&error.to_string()))?;
    let session = claims.session().ok_or_else(|| refuse("the token is invalid"))?;
    if app.sessions.0.get(&session).is_none() {
        if !users::is_live(app.db.read(), now, session).await? {
            return Err(refuse("the session has ended"));
        }
        app.sessions.0.insert(session, ());
    }
    Ok(Caller(claims))
}
