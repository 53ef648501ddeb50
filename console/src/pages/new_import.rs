//! `/console/new/import`: contacts from a file, from its columns and first rows to the dry run and the button.
//!
//! The file stays with the browser and comes with each press: no process keeps it, so the next press may meet another one.
//! With scripts only the part of the page below the form is made anew, and the chosen file stays chosen; without them it has
//! to be chosen again before the import.

use super::Wrong;
use super::making::{self, Made};
use super::new_send;
use super::who::tags_of;
use crate::fault::Fault;
use crate::guard::{self, Context};
use crate::ui::Ui;
use crate::upload::Upload;
use askama::Template;
use domain::batches::export::write_failed;
use domain::batches::{
    CreateError, FailedRow, ImportLine, ImportPlan, ImportWriter, NewImport, Plan, PlannedRow, StageError,
};
use domain::contacts::import_file::{self, FileError, FileOptions, FileRow, Mapping, MappingError, Shape, check_row};
use domain::contacts::phone::{self, Country};
use domain::db;
use faults::Commit;
use poem::Response;
use poem::http::{Method, StatusCode, header};
use sea_orm::DbErr;
use tokio::sync::mpsc;

/// How many columns can be told what they hold.
const MAX_COLUMNS: usize = 200;

/// How many rows and errors are shown.
const SHOWN: usize = 20;

/// The form as it was filled in, but its file.
#[derive(Clone, Debug, Default)]
struct Draft {
    tags: String,
    source: String,
    country: String,
    encoding: String,
    sheet: String,
    merge: bool,
    /// Column and field.
    mapping: Mapping,
    once: String,
}

/// A column, and what it holds.
struct Column {
    name: String,
    field: String,
    /// Whether it holds a value of its own name: no field that has one.
    own: bool,
}

/// A row as it was read.
struct Row {
    line: u32,
    action: &'static str,
    phone: String,
    name: String,
    tags: String,
    values: String,
}

/// A row that would fail.
struct Failing {
    line: u32,
    why: String,
    cells: String,
}

/// What the import would do, as it is shown.
struct Shown {
    plan: Box<ImportPlan>,
    columns: Vec<Column>,
    rows: Vec<Row>,
    errors: Vec<Failing>,
    encoding: &'static str,
    sheets: Vec<String>,
    sheet: String,
    seal: String,
    count: i64,
}

#[derive(Template)]
#[template(path = "pages/new_import.html", blocks = ["plan"])]
struct Page {
    ui: Ui,
    draft: Draft,
    fields: [&'static str; 4],
    wrong: Vec<Wrong>,
    shown: Option<Shown>,
}

impl Draft {
    fn read(context: &Context) -> Self {
        let text = |name: &str| context.form(name).unwrap_or_default().trim().to_owned();
        let mut mapping = Mapping::new();
        for (column, field) in context.form_all("column").zip(context.form_all("field")).take(MAX_COLUMNS) {
            if !field.is_empty() {
                mapping.insert(column.to_owned(), field.to_owned());
            }
        }
        Self {
            tags: text("tags"),
            source: text("source"),
            country: text("country"),
            encoding: text("encoding"),
            sheet: text("sheet"),
            merge: context.form("merge").is_some(),
            mapping,
            once: text("once"),
        }
    }

    /// What was checked, the file among it.
    fn seal(&self, hash: &str) -> String {
        let mapping: Vec<&str> = self.mapping.iter().flat_map(|(a, b)| [a.as_str(), b.as_str()]).collect();
        let Self { tags, source, country, encoding, sheet, once, .. } = self;
        let own = [tags, source, country, encoding, sheet, once].map(String::as_str);
        let merge = if self.merge { "merge" } else { "skip" };
        making::seal(own.into_iter().chain(mapping).chain([merge, hash]))
    }

    /// What goes with the file.
    fn options(&self, home: Option<Country>, wrong: &mut Vec<Wrong>) -> (NewImport, FileOptions) {
        let tags = if self.tags.is_empty() { Vec::new() } else { tags_of(&self.tags, wrong) };
        let mut country = home;
        if !self.country.is_empty() {
            match self.country.parse() {
                Ok(read) => country = Some(read),
                Err(_) => wrong.push(("bad-country", self.country.clone())),
            }
        }
        let mut encoding = None;
        if !self.encoding.is_empty() {
            match self.encoding.parse() {
                Ok(read) => encoding = Some(read),
                Err(_) => wrong.push(("bad-encoding", self.encoding.clone())),
            }
        }
        let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let new =
            NewImport { skip_duplicates: !self.merge, tags, source: some(&self.source), default_country: country };
        (new, FileOptions { mapping: self.mapping.clone(), encoding, sheet: some(&self.sheet) })
    }
}

impl Page {
    /// A column's name as the key of a value.
    fn key(&self, name: &str) -> String {
        let sign = |c: char| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        let key: String = name.trim().chars().map(sign).take(40).collect();
        if key.is_empty() { "value".into() } else { key }
    }
}

/// Why an import was not accepted. What was written of it by then is pruned.
enum ImportError {
    File(FileError),
    /// The thread that read the file panicked, or the process ends.
    Reader(tokio::task::JoinError),
    Create(CreateError),
}

impl From<CreateError> for ImportError {
    fn from(error: CreateError) -> Self {
        Self::Create(error)
    }
}

impl From<StageError> for ImportError {
    fn from(error: StageError) -> Self {
        Self::Create(error.into())
    }
}

impl From<DbErr> for ImportError {
    fn from(error: DbErr) -> Self {
        Self::Create(error.into())
    }
}

/// The form, its check, the errors as a file, or the import.
pub(crate) async fn either(mut context: Context) -> Result<Response, Fault> {
    if context.method != Method::POST {
        let draft = Draft { once: making::fresh(), ..Draft::default() };
        return Ok(page(&context, draft, Vec::new(), None));
    }
    let draft = Draft::read(&context);
    let mut wrong = Vec::new();
    let (new, options) = draft.options(context.app.settings.default_country, &mut wrong);
    let file = context.upload.take();
    let Some(file) = file.filter(|_| wrong.is_empty()) else {
        if wrong.is_empty() {
            wrong.push(("import-no-file", String::new()));
        }
        return Ok(page(&context, draft, wrong, None));
    };
    let seal = draft.seal(&file.hash);
    let checked = context.form("checked") == Some(seal.as_str());
    match context.form("act") {
        Some("errors") => errors(&context, file, &new, options).await,
        Some("import") if checked => import(&context, draft, seal, file, new, options).await,
        _ => check(&context, draft, file, &new, options).await,
    }
}

fn page(context: &Context, draft: Draft, wrong: Vec<Wrong>, shown: Option<Shown>) -> Response {
    let refused = !wrong.is_empty();
    let fields = ["phone", "name", "tags", "source"];
    let page = Page { ui: context.ui.clone(), draft, fields, wrong, shown };
    if context.fragment() == Some("plan") {
        // A part of a page is shown whatever is wrong with the form.
        return guard::html(&page.ui, &page.as_plan());
    }
    let mut response = guard::html(&page.ui, &page);
    if refused {
        response.set_status(StatusCode::BAD_REQUEST);
    }
    response
}

type Reading = tokio::task::JoinHandle<Result<Option<Shape>, FileError>>;

/// Reads the rows off the async threads, a bounded way ahead of who takes them.
fn rows(file: Upload, options: FileOptions, home: Option<Country>) -> (mpsc::Receiver<ImportLine>, Reading) {
    let (lines, taken) = mpsc::channel(1_000);
    let tell = move |row: FileRow| lines.blocking_send(check_row(row, home).into()).is_ok();
    let read = move || import_file::read_rows(file.file, file.workbook, &options, tell);
    (taken, tokio::task::spawn_blocking(read))
}

/// What is wrong with a file as a whole.
fn refused(error: FileError) -> Result<Wrong, Fault> {
    match error {
        FileError::Io(error) => {
            tracing::error!(%error, "an upload could not be read");
            Err(Fault::Ours)
        }
        FileError::Mapping(MappingError::UnknownField(field)) => Ok(("import-unknown-field", field)),
        FileError::Mapping(MappingError::UnknownColumn(column, has)) => {
            Ok(("import-unknown-column", format!("{column} ({has})")))
        }
        FileError::Mapping(MappingError::NoPhone(columns)) => Ok(("import-no-phone", columns)),
        FileError::NoSheet(sheet, has) => Ok(("import-no-sheet", format!("{sheet} ({has})"))),
        FileError::Encoding(why) => Ok(("import-bad-encoding", why)),
        FileError::Empty => Ok(("import-no-rows", String::new())),
        FileError::TooMany => Ok(("import-many-rows", import_file::MAX_ROWS.to_string())),
        FileError::Workbook(why) => Ok(("import-bad-workbook", why)),
    }
}

/// What an import would do.
enum Planned {
    /// This, with a file of such a shape.
    Plan(Box<ImportPlan>, Option<Shape>),
    /// Nothing: what is wrong with the file as a whole.
    Refused(Wrong),
}

/// Plans the import; those rows that would fail are handed to `failed`.
async fn plan(
    context: &Context,
    file: Upload,
    new: &NewImport,
    options: FileOptions,
    mut failed: impl FnMut(&PlannedRow),
) -> Result<Planned, Fault> {
    let db = context.app.db.read();
    let (mut lines, reading) = rows(file, options, new.default_country);
    let mut plan = ImportPlan::default();
    while let Some(line) = lines.recv().await {
        plan.push(db, line, new.skip_duplicates, &mut failed).await?;
    }
    plan.finish(db, new.skip_duplicates, &mut failed).await?;
    match reading.await {
        Ok(Ok(shape)) => Ok(Planned::Plan(Box::new(plan), shape)),
        Ok(Err(error)) => Ok(Planned::Refused(refused(error)?)),
        Err(_) => Err(Fault::Ours),
    }
}

async fn check(
    context: &Context,
    draft: Draft,
    file: Upload,
    new: &NewImport,
    options: FileOptions,
) -> Result<Response, Fault> {
    let hash = file.hash.clone();
    let (plan, shape) = match plan(context, file, new, options, |_| {}).await? {
        Planned::Plan(plan, shape) => (plan, shape),
        Planned::Refused(wrong) => return Ok(page(context, draft, vec![wrong], None)),
    };
    let sees = context.viewer()?.sees_phones();
    let columns = shape.as_ref().map(|shape| columns(shape, &draft.mapping)).unwrap_or_default();
    let encoding = shape.as_ref().and_then(|shape| shape.encoding).unwrap_or_default();
    let (sheets, sheet) =
        shape.and_then(|shape| shape.sheets).map_or_else(Default::default, |sheets| (sheets.all, sheets.taken));
    // The next press says of each column what it holds: that is what was checked.
    let held = |column: &Column| if column.field.is_empty() { "ignore".to_owned() } else { column.field.clone() };
    let mapping = columns.iter().map(|column| (column.name.clone(), held(column))).collect();
    let seal = Draft { mapping, ..draft.clone() }.seal(&hash);
    let shown = Shown {
        rows: plan.rows.iter().take(SHOWN).filter_map(|row| row_of(row, sees)).collect(),
        errors: plan.errors.iter().take(SHOWN).filter_map(|row| failing(&context.ui, row)).collect(),
        count: plan.create + plan.merge + plan.skip,
        columns,
        encoding,
        sheets,
        sheet,
        seal,
        plan,
    };
    Ok(page(context, draft, Vec::new(), Some(shown)))
}

/// The columns by their names, each with what it holds.
fn columns(shape: &Shape, mapping: &Mapping) -> Vec<Column> {
    let names = shape.plan.names();
    let column = |(place, field): (usize, &Option<import_file::Field>)| {
        let header = shape.plan.header.is_some();
        let name = names.get(place).filter(|_| header).cloned().unwrap_or_else(|| place.to_string());
        let read = field.as_ref().map(import_file::Field::name);
        let field = read.or_else(|| mapping.get(&name).cloned()).unwrap_or_default();
        Column { own: field.starts_with("attributes."), name, field }
    };
    shape.plan.fields.iter().enumerate().take(MAX_COLUMNS).map(column).collect()
}

fn row_of(row: &PlannedRow, sees: bool) -> Option<Row> {
    let (action, clean) = match &row.plan {
        Plan::Create(clean) => ("import-create", clean),
        Plan::Merge(clean) => ("import-merge", clean),
        Plan::Skip(clean) => ("import-skip", clean),
        Plan::Fail(_) => return None,
    };
    let digits = clean.phone.as_digits();
    let values: Vec<String> = clean.attributes.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    Some(Row {
        line: row.line,
        action,
        phone: if sees { format!("+{digits}") } else { phone::mask_digits(digits) },
        name: clean.name.clone().unwrap_or_default(),
        tags: clean.tags.join(", "),
        values: values.join(", "),
    })
}

fn failing(ui: &Ui, row: &PlannedRow) -> Option<Failing> {
    let Plan::Fail(error) = &row.plan else { return None };
    Some(Failing { line: row.line, why: ui.row_error(error), cells: error.cells.join(" | ") })
}

/// The rows that would fail, as a file: the columns that came, and one of reasons.
async fn errors(context: &Context, file: Upload, new: &NewImport, options: FileOptions) -> Result<Response, Fault> {
    let mut failed = Vec::new();
    let planned = plan(context, file, new, options, |row| {
        if let Plan::Fail(error) = &row.plan {
            let (reason, cells, input) = (context.ui.row_error(error), error.cells.clone(), error.input.clone());
            failed.push(FailedRow { seq: i64::from(row.line), reason, cells, input });
        }
    });
    let shape = match planned.await? {
        Planned::Plan(_, shape) => shape,
        Planned::Refused((key, value)) => return Err(Fault::Bad(key, value)),
    };
    let columns = shape.map(|shape| shape.plan.names()).unwrap_or_default();
    let body = write_failed(true, failed, &columns).map_err(|_| Fault::Ours)?;
    Ok(Response::builder()
        .content_type("text/csv; charset=utf-8")
        .header(header::CONTENT_DISPOSITION, "attachment; filename=\"failed-rows.csv\"")
        .header(header::CACHE_CONTROL, "no-store")
        .body(body))
}

async fn import(
    context: &Context,
    draft: Draft,
    seal: String,
    file: Upload,
    new: NewImport,
    options: FileOptions,
) -> Result<Response, Fault> {
    let made = making::once(context, &draft.once, &seal, async |now, user| {
        let app = &context.app;
        let mut writer = ImportWriter::default();
        let (mut lines, reading) = rows(file, options, new.default_country);
        while let Some(line) = lines.recv().await {
            if writer.push(line)? {
                let tx = app.db.begin().await?;
                writer.write(&tx, app.clock.now()).await?;
                db::commit(tx, Commit::Create).await?;
            }
        }
        let shape = reading.await.map_err(ImportError::Reader)?.map_err(ImportError::File)?;
        writer.set_columns(&shape.map(|shape| shape.plan.names()).unwrap_or_default());
        if writer.is_empty() {
            return Err(ImportError::File(FileError::Empty));
        }
        let tx = app.db.begin().await?;
        let step = writer.finish(&tx, now, user, &new).await?;
        Ok::<_, ImportError>((tx, step))
    });
    match made.await? {
        Made::Accepted(response) => Ok(response),
        Made::Refused(ImportError::File(error)) => Ok(page(context, draft, vec![refused(error)?], None)),
        Made::Refused(ImportError::Reader(error)) => {
            tracing::error!(%error, "the thread that reads an import's file ended");
            Err(Fault::Ours)
        }
        Made::Refused(ImportError::Create(error)) => Ok(page(context, draft, vec![new_send::refused(error)?], None)),
    }
}
