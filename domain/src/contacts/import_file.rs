//! Contacts from files: CSV and XLSX, as a stream of rows whose memory does not grow with the file.
//!
//! A file is read in two stages. A reader turns it into rows of cells (`csv_file`, `xlsx_file`); the columns found in
//! the header (`columns`) turn cells into an [`ImportRow`]. What cannot be read becomes a [`RowError`] with its line,
//! never the end of the import. [`validate_row`] is the gate that rows of every origin pass.

mod columns;
mod csv_file;
mod encoding;
mod records;
mod row;
mod shown;
mod xlsx_file;

pub use columns::{ColumnPlan, Field, Mapping, MappingError};
pub use csv_file::CsvRows;
pub use encoding::{Encoding, UnknownEncoding};
pub use row::{CleanRow, FileRow, ImportRow, RowError, check_row, validate_row};
pub use xlsx_file::{Sheets, WorkbookError, XlsxRows};

use std::convert::Infallible;
use std::fs::File;

/// How a file is to be read.
#[derive(Clone, Debug, Default)]
pub struct FileOptions {
    /// Columns and what they hold, where their names do not say.
    pub mapping: Mapping,
    /// The encoding of a CSV file; `None`: as its bytes tell.
    pub encoding: Option<Encoding>,
    /// The sheet of a workbook; `None`: the first that a person sees.
    pub sheet: Option<String>,
}

/// The most rows of one import.
pub const MAX_ROWS: usize = 1_000_000;

/// What was found out about a file while it was read.
#[derive(Clone, Debug)]
pub struct Shape {
    /// What its columns hold.
    pub plan: ColumnPlan,
    /// The encoding of a CSV file.
    pub encoding: Option<&'static str>,
    /// The sheets of a workbook.
    pub sheets: Option<Sheets>,
}

/// Reads a file's rows, each handed to `take` until that says no; then there is no shape of a workbook. Not for async threads:
/// it reads from the disk.
///
/// # Errors
/// See [`FileError`]; rows that cannot be read are no error of the file.
pub fn read_rows(
    file: File,
    workbook: bool,
    options: &FileOptions,
    mut take: impl FnMut(FileRow) -> bool,
) -> Result<Option<Shape>, FileError> {
    if workbook {
        let mut n = 0;
        let read = XlsxRows::read(file, options, |row| {
            n += 1;
            Ok::<_, Infallible>(n <= MAX_ROWS && take(row))
        });
        let (plan, sheets) = read.map_err(|error| match error {
            WorkbookError::File(error) => error,
            WorkbookError::Callback(never) => match never {},
        })?;
        if n > MAX_ROWS {
            return Err(FileError::TooMany);
        }
        return Ok(Some(Shape { plan, encoding: None, sheets: Some(sheets) }));
    }
    let rows = CsvRows::open(file, options)?;
    let (plan, encoding) = (rows.plan().clone(), Some(rows.encoding().name()));
    for (n, row) in rows.enumerate() {
        if n >= MAX_ROWS {
            return Err(FileError::TooMany);
        }
        if !take(row) {
            break;
        }
    }
    Ok(Some(Shape { plan, encoding, sheets: None }))
}

/// Why a file cannot be imported at all.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The text is in no encoding that is read.
    #[error("{0}")]
    Encoding(String),
    /// The columns could not be told.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// No rows.
    #[error("the file has no rows")]
    Empty,
    /// More rows than one import may have.
    #[error("has more than {MAX_ROWS} rows")]
    TooMany,
    /// It is no workbook, or a broken one.
    #[error("not a readable XLSX workbook: {0}")]
    Workbook(String),
    /// It has no such sheet; the second text lists those that it has.
    #[error("the workbook has no sheet {0:?}; it has {1}")]
    NoSheet(String, String),
    /// Reading failed.
    #[error("the file could not be read: {0}")]
    Io(#[from] std::io::Error),
}
