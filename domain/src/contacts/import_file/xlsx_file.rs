//! Rows of the first sheet of an XLSX workbook, cell by cell: the sheet is never whole in memory. (Its shared strings
//! are: the format keeps all texts in one table.)

use super::columns::{ColumnPlan, Mapping};
use super::row::{ImportRow, RowError};
use super::{FileError, MAX_ROWS};
use calamine::{DataRef, Reader, Xlsx};
use std::io::{BufReader, Read, Seek};
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

/// Reads the rows of a workbook's first sheet through a callback.
///
/// The cells' reader borrows the workbook, so rows are pushed, not pulled.
#[derive(Debug)]
pub struct XlsxRows;

impl XlsxRows {
    /// Calls `row` for each row after the header until it returns `false`; returns what each column holds.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn read<E>(
        mut input: impl Read + Seek,
        mapping: &Mapping,
        mut row: impl FnMut(Result<ImportRow, RowError>) -> Result<bool, E>,
    ) -> Result<Result<ColumnPlan, E>, FileError> {
        let broken = |error: calamine::XlsxError| FileError::Workbook(error.to_string());
        refuse_bombs(BufReader::new(&mut input))?;
        input.rewind()?;
        let mut workbook: Xlsx<_> = Xlsx::new(BufReader::new(input)).map_err(broken)?;
        let sheet = workbook.sheet_names().first().cloned().ok_or(FileError::Empty)?;
        let mut cells = workbook.worksheet_cells_reader(&sheet).map_err(broken)?;
        let mut plan: Option<ColumnPlan> = None;
        let mut current: Option<u32> = None;
        let mut values: Vec<String> = Vec::new();
        let mut rows = 0usize;
        loop {
            let cell = cells.next_cell().map_err(broken)?;
            let place = cell.as_ref().map(|cell| cell.get_position());
            if let Some(line) = current
                && place.is_none_or(|(next, _)| next != line)
            {
                let number = line + 1;
                let finished = std::mem::take(&mut values);
                let read = match &plan {
                    None => {
                        let made = ColumnPlan::from_first_row(&finished, mapping)?;
                        let data = made.header.is_none().then(|| made.read(number, &finished));
                        plan = Some(made);
                        data
                    }
                    Some(plan) => Some(plan.read(number, &finished)),
                };
                if let Some(read) = read {
                    rows += 1;
                    let over = rows > MAX_ROWS;
                    let read = match over {
                        true => Err(RowError {
                            line: number,
                            message: format!("more than {MAX_ROWS} rows; the rest was not read"),
                        }),
                        false => read,
                    };
                    match row(read) {
                        Ok(true) if !over => {}
                        Ok(_) => break,
                        Err(error) => return Ok(Err(error)),
                    }
                }
                current = None;
            }
            let (Some(cell), Some((line, column))) = (cell, place) else { break };
            let text = text(cell.get_value());
            if text.is_empty() {
                continue;
            }
            current = Some(line);
            let column = usize::try_from(column).unwrap_or(usize::MAX);
            if column < MAX_COLUMNS {
                if values.len() <= column {
                    values.resize(column + 1, String::new());
                }
                values[column] = text;
            }
        }
        plan.map(Ok).ok_or(FileError::Empty)
    }
}

/// A cell as a person would read it: a number kept as a number (a phone, most likely) without exponent or fraction.
fn text(value: &DataRef<'_>) -> String {
    match value {
        DataRef::String(s) => s.trim().to_owned(),
        DataRef::SharedString(s) => s.trim().to_owned(),
        DataRef::Int(i) => i.to_string(),
        DataRef::Float(f) if f.fract() == 0.0 && f.abs() < 1e16 => format!("{f:.0}"),
        DataRef::Float(f) => f.to_string(),
        DataRef::Bool(b) => b.to_string(),
        DataRef::DateTimeIso(s) | DataRef::DurationIso(s) => s.clone(),
        DataRef::DateTime(t) => t.to_string(),
        DataRef::Error(_) | DataRef::Empty => String::new(),
    }
}
