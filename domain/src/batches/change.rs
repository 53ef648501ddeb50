//! Changing tags and deleting: the steps of `tag_chunk` and `delete_chunk` jobs.

use super::model::{ItemStatus, TagOperation};
use super::recipients::ContactRef;
use super::sets::{self, Decided, Opened, Ran, Set};
use super::traces::{self, Trace};
use crate::Step;
use crate::contacts::{erase, tags};
use crate::db::{self, Dialect};
use crate::jobs::Claimed;
use crate::time::Timestamp;
use entities::BatchId;
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::json;
use std::collections::{HashMap, HashSet};

/// Changes the tags of a chunk's contacts.
///
/// # Errors
/// The database's.
pub async fn run_tag(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    rng: &mut impl Rng,
) -> Result<Step<Ran>, DbErr> {
    let set = match sets::open(conn, now, job, rng).await? {
        Opened::Work(set) => set,
        Opened::Not(ran) => return Ok(Step::quiet(ran)),
    };
    let (decided, contacts) = find(conn, &set).await?;
    let config = &set.batch.config;
    let names: Vec<String> = serde_json::from_value(config["tags"].clone()).map_err(|e| DbErr::Json(e.to_string()))?;
    let operation: TagOperation =
        serde_json::from_value(config["operation"].clone()).map_err(|e| DbErr::Json(e.to_string()))?;
    match operation {
        TagOperation::Add => tags::add(conn, now, &contacts, &names).await?,
        TagOperation::Remove => tags::remove(conn, &contacts, &names).await?,
        TagOperation::Set => tags::set(conn, now, &contacts, &names).await?,
    }
    sets::close(conn, now, job, *set, &decided, rng).await
}

/// Deletes a chunk's contacts: their personal data goes, their messages' statistics stay.
///
/// # Errors
/// The database's.
pub async fn run_delete(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    rng: &mut impl Rng,
) -> Result<Step<Ran>, DbErr> {
    let set = match sets::open(conn, now, job, rng).await? {
        Opened::Work(set) => set,
        Opened::Not(ran) => return Ok(Step::quiet(ran)),
    };
    let (decided, contacts) = find(conn, &set).await?;
    let left = traces::forget(conn, &contacts).await?;
    erase::erase(conn, now, &contacts).await?;
    left.finish(conn).await?;
    sets::close(conn, now, job, *set, &decided, rng).await
}

/// Looks the chunk's contacts up. Those who do not exist are failed items; one that is named twice, by number and by
/// identifier, is done once and skipped the second time.
async fn find(conn: &impl ConnectionTrait, set: &Set) -> Result<(Vec<Decided>, Vec<i64>), DbErr> {
    let refs: Vec<ContactRef> =
        serde_json::from_str(&set.chunk.data).map_err(|e| DbErr::Json(format!("chunk {}: {e}", set.chunk.no)))?;
    let wanted: Vec<(i64, &ContactRef)> =
        (set.chunk.first_seq..).zip(&refs).filter(|(seq, _)| set.wants(*seq)).collect();
    let found = lookup(conn, wanted.iter().map(|(_, contact)| *contact)).await?;
    let mut contacts = Vec::with_capacity(wanted.len());
    let mut seen = HashSet::with_capacity(wanted.len());
    let decided: Vec<Decided> = wanted
        .into_iter()
        .map(|(seq, contact)| {
            let id = found.get(contact).copied();
            let (status, error) = match id {
                None => (ItemStatus::Failed, Some(("contact_not_found", "contact not found".to_owned()))),
                Some(id) if !seen.insert(id) => {
                    (ItemStatus::Skipped, Some(("duplicate", "the contact is in the list twice".to_owned())))
                }
                Some(id) => {
                    contacts.push(id);
                    (ItemStatus::Succeeded, None)
                }
            };
            Decided { seq, contact: id, input: id.is_none().then(|| contact.to_string()), status, error }
        })
        .collect();
    note_typed(conn, set.batch.summary.id, &decided).await?;
    contacts.sort_unstable();
    Ok((decided, contacts))
}

/// What stands in the place of a contact's id may be the number of one.
async fn note_typed(conn: &impl ConnectionTrait, batch: BatchId, decided: &[Decided]) -> Result<(), DbErr> {
    let typed = decided.iter().filter_map(|item| Trace::of(item.input.as_deref()?, item.seq)).collect::<Vec<_>>();
    traces::note(conn, batch, &typed).await
}

async fn lookup<'a>(
    conn: &impl ConnectionTrait,
    refs: impl Iterator<Item = &'a ContactRef>,
) -> Result<HashMap<ContactRef, i64>, DbErr> {
    let (mut numbers, mut uuids) = (Vec::new(), Vec::new());
    for contact in refs {
        match contact {
            ContactRef::Number(n) => numbers.push(*n),
            ContactRef::Text(t) if uuid::Uuid::try_parse(t).is_ok() => uuids.push(&**t),
            ContactRef::Text(_) => {}
        }
    }
    let dialect = Dialect::of(conn);
    // Locked in the order of their numbers, so that two chunks over the same contacts cannot wait for each other.
    let tail = format!("AND deleted_at IS NULL ORDER BY id{}", dialect.for_update());
    let mut found = HashMap::with_capacity(numbers.len() + uuids.len());
    if !numbers.is_empty() {
        let sql = format!("SELECT id FROM contacts WHERE id {} {tail}", dialect.one_of(1, "bigint"));
        for row in db::all(conn, sql, [json!(numbers).to_string().into()]).await? {
            let id = row.try_get("", "id")?;
            found.insert(ContactRef::Number(id), id);
        }
    }
    if !uuids.is_empty() {
        let sql = format!(
            "SELECT id, CAST(identifier AS TEXT) AS identifier FROM contacts
             WHERE identifier {} {tail}",
            dialect.one_of(1, "uuid")
        );
        for row in db::all(conn, sql, [json!(uuids).to_string().into()]).await? {
            found.insert(ContactRef::Text(row.try_get::<String>("", "identifier")?.into()), row.try_get("", "id")?);
        }
    }
    Ok(found)
}
