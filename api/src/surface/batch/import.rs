//! Imports: from a JSON list, a CSV or XLSX file, or a form with a file. The rows are read as a stream into the batch's
//! chunks, which are written by parts; the last part makes the batch.

use super::create::{Accepted, MAX_ITEMS, blocking, read_tags};
use super::dry_run::{self, DRY_RUN};
use super::envelope::{Envelope, Rejection};
use super::import_plan;
use super::upload::{CsvType, FormType, Upload, XlsxType, disk, form_fields};
use super::wire::{BatchOperation, DryRun, ImportContact, ImportRequest};
use crate::App;
use crate::foundation::body::{JsonBody, JsonText};
use crate::foundation::fields::{Fields, Texts};
use crate::foundation::idempotency::{KeyedRequest, Once};
use crate::foundation::known;
use crate::foundation::refusal::{FieldError, Refusal};
use bytes::Bytes;
use domain::batches::{Batch, ImportLine, ImportWriter, NewImport};
use domain::contacts::import_file::{
    self, FileError, FileOptions, FileRow, ImportRow, Mapping, Shape, UnknownEncoding, check_row,
};
use domain::contacts::phone::{Country, UnknownCountry};
use domain::contacts::tags;
use domain::db::Tx;
use domain::{Step, UserId, db};
use faults::Commit;
use poem_openapi::payload::Json;
use poem_openapi::{ApiRequest, ApiResponse};
use serde::Deserialize;
use std::collections::BTreeMap;
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
#[expect(clippy::large_enum_variant, reason = "it is made once for a request and written at once")]
pub(super) enum Imported {
    /// A dry run: what each row would become. Nothing was written.
    #[oai(status = 200)]
    DryRun(Json<Envelope<DryRun>>),
    /// The operation.
    #[oai(status = 202)]
    Accepted(
        JsonText<Envelope<BatchOperation>>,
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
    pub(super) default_country: Option<Country>,
    pub(super) encoding: Option<String>,
    pub(super) sheet: Option<String>,
}

/// Where rows come from.
pub(super) enum Rows {
    Json(Bytes),
    File { file: std::fs::File, workbook: bool, options: FileOptions },
}

/// A request that was read: what to do, with which rows, and what makes it the same request as another.
struct ReadImport {
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
            ("encoding", self.encoding.is_some()),
            ("sheet", self.sheet.is_some()),
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

async fn read(options: Options, body: ImportBody) -> Result<ReadImport, Refusal> {
    match body {
        ImportBody::Json(body) => {
            options.refuse_beside_json()?;
            let (bytes, content) = (body.bytes.clone(), body.bytes);
            let mut new = blocking(move || read_json(&bytes)).await?;
            new.default_country = new.default_country.or(options.default_country);
            Ok(ReadImport { new, rows: Rows::Json(content.clone()), content })
        }
        ImportBody::Csv(Upload { spooled, .. })
        | ImportBody::Xlsx(Upload { spooled, .. })
        | ImportBody::Form(Upload { spooled, .. }) => {
            let content = Bytes::from(format!("{}{:?}", spooled.hash, spooled.fields));
            let (new, options) = read_options(options, &spooled.fields)?;
            Ok(ReadImport {
                new,
                rows: Rows::File { file: spooled.file, workbook: spooled.workbook, options },
                content,
            })
        }
    }
}

/// Tells what an import would do.
pub(super) async fn dry_run(app: &App, options: Options, body: ImportBody) -> Result<Imported, Rejection> {
    let ReadImport { mut new, rows, .. } = read(options, body).await?;
    new.default_country = new.default_country.or(app.settings.default_country);
    Ok(Imported::DryRun(Envelope::new(import_plan::plan(app, &new, rows).await?)))
}

/// Does an import.
pub(super) async fn import(
    app: &Arc<App>,
    by: UserId,
    asked: KeyedRequest,
    options: Options,
    body: ImportBody,
) -> Result<Imported, Rejection> {
    let ReadImport { mut new, rows, content } = read(options, body).await?;
    new.default_country = new.default_country.or(app.settings.default_country);
    let once = asked.begin(app, &content).await?;
    drop(content);
    let hold = match once {
        Once::Replay(body) => return Ok(Accepted::replay(body).into()),
        Once::Do(hold) => hold,
    };
    let mut writer = ImportWriter::default();
    let refusal = match write(app, by, &new, rows, &mut writer).await {
        Ok((tx, step)) => match super::create::accept(app, tx, hold, step).await {
            Ok(accepted) => return Ok(accepted.into()),
            Err(refusal) => refusal,
        },
        Err(refusal) => {
            hold.free().await;
            refusal
        }
    };
    super::create::unstage(app, writer.staged()).await;
    Err(refusal.into())
}

/// Reads the rows, and writes them by parts: none is written while others are read. The last part is the batch itself.
async fn write(
    app: &App,
    by: UserId,
    new: &NewImport,
    rows: Rows,
    writer: &mut ImportWriter,
) -> Result<(Tx, Step<Batch>), Refusal> {
    let (mut lines, reading) = read_rows(rows, new.default_country);
    while let Some(line) = lines.recv().await {
        if writer.push(line)? {
            let tx = app.db.begin().await?;
            writer.write(&tx, app.clock.now()).await?;
            db::commit(tx, Commit::Create).await?;
        }
    }
    let shape = reading.await.unwrap_or_else(|_| Err(Refusal::internal()))?;
    writer.set_columns(&shape.map_or_else(|| JSON_COLUMNS.map(str::to_owned).to_vec(), |shape| shape.plan.names()));
    if writer.is_empty() {
        return Err(Refusal::field("file", "the file has no rows"));
    }
    let tx = app.db.begin().await?;
    let step = writer.finish(&tx, app.clock.now(), by, new).await.map_err(super::create::refuse)?;
    Ok((tx, step))
}

pub(super) type Reading = tokio::task::JoinHandle<Result<Option<Shape>, Refusal>>;

/// The columns under which a JSON import's failed rows are given back.
const JSON_COLUMNS: [&str; 3] = ["phoneE164", "name", "tags"];

/// Reads and checks rows off the async threads, a bounded way ahead of who takes them.
pub(super) fn read_rows(rows: Rows, home: Option<Country>) -> (mpsc::Receiver<ImportLine>, Reading) {
    let (lines, taken) = mpsc::channel(1_000);
    let tell = move |row: FileRow| lines.blocking_send(check_row(row, home).into()).is_ok();
    let reading = tokio::task::spawn_blocking(move || match rows {
        Rows::Json(bytes) => {
            contacts(&bytes, &mut |row| {
                let cells = vec![row.phone.clone(), row.name.clone().unwrap_or_default(), row.tags.join(", ")];
                tell(Ok((row, cells)))
            })?;
            Ok(None)
        }
        Rows::File { file, workbook, options } => {
            import_file::read_rows(file, workbook, &options, tell).map_err(refuse)
        }
    });
    (taken, reading)
}

fn refuse(error: FileError) -> Refusal {
    match error {
        FileError::Mapping(error) => Refusal::field("mapping", error.to_string()),
        FileError::Io(error) => disk(error),
        FileError::NoSheet(..) => Refusal::field("sheet", error.to_string()),
        FileError::Encoding(_) | FileError::Empty | FileError::TooMany | FileError::Workbook(_) => {
            Refusal::field("file", error.to_string())
        }
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

fn read_country(f: &mut Fields<'_>) -> Option<Country> {
    let text = f.text("defaultCountry", 1..=64)?;
    text.parse::<Country>().map_err(|error| f.bad("defaultCountry", error.to_string())).ok()
}

/// Reads and checks a JSON import, all but the making of its rows.
fn read_json(body: &[u8]) -> Result<NewImport, Refusal> {
    let mut f = Fields::parse(body)?;
    let new = NewImport {
        skip_duplicates: f.boolean("skipDuplicates").unwrap_or(true),
        tags: read_tags(&mut f, "tags", 0),
        source: f.text("source", 1..=200),
        default_country: read_country(&mut f),
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
fn read_options(options: Options, form: &BTreeMap<String, String>) -> Result<(NewImport, FileOptions), Refusal> {
    let mut errors = Vec::new();
    let mut bad = |field: &str, message: String| errors.push(FieldError { field: field.into(), message });
    for name in form.keys().filter(|name| !form_fields().any(|known| known == name.as_str())) {
        let FieldError { field, message } = known::unknown(name, form_fields());
        bad(&field, message.to_string());
    }
    if form.get(DRY_RUN).is_some_and(|text| !matches!(text.trim(), "" | "true" | "false")) {
        bad(DRY_RUN, "must be true or false".to_owned());
    }
    let given =
        |name: &str, query: Option<String>| form.get(name).cloned().or(query).filter(|text| !text.trim().is_empty());
    let skip_duplicates = match form.get("skipDuplicates").map(|text| text.trim()) {
        None | Some("") => options.skip_duplicates.unwrap_or(true),
        Some("true") => true,
        Some("false") => false,
        Some(_) => {
            bad("skipDuplicates", "must be true or false".into());
            true
        }
    };
    let tags = given("tags", options.tags)
        .map(|text| tags::normalise_all(&text.split(',').collect::<Vec<_>>()))
        .unwrap_or_default();
    if tags.len() > 50 || !tags.iter().all(|tag| tags::is_fine(tag)) {
        bad("tags", "must be at most 50 tags, each of 1 to 64 characters".into());
    }
    let source = given("source", options.source);
    if source.as_ref().is_some_and(|source| source.chars().count() > 200 || source.contains('\0')) {
        bad("source", "must have 1 to 200 characters".into());
    }
    let mapping = match given("mapping", options.mapping).map(|text| serde_json::from_str::<Mapping>(&text)) {
        None => Mapping::new(),
        Some(Ok(mapping)) => mapping,
        Some(Err(_)) => {
            bad("mapping", "must be a JSON object of column names and fields, as {\"Mobile\": \"phone\"}".into());
            Mapping::new()
        }
    };
    let default_country = match form.get("defaultCountry").filter(|text| !text.trim().is_empty()) {
        None => options.default_country,
        Some(text) => text.parse().map_err(|error: UnknownCountry| bad("defaultCountry", error.to_string())).ok(),
    };
    let encoding = given("encoding", options.encoding)
        .and_then(|text| text.parse().map_err(|error: UnknownEncoding| bad("encoding", error.to_string())).ok());
    let sheet = given("sheet", options.sheet);
    if !errors.is_empty() {
        return Err(Refusal::invalid(errors));
    }
    Ok((NewImport { skip_duplicates, tags, source, default_country }, FileOptions { mapping, encoding, sheet }))
}
