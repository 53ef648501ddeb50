//! Doing a request once: the `Idempotency-Key` header.

use super::refusal::{Kind, Refusal};
use crate::App;
use domain::UserId;
use domain::idempotency::{self, Begin, Held};
use sea_orm::ConnectionTrait;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A request's key while the request is done. Dropped before the answer is remembered, as when the client hangs up, it
/// frees the key.
pub(crate) struct Hold {
    app: Arc<App>,
    held: Option<Held>,
}

impl Hold {
    /// Remembers the answer, in the transaction of the effect.
    pub(crate) async fn complete(&self, conn: &impl ConnectionTrait, status: u16, body: &str) -> Result<(), Refusal> {
        let Some(held) = &self.held else { return Ok(()) };
        if idempotency::complete(conn, held, status, body).await? {
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

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let app = self.app.clone();
            tokio::spawn(async move { abandon(&app, &held).await });
        }
    }
}

/// Only a key without an answer is freed: what was committed stays remembered.
async fn abandon(app: &App, held: &Held) {
    if let Err(error) = idempotency::abandon(app.db.write(), held).await {
        // It frees itself when its lock runs out.
        tracing::warn!(%error, "an idempotency key was not freed");
    }
}

/// What a key says of a request.
pub(crate) enum Once {
    /// Do it; a key that is held is told the answer.
    Do(Hold),
    /// It was done; this was the answer.
    Replay(String),
}

/// Takes the request's key, if it has one.
pub(crate) async fn begin(
    app: &Arc<App>,
    user: UserId,
    key: Option<&str>,
    hash: impl FnOnce() -> String,
) -> Result<Once, Refusal> {
    let hold = |held| Hold { app: app.clone(), held };
    let Some(key) = key else { return Ok(Once::Do(hold(None))) };
    if !idempotency::is_key(key) {
        return Err(Refusal::field("Idempotency-Key", "must be 1 to 255 visible ASCII characters"));
    }
    let owner = uuid::Uuid::now_v7().simple().to_string();
    match idempotency::begin(app.db.write(), app.clock.now(), user, key, &hash(), &owner).await? {
        Begin::Proceed(held) => Ok(Once::Do(hold(Some(held)))),
        Begin::Replay { body, .. } => Ok(Once::Replay(body)),
        Begin::Mismatch => Err(Refusal::new(Kind::Unprocessable, "this Idempotency-Key was used for another request")),
        Begin::InProgress => {
            Err(Refusal::new(Kind::Conflict, "the first request with this Idempotency-Key is under way"))
        }
    }
}

/// The hash of a request: what makes it the same one.
pub(crate) fn hash(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_be_bytes());
        hasher.update(part);
    }
    hex::encode(hasher.finalize())
}
