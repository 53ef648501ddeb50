//! A batch's items as a CSV file, written a page at a time as the client reads it.

use crate::App;
use domain::batches::{self, Item, ItemStatus};
use domain::{BatchId, Timestamp, contacts};
use futures::stream;
use std::io;
use std::sync::Arc;

const PAGE: usize = 1_000;

const HEADER: [&str; 11] = [
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
