//! Doing a request once: the `Idempotency-Key` header.

use super::origin;
use super::refusal::{Kind, Refusal};
use super::schema::{described, patterned};
use crate::App;
use domain::audit_log::Origin;
use domain::idempotency::{self, HeldKey, KeyState};
use domain::{ContactId, UserId};
use poem::Request;
use poem_openapi::types::{ParseFromParameter, ParseResult};
use sea_orm::ConnectionTrait;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::runtime::Handle;

/// A request's key while the request is done. Dropped before the answer is remembered, as by a panic, it frees the key.
pub(crate) struct KeyHold {
    app: Arc<App>,
    held: Option<HeldKey>,
    origin: Origin,
}

impl KeyHold {
    /// Who asks, and from where.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Remembers the answer, in the transaction of the effect. `shows`: the contact whose data is in it.
    pub(crate) async fn complete(
        &self,
        conn: &impl ConnectionTrait,
        status: u16,
        body: &str,
        shows: Option<ContactId>,
    ) -> Result<(), Refusal> {
        let Some(held) = &self.held else { return Ok(()) };
        if idempotency::complete(conn, held, status, body, shows).await? {
            return Ok(());
        }
        Err(Refusal::new(Kind::Conflict, "another request with this Idempotency-Key has taken over"))
    }

    /// The answer is committed.
    pub(crate) fn keep(mut self) {
        self.held = None;
    }

    /// Frees the key of a request that was refused, before the refusal is told.
    pub(crate) async fn free(mut self) {
        if let Some(held) = self.held.take() {
            abandon(&self.app, &held).await;
        }
    }
}

impl Drop for KeyHold {
    fn drop(&mut self) {
        // Where the runtime itself ends, the key frees itself when its lock runs out.
        if let (Some(held), Ok(runtime)) = (self.held.take(), Handle::try_current()) {
            let app = self.app.clone();
            runtime.spawn(async move { abandon(&app, &held).await });
        }
    }
}

/// Only a key without an answer is freed: what was committed stays remembered.
async fn abandon(app: &App, held: &HeldKey) {
    if let Err(error) = idempotency::abandon(app.db.write(), held).await {
        // It frees itself when its lock runs out.
        tracing::warn!(%error, "an idempotency key was not freed");
    }
}

/// The header's name.
const HEADER: &str = "idempotency-key";

/// The header as the document describes it; [`KeyedRequest`] reads it.
pub(crate) struct KeyText;

described!(KeyText, "string_idempotency-key", patterned("^[!-~]{1,255}$"));

impl ParseFromParameter for KeyText {
    fn parse_from_parameter(_: &str) -> ParseResult<Self> {
        Ok(Self)
    }
}

/// The framework passes over header values that are not ASCII: such a request would be done again at every repetition,
/// although its client asked for the opposite.
fn key(request: &Request) -> Result<Option<String>, Refusal> {
    let mut values = request.headers().get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match value.to_str() {
        Ok(key) if idempotency::is_key(key) && values.next().is_none() => Ok(Some(key.to_owned())),
        _ => Err(Refusal::field("Idempotency-Key", "must be 1 to 255 visible ASCII characters, once")),
    }
}

/// What a key says of a request.
pub(crate) enum Once {
    /// Do it; a key that is held is told the answer.
    Do(KeyHold),
    /// It was done; this was the answer.
    Replay(String),
}

/// Who asks for what, and under which key.
pub(crate) struct KeyedRequest {
    user: UserId,
    origin: Origin,
    key: Option<String>,
    target: String,
}

impl KeyedRequest {
    /// Reads the request's head.
    pub(crate) fn of(request: &Request, user: UserId) -> Result<Self, Refusal> {
        let target = request.uri().path_and_query().map_or("", |p| p.as_str()).to_owned();
        Ok(Self { user, origin: origin::of_user(request, user), key: key(request)?, target })
    }

    /// Does the work under the request's key, once however often the request comes: what it answers is kept, and after a
    /// refusal the key is free. Gives the answer, and the value of the header that says so where it was given before.
    pub(crate) async fn once<W>(
        &self,
        app: &Arc<App>,
        content: &[u8],
        work: W,
    ) -> Result<(String, Option<String>), Refusal>
    where
        W: AsyncFnOnce(&KeyHold) -> Result<String, Refusal>,
    {
        let hold = match self.begin(app, content).await? {
            Once::Replay(body) => return Ok((body, Some("true".into()))),
            Once::Do(hold) => hold,
        };
        match work(&hold).await {
            Ok(body) => {
                hold.keep();
                Ok((body, None))
            }
            Err(refusal) => {
                hold.free().await;
                Err(refusal)
            }
        }
    }

    /// Takes the request's key, if it has one. `content` is what else makes it the same request.
    pub(crate) async fn begin(&self, app: &Arc<App>, content: &[u8]) -> Result<Once, Refusal> {
        let hold = |held| KeyHold { app: app.clone(), held, origin: self.origin.clone() };
        let Some(key) = &self.key else { return Ok(Once::Do(hold(None))) };
        let owner = uuid::Uuid::now_v7().simple().to_string();
        let hash = hash(&[self.target.as_bytes(), content]);
        match idempotency::begin(app.db.write(), app.clock.now(), self.user, key, &hash, &owner).await? {
            KeyState::Proceed(held) => Ok(Once::Do(hold(Some(held)))),
            KeyState::Replay { body, .. } => Ok(Once::Replay(body)),
            KeyState::Forgotten => Err(Refusal::new(
                Kind::NotFound,
                "the request with this Idempotency-Key was done, and its answer was deleted with its customer",
            )),
            KeyState::Mismatch => {
                Err(Refusal::new(Kind::Unprocessable, "this Idempotency-Key was used for another request"))
            }
            KeyState::InProgress => {
                Err(Refusal::new(Kind::Conflict, "the first request with this Idempotency-Key is under way"))
            }
        }
    }
}

/// The hash of a request: what makes it the same one.
fn hash(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_be_bytes());
        hasher.update(part);
    }
    hex::encode(hasher.finalize())
}
