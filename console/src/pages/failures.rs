//! `/console/batches/{id}/failures`: why items failed or are in doubt, by cause.

use super::batch_of;
use crate::fault::Fault;
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use domain::BatchId;
use domain::batches::{self, Cause};
use poem::Response;

#[derive(Template)]
#[template(path = "pages/failures.html")]
struct Failures {
    ui: Ui,
    id: BatchId,
    causes: Vec<Cause>,
}

/// Shows the causes.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let batch = batch_of(&context).await?;
    let id = batch.summary.id;
    let causes = batches::causes(context.app.db.read(), id).await?;
    let page = Failures { ui: context.ui.clone(), id, causes };
    Ok(guard::html(&page.ui, &page))
}
