//! Changing tags and deleting: the work of `tag_chunk` and `delete_chunk` jobs.

use super::lookup::{Lookup, Numbered};
use super::recipients::ContactRef;
use super::sets::{ChunkContent, Decided, SetChunk};
use super::traces::{self, Trace};
use crate::contacts::erase::{self, Erased};
use crate::contacts::tags;
use crate::db::{self, Dialect};
use crate::model::{ItemStatus, TagOperation};
use crate::time::Timestamp;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::json;
use std::collections::{HashMap, HashSet};

/// Changes the tags of these contacts of a chunk. `None`: not all of them yet; the next step goes on.
pub(super) async fn tag(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    set: &mut SetChunk,
    seqs: &[i64],
    next_seq: i64,
) -> Result<Option<Vec<Decided>>, DbErr> {
    let (decided, contacts) = find(conn, set, seqs, next_seq).await?;
    let config = &set.config;
    let names: Vec<String> = serde_json::from_value(config["tags"].clone()).map_err(|e| DbErr::Json(e.to_string()))?;
    let operation: TagOperation =
        serde_json::from_value(config["operation"].clone()).map_err(|e| DbErr::Json(e.to_string()))?;
    let done = match operation {
        TagOperation::Add => tags::add(conn, now, &contacts, &names).await.map(|()| true)?,
        TagOperation::Remove => tags::remove(conn, &contacts, &names).await.map(|()| true)?,
        TagOperation::Set => tags::set(conn, now, &contacts, &names, set.rows).await?,
    };
    set.half_done = !done;
    Ok(done.then_some(decided))
}

/// Deletes these contacts of a chunk: their personal data goes, their messages' statistics stay. `None`: not all of them
/// yet; the next step goes on, with fewer where these are too much.
pub(super) async fn delete(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    set: &mut SetChunk,
    seqs: &[i64],
    next_seq: i64,
) -> Result<Option<Vec<Decided>>, DbErr> {
    let (decided, contacts) = find(conn, set, seqs, next_seq).await?;
    let rows = set.rows.max(1) as u64;
    if !erase::fits(conn, &contacts, rows).await? {
        set.most = (contacts.len() / 2).max(1);
        return Ok(None);
    }
    // While they still have their numbers. What is left to write then is left to the contacts themselves, or to the next step.
    let mut left = rows;
    let forgotten = traces::forget(conn, &contacts, &mut left).await?;
    if !forgotten || left < rows / 2 {
        set.half_done = true;
        return Ok(None);
    }
    let mut place = std::mem::take(&mut set.place);
    match erase::erase(conn, now, &contacts, left, &mut place).await? {
        Erased::All => Ok(Some(decided)),
        Erased::Part => {
            set.place = place;
            set.half_done = true;
            Ok(None)
        }
    }
}

/// Looks contacts of the chunk up. Those who do not exist are failed items; one that is named twice, by number and by
/// identifier, is done once and skipped the second time.
async fn find(
    conn: &impl ConnectionTrait,
    set: &SetChunk,
    seqs: &[i64],
    next_seq: i64,
) -> Result<(Vec<Decided>, Vec<i64>), DbErr> {
    let (ChunkContent::Tagged(refs) | ChunkContent::Deleted(refs)) = &set.content else {
        return Ok((Vec::new(), Vec::new()));
    };
    let at = |seq: i64| usize::try_from(seq - set.first_seq).ok().and_then(|place| refs.get(place));
    let wanted: Vec<(i64, &ContactRef)> = seqs.iter().filter_map(|seq| Some((*seq, at(*seq)?))).collect();
    let found = lookup(conn, wanted.iter().map(|(_, contact)| *contact)).await?;
    // A list has each number once and each identifier once: only one that has both can name a contact twice.
    let is_number = |contact: &ContactRef| matches!(contact, ContactRef::Number(_));
    let mixed = refs.iter().any(is_number) && !refs.iter().all(is_number);
    let mut seen = if mixed { done_before(conn, set, &found, next_seq).await? } else { HashSet::new() };
    let mut contacts = Vec::with_capacity(wanted.len());
    let decided: Vec<Decided> = wanted
        .into_iter()
        .map(|(seq, contact)| {
            // One that was deleted by this very chunk is in the list twice; any other that is deleted is nobody.
            let known = found.get(contact).filter(|found| !found.deleted || seen.contains(&found.id));
            let id = known.map(|found| found.id);
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
            let input = id.is_none().then(|| contact.to_string());
            Decided { seq, contact: id, input, status, error, warning: None, row: None }
        })
        .collect();
    // What stands in the place of a contact's id may be the number of one.
    let typed = |item: &Decided| item.input.as_deref().map(|typed| Trace::of(typed, None, item.seq));
    let typed: Vec<Trace> = decided.iter().filter_map(typed).flatten().collect();
    traces::note(conn, set.batch, &typed).await?;
    contacts.sort_unstable();
    Ok((decided, contacts))
}

/// Which of these contacts earlier steps of the chunk have done.
async fn done_before(
    conn: &impl ConnectionTrait,
    set: &SetChunk,
    found: &HashMap<ContactRef, Known>,
    next_seq: i64,
) -> Result<HashSet<i64>, DbErr> {
    let ids: Vec<i64> = found.values().map(|found| found.id).collect();
    let sql = format!(
        "SELECT contact_id FROM batch_items WHERE batch_id = $2 AND seq >= $3 AND seq < $4 AND item_status = 'succeeded'
            AND contact_id {}",
        Dialect::of(conn).one_of(1, "bigint")
    );
    let values = [json!(ids).to_string().into(), set.batch.into(), set.first_seq.into(), next_seq.into()];
    Ok(db::values(conn, sql, values).await?.into_iter().collect())
}

#[derive(Clone)]
struct Known {
    id: i64,
    deleted: bool,
}

/// Looks contacts up and locks them; one that was merged into another is that one. Those that are deleted are found too: this
/// very chunk may have deleted them.
async fn lookup<'a>(
    conn: &impl ConnectionTrait,
    refs: impl Iterator<Item = &'a ContactRef> + Clone,
) -> Result<HashMap<ContactRef, Known>, DbErr> {
    let there = Lookup { columns: "id", deleted: false, merged: true, locked: true };
    let known = |(contact, Numbered { id }), deleted| (contact, Known { id, deleted });
    let here = there.find_as(conn, refs.clone()).await?;
    let mut found: HashMap<ContactRef, Known> = here.into_iter().map(|one| known(one, false)).collect();
    let missing: Vec<&ContactRef> = refs.filter(|contact| !found.contains_key(*contact)).collect();
    let gone = Lookup { columns: "id", deleted: true, merged: false, locked: false };
    found.extend(gone.find_as(conn, missing.into_iter()).await?.into_iter().map(|one| known(one, true)));
    Ok(found)
}
