//! A batch's items, and an import's failed rows, as CSV files, written a page at a time as the client reads them.

use crate::App;
use domain::BatchId;
use domain::batches::export::{REASON, write_failed, write_items};
use domain::batches::{self, ItemStatus};
use futures::stream;
use std::io;
use std::sync::Arc;

const PAGE: usize = 1_000;

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
            Ok::<_, io::Error>(Some((write_items(first, page.rows, plain)?, next)))
        }
    });
    poem::Body::from_bytes_stream(pages)
}

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
