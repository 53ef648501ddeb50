//! `/console/operations` and `/console/operations/{id}`: acts on all the jobs that matched, how far they have come, and what
//! they did with each.

use super::jobs;
use crate::fault::Fault;
use crate::guard::{self, Context, redirect};
use crate::pages::ROWS;
use crate::ui::Ui;
use askama::Template;
use domain::audit_log::{self, Action};
use domain::jobs::list as job_list;
use domain::model::JobState;
use domain::queue::operations::{self, Halt, HaltError, Operation};
use domain::queue::{self, OperationItem};
use domain::users::{self, Permission};
use domain::{OperationId, db};
use poem::Response;

#[derive(Template)]
#[template(path = "pages/queue/operations.html", blocks = ["list"])]
struct Operations {
    ui: Ui,
    rows: Vec<Operation>,
    older: Option<String>,
    later: bool,
    /// Whether the reader may act on them.
    manages: bool,
}

/// A number that the address may have.
fn number(context: &Context, name: &str) -> Result<Option<i64>, Fault> {
    let read = |text: &str| text.parse().map_err(|_| Fault::Bad("bad-choice", format!("{name}={text}")));
    context.query(name).map(read).transpose()
}

/// Shows the list.
pub(crate) async fn list(context: Context) -> Result<Response, Fault> {
    let before = number(&context, "before")?;
    let mut rows = operations::operations(context.app.db.read(), before.map(OperationId), ROWS + 1).await?;
    let more = rows.len() > ROWS;
    rows.truncate(ROWS);
    let older = rows.last().filter(|_| more).map(|last| format!("/console/operations?before={}", last.id));
    let manages = context.ui.may(Permission::QueuesManage);
    let page = Operations { ui: context.ui.clone(), rows, older, later: before.is_some(), manages };
    Ok(match context.fragment() {
        Some("list") => guard::html(&page.ui, &page.as_list()),
        _ => guard::html(&page.ui, &page),
    })
}

#[derive(Template)]
#[template(path = "pages/queue/operation.html", blocks = ["state"])]
struct OperationPage {
    ui: Ui,
    operation: Operation,
    /// Who asked for it.
    by: String,
    /// The list of the jobs that match by now.
    matching: String,
    progress: i64,
    can_undo: bool,
    can_stop: bool,
    /// Whether its own job died.
    dead: bool,
    items: Vec<OperationItem>,
    next: Option<String>,
    later: bool,
}

impl OperationPage {
    /// What was done with a job, in words.
    fn result(&self, item: &OperationItem) -> String {
        match item.result.as_str() {
            "done" => self.ui.t("operation-item-done"),
            "changed" => self.ui.t("operation-item-changed"),
            other => self.ui.state("unfit-", other),
        }
    }
}

fn id(context: &Context) -> Result<OperationId, Fault> {
    context.path("id").parse().map_err(|_| Fault::NotFound)
}

/// Shows the operation.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let db = context.app.db.read();
    let operation = operations::get(db, id(&context)?).await?.ok_or(Fault::NotFound)?;
    let after = number(&context, "after")?;
    let mut items = queue::operation_items(db, operation.id, after.unwrap_or(0), ROWS + 1).await?;
    let more = items.len() > ROWS;
    items.truncate(ROWS);
    let next = items.last().filter(|_| more);
    let next = next.map(|last| format!("/console/operations/{}?after={}", operation.id, last.job));
    let by = users::get(db, operation.created_by).await?;
    let job = match operation.job {
        Some(job) => job_list::get(db, job).await?,
        None => None,
    };
    let manages = context.ui.may(Permission::QueuesManage);
    let page = OperationPage {
        by: by.map_or_else(|| operation.created_by.to_string(), |user| user.full_name),
        matching: jobs::address(&operation.filter, &[]),
        progress: ((operation.done + operation.skipped) * 100 / operation.matched.max(1)).min(100),
        can_undo: manages && operation.can_be_undone(),
        can_stop: manages && operation.is_open() && !operation.can_be_undone(),
        dead: operation.is_open() && job.is_some_and(|(job, _)| job.state == JobState::Dead),
        ui: context.ui.clone(),
        operation,
        items,
        next,
        later: after.is_some(),
    };
    Ok(match context.fragment() {
        Some("state") => guard::html(&page.ui, &page.as_state()),
        _ => guard::html(&page.ui, &page),
    })
}

/// Takes it back or stops it, and shows it again.
pub(crate) async fn act(context: Context) -> Result<Response, Fault> {
    let (how, done) = match context.path("act") {
        "undo" => (Halt::Undo, "operation-undone"),
        "stop" => (Halt::Stop, "operation-stopped"),
        _ => return Err(Fault::NotFound),
    };
    let (id, app) = (id(&context)?, &context.app);
    let now = app.clock.now();
    let tx = app.db.begin().await?;
    let halted = operations::halt(&tx, now, id, how).await;
    halted.map_err(|error| match error {
        HaltError::NotFound => Fault::NotFound,
        HaltError::Conflict(_) => Fault::Conflict(context.ui.t("operation-too-late")),
        HaltError::Database(error) => error.into(),
    })?;
    audit_log::record(&tx, now, &context.origin(), Action::OperationStop, Some(id)).await?;
    db::commit(tx, faults::Commit::Steer).await?;
    Ok(redirect(&format!("/console/operations/{id}?done={done}")))
}
