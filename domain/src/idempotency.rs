//! Idempotency keys: the same request from the same user is done once, and answered alike.
//!
//! The answer is written in the transaction of the effect. So a key that is taken and has no answer either is under way
//! or never had its effect: once its lock has run out it may be taken over.

use crate::db::{self, Dialect};
use crate::time::Timestamp;
use entities::{ContactId, UserId, idempotency_keys};
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter};
use std::time::Duration;

/// How long an answer is remembered.
pub const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// How long a request may be under way before its key can be taken over, as when its process was killed. One that takes
/// longer and is taken over writes nothing: it finds that its key is another's.
const LOCK: Duration = Duration::from_secs(20);

/// A key that this request holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldKey {
    user: UserId,
    key: String,
    owner: String,
}

/// What a key says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It is the first: do it, and [`complete`] in the same transaction.
    Proceed(HeldKey),
    /// It was done: this was the answer.
    Replay {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: String,
    },
    /// It was done, and the answer was forgotten with the contact that it showed.
    Forgotten,
    /// The key was used for another request.
    Mismatch,
    /// The first is still under way.
    InProgress,
}

/// Whether a header's value can be a key: 1 to 255 visible ASCII characters.
#[must_use]
pub fn is_key(value: &str) -> bool {
    (1..=255).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic())
}

/// Takes a key. `owner` is unique to this request. Commit before the work begins.
///
/// # Errors
/// The database's.
pub async fn begin(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    user: UserId,
    key: &str,
    request_hash: &str,
    owner: &str,
) -> Result<KeyState, DbErr> {
    let taken = db::execute(
        conn,
        "INSERT INTO idempotency_keys (user_id, key, request_hash, owner, locked_until, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (user_id, key) DO UPDATE SET request_hash = excluded.request_hash, owner = excluded.owner,
            locked_until = excluded.locked_until, created_at = excluded.created_at, status_code = NULL,
            response_body = NULL, contact_id = NULL
         WHERE idempotency_keys.created_at <= $7
            OR (idempotency_keys.status_code IS NULL AND idempotency_keys.locked_until <= $6
                AND idempotency_keys.request_hash = excluded.request_hash)",
        [
            user.into(),
            key.into(),
            request_hash.into(),
            owner.into(),
            now.plus(LOCK).0.into(),
            now.0.into(),
            now.minus(REMEMBERED).0.into(),
        ],
    )
    .await?;
    if taken == 1 {
        return Ok(KeyState::Proceed(HeldKey { user, key: key.to_owned(), owner: owner.to_owned() }));
    }
    let row = idempotency_keys::Entity::find_by_id((user, key.to_owned())).one(conn).await?;
    let Some(row) = row else { return Ok(KeyState::InProgress) };
    if row.request_hash != request_hash {
        return Ok(KeyState::Mismatch);
    }
    match (row.status_code, row.response_body) {
        (Some(status), Some(body)) => Ok(KeyState::Replay { status: u16::try_from(status).unwrap_or(500), body }),
        (Some(_), None) => Ok(KeyState::Forgotten),
        (None, _) => Ok(KeyState::InProgress),
    }
}

/// Remembers the answer, in the transaction of the effect. `shows`: the contact whose data is in it, with whom it is
/// forgotten. `false`: the key was taken over meanwhile; roll back.
///
/// # Errors
/// The database's.
pub async fn complete(
    conn: &impl ConnectionTrait,
    held: &HeldKey,
    status: u16,
    body: &str,
    shows: Option<ContactId>,
) -> Result<bool, DbErr> {
    let answer = idempotency_keys::ActiveModel {
        status_code: Set(Some(status.into())),
        response_body: Set(Some(body.to_owned())),
        contact_id: Set(shows),
        ..Default::default()
    };
    let written = idempotency_keys::Entity::update_many().set(answer).filter(is_held(held)).exec(conn).await?;
    Ok(written.rows_affected == 1)
}

/// The key's row, while it is this request's.
fn is_held(held: &HeldKey) -> Condition {
    Condition::all()
        .add(idempotency_keys::Column::UserId.eq(held.user))
        .add(idempotency_keys::Column::Key.eq(held.key.as_str()))
        .add(idempotency_keys::Column::Owner.eq(held.owner.as_str()))
}

/// Frees a key whose request was refused: it had no effect, and may be sent again, mended.
///
/// # Errors
/// The database's.
pub async fn abandon(conn: &impl ConnectionTrait, held: &HeldKey) -> Result<(), DbErr> {
    idempotency_keys::Entity::delete_many()
        .filter(is_held(held))
        .filter(idempotency_keys::Column::StatusCode.is_null())
        .exec(conn)
        .await
        .map(drop)
}

/// Forgets the answers that show contacts. Their requests stay done: a key that comes again is [`KeyState::Forgotten`]. A call
/// takes what it writes off `left`; `false`: there is more.
pub(crate) async fn forget(conn: &impl ConnectionTrait, contacts: &[i64], left: &mut u64) -> Result<bool, DbErr> {
    if *left == 0 {
        return Ok(false);
    }
    let dialect = Dialect::of(conn);
    let shows = format!("contact_id {}", dialect.one_of(1, "bigint"));
    let some = dialect.some_of("idempotency_keys", "user_id, key", &shows, *left);
    let sql = format!("UPDATE idempotency_keys SET response_body = NULL, contact_id = NULL WHERE {some}");
    let written = db::execute(conn, sql, [serde_json::json!(contacts).to_string().into()]).await?;
    let all = written < *left;
    *left = left.saturating_sub(written);
    Ok(all)
}

/// Forgets keys older than [`REMEMBERED`], at most `limit`; returns how many.
///
/// # Errors
/// The database's.
pub async fn prune(conn: &impl ConnectionTrait, now: Timestamp, limit: u64) -> Result<u64, DbErr> {
    let some = Dialect::of(conn).some_of("idempotency_keys", "user_id, key", "created_at <= $1", limit);
    let sql = format!("DELETE FROM idempotency_keys WHERE {some}");
    db::execute(conn, sql, [now.minus(REMEMBERED).0.into()]).await
}
