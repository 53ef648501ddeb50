//! Imports: from a JSON list, a CSV or XLSX file, or a form with a file. The rows are read as a stream into the batch's
//! chunks, in one transaction.

use super::create::{Accepted, MAX_ITEMS, blocking};
use super::dry_run::{self, DRY_RUN};
use super::envelope::{Answer, Failure};
use super::upload::{CsvType, FormType, Upload, XlsxType, disk, form_fields};
use super::wire::{BatchOperation, DryRun, ImportContact, ImportRequest, PlannedAction, PlannedRowView};
use crate::App;
use crate::foundation::body::{JsonBody, JsonText};
use crate::foundation::fields::{Fields, Texts};
use crate::foundation::idempotency::{Asked, Once};
use crate::foundation::known;
use crate::foundation::refusal::{FieldError, Refusal};
use bytes::Bytes;
use domain::batches::{Batch, ImportLine, ImportWriter, NewImport, Plan, PlannedRow, preview_import};
use domain::contacts::import_file::{ColumnPlan, CsvRows, FileError, ImportRow, Mapping, XlsxRows};
use domain::db::Tx;
use domain::{Step, UserId};
use poem_openapi::payload::Json;
use poem_openapi::{ApiRequest, ApiResponse};
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use tokio::sync::mpsc;

/// What an import may come as.
#[derive(ApiRequest)]
pub(super) enum ImportBody {
    /// A list of contacts.
    Json(JsonBody<ImportRequest>),
    /// A CSV file.
    Csv(Upload<CsvType>),
    /// An XLSX workbook.
    Xlsx(Upload<XlsxType>),
    /// A form with a file.
    Form(Upload<FormType>),
}

/// What became of an import.
#[derive(ApiResponse)]
pub(super) enum Imported {
    /// A dry run: what each row would become. Nothing was written.
    #[oai(status = 200)]
    DryRun(Json<Answer<DryRun>>),
    /// The operation.
    #[oai(status = 202)]
    Accepted(
        JsonText<Answer<BatchOperation>>,
        /// `true` when an Idempotency-Key's first answer is repeated.
        #[oai(header = "Idempotency-Replayed")]
        Option<String>,
    ),
}

impl From<Accepted> for Imported {
    fn from(accepted: Accepted) -> Self {
        let Accepted::Accepted(body, replayed) = accepted;
        Self::Accepted(body, replayed)
    }
}

/// What the query says of a file.
pub(super) struct Options {
    pub(super) skip_duplicates: Option<bool>,
    pub(super) tags: Option<String>,
    pub(super) source: Option<String>,
    pub(super) mapping: Option<String>,
}

/// Where rows come from.
enum Rows {
    Json(Bytes),
    File { file: std::fs::File, workbook: bool, mapping: Mapping },
}

/// A request that was read: what to do, with which rows, and what makes it the same request as another.
struct Read {
    new: NewImport,
    rows: Rows,
    content: Bytes,
}

impl Options {
    /// Refuses what is said of a file where there is none: a JSON body says it itself, and what stands elsewhere would be
    /// passed over.
    fn refuse_beside_json(&self) -> Result<(), Refusal> {
        let given = [
            ("skipDuplicates", self.skip_duplicates.is_some()),
            ("tags", self.tags.is_some()),
            ("source", self.source.is_some()),
            ("mapping", self.mapping.is_some()),
        ];
        let bad = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| FieldError {
            field: name.into(),
            message: "is for a file: a JSON body has fields of its own".into(),
        });
        let bad: Vec<_> = bad.collect();
        if bad.is_empty() { Ok(()) } else { Err(Refusal::invalid(bad)) }
    }
}

/// What a body or a form says of a dry run. What cannot be read says nothing: whoever reads it says why.
pub(super) async fn says_dry_run(body: &ImportBody) -> Result<Option<bool>, Refusal> {
    match body {
        ImportBody::Json(body) => dry_run::said(&body.bytes).await,
        ImportBody::Form(Upload { spooled, .. }) => {
            Ok(spooled.fields.get(DRY_RUN).and_then(|text| text.trim().parse().ok()))
        }
        ImportBody::Csv(_) | ImportBody::Xlsx(_) => Ok(None),
    }
}

async fn read(options: Options, body: ImportBody) -> Result<Read, Refusal> {
    match body {
        ImportBody::Json(body) => {
            options.refuse_beside_json()?;
            let (bytes, content) = (body.bytes.clone(), body.bytes);
            let new = blocking(move || read_json(&bytes)).await?;
            Ok(Read { new, rows: Rows::Json(content.clone()), content })
        }
        ImportBody::Csv(Upload { spooled, .. })
        | ImportBody::Xlsx(Upload { spooled, .. })
        | ImportBody::Form(Upload { spooled, .. }) => {
            let content = Bytes::from(format!("{}{:?}", spooled.hash, spooled.fields));
            let (new, mapping) = read_options(options, &spooled.fields)?;
            Ok(Read { new, rows: Rows::File { file: spooled.file, workbook: spooled.workbook, mapping }, content })
        }
    }
}

/// Tells what an import would do.
pub(super) async fn dry_run(app: &App, options: Options, body: ImportBody) -> Result<Imported, Failure> {
    let Read { new, rows, .. } = read(options, body).await?;
    Ok(Imported::DryRun(Answer::new(plan(app, &new, rows).await?)))
}

/// Does an import.
pub(super) async fn import(
    app: &Arc<App>,
    by: UserId,
    asked: Asked,
    options: Options,
    body: ImportBody,
) -> Result<Imported, Failure> {
    let Read { new, rows, content } = read(options, body).await?;
    let once = asked.begin(app, &content).await?;
    drop(content);
    let hold = match once {
        Once::Replay(body) => return Ok(Accepted::replay(body).into()),
        Once::Do(hold) => hold,
    };
    match write(app, by, &new, rows).await {
        Ok((tx, step)) => Ok(super::create::accept(app, tx, hold, step).await?.into()),
        Err(refusal) => {
            hold.free().await;
            Err(refusal.into())
        }
    }
}

async fn write(app: &App, by: UserId, new: &NewImport, rows: Rows) -> Result<(Tx, Step<Batch>), Refusal> {
    let (mut lines, reading) = read_rows(rows);
    // The first line before the transaction: a file that cannot be read at all costs no lock.
    let first = lines.recv().await;
    let tx = app.db.begin().await?;
    let mut writer = ImportWriter::begin(&tx, app.clock.now(), by, new).await?;
    if let Some(first) = first {
        writer.push(&tx, first).await?;
        while let Some(line) = lines.recv().await {
            writer.push(&tx, line).await?;
        }
    }
    reading.await.unwrap_or_else(|_| Err(Refusal::internal()))?;
    if writer.is_empty() {
        return Err(Refusal::field("file", "the file has no rows"));
    }
    let step = writer.finish(&tx, app.clock.now()).await?;
    Ok((tx, step))
}

/// How many planned rows and errors a dry run shows.
const SHOWN: usize = 100;

async fn plan(app: &App, new: &NewImport, rows: Rows) -> Result<DryRun, Refusal> {
    let mut shown = DryRun {
        dry_run: true,
        total_count: 0,
        create_count: 0,
        merge_count: 0,
        skip_count: 0,
        fail_count: 0,
        columns: None,
        rows: Vec::new(),
        errors: Vec::new(),
        truncated: false,
    };
    let (mut lines, reading) = read_rows(rows);
    let mut seen = HashSet::new();
    let mut group = Vec::new();
    loop {
        let line = lines.recv().await;
        let last = line.is_none();
        group.extend(line);
        if group.len() >= 2_000 || (last && !group.is_empty()) {
            let planned =
                preview_import(app.db.read(), std::mem::take(&mut group), new.skip_duplicates, &mut seen).await?;
            planned.into_iter().for_each(|row| show(&mut shown, row));
        }
        if last {
            break;
        }
    }
    let columns = reading.await.unwrap_or_else(|_| Err(Refusal::internal()))?;
    shown.columns = columns.map(|plan| {
        plan.fields
            .iter()
            .enumerate()
            .filter_map(|(place, field)| {
                let column =
                    plan.header.as_ref().and_then(|h| h.get(place).cloned()).unwrap_or_else(|| place.to_string());
                field.as_ref().map(|field| (column, field.name()))
            })
            .collect()
    });
    Ok(shown)
}

fn show(shown: &mut DryRun, row: PlannedRow) {
    shown.total_count += 1;
    let mut view = PlannedRowView {
        line: i64::from(row.line),
        action: PlannedAction::Fail,
        phone: None,
        name: None,
        tags: None,
        attributes: None,
        error: None,
    };
    let (action, clean) = match row.plan {
        Plan::Create(clean) => {
            shown.create_count += 1;
            (PlannedAction::Create, Some(clean))
        }
        Plan::Merge(clean) => {
            shown.merge_count += 1;
            (PlannedAction::Merge, Some(clean))
        }
        Plan::Skip(clean) => {
            shown.skip_count += 1;
            (PlannedAction::Skip, Some(clean))
        }
        Plan::Fail(reason) => {
            shown.fail_count += 1;
            view.error = Some(reason);
            (PlannedAction::Fail, None)
        }
    };
    view.action = action;
    if let Some(clean) = clean {
        view.phone = Some(clean.phone.as_digits().to_owned());
        view.name = clean.name;
        view.tags = (!clean.tags.is_empty()).then_some(clean.tags);
        view.attributes = (!clean.attributes.is_empty()).then_some(clean.attributes);
        keep(&mut shown.rows, view, &mut shown.truncated);
    } else {
        keep(&mut shown.errors, view, &mut shown.truncated);
    }
}

fn keep(shown: &mut Vec<PlannedRowView>, view: PlannedRowView, truncated: &mut bool) {
    if shown.len() < SHOWN { shown.push(view) } else { *truncated = true }
}

type Reading = tokio::task::JoinHandle<Result<Option<ColumnPlan>, Refusal>>;

/// Reads rows off the async threads, a bounded way ahead of who takes them.
fn read_rows(rows: Rows) -> (mpsc::Receiver<ImportLine>, Reading) {
    let (lines, taken) = mpsc::channel(1_000);
    let reading = tokio::task::spawn_blocking(move || match rows {
        Rows::Json(bytes) => {
            contacts(&bytes, &mut |row| lines.blocking_send(ImportLine::Row(row)).is_ok())?;
            Ok(None)
        }
        Rows::File { file, workbook: false, mapping } => {
            let rows = CsvRows::open(file, &mapping).map_err(refuse)?;
            let plan = rows.plan().clone();
            for (n, row) in rows.enumerate() {
                if n >= MAX_ITEMS {
                    return Err(too_many());
                }
                let line = match row {
                    Ok(row) => ImportLine::Row(row),
                    Err(error) => ImportLine::Unreadable(error),
                };
                if lines.blocking_send(line).is_err() {
                    break;
                }
            }
            Ok(Some(plan))
        }
        Rows::File { file, workbook: true, mapping } => {
            let mut n = 0;
            let plan = XlsxRows::read::<()>(file, &mapping, |row| {
                n += 1;
                if n > MAX_ITEMS {
                    return Ok(false);
                }
                let line = match row {
                    Ok(row) => ImportLine::Row(row),
                    Err(error) => ImportLine::Unreadable(error),
                };
                Ok(lines.blocking_send(line).is_ok())
            })
            .map_err(refuse)?;
            if n > MAX_ITEMS { Err(too_many()) } else { Ok(plan.ok()) }
        }
    });
    (taken, reading)
}

fn too_many() -> Refusal {
    Refusal::field("file", format!("has more than {MAX_ITEMS} rows"))
}

fn refuse(error: FileError) -> Refusal {
    match error {
        FileError::Mapping(error) => Refusal::field("mapping", error.to_string()),
        FileError::Io(error) => disk(error),
        FileError::Encoding(_) | FileError::Empty | FileError::Workbook(_) => Refusal::field("file", error.to_string()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contact {
    #[serde(rename = "phoneE164")]
    phone: String,
    name: Option<String>,
    #[serde(default)]
    tags: Option<Texts>,
}

/// The fields of a contact that nothing reads: those that the document does not have. It is asked only of a contact that
/// could not be read, so that reading a million of them builds nothing.
fn unknown_fields(element: &str) -> Vec<FieldError> {
    let Ok(fields) = Fields::parse(element.as_bytes()) else { return Vec::new() };
    fields.knows_all_of::<ImportContact>();
    fields.finish().err().map(|refusal| refusal.details).unwrap_or_default()
}

/// Goes over the contacts of a JSON import without building the list. Stops when `take` says so.
fn contacts(body: &[u8], take: &mut dyn FnMut(ImportRow) -> bool) -> Result<(), Refusal> {
    let f = Fields::parse(body)?;
    let Some(raw) = f.raw("contacts") else { return Err(Refusal::field("contacts", "is required")) };
    let mut errors = Vec::new();
    let mut place = 0u32;
    let outcome = each_element(raw.get(), &mut |element| {
        place += 1;
        match serde_json::from_str::<Contact>(element) {
            Ok(contact) if contact.tags.as_ref().is_some_and(Texts::too_many) => {
                errors.push(FieldError {
                    field: format!("contacts[{}].tags", place - 1),
                    message: "are too many".into(),
                });
                errors.len() < 20
            }
            Ok(contact) => {
                let tags = contact.tags.map(|Texts(tags)| tags).unwrap_or_default();
                let row =
                    ImportRow { line: place, phone: contact.phone, name: contact.name, tags, ..ImportRow::default() };
                take(row)
            }
            Err(_) if !unknown_fields(element).is_empty() => {
                errors.extend(unknown_fields(element).into_iter().map(|bad| FieldError {
                    field: format!("contacts[{}].{}", place - 1, bad.field),
                    message: bad.message,
                }));
                errors.len() < 20
            }
            Err(error) => {
                let text = error.to_string();
                let message = text.split(" at line ").next().unwrap_or("is no contact").to_owned();
                errors.push(FieldError { field: format!("contacts[{}]", place - 1), message });
                errors.len() < 20
            }
        }
    });
    if !errors.is_empty() {
        return Err(Refusal::invalid(errors));
    }
    outcome.map_err(|()| Refusal::field("contacts", "must be a list of objects"))
}

/// Calls `each` with the text of every element of a JSON list until it says stop.
fn each_element(list: &str, each: &mut dyn FnMut(&str) -> bool) -> Result<(), ()> {
    struct Elements<'e>(&'e mut dyn FnMut(&str) -> bool);
    impl<'de> serde::de::Visitor<'de> for Elements<'_> {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list")
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
            let mut go_on = true;
            while let Some(element) = seq.next_element::<&serde_json::value::RawValue>()? {
                go_on = go_on && (self.0)(element.get());
            }
            Ok(())
        }
    }
    serde::Deserializer::deserialize_seq(&mut serde_json::Deserializer::from_str(list), Elements(each)).map_err(drop)
}

/// Reads and checks a JSON import, all but the making of its rows.
fn read_json(body: &[u8]) -> Result<NewImport, Refusal> {
    let mut f = Fields::parse(body)?;
    let new = NewImport {
        skip_duplicates: f.boolean("skipDuplicates").unwrap_or(true),
        tags: f.texts("tags", 0..=50, 1..=64).unwrap_or_default(),
        source: f.text("source", 1..=200),
    };
    f.boolean(DRY_RUN);
    // They are read by themselves, one at a time.
    f.knows("contacts");
    let mut count = 0usize;
    match contacts(body, &mut |_| {
        count += 1;
        count <= MAX_ITEMS
    }) {
        Ok(()) if count == 0 || count > MAX_ITEMS => f.bad("contacts", format!("must have 1 to {MAX_ITEMS} entries")),
        Ok(()) => {}
        Err(refusal) => refusal.details.into_iter().for_each(|d| f.bad(d.field, d.message)),
    }
    f.finish()?;
    Ok(new)
}

/// Reads what goes with a file: from the form, else from the query.
fn read_options(options: Options, form: &BTreeMap<String, String>) -> Result<(NewImport, Mapping), Refusal> {
    let mut errors = Vec::new();
    let mut bad = |field: &str, message: &str| errors.push(FieldError { field: field.into(), message: message.into() });
    for name in form.keys().filter(|name| !form_fields().any(|known| known == name.as_str())) {
        let FieldError { field, message } = known::unknown(name, form_fields());
        bad(&field, &message);
    }
    if form.get(DRY_RUN).is_some_and(|text| !matches!(text.trim(), "" | "true" | "false")) {
        bad(DRY_RUN, "must be true or false");
    }
    let given =
        |name: &str, query: Option<String>| form.get(name).cloned().or(query).filter(|text| !text.trim().is_empty());
    let skip_duplicates = match form.get("skipDuplicates").map(|text| text.trim()) {
        None | Some("") => options.skip_duplicates.unwrap_or(true),
        Some("true") => true,
        Some("false") => false,
        Some(_) => {
            bad("skipDuplicates", "must be true or false");
            true
        }
    };
    let tags: Vec<String> = given("tags", options.tags)
        .map(|text| text.split(',').map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect())
        .unwrap_or_default();
    if tags.len() > 50 || tags.iter().any(|tag| tag.chars().count() > 64 || tag.contains('\0')) {
        bad("tags", "must be at most 50 tags, each of 1 to 64 characters");
    }
    let source = given("source", options.source);
    if source.as_ref().is_some_and(|source| source.chars().count() > 200 || source.contains('\0')) {
        bad("source", "must have 1 to 200 characters");
    }
    let mapping = match given("mapping", options.mapping).map(|text| serde_json::from_str::<Mapping>(&text)) {
        None => Mapping::new(),
        Some(Ok(mapping)) => mapping,
        Some(Err(_)) => {
            bad("mapping", "must be a JSON object of column names and fields, as {\"Mobile\": \"phone\"}");
            Mapping::new()
        }
    };
    if !errors.is_empty() {
        return Err(Refusal::invalid(errors));
    }
    Ok((NewImport { skip_duplicates, tags, source }, mapping))
}
