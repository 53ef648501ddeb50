//! Importing contacts: the step of an `import_chunk` job.

use super::model::ItemStatus;
use super::sets::{self, Decided, Opened, Ran};
use crate::Step;
use crate::contacts::import_file::{CleanRow, ImportRow, RowError, validate_row};
use crate::contacts::phone::{Country, Warning};
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
    /// A row that was checked when it was read.
    #[serde(rename = "c")]
    Clean(CleanRow),
    /// A row as it came, checked when its chunk is worked on: written by releases before 0.2.
    #[serde(rename = "r")]
    Row(ImportRow),
    /// A line that became no row.
    #[serde(rename = "e")]
    Unreadable(RowError),
}

impl From<Result<CleanRow, RowError>> for ImportLine {
    fn from(row: Result<CleanRow, RowError>) -> Self {
        row.map_or_else(Self::Unreadable, Self::Clean)
    }
}

impl ImportLine {
    fn checked(self, home: Option<Country>) -> Result<CleanRow, RowError> {
        match self {
            Self::Clean(row) => Ok(row),
            Self::Row(row) => validate_row(row, home),
            Self::Unreadable(error) => Err(error),
        }
    }
}

/// A line that became no row, as an item.
fn failed(seq: i64, error: RowError) -> Decided {
    let harmless = |text: String| text.replace('\0', "\u{fffd}");
    let cells: Vec<String> = error.cells.into_iter().map(harmless).collect();
    Decided {
        seq,
        contact: None,
        input: error.input.map(harmless),
        status: ItemStatus::Failed,
        error: Some(("invalid_row", format!("line {}: {}", error.line, error.message))),
        warning: None,
        row: (!cells.is_empty()).then(|| json!(cells).to_string()),
    }
}

/// A phone number's contact: one, however many rows of the chunk name it.
struct Merged {
    seqs: Vec<(i64, Option<Warning>)>,
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
    let lines: Vec<ImportLine> =
        serde_json::from_str(&set.chunk.data).map_err(|e| DbErr::Json(format!("chunk {}: {e}", set.chunk.no)))?;
    let config = &set.batch.config;
    let skip_duplicates = config["skipDuplicates"].as_bool().unwrap_or(true);
    let batch_source = config["source"].as_str();
    let home = config["defaultCountry"].as_str().and_then(|country| country.parse().ok());
    let batch_tags: Vec<String> =
        config["tags"].as_array().into_iter().flatten().filter_map(|t| t.as_str().map(str::to_owned)).collect();

    let mut decided = Vec::with_capacity(lines.len());
    // In the order of the numbers: two chunks that meet on the same contacts take their locks in the same order.
    let mut by_phone: BTreeMap<String, Merged> = BTreeMap::new();
    for (seq, line) in (set.chunk.first_seq..).zip(lines) {
        if !set.wants(seq) {
            continue;
        }
        match line.checked(home) {
            Err(error) => decided.push(failed(seq, error)),
            Ok(row) => match by_phone.entry(row.phone.as_digits().to_owned()) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(Merged { seqs: vec![(seq, row.warning)], row });
                }
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    let first = entry.get_mut();
                    first.seqs.push((seq, row.warning));
                    if skip_duplicates {
                        first.row.tags.extend(row.tags);
                    } else {
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
        for (nth, (seq, warning)) in merged.seqs.iter().enumerate() {
            let warning = warning.map(Warning::as_str);
            let contact = written.map(|w| w.id);
            let item = |status, error| Decided { seq: *seq, contact, input: None, status, error, warning, row: None };
            let exists = || Some(("duplicate", "a contact with this number exists".to_owned()));
            decided.push(match written {
                Some(w) if skip_duplicates && (nth > 0 || !w.changed) => item(ItemStatus::Skipped, exists()),
                Some(_) => item(ItemStatus::Succeeded, None),
                None => item(ItemStatus::Skipped, exists()),
            });
        }
        // What is skipped of a contact that exists is the merge of its name, source and attributes: it was named by this
        // import, and gets its tags.
        if let Some(written) = written {
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
    /// Made, or merged into; false where it existed and duplicates are skipped, which leaves all but its tags as it is.
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
    Fail(RowError),
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
    let checked: Vec<Result<CleanRow, RowError>> = lines.into_iter().map(|line| line.checked(None)).collect();
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
            Err(error) => PlannedRow { line: error.line, plan: Plan::Fail(error) },
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
