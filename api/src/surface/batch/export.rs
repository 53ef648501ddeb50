//! A batch's items, and an import's failed rows, as CSV files, written a page at a time as the client reads them.

use crate::App;
use domain::batches::{self, FailedRow, Item, ItemStatus};
use domain::{BatchId, Timestamp, contacts};
use futures::stream;
use std::io;
use std::sync::Arc;

const PAGE: usize = 1_000;

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

/// The items as a body that is written while it is read.
pub(super) fn items(app: Arc<App>, id: BatchId, status: Option<ItemStatus>, plain: bool) -> poem::Body {
    let pages = stream::try_unfold(Some((true, None)), move |at| {
        let app = app.clone();
        async move {
            let Some((first, after)) = at else { return Ok(None) };
            let page = batches::items(app.db.read(), id, status, after, PAGE).await.map_err(|error| {
                tracing::error!(%error, "an export broke off");
                io::Error::other("the export broke off")
            })?;
            let Some(page) = page else { return Ok(None) };
            let next = page.next.map(|next| (false, Some(next)));
            Ok::<_, io::Error>(Some((write(first, page.rows, plain)?, next)))
        }
    });
    poem::Body::from_bytes_stream(pages)
}

/// The column that says why a row failed.
const REASON: &str = "reason";

/// What tells a spreadsheet that the file is UTF-8.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// The rows of an import that failed, under the columns of its file and one of reasons.
pub(super) fn failed_rows(app: Arc<App>, id: BatchId, columns: Vec<String>) -> poem::Body {
    // A file of failed rows that was mended and came again has a column of reasons already.
    let width = columns.len() - usize::from(columns.last().is_some_and(|last| last == REASON));
    let mut columns = columns;
    columns.truncate(width);
    let columns = Arc::new(columns);
    let pages = stream::try_unfold(Some((true, None)), move |at| {
        let (app, columns) = (app.clone(), columns.clone());
        async move {
            let Some((first, after)) = at else { return Ok(None) };
            let page = batches::failed_rows(app.db.read(), id, after, PAGE).await.map_err(|error| {
                tracing::error!(%error, "an export broke off");
                io::Error::other("the export broke off")
            })?;
            let next = page.next.map(|next| (false, Some(next)));
            Ok::<_, io::Error>(Some((write_failed(first, page.rows, &columns)?, next)))
        }
    });
    poem::Body::from_bytes_stream(pages)
}

fn write_failed(header: bool, rows: Vec<FailedRow>, columns: &[String]) -> io::Result<Vec<u8>> {
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

fn write(header: bool, items: Vec<Item>, plain: bool) -> io::Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    if header {
        csv.write_record(HEADER)?;
    }
    let time = |at: Option<Timestamp>| at.map(Timestamp::to_rfc3339).unwrap_or_default();
    for item in items {
        let named = item.input.filter(|_| item.phone.is_none());
        let contact = item.contact.map(|id| id.to_string()).or(named).unwrap_or_default();
        let phone = item.phone.unwrap_or_default();
        let phone = if plain || phone.is_empty() { phone } else { contacts::phone::mask_digits(&phone) };
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

/// A cell that a spreadsheet will not take for a formula.
fn harmless(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { format!("'{cell}") } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_becomes_a_text() {
        for cell in ["=1+1", "+60", "-1", "@x", "\t=1"] {
            assert!(harmless(cell.into()).starts_with('\''), "{cell}");
        }
        assert_eq!(harmless("60123456789".into()), "60123456789");
    }
}
