//! `/console/go?q=`: from what somebody has in hand to its page.

use crate::fault::Fault;
use crate::guard::{Context, redirect};
use domain::BatchId;
use domain::batches;
use domain::users::Permission;
use poem::Response;

/// Leads to the batch of a number.
pub(crate) async fn go(context: Context) -> Result<Response, Fault> {
    context.needs(Permission::BatchesRead)?;
    let text = context.query("q").unwrap_or_default().trim().trim_start_matches('#').to_owned();
    let id: BatchId = text.parse().map_err(|_| Fault::NotFound)?;
    batches::get(context.app.db.read(), id).await?.ok_or(Fault::NotFound)?;
    Ok(redirect(&format!("/console/batches/{id}")))
}
