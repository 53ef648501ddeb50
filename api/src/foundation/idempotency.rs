//! Doing a request once: the `Idempotency-Key` header.

use super::refusal::{Kind, Refusal};
use crate::App;
use domain::UserId;
use domain::idempotency::{self, Begin, Held};
use sea_orm::ConnectionTrait;
use sha2::{Digest, Sha256};

/// What a key says of a request.
pub(crate) enum Once {
    /// Do it; a key that is held is told the answer.
    Do(Option<Held>),
    /// It was done; this was the answer.
    Replay(String),
}

/// Takes the request's key, if it has one.
pub(crate) async fn begin(
    app: &App,
    user: UserId,
    key: Option<&str>,
    hash: impl FnOnce() -> String,
) -> Result<Once, Refusal> {
    let Some(key) = key else { return Ok(Once::Do(None)) };
    if !idempotency::is_key(key) {
        return Err(Refusal::field("Idempotency-Key", "must be 1 to 255 visible ASCII characters"));
    }
    let owner = uuid::Uuid::now_v7().simple().to_string();
    match idempotency::begin(app.db.write(), app.clock.now(), user, key, &hash(), &owner).await? {
        Begin::Proceed(held) => Ok(Once::Do(Some(held))),
        Begin::Replay { body, .. } => Ok(Once::Replay(body)),
        Begin::Mismatch => Err(Refusal::new(Kind::Unprocessable, "this Idempotency-Key was used for another request")),
        Begin::InProgress => {
            Err(Refusal::new(Kind::Conflict, "the first request with this Idempotency-Key is under way"))
        }
    }
}

/// Remembers the answer, in the transaction of the effect.
pub(crate) async fn complete(
    conn: &impl ConnectionTrait,
    held: Option<&Held>,
    status: u16,
    body: &str,
) -> Result<(), Refusal> {
    let Some(held) = held else { return Ok(()) };
    if idempotency::complete(conn, held, status, body).await? {
        return Ok(());
    }
    Err(Refusal::new(Kind::Conflict, "another request with this Idempotency-Key has taken over"))
}

/// Frees the key of a request that was refused.
pub(crate) async fn abandon(app: &App, held: Option<&Held>) {
    if let Some(held) = held
        && let Err(error) = idempotency::abandon(app.db.write(), held).await
    {
        // It frees itself when its lock runs out.
        tracing::warn!(%error, "an idempotency key was not freed");
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
