//! Who asks.

use super::refusal::{Kind, Refusal};
use crate::App;
use domain::SessionId;
use domain::users::{self, Claims, KEY_PREFIX, Permission, SessionAccess};
use moka::sync::Cache;
use poem::Request;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long a session or a key that was found good is believed to be: its end is told to all processes, and this bounds
/// what happens when the news is lost.
const BELIEVED: Duration = Duration::from_secs(1);

/// Sessions and keys that were found good a moment ago.
pub(crate) struct Sessions {
    live: Cache<SessionId, ()>,
    /// By the key's hash: what is kept in memory is not what opens.
    keys: Cache<[u8; 32], Claims>,
}

impl Default for Sessions {
    fn default() -> Self {
        let live = Cache::builder().max_capacity(100_000).time_to_live(BELIEVED).build();
        Self { live, keys: Cache::builder().max_capacity(10_000).time_to_live(BELIEVED).build() }
    }
}

impl Sessions {
    pub(crate) fn forget(&self, session: SessionId) {
        self.live.invalidate(&session);
    }
}

/// What a caller has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A token of a session.
    Token,
    /// An API key.
    Key,
}

/// Who asks, shown by a token or a key that stands.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) Claims, pub(crate) Shown);

impl Caller {
    /// Refuses a caller who may not.
    pub(crate) fn needs(&self, permission: Permission) -> Result<(), Refusal> {
        if self.0.permits(permission) {
            return Ok(());
        }
        Err(Refusal::new(Kind::PermissionDenied, format!("needs the permission {}", permission.as_str())))
    }

    /// Whether phone numbers are shown in full: guests, and keys that may not read contacts, see them masked.
    pub(crate) fn sees_phones(&self) -> bool {
        self.0.role.sees_phones() && self.0.permits(Permission::ContactsRead)
    }
}

/// The token of an `Authorization: Bearer` header.
pub(crate) fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request.header("authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn refuse(message: &str) -> Refusal {
    Refusal::new(Kind::AuthRequired, message)
}

/// Finds out who shows a token or a key.
pub(crate) async fn identify(app: &App, token: Option<&str>) -> Result<Caller, Refusal> {
    let (caller, standing) = stands(app, token).await?;
    match standing {
        SessionAccess::Open => Ok(caller),
        SessionAccess::MustChangePassword => Err(Refusal::new(
            Kind::PermissionDenied,
            "this password was good for one sign-in: choose another with POST /api/v1/auth/password",
        )),
    }
}

/// As [`identify`], also of a session that may only change its password: for what such a one may do.
pub(crate) async fn identify_any(app: &App, token: Option<&str>) -> Result<Caller, Refusal> {
    Ok(stands(app, token).await?.0)
}

async fn stands(app: &App, token: Option<&str>) -> Result<(Caller, SessionAccess), Refusal> {
    let token = token.ok_or_else(|| refuse("a token is required: Authorization: Bearer <token>"))?;
    let now = app.clock.now();
    let caller = match token.starts_with(KEY_PREFIX) {
        true => Caller(known_key(app, token).await?, Shown::Key),
        false => Caller(app.keys.verify(token, now).map_err(|error| refuse(&error.to_string()))?, Shown::Token),
    };
    let session = caller.0.session().ok_or_else(|| refuse("the token is invalid"))?;
    if app.sessions.live.get(&session).is_some() {
        return Ok((caller, SessionAccess::Open));
    }
    let standing = users::standing(app.db.read(), now, session).await?;
    let standing = standing.ok_or_else(|| refuse("the session has ended"))?;
    // One that must change its password is asked about each time: the change opens it at once.
    if standing == SessionAccess::Open {
        app.sessions.live.insert(session, ());
    }
    Ok((caller, standing))
}

/// Whose key it is, and what it may do.
async fn known_key(app: &App, key: &str) -> Result<Claims, Refusal> {
    let now = app.clock.now();
    let hash: [u8; 32] = Sha256::digest(key).into();
    if let Some(claims) = app.sessions.keys.get(&hash).filter(|claims| claims.exp > now.0 / 1_000) {
        return Ok(claims);
    }
    let known = users::find_key(app.db.read(), now, key).await?;
    let known = known.ok_or_else(|| refuse("the API key is unknown, or has been revoked, or has expired"))?;
    app.sessions.keys.insert(hash, known.claims.clone());
    let claims = known.claims.clone();
    // Nobody waits for the note, nor for the one writer that SQLite has.
    let db = app.db.clone();
    tokio::spawn(async move {
        if let Err(error) = users::key_used(db.write(), now, &known).await {
            tracing::debug!(%error, key = known.id, "that a key was used was not noted");
        }
    });
    Ok(claims)
}
