//! A batch's recipients, and an import's failed rows, as files that are written as they are read.

use super::batch_of;
use crate::fault::Fault;
use crate::guard::Context;
use domain::BatchId;
use domain::batches::export::{REASON, write_failed, write_items};
use domain::batches::{self, BatchType, ItemStatus};
use domain::users::Permission;
use futures::{Stream, stream};
use poem::http::header;
use poem::{Body, Response};
use std::io;

/// How many rows are read at once.
const PART: usize = 1_000;

fn broke_off(error: impl std::fmt::Display) -> io::Error {
    tracing::error!(%error, "an export broke off");
    io::Error::other("the export broke off")
}

fn attachment(name: &str, parts: impl Stream<Item = io::Result<Vec<u8>>> + Send + 'static) -> Response {
    Response::builder()
        .content_type("text/csv; charset=utf-8")
        .header(header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""))
        .header(header::CACHE_CONTROL, "no-store")
        .body(Body::from_bytes_stream(parts))
}

/// `/console/batches/{id}/recipients.csv`: those of one outcome, or all.
pub(crate) async fn recipients(context: Context) -> Result<Response, Fault> {
    let id = batch_of(&context).await?.summary.id;
    let bad = |text: &str| Fault::Bad("bad-choice", format!("status={text}"));
    let status: Option<ItemStatus> =
        context.query("status").map(|text| text.parse().map_err(|_| bad(text))).transpose()?;
    let (app, plain) = (context.app.clone(), context.viewer()?.may(Permission::ContactsRead));
    let parts = stream::try_unfold(Some((true, None)), move |at| {
        let app = app.clone();
        async move {
            let Some((first, after)) = at else { return Ok(None) };
            let page = batches::items(app.db.read(), id, status, after, PART).await.map_err(broke_off)?;
            let Some(page) = page else { return Ok(None) };
            let next = page.next.map(|next| (false, Some(next)));
            Ok(Some((write_items(first, page.rows, plain)?, next)))
        }
    });
    Ok(attachment(&format!("batch-{id}.csv"), parts))
}

/// `/console/batches/{id}/failed-rows.csv`: the rows of an import that failed, to be mended and imported again.
pub(crate) async fn failed_rows(context: Context) -> Result<Response, Fault> {
    context.needs(Permission::ContactsRead)?;
    let batch = batch_of(&context).await?;
    if batch.summary.batch_type != BatchType::Import {
        return Err(Fault::NotFound);
    }
    let names = batch.config["columns"].as_array().into_iter().flatten();
    let mut columns: Vec<String> = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    if columns.is_empty() {
        columns.push("phone".into());
    }
    // A file of failed rows that was mended and came again has a column of reasons already.
    if columns.last().is_some_and(|last| last == REASON) {
        columns.pop();
    }
    let (app, id): (_, BatchId) = (context.app.clone(), batch.summary.id);
    let parts = stream::try_unfold(Some((true, None)), move |at| {
        let (app, columns) = (app.clone(), columns.clone());
        async move {
            let Some((first, after)) = at else { return Ok(None) };
            let page = batches::failed_rows(app.db.read(), id, after, PART).await.map_err(broke_off)?;
            let next = page.next.map(|next| (false, Some(next)));
            Ok(Some((write_failed(first, page.rows, &columns)?, next)))
        }
    });
    Ok(attachment(&format!("batch-{id}-failed-rows.csv"), parts))
}
