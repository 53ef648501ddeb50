//! Importing contacts: the step of an `import_chunk` job.

use super::model::ItemStatus;
use super::sets::{self, Decided, Opened, Ran};
use super::traces;
use crate::Step;
use crate::contacts::import_file::{CleanRow, ImportRow, RowError, validate_row};
use crate::contacts::tags;
use crate::db::{self, Dialect};
use crate::jobs::Claimed;
use crate::time::Timestamp;
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};

/// A line of an import as it is stored until its chunk is worked on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImportLine {
    /// A row as it came.
    #[serde(rename = "r")]
    Row(ImportRow),
    /// A line that could not be read as a row.
    #[serde(rename = "e")]
    Unreadable(RowError),
    /// A row of which nothing is kept: its contact is written, or it was forgotten with its contact.
    #[serde(rename = "d")]
    Done,
}

/// A phone number's contact: one, however many rows of the chunk name it.
struct Merged {
    seqs: Vec<i64>,
    row: CleanRow,
}

/// Imports the rows of a chunk.
///
/// # Errors
/// The database's.
pub async fn run_import(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    rng: &mut impl Rng,
) -> Result<Step<Ran>, DbErr> {
    let set = match sets::open(conn, now, job, rng).await? {
        Opened::Work(set) => set,
        Opened::Not(ran) => return Ok(Step::quiet(ran)),
    };
    let lines = traces::lines(&set.chunk.data, set.chunk.item_count)?;
    let config = &set.batch.config;
    let skip_duplicates = config["skipDuplicates"].as_bool().unwrap_or(true);
    let batch_source = config["source"].as_str();
    let batch_tags: Vec<String> =
        config["tags"].as_array().into_iter().flatten().filter_map(|t| t.as_str().map(str::to_owned)).collect();

    let mut decided = Vec::with_capacity(lines.len());
    // In the order of the numbers: two chunks that meet on the same contacts take their locks in the same order.
    let mut by_phone: BTreeMap<String, Merged> = BTreeMap::new();
    for (seq, line) in (set.chunk.first_seq..).zip(lines) {
        if !set.wants(seq) {
            continue;
        }
        let bad = |error: RowError, input: Option<String>| Decided {
            seq,
            contact: None,
            input,
            status: ItemStatus::Failed,
            error: Some(("invalid_row", format!("line {}: {}", error.line, error.message))),
        };
        let row = match line {
            ImportLine::Unreadable(error) => {
                decided.push(bad(error, None));
                continue;
            }
            ImportLine::Done => {
                let error = Some(("erased", traces::ERASED.to_owned()));
                decided.push(Decided { seq, contact: None, input: None, status: ItemStatus::Failed, error });
                continue;
            }
            ImportLine::Row(row) => row,
        };
        let input = row.phone.chars().take(64).map(|c| if c == '\0' { '\u{fffd}' } else { c }).collect();
        match validate_row(row) {
            Err(error) => decided.push(bad(error, Some(input))),
            Ok(row) => match by_phone.entry(row.phone.as_digits().to_owned()) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(Merged { seqs: vec![seq], row });
                }
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    let first = entry.get_mut();
                    first.seqs.push(seq);
                    if !skip_duplicates {
                        merge(&mut first.row, row);
                    }
                }
            },
        }
    }

    let ids = write_contacts(conn, now, &by_phone, skip_duplicates, batch_source, rng).await?;
    let mut tagged: Vec<(i64, &str)> = Vec::new();
    for (phone, merged) in &by_phone {
        let written = ids.get(phone);
        for (nth, seq) in merged.seqs.iter().enumerate() {
            let item =
                |status, error| Decided { seq: *seq, contact: written.map(|w| w.id), input: None, status, error };
            let exists = || Some(("duplicate", "a contact with this number exists".to_owned()));
            decided.push(match written {
                Some(w) if skip_duplicates && (nth > 0 || !w.changed) => item(ItemStatus::Skipped, exists()),
                Some(_) => item(ItemStatus::Succeeded, None),
                None => item(ItemStatus::Skipped, exists()),
            });
        }
        if let Some(written) = written.filter(|w| w.changed) {
            let unique: HashSet<&str> = merged.row.tags.iter().chain(&batch_tags).map(String::as_str).collect();
            tagged.extend(unique.into_iter().map(|tag| (written.id, tag)));
        }
    }
    tags::add_pairs(conn, now, &tagged).await?;
    decided.sort_unstable_by_key(|item| item.seq);
    sets::close(conn, now, job, *set, &decided, rng).await
}

/// A later row of the same number wins where it says something; tags add up.
fn merge(first: &mut CleanRow, later: CleanRow) {
    first.name = later.name.or(first.name.take());
    first.source = later.source.or(first.source.take());
    first.tags.extend(later.tags);
    first.attributes.extend(later.attributes);
}

struct Written {
    id: i64,
    /// Made, or merged into; false where it existed and duplicates are skipped.
    changed: bool,
}

/// How a contact is written.
#[derive(Serialize)]
struct ContactRow<'a> {
    identifier: uuid::Uuid,
    phone: &'a str,
    name: Option<&'a str>,
    source: Option<&'a str>,
    attributes: Option<String>,
}

async fn write_contacts(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    by_phone: &BTreeMap<String, Merged>,
    skip_duplicates: bool,
    batch_source: Option<&str>,
    rng: &mut impl Rng,
) -> Result<HashMap<String, Written>, DbErr> {
    if by_phone.is_empty() {
        return Ok(HashMap::new());
    }
    let ms = u64::try_from(now.0).unwrap_or(0);
    let rows: Vec<_> = by_phone
        .iter()
        .map(|(phone, merged)| {
            let identifier = uuid::Builder::from_unix_timestamp_millis(ms, &rng.random()).into_uuid();
            let attributes = (!merged.row.attributes.is_empty()).then(|| json!(merged.row.attributes).to_string());
            ContactRow {
                identifier,
                phone,
                name: merged.row.name.as_deref(),
                source: merged.row.source.as_deref().or(batch_source),
                attributes,
            }
        })
        .collect();
    let dialect = Dialect::of(conn);
    let source = dialect.rows(
        1,
        &[("identifier", "uuid"), ("phone", "text"), ("name", "text"), ("source", "text"), ("attributes", "text")],
    );
    let on_conflict = match (skip_duplicates, dialect) {
        (true, _) => "DO NOTHING",
        (false, Dialect::Postgres) => {
            "DO UPDATE SET name = coalesce(excluded.name, contacts.name),
             source = coalesce(excluded.source, contacts.source), updated_at = excluded.updated_at,
             attributes = CASE WHEN excluded.attributes IS NULL THEN contacts.attributes
                 ELSE (coalesce(contacts.attributes, '{}')::jsonb || excluded.attributes::jsonb)::text END"
        }
        (false, Dialect::Sqlite) => {
            "DO UPDATE SET name = coalesce(excluded.name, contacts.name),
             source = coalesce(excluded.source, contacts.source), updated_at = excluded.updated_at,
             attributes = CASE WHEN excluded.attributes IS NULL THEN contacts.attributes
                 ELSE json_patch(coalesce(contacts.attributes, '{}'), excluded.attributes) END"
        }
    };
    let inserted = db::all(
        conn,
        format!(
            "INSERT INTO contacts (identifier, phone, name, source, attributes, suppressed_at, created_at, updated_at)
             SELECT identifier, phone, name, source, attributes,
                    (SELECT s.created_at FROM suppressions s WHERE s.phone = r.phone AND s.ended_at IS NULL), $2, $2
             FROM {source} WHERE TRUE
             ON CONFLICT (phone) {on_conflict} RETURNING id, phone"
        ),
        [db::rows_json(&rows)?, now.0.into()],
    )
    .await?;
    let mut written = HashMap::with_capacity(by_phone.len());
    for row in inserted {
        written.insert(row.try_get("", "phone")?, Written { id: row.try_get("", "id")?, changed: true });
    }
    let missing: Vec<&String> = by_phone.keys().filter(|phone| !written.contains_key(*phone)).collect();
    if !missing.is_empty() {
        let sql = format!("SELECT id, phone FROM contacts WHERE phone {}", dialect.one_of(1, "text"));
        for row in db::all(conn, sql, [json!(missing).to_string().into()]).await? {
            written.insert(row.try_get("", "phone")?, Written { id: row.try_get("", "id")?, changed: false });
        }
    }
    Ok(written)
}

/// What an import would do with a row: for a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRow {
    /// Its line.
    pub line: u32,
    /// What it would become.
    pub plan: Plan,
}

/// What a row would become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// A new contact with this number.
    Create(CleanRow),
    /// A merge into the contact that has the number.
    Merge(CleanRow),
    /// Skipped: the number exists, in the database or in an earlier row.
    Skip(CleanRow),
    /// A failed item, for this reason.
    Fail(String),
}

/// Tells what an import would do with rows, writing nothing. `seen` carries the numbers of earlier rows from one call to
/// the next.
///
/// # Errors
/// The database's.
pub async fn preview_import(
    conn: &impl ConnectionTrait,
    lines: Vec<ImportLine>,
    skip_duplicates: bool,
    seen: &mut HashSet<String>,
) -> Result<Vec<PlannedRow>, DbErr> {
    let checked: Vec<Result<CleanRow, RowError>> = lines
        .into_iter()
        .map(|line| match line {
            ImportLine::Row(row) => validate_row(row),
            ImportLine::Unreadable(error) => Err(error),
            ImportLine::Done => Err(RowError { line: 0, message: traces::ERASED.to_owned() }),
        })
        .collect();
    let phones: Vec<&str> = checked.iter().flatten().map(|row| row.phone.as_digits()).collect();
    let sql = format!("SELECT phone FROM contacts WHERE phone {}", Dialect::of(conn).one_of(1, "text"));
    let existing = db::all(conn, sql, [json!(phones).to_string().into()])
        .await?
        .iter()
        .map(|row| row.try_get::<String>("", "phone"))
        .collect::<Result<HashSet<_>, _>>()?;
    Ok(checked
        .into_iter()
        .map(|row| match row {
            Err(error) => PlannedRow { line: error.line, plan: Plan::Fail(error.message) },
            Ok(row) => {
                let known = !seen.insert(row.phone.as_digits().to_owned()) || existing.contains(row.phone.as_digits());
                let line = row.line;
                let plan = match (known, skip_duplicates) {
                    (false, _) => Plan::Create(row),
                    (true, true) => Plan::Skip(row),
                    (true, false) => Plan::Merge(row),
                };
                PlannedRow { line, plan }
            }
        })
        .collect())
}
