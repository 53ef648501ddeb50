//! `/console/batches/{id}/failures`: why items failed or are in doubt, by cause, with an act for each.

use super::batch_of;
use crate::fault::Fault;
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use domain::BatchId;
use domain::batches::{self, BatchStatus, BatchType, Cause};
use poem::Response;

#[derive(Template)]
#[template(path = "pages/failures.html")]
struct Failures {
    ui: Ui,
    id: BatchId,
    causes: Vec<Cause>,
    /// Whether what failed can be tried again: by this reader, and of a batch that has ended.
    can_retry: bool,
    /// The cause that the page asks about.
    ask: Option<Cause>,
    /// Messages a minute at most.
    rate: Option<i64>,
    /// Whether the failed rows can be taken away as a file.
    file: bool,
}

/// Shows the causes.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let batch = batch_of(&context).await?;
    let id = batch.summary.id;
    let causes = batches::causes(context.app.db.read(), id).await?;
    let sender = batches::sender_paces(context.app.db.read(), context.app.settings.sender_rate_per_minute).await?;
    let rate = batch.effective_pace(context.ui.now, &sender.of(&batch)).rate_per_minute;
    let ended = matches!(batch.summary.status, BatchStatus::Completed | BatchStatus::Failed);
    let can_retry = context.ui.may_steer() && ended;
    let asked = context.query("ask").filter(|_| can_retry);
    let ask = asked.and_then(|code| causes.iter().find(|cause| cause.code == code)).cloned();
    let file = batch.summary.batch_type == BatchType::Import && context.ui.reads_contacts();
    let page = Failures { ui: context.ui.clone(), id, causes, can_retry, ask, rate, file };
    Ok(guard::html(&page.ui, &page))
}
