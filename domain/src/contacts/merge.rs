//! Two contacts that turn out to be one.
//!
//! The one that was made first stays, so that everybody who finds out decides alike. It gets what the other had: messages,
//! conversation, unread, items of batches, tags, attributes, addresses, and the wishes of its number. What both have and only
//! one can keep (the name, the photo) stays as the older has it. The other's row is left without personal data, and
//! `contact_merges` says where it went and how much moved: a link to it finds the one that stayed, for ever.
//!
//! Both rows are locked in the order of their numbers before anything is read, so two who merge the same pair wait for each
//! other, and the second finds that it is done. Who wrote to the one that went while it went is put right by `settle`.

use super::suppressions;
use crate::db::{self, Dialect, Json};
use crate::outbox::{DomainEvent, NewEvent};
use crate::time::Timestamp;
use entities::{ContactId, ConversationId, contact_merges, contacts};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult, QueryFilter, QuerySelect};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::time::Duration;

/// How two contacts turned out to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody wrote whose number and whose other address belonged to two of them.
    Inbound,
    /// The network told which account a number is, and that was another contact's.
    Network,
}

impl Cause {
    /// The name in columns.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Network => "wa_id",
        }
    }
}

/// What became of two contacts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Merged {
    /// The one that is there.
    pub(crate) kept: ContactId,
    /// The one that is not any more.
    pub(crate) gone: ContactId,
    /// Its conversations that another of the first goes on with.
    closed: Vec<ConversationId>,
    /// Those of the first that are open again for it.
    reopened: Vec<ConversationId>,
}

impl Merged {
    /// What the outbox tells of it.
    pub(crate) fn events(&self) -> impl Iterator<Item = NewEvent> {
        let closed = self.closed.iter().map(|&conversation| DomainEvent::ConversationClosed { conversation });
        let opened = self.reopened.iter().map(|&conversation| DomainEvent::ConversationOpened { conversation });
        let merged = DomainEvent::ContactMerged { gone: self.gone };
        closed.chain(opened).chain([merged]).map(|event| NewEvent::of(self.kept, event))
    }
}

/// How long after a merge somebody may still write to the one that went, having read it before.
const LATE: Duration = Duration::from_secs(24 * 3600);

/// How many of the latest merges are looked at.
const LATEST: u32 = 1_000;

const COLUMNS: &str =
    "id, phone, name, source, attributes, remark, photo_url, status, created_at FROM contacts WHERE deleted_at IS NULL";

/// A contact as it is merged.
#[derive(FromQueryResult)]
struct Person {
    phone: Option<String>,
    name: Option<String>,
    source: Option<String>,
    attributes: Option<Json<Map<String, Value>>>,
    remark: Option<String>,
    photo_url: Option<String>,
    status: String,
    created_at: Timestamp,
}

impl Person {
    /// What the two of them are as one. Nothing that only one has is lost; notes of both are kept.
    fn with(self, other: Self) -> Self {
        let attributes = match (self.attributes, other.attributes) {
            (Some(Json(mine)), Some(Json(mut theirs))) => {
                theirs.extend(mine);
                Some(Json(theirs))
            }
            (mine, theirs) => mine.or(theirs),
        };
        let remark = match (self.remark, other.remark) {
            (Some(mine), Some(theirs)) if mine != theirs => Some(format!("{mine}\n{theirs}")),
            (mine, theirs) => mine.or(theirs),
        };
        Self {
            phone: self.phone.or(other.phone),
            name: self.name.or(other.name),
            source: self.source.or(other.source),
            attributes,
            remark,
            photo_url: self.photo_url.or(other.photo_url),
            status: if self.status == super::customers::NEW { other.status } else { self.status },
            created_at: self.created_at.min(other.created_at),
        }
    }
}

/// Makes two contacts one. `None`: they are one already, or one of them is not there (any more): nothing was changed.
///
/// # Errors
/// The database's.
pub(crate) async fn merge(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    one: ContactId,
    other: ContactId,
    cause: Cause,
) -> Result<Option<Merged>, DbErr> {
    if one == other {
        return Ok(None);
    }
    let (kept, gone) = (one.min(other), one.max(other));
    let sql = format!("SELECT {COLUMNS} AND id IN ($1, $2) ORDER BY id{}", Dialect::of(conn).for_update());
    let both: Vec<Person> = db::all_as(conn, sql, [kept.into(), gone.into()]).await?;
    let Ok([stays, goes]) = <[Person; 2]>::try_from(both) else { return Ok(None) };
    let mut merged = Merged { kept, gone, closed: Vec::new(), reopened: Vec::new() };
    let moved = move_all(conn, now, &mut merged).await?;
    let phone_of_gone = goes.phone.clone();
    let sql = "UPDATE contacts SET phone = NULL, name = NULL, source = NULL, attributes = NULL, remark = NULL,
                      photo_url = NULL, suppressed_at = NULL, deleted_at = $2, updated_at = $2 WHERE id = $1";
    db::execute(conn, sql, [gone.into(), now.0.into()]).await?;
    if let (Some(phone), true) = (phone_of_gone, stays.phone.is_some()) {
        add_address(conn, now, kept, "phone", &phone).await?;
    }
    let person = stays.with(goes);
    let sql = "UPDATE contacts SET phone = $2, name = $3, source = $4, attributes = $5, remark = $6, photo_url = $7,
                      status = $8, created_at = $9, updated_at = $10 WHERE id = $1";
    let values = [
        kept.into(),
        person.phone.into(),
        person.name.into(),
        person.source.into(),
        person.attributes.map(|Json(attributes)| Value::Object(attributes).to_string()).into(),
        person.remark.into(),
        person.photo_url.into(),
        person.status.into(),
        person.created_at.into(),
        now.0.into(),
    ];
    db::execute(conn, sql, values).await?;
    suppressions::repeat(conn, &[kept]).await?;
    // What was merged into the one that goes now is where that one is.
    let sql = "UPDATE contact_merges SET into_id = $1 WHERE into_id = $2";
    db::execute(conn, sql, [kept.into(), gone.into()]).await?;
    let sql = "INSERT INTO contact_merges (from_id, into_id, reason, moved, merged_at) VALUES ($1, $2, $3, $4, $5)";
    let values = [gone.into(), kept.into(), cause.as_str().into(), moved.to_string().into(), now.0.into()];
    db::execute(conn, sql, values).await?;
    tracing::info!(kept = %kept, gone = %gone, cause = cause.as_str(), "two contacts are one");
    Ok(Some(merged))
}

/// A contact's rows of messages, in two parts that have an index each: those that are seen, and those of whom waits or was left
/// out.
const MESSAGES: [&str; 2] = ["direction IS NOT NULL", "direction IS NULL"];

/// Moves everything that hangs on a contact to another; tells how much that was.
async fn move_all(conn: &impl ConnectionTrait, now: Timestamp, merged: &mut Merged) -> Result<Value, DbErr> {
    let (kept, gone) = (merged.kept, merged.gone);
    let pair = || -> [sea_orm::Value; 2] { [kept.into(), gone.into()] };
    let conversations = join_conversations(conn, now, merged).await?;
    let mut moved = json!({ "conversations": conversations });
    for table in ["batch_items", "domain_events", "contact_identities", "idempotency_keys"] {
        let sql = format!("UPDATE {table} SET contact_id = $1 WHERE contact_id = $2");
        moved[table] = db::execute(conn, sql, pair()).await?.into();
    }
    let mut messages = 0;
    for which in MESSAGES {
        let sql = format!("UPDATE messages SET contact_id = $1 WHERE contact_id = $2 AND {which}");
        messages += db::execute(conn, sql, pair()).await?;
    }
    moved["messages"] = messages.into();
    let sql = "UPDATE suppressions SET contact_id = $1 WHERE contact_id = $2
               AND phone_key = (SELECT phone_key FROM contacts WHERE id = $2)";
    moved["suppressions"] = db::execute(conn, sql, pair()).await?.into();
    let sql = "INSERT INTO contact_tags (contact_id, tag_id) SELECT $1, tag_id FROM contact_tags WHERE contact_id = $2
               ON CONFLICT DO NOTHING";
    moved["contact_tags"] = db::execute(conn, sql, pair()).await?.into();
    db::execute(conn, "DELETE FROM contact_tags WHERE contact_id = $1", [gone.into()]).await?;
    move_activity(conn, kept, gone).await?;
    Ok(moved)
}

async fn move_activity(conn: &impl ConnectionTrait, kept: ContactId, gone: ContactId) -> Result<(), DbErr> {
    let sql = "INSERT INTO contact_activity (contact_id, last_message_at)
               SELECT $1, last_message_at FROM contact_activity WHERE contact_id = $2
               ON CONFLICT (contact_id) DO UPDATE SET last_message_at = excluded.last_message_at
               WHERE contact_activity.last_message_at < excluded.last_message_at";
    db::execute(conn, sql, [kept.into(), gone.into()]).await?;
    db::execute(conn, "DELETE FROM contact_activity WHERE contact_id = $1", [gone.into()]).await.map(|_| ())
}

/// A conversation that is not closed.
#[derive(FromQueryResult)]
struct Talk {
    id: ConversationId,
    contact_id: ContactId,
    channel: String,
    status: String,
    unread: i64,
}

/// A contact has one conversation of a channel that is not closed. Where both have one, the older contact's goes on, with
/// what was said and is unread in both; the other's is closed, and stays in the history.
async fn join_conversations(conn: &impl ConnectionTrait, now: Timestamp, merged: &mut Merged) -> Result<u64, DbErr> {
    let (kept, gone) = (merged.kept, merged.gone);
    let sql = format!(
        "SELECT id, contact_id, channel, status, unread FROM conversations
         WHERE contact_id IN ($1, $2) AND status <> 'closed' ORDER BY id{}",
        Dialect::of(conn).for_update()
    );
    let both: Vec<Talk> = db::all_as(conn, sql, [kept.into(), gone.into()]).await?;
    let (goes_on, ends): (Vec<Talk>, Vec<Talk>) = both.into_iter().partition(|talk| talk.contact_id == kept);
    for Talk { id, channel, status, unread, .. } in ends {
        let Some(stays) = goes_on.iter().find(|other| other.channel == channel) else { continue };
        if status == "open" && stays.status == "resolved" {
            merged.reopened.push(stays.id);
        }
        let open = "$3 = 'open' AND status = 'resolved'";
        let sql = format!(
            "UPDATE conversations SET unread = unread + $2, updated_at = $4,
                    resolved_at = CASE WHEN {open} THEN NULL ELSE resolved_at END,
                    status = CASE WHEN {open} THEN 'open' ELSE status END WHERE id = $1"
        );
        db::execute(conn, sql, [stays.id.into(), unread.into(), status.into(), now.0.into()]).await?;
        let sql = "UPDATE messages SET conversation_id = $1 WHERE contact_id = $2 AND conversation_id = $3";
        db::execute(conn, sql, [stays.id.into(), gone.into(), id.into()]).await?;
        let sql = "UPDATE conversations SET status = 'closed', unread = 0, updated_at = $2 WHERE id = $1";
        db::execute(conn, sql, [id.into(), now.0.into()]).await?;
        merged.closed.push(id);
    }
    let sql = "UPDATE conversations SET contact_id = $1 WHERE contact_id = $2";
    db::execute(conn, sql, [kept.into(), gone.into()]).await
}

/// Keeps an address of a contact; one that another contact had is its own from now on.
pub(crate) async fn add_address(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    contact: ContactId,
    kind: &str,
    value: &str,
) -> Result<(), DbErr> {
    let sql = "INSERT INTO contact_identities (kind, value, contact_id, created_at) VALUES ($1, $2, $3, $4)
               ON CONFLICT (kind, value) DO UPDATE SET contact_id = excluded.contact_id
               WHERE contact_identities.contact_id <> excluded.contact_id";
    db::execute(conn, sql, [kind.into(), value.into(), contact.into(), now.0.into()]).await.map(|_| ())
}

/// A condition: the contact whose number is in `column` is there, or the one that it was merged into. What is written of one
/// that is not says nothing in words. A value and no `EXISTS`: that may be answered by reading all contacts once, which a planner
/// takes for cheap in a statement over some rows.
pub(crate) fn is_there(column: &str) -> String {
    format!(
        "coalesce((SELECT c.deleted_at IS NULL OR EXISTS (
            SELECT 1 FROM contact_merges g JOIN contacts k ON k.id = g.into_id AND k.deleted_at IS NULL
            WHERE g.from_id = c.id) FROM contacts c WHERE c.id = {column}), FALSE)"
    )
}

/// Whether there is a contact of this number: one that was neither deleted nor merged into another.
///
/// # Errors
/// The database's.
pub(crate) async fn is_known(conn: &impl ConnectionTrait, contact: ContactId) -> Result<bool, DbErr> {
    let found: Option<ContactId> = contacts::Entity::find_by_id(contact)
        .filter(contacts::Column::DeletedAt.is_null())
        .select_only()
        .column(contacts::Column::Id)
        .into_tuple()
        .one(conn)
        .await?;
    Ok(found.is_some())
}

/// Where a contact went that was merged into another; `None`: it was not.
///
/// # Errors
/// The database's.
pub async fn survivor(conn: &impl ConnectionTrait, gone: ContactId) -> Result<Option<ContactId>, DbErr> {
    Ok(contact_merges::Entity::find_by_id(gone).one(conn).await?.map(|merge| merge.into_id))
}

/// Contacts that were merged into others, as they are named: by number and by identifier, each with where it went.
#[derive(Debug, Default)]
pub(crate) struct MovedContacts {
    pub(crate) numbers: HashMap<i64, i64>,
    pub(crate) identifiers: HashMap<String, i64>,
}

/// Finds out where contacts went that are not there.
///
/// # Errors
/// The database's.
pub(crate) async fn moved(
    conn: &impl ConnectionTrait,
    numbers: &[i64],
    identifiers: &[&str],
) -> Result<MovedContacts, DbErr> {
    let dialect = Dialect::of(conn);
    let mut moved = MovedContacts::default();
    if !numbers.is_empty() {
        let sql = format!("SELECT from_id, into_id FROM contact_merges WHERE from_id {}", dialect.one_of(1, "bigint"));
        moved.numbers.extend(db::values::<(i64, i64)>(conn, sql, [json!(numbers).to_string().into()]).await?);
    }
    if !identifiers.is_empty() {
        let sql = format!(
            "SELECT CAST(c.identifier AS TEXT) AS identifier, m.into_id AS into_id FROM contacts c
             JOIN contact_merges m ON m.from_id = c.id WHERE c.identifier {}",
            dialect.one_of(1, "uuid")
        );
        let found = db::values::<(String, i64)>(conn, sql, [json!(identifiers).to_string().into()]).await?;
        moved.identifiers.extend(found);
    }
    Ok(moved)
}

/// Puts right what was written for a contact that went, by somebody who had read it before: the outcome of a message that was
/// on its way then. Looks at the latest merges, which cost one statement where there are none.
///
/// # Errors
/// The database's.
pub(crate) async fn settle(conn: &impl ConnectionTrait, now: Timestamp) -> Result<u64, DbErr> {
    let sql =
        format!("SELECT from_id FROM contact_merges WHERE merged_at >= $1 ORDER BY merged_at DESC LIMIT {LATEST}");
    let gone: Vec<i64> = db::values(conn, sql, [now.minus(LATE).0.into()]).await?;
    if gone.is_empty() {
        return Ok(0);
    }
    let (list, these) = (json!(gone).to_string(), Dialect::of(conn).one_of(1, "bigint"));
    let mut moved = 0;
    let [seen, others] = MESSAGES;
    for (table, which) in [("messages", seen), ("messages", others), ("batch_items", "TRUE")] {
        let sql = format!(
            "UPDATE {table} SET contact_id = (SELECT m.into_id FROM contact_merges m WHERE m.from_id = {table}.contact_id)
             WHERE contact_id {these} AND {which}"
        );
        moved += db::execute(conn, sql, [list.clone().into()]).await?;
    }
    let sql = format!("SELECT contact_id FROM contact_activity WHERE contact_id {these}");
    for gone in db::values(conn, sql, [list.into()]).await? {
        if let Some(kept) = survivor(conn, gone).await? {
            move_activity(conn, kept, gone).await?;
        }
    }
    Ok(moved)
}
