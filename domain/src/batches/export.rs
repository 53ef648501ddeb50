//! A batch's items, and an import's failed rows, as parts of CSV files.

use super::items::{FailedRow, Item};
use crate::cells::harmless;
use crate::contacts::phone;
use crate::time::Timestamp;
use std::io;

const HEADER: [&str; 12] = [
    "seq",
    "contactId",
    "phone",
    "status",
    "attempts",
    "errorCode",
    "errorMessage",
    "messageId",
    "startedAt",
    "finishedAt",
    "nextAttemptAt",
    "warning",
];

/// The column that says why a row failed.
pub const REASON: &str = "reason";

/// What tells a spreadsheet that the file is UTF-8.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// Failed rows under the columns of their file and one of reasons; with the `header`, the beginning of the file.
///
/// # Errors
/// None but the writer's own.
pub fn write_failed(header: bool, rows: Vec<FailedRow>, columns: &[String]) -> io::Result<Vec<u8>> {
    let mut csv = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    if header {
        csv.write_record(columns.iter().cloned().map(harmless).chain([REASON.to_owned()]))?;
    }
    for FailedRow { reason, mut cells, input, .. } in rows {
        if cells.is_empty() {
            cells.push(input.unwrap_or_default());
        }
        let more = cells.split_off(cells.len().min(columns.len()));
        cells.resize(columns.len(), String::new());
        // Cells beyond the last column stand behind the reason: nothing of the row is lost.
        let more = more.into_iter().filter(|cell| !cell.is_empty());
        csv.write_record(cells.into_iter().map(harmless).chain([harmless(reason)]).chain(more.map(harmless)))?;
    }
    let csv = csv.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    Ok(if header { [MARK, &csv].concat() } else { csv })
}

/// Items, their numbers masked unless `plain`; with the `header`, the beginning of the file.
///
/// # Errors
/// None but the writer's own.
pub fn write_items(header: bool, items: Vec<Item>, plain: bool) -> io::Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    if header {
        csv.write_record(HEADER)?;
    }
    let time = |at: Option<Timestamp>| at.map(Timestamp::to_rfc3339).unwrap_or_default();
    for item in items {
        let named = item.input.filter(|_| item.phone.is_none());
        let contact = item.contact.map(|id| id.to_string()).or(named).unwrap_or_default();
        let phone = item.phone.unwrap_or_default();
        let phone = if plain || phone.is_empty() { phone } else { phone::mask_digits(&phone) };
        csv.write_record([
            item.seq.to_string(),
            harmless(contact),
            harmless(phone),
            item.status.to_string(),
            item.attempts.to_string(),
            harmless(item.error_code.unwrap_or_default()),
            harmless(item.error_message.unwrap_or_default()),
            harmless(item.message_id.unwrap_or_default()),
            time(item.started_at),
            time(item.finished_at),
            time(item.next_attempt_at),
            item.warning.unwrap_or_default(),
        ])?;
    }
    csv.into_inner().map_err(|error| io::Error::other(error.to_string()))
}
