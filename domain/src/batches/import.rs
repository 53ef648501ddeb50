//! Importing contacts: the work of an `import_chunk` job.

use super::sets::{ChunkContent, Decided, SetChunk};
use super::traces::{self, Trace};
use crate::contacts::import_file::{CleanRow, ImportRow, RowError, validate_row};
use crate::contacts::phone::{Country, Warning};
use crate::contacts::{addresses, spelling, tags};
use crate::db::{self, Dialect};
use crate::model::ItemStatus;
use crate::time::Timestamp;
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::borrow::Cow;
use std::collections::btree_map::Entry;
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
    /// A row of which nothing is kept: its contact is written, or it was forgotten with its contact.
    #[serde(rename = "d")]
    Done,
}

impl From<Result<CleanRow, RowError>> for ImportLine {
    fn from(row: Result<CleanRow, RowError>) -> Self {
        row.map_or_else(Self::Unreadable, Self::Clean)
    }
}

/// The reason of a row that was forgotten with its contact.
const GONE: &str = "erased";

impl ImportLine {
    /// The number of a row, as it was written.
    pub(super) fn number(&self) -> Option<&str> {
        match self {
            Self::Clean(row) => Some(row.phone.as_digits()),
            Self::Row(row) => Some(&row.phone),
            Self::Unreadable(error) => error.input.as_deref(),
            Self::Done => None,
        }
    }

    fn checked(self, home: Option<Country>) -> Result<CleanRow, RowError> {
        match self {
            Self::Clean(row) => Ok(row),
            Self::Row(row) => validate_row(row, home),
            Self::Unreadable(error) => Err(error),
            Self::Done => Err(RowError::new(0, GONE, traces::ERASED)),
        }
    }
}

/// The rows of a chunk, read and checked.
#[derive(Debug)]
pub(super) struct Rows {
    rows: Vec<Result<CleanRow, RowError>>,
    skip_duplicates: bool,
    source: Option<String>,
    /// The tags of every row.
    tags: Vec<String>,
    /// Where a number without a country's code is at home.
    home: Option<Country>,
}

/// A line that became no row, as an item.
fn failed(seq: i64, error: &RowError) -> Decided {
    let harmless = |text: &String| text.replace('\0', "\u{fffd}");
    let cells: Vec<String> = error.cells.iter().map(harmless).collect();
    Decided {
        seq,
        contact: None,
        input: error.input.as_ref().map(harmless),
        status: ItemStatus::Failed,
        error: Some(match &*error.reason {
            GONE => (GONE, error.message.clone()),
            _ => ("invalid_row", format!("line {}: {}", error.line, error.message)),
        }),
        warning: None,
        row: (!cells.is_empty()).then(|| json!(cells).to_string()),
    }
}

impl Rows {
    /// How many rows of the database a row is going to write: its item, its contact and its tags.
    pub(super) fn weight(&self, place: usize) -> usize {
        match self.rows.get(place) {
            Some(Ok(row)) => 2 + self.tags.len() + row.tags.len(),
            // Its item, and the numbers that it may have meant.
            Some(Err(_)) | None => 3,
        }
    }
}

/// A phone number's contact: one, however many rows of the step name it.
struct Merged<'a> {
    seqs: Vec<(i64, Option<Warning>)>,
    row: Cow<'a, CleanRow>,
}

/// Checks the rows of a chunk: the long part of an import that needs no database.
pub(super) fn check(lines: Vec<ImportLine>, config: &serde_json::Value) -> Rows {
    let texts =
        |name: &str| config[name].as_array().into_iter().flatten().filter_map(|t| t.as_str().map(str::to_owned));
    let home = config["defaultCountry"].as_str().and_then(|country| country.parse().ok());
    Rows {
        rows: lines.into_iter().map(|line| line.checked(home)).collect(),
        skip_duplicates: config["skipDuplicates"].as_bool().unwrap_or(true),
        source: config["source"].as_str().map(str::to_owned),
        tags: texts("tags").collect(),
        home,
    }
}

/// Imports these rows of a chunk.
pub(super) async fn run(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    set: &SetChunk,
    seqs: &[i64],
    rng: &mut impl Rng,
) -> Result<Vec<Decided>, DbErr> {
    let ChunkContent::Rows(rows) = &set.content else { return Ok(Vec::new()) };
    let skip_duplicates = rows.skip_duplicates;
    let mut decided = Vec::with_capacity(seqs.len());
    // By what the spellings of a number have in common, in its order: two chunks that meet on the same contacts take
    // their locks in the same order.
    let mut by_phone: BTreeMap<Cow<'_, str>, Merged<'_>> = BTreeMap::new();
    for &seq in seqs {
        let row = usize::try_from(seq - set.first_seq).ok().and_then(|place| rows.rows.get(place));
        match row {
            None => {}
            Some(Err(error)) => decided.push(failed(seq, error)),
            Some(Ok(row)) => match by_phone.entry(spelling::key(row.phone.as_digits())) {
                Entry::Vacant(entry) => {
                    entry.insert(Merged { seqs: vec![(seq, row.warning)], row: Cow::Borrowed(row) });
                }
                Entry::Occupied(mut entry) => {
                    let first = entry.get_mut();
                    first.seqs.push((seq, row.warning));
                    if skip_duplicates {
                        first.row.to_mut().tags.extend(row.tags.iter().cloned());
                    } else {
                        merge(first.row.to_mut(), row.clone());
                    }
                }
            },
        }
    }

    let kept: Vec<Trace> =
        decided.iter().flat_map(|item| Trace::of(item.input.as_deref().unwrap_or(""), rows.home, item.seq)).collect();
    traces::note(conn, set.batch, &kept).await?;
    let ids = write_contacts(conn, now, &by_phone, skip_duplicates, rows.source.as_deref(), rng).await?;
    let mut tagged: Vec<(i64, &str)> = Vec::new();
    for (phone, merged) in &by_phone {
        let written = ids.get(phone.as_ref());
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
            let unique: HashSet<&str> = merged.row.tags.iter().chain(&rows.tags).map(String::as_str).collect();
            tagged.extend(unique.into_iter().map(|tag| (written.id, tag)));
        }
    }
    tags::add_pairs(conn, now, &tagged).await?;
    decided.sort_unstable_by_key(|item| item.seq);
    Ok(decided)
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

/// Merges a row into a contact that is known by its number beside its own. There are few of them.
async fn merge_into(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: i64,
    row: &CleanRow,
    batch_source: Option<&str>,
) -> Result<(), DbErr> {
    let attributes = match Dialect::of(conn) {
        Dialect::Postgres => "(coalesce(attributes, '{}')::jsonb || $4::text::jsonb)::text",
        Dialect::Sqlite => "json_patch(coalesce(attributes, '{}'), $4)",
    };
    let sql = format!(
        "UPDATE contacts SET name = coalesce($2, name), source = coalesce($3, source), updated_at = $5,
                attributes = CASE WHEN $4 = '{{}}' THEN attributes ELSE {attributes} END WHERE id = $1"
    );
    let source = row.source.as_deref().or(batch_source).map(str::to_owned);
    let attributes = json!(row.attributes).to_string();
    let values = [id.into(), row.name.clone().into(), source.into(), attributes.into(), now.0.into()];
    db::execute(conn, sql, values).await.map(|_| ())
}

/// How a contact is written.
#[derive(Serialize)]
struct ContactRow<'a> {
    identifier: uuid::Uuid,
    phone: &'a str,
    phone_key: &'a str,
    name: Option<&'a str>,
    source: Option<&'a str>,
    attributes: Option<String>,
}

/// What becomes of a contact that is there, in SQL: what the file does not say stays.
const fn on_conflict(dialect: Dialect, skip_duplicates: bool) -> &'static str {
    match (skip_duplicates, dialect) {
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
    }
}

async fn write_contacts(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    by_phone: &BTreeMap<Cow<'_, str>, Merged<'_>>,
    skip_duplicates: bool,
    batch_source: Option<&str>,
    rng: &mut impl Rng,
) -> Result<HashMap<String, Written>, DbErr> {
    if by_phone.is_empty() {
        return Ok(HashMap::new());
    }
    let ms = u64::try_from(now.0).unwrap_or(0);
    let keys: Vec<&str> = by_phone.keys().map(AsRef::as_ref).collect();
    // Numbers that a contact is known by beside its own: the network told of them.
    let known = addresses::known_by(conn, &keys).await?;
    let rows: Vec<_> = by_phone
        .iter()
        .filter(|(key, _)| !known.contains_key(key.as_ref()))
        .map(|(key, merged)| {
            let identifier = uuid::Builder::from_unix_timestamp_millis(ms, &rng.random()).into_uuid();
            let attributes = (!merged.row.attributes.is_empty()).then(|| json!(merged.row.attributes).to_string());
            ContactRow {
                identifier,
                phone: merged.row.phone.as_digits(),
                phone_key: key,
                name: merged.row.name.as_deref(),
                source: merged.row.source.as_deref().or(batch_source),
                attributes,
            }
        })
        .collect();
    let dialect = Dialect::of(conn);
    let source = dialect.rows(
        1,
        &[
            ("identifier", "uuid"),
            ("phone_key", "text"),
            ("phone", "text"),
            ("name", "text"),
            ("source", "text"),
            ("attributes", "text"),
        ],
    );
    let inserted: Vec<(String, i64)> = db::values(
        conn,
        format!(
            "INSERT INTO contacts (identifier, phone, name, source, attributes, suppressed_at, created_at, updated_at)
             SELECT identifier, phone, name, source, attributes,
                    (SELECT s.created_at FROM suppressions s WHERE s.phone_key = r.phone_key AND s.ended_at IS NULL), $2, $2
             FROM {source} WHERE TRUE
             ON CONFLICT (phone_key) {} RETURNING phone_key, id",
            on_conflict(dialect, skip_duplicates)
        ),
        [db::rows_json(&rows)?, now.0.into()],
    )
    .await?;
    let mut written = HashMap::with_capacity(by_phone.len());
    written.extend(inserted.into_iter().map(|(key, id)| (key, Written { id, changed: true })));
    let missing: Vec<&str> =
        by_phone.keys().map(AsRef::as_ref).filter(|key: &&str| !written.contains_key(*key)).collect();
    if !missing.is_empty() {
        let sql = format!("SELECT phone_key, id FROM contacts WHERE phone_key {}", dialect.one_of(1, "text"));
        let there = db::values::<(String, i64)>(conn, sql, [json!(missing).to_string().into()]).await?;
        written.extend(there.into_iter().map(|(key, id)| (key, Written { id, changed: false })));
    }
    for (key, id) in known {
        let Some(merged) = by_phone.get(key.as_str()) else { continue };
        if !skip_duplicates {
            merge_into(conn, now, id, &merged.row, batch_source).await?;
        }
        written.insert(key, Written { id, changed: !skip_duplicates });
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
    let keys: Vec<String> =
        checked.iter().flatten().map(|row| spelling::key(row.phone.as_digits()).into_owned()).collect();
    let sql = format!("SELECT phone_key FROM contacts WHERE phone_key {}", Dialect::of(conn).one_of(1, "text"));
    let existing: HashSet<String> =
        db::values(conn, sql, [json!(keys).to_string().into()]).await?.into_iter().collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let otherwise = addresses::known_by(conn, &keys).await?;
    Ok(checked
        .into_iter()
        .map(|row| match row {
            Err(error) => PlannedRow { line: error.line, plan: Plan::Fail(error) },
            Ok(row) => {
                let key = spelling::key(row.phone.as_digits()).into_owned();
                let there = existing.contains(&key) || otherwise.contains_key(&key);
                let known = !seen.insert(key) || there;
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
