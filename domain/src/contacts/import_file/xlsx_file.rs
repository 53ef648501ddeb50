//! Rows of a sheet of an XLSX workbook, cell by cell: the sheet is never whole in memory. (Its shared strings are: the
//! format keeps all texts in one table.)

use super::columns::ColumnPlan;
use super::row::{FileRow, RowError};
use super::shown::Formats;
use super::{FileError, FileOptions, MAX_ROWS};
use calamine::{Reader, SheetType, SheetVisible, Xlsx};
use regex::Regex;
use std::io::{BufReader, Read, Seek};
use std::sync::LazyLock;
use zip::ZipArchive;

/// The most columns that are looked at.
const MAX_COLUMNS: usize = 256;

/// The most parts of a workbook.
const MAX_PARTS: usize = 1_000;

/// The most bytes of all parts together, unpacked: a file of a few MiB can unpack to as many TiB.
const MAX_UNPACKED: u64 = 2 * 1024 * 1024 * 1024;

/// The most bytes of a part that is read into memory whole, which all but the sheets are,
const MAX_WHOLE: u64 = 256 * 1024 * 1024;
/// the most tags in it, four for a text,
const MAX_TAGS: usize = 16_000_000;
/// and the most bytes of one tag with the text before it, which is held whole in any part.
const MAX_TAG: usize = 1024 * 1024;

/// Refuses a workbook that would not fit into memory, by unpacking it once without keeping anything.
fn refuse_bombs(input: impl Read + Seek) -> Result<(), FileError> {
    let broken = |error: &dyn std::fmt::Display| FileError::Workbook(error.to_string());
    let large = || FileError::Workbook("it is too large when unpacked".into());
    let mut parts = ZipArchive::new(input).map_err(|error| broken(&error))?;
    if parts.len() > MAX_PARTS {
        return Err(large());
    }
    let mut unpacked = 0;
    let mut buffer = vec![0; 64 * 1024];
    for nth in 0..parts.len() {
        let mut part = parts.by_index(nth).map_err(|error| broken(&error))?;
        let whole = !part.name().is_ok_and(|name| name.starts_with("xl/worksheets/"));
        let (mut bytes, mut tags, mut tag) = (0, 0, 0);
        loop {
            let read = part.read(&mut buffer).map_err(|error| broken(&error))?;
            let Some(read) = buffer.get(..read).filter(|read| !read.is_empty()) else { break };
            bytes += read.len() as u64;
            unpacked += read.len() as u64;
            let mut from = 0;
            for end in memchr::memchr_iter(b'>', read) {
                tag += end - from;
                if tag > MAX_TAG {
                    return Err(large());
                }
                (tag, from, tags) = (0, end, tags + 1);
            }
            tag += read.len() - from;
            if tag > MAX_TAG || unpacked > MAX_UNPACKED || (whole && (bytes > MAX_WHOLE || tags > MAX_TAGS)) {
                return Err(large());
            }
        }
    }
    Ok(())
}

/// The sheets of a workbook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheets {
    /// The one that is read.
    pub taken: String,
    /// All that hold cells, in their order, hidden ones too.
    pub all: Vec<String>,
}

/// The most bytes of the part that lists the sheets.
const MAX_LIST: u64 = 1024 * 1024;

/// The place of the sheet that is in front when the workbook is opened.
fn front(input: impl Read + Seek) -> Option<usize> {
    static FRONT: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"<(?:\w+:)?workbookView\b[^>]*\bactiveTab\s*=\s*["'](\d{1,5})["']"#).ok());
    let mut parts = ZipArchive::new(input).ok()?;
    let mut list = String::new();
    parts.by_name("xl/workbook.xml").ok()?.take(MAX_LIST).read_to_string(&mut list).ok()?;
    FRONT.as_ref()?.captures(&list)?.get(1)?.as_str().parse().ok()
}

/// The sheet that was asked for, by its name or its place from 1; else the one that a person sees first: the one in front,
/// or the first that is not hidden.
fn choose(sheets: &[calamine::Sheet], front: Option<usize>, asked: Option<&str>) -> Result<Sheets, FileError> {
    let is_table = |sheet: &&calamine::Sheet| sheet.typ == SheetType::WorkSheet;
    let all: Vec<String> = sheets.iter().filter(is_table).map(|sheet| sheet.name.clone()).collect();
    let same = |a: &str, b: &str| a.trim().to_lowercase() == b.trim().to_lowercase();
    let taken = match asked {
        Some(asked) => all
            .iter()
            .find(|name| *name == asked)
            .or_else(|| all.iter().find(|name| same(name, asked)))
            .or_else(|| all.get(asked.trim().parse::<usize>().ok()?.checked_sub(1)?))
            .ok_or_else(|| FileError::NoSheet(asked.to_owned(), format!("{all:?}")))?
            .clone(),
        None => {
            let seen = |sheet: &&calamine::Sheet| is_table(sheet) && sheet.visible == SheetVisible::Visible;
            let front = front.and_then(|front| sheets.get(front)).filter(seen);
            front.or_else(|| sheets.iter().find(seen)).map(|sheet| sheet.name.clone()).ok_or(FileError::Empty)?
        }
    };
    Ok(Sheets { taken, all })
}

/// Why a workbook was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum WorkbookError<E> {
    /// The file is at fault.
    #[error(transparent)]
    File(#[from] FileError),
    /// The callback would not go on.
    #[error("the reading was given up")]
    Callback(E),
}

/// Reads the rows of a workbook's sheet through a callback.
///
/// The cells' reader borrows the workbook, so rows are pushed, not pulled.
#[derive(Debug)]
pub struct XlsxRows;

/// The rows of a sheet as they are told, one after the other.
struct Telling<'a, F> {
    options: &'a FileOptions,
    row: F,
    plan: Option<ColumnPlan>,
    rows: usize,
}

impl<F, E> Telling<'_, F>
where
    F: FnMut(FileRow) -> Result<bool, E>,
{
    /// Takes a row's cells: the first one tells the columns. Returns whether to go on.
    fn take(&mut self, line: u32, cells: Vec<String>) -> Result<bool, WorkbookError<E>> {
        let read = match &self.plan {
            None => {
                let made = ColumnPlan::from_first_row(&cells, &self.options.mapping).map_err(FileError::from)?;
                let data = made.header.is_none().then(|| made.read(line, cells));
                self.plan = Some(made);
                data
            }
            Some(plan) => Some(plan.read(line, cells)),
        };
        let Some(read) = read else { return Ok(true) };
        self.rows += 1;
        if self.rows > MAX_ROWS {
            let message = format!("more than {MAX_ROWS} rows; the rest was not read");
            let error = RowError::new(line, "too_many_rows", message).naming([MAX_ROWS]);
            (self.row)(Err(error)).map_err(WorkbookError::Callback)?;
            return Ok(false);
        }
        (self.row)(read).map_err(WorkbookError::Callback)
    }

    /// Whether a column holds phone numbers; before the columns are known, each may.
    fn is_phone(&self, column: usize) -> bool {
        self.plan.as_ref().is_none_or(|plan| plan.is_phone(column))
    }
}

impl XlsxRows {
    /// Calls `row` for each row after the header until it returns `false`; returns what each column holds, and the sheets.
    ///
    /// # Errors
    /// See [`WorkbookError`].
    pub fn read<E>(
        mut input: impl Read + Seek,
        options: &FileOptions,
        row: impl FnMut(FileRow) -> Result<bool, E>,
    ) -> Result<(ColumnPlan, Sheets), WorkbookError<E>> {
        let broken = |error: calamine::XlsxError| FileError::Workbook(error.to_string());
        refuse_bombs(BufReader::new(&mut input))?;
        input.rewind().map_err(FileError::from)?;
        let front = front(BufReader::new(&mut input));
        input.rewind().map_err(FileError::from)?;
        let mut workbook: Xlsx<_> = Xlsx::new(BufReader::new(input)).map_err(broken)?;
        let sheets = choose(workbook.sheets_metadata(), front, options.sheet.as_deref())?;
        let mut cells = workbook.worksheet_cells_reader(&sheets.taken).map_err(broken)?;
        let formats = Formats::new(
            cells
                .styles()
                .iter()
                .map(|style| style.number_format.as_ref().map(|f| (f.format_id, f.format_code.clone()))),
        );
        let mut telling = Telling { options, row, plan: None, rows: 0 };
        let mut current: Option<u32> = None;
        let mut values: Vec<String> = Vec::new();
        loop {
            let cell = cells.next_cell_with_style_id().map_err(broken)?;
            let place = cell.as_ref().map(|(cell, _)| cell.get_position());
            if let Some(line) = current.filter(|line| place.is_none_or(|(next, _)| next != *line)) {
                current = None;
                if !telling.take(line + 1, std::mem::take(&mut values))? {
                    break;
                }
            }
            let (Some((cell, style)), Some((line, column))) = (cell, place) else { break };
            let column = usize::try_from(column).unwrap_or(usize::MAX);
            let text = formats.text(cell.get_value(), style, telling.is_phone(column));
            if text.is_empty() {
                continue;
            }
            current = Some(line);
            if column < MAX_COLUMNS {
                if values.len() <= column {
                    values.resize(column + 1, String::new());
                }
                values[column] = text;
            }
        }
        Ok((telling.plan.ok_or(FileError::Empty)?, sheets))
    }
}
