//! Operations: `/console/operations`, all that the reader may see; `/console/operations/{id}` on jobs and
//! `/console/batches/acts/{id}` on batches, how far one has come and what it did with each.

use super::ROWS;
use super::queue::jobs;
use crate::fault::Fault;
use crate::guard::{self, Context, redirect};
use crate::ui::Ui;
use askama::Template;
use domain::audit_log::{self, Action};
use domain::jobs::list as job_list;
use domain::model::{JobState, OperationTarget};
use domain::queue::operations::{self, Aim, CHANGED, DONE, Halt, HaltError, Operation, OperationItem};
use domain::users::{self, Permission};
use domain::{OperationId, db};
use poem::Response;

/// Where the page of an operation is.
pub(super) fn address(target: OperationTarget, id: OperationId) -> String {
    match target {
        OperationTarget::Jobs => format!("/console/operations/{id}"),
        OperationTarget::Batches => format!("/console/batches/acts/{id}"),
    }
}

/// Whether the reader may make operations on a target, and end them.
fn manages(ui: &Ui, target: OperationTarget) -> bool {
    match target {
        OperationTarget::Jobs => ui.may(Permission::QueuesManage),
        OperationTarget::Batches => ui.may_steer(),
    }
}

/// An operation in the list.
struct Row {
    operation: Operation,
    address: String,
    manages: bool,
}

#[derive(Template)]
#[template(path = "pages/operations.html", blocks = ["list"])]
struct Operations {
    ui: Ui,
    rows: Vec<Row>,
    older: Option<String>,
    later: bool,
    /// Whether the reader may act on any of them.
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
    let ui = &context.ui;
    let reads = |target: &OperationTarget| match target {
        OperationTarget::Jobs => ui.watches_queue(),
        OperationTarget::Batches => ui.may(Permission::BatchesRead),
    };
    let targets: Vec<OperationTarget> = OperationTarget::ALL.iter().copied().filter(reads).collect();
    let before_id = before.map(OperationId);
    let mut found = operations::operations(context.app.db.read(), &targets, before_id, ROWS + 1).await?;
    let more = found.len() > ROWS;
    found.truncate(ROWS);
    let older = found.last().filter(|_| more).map(|last| format!("/console/operations?before={}", last.id));
    let row = |operation: Operation| {
        let target = operation.aim.target();
        Row { address: address(target, operation.id), manages: manages(ui, target), operation }
    };
    let page = Operations {
        rows: found.into_iter().map(row).collect(),
        older,
        later: before.is_some(),
        manages: targets.iter().any(|target| manages(ui, *target)),
        ui: ui.clone(),
    };
    Ok(match context.fragment() {
        Some("list") => guard::html(&page.ui, &page.as_list()),
        _ => guard::html(&page.ui, &page),
    })
}

#[derive(Template)]
#[template(path = "pages/operation.html", blocks = ["state"])]
struct OperationPage {
    ui: Ui,
    operation: Operation,
    /// Its own address.
    address: String,
    /// Who asked for it.
    by: String,
    /// The list of the jobs that match by now; on batches there is none.
    matching: Option<String>,
    can_undo: bool,
    can_stop: bool,
    /// Whether its own job died.
    dead: bool,
    items: Vec<OperationItem>,
    next: Option<String>,
    later: bool,
}

impl OperationPage {
    fn on_jobs(&self) -> bool {
        self.operation.aim.target() == OperationTarget::Jobs
    }

    /// What was done with one, in words.
    fn result(&self, item: &OperationItem) -> String {
        match item.result.as_str() {
            DONE => self.ui.t("operation-item-done"),
            CHANGED => self.ui.t("operation-item-changed"),
            other => self.ui.state("unfit-", other),
        }
    }

    /// The page of what it was done to, and its words.
    fn link(&self, item: &OperationItem) -> (String, String) {
        let number = item.target.to_string();
        match self.operation.aim.target() {
            OperationTarget::Jobs => (format!("/console/jobs/{number}"), self.ui.tv("job-number", number.as_str())),
            OperationTarget::Batches => {
                (format!("/console/batches/{number}"), self.ui.tv("batch-number", number.as_str()))
            }
        }
    }
}

fn id(context: &Context) -> Result<OperationId, Fault> {
    context.path("id").parse().map_err(|_| Fault::NotFound)
}

/// Shows an operation on this target.
pub(crate) async fn show(context: Context, target: OperationTarget) -> Result<Response, Fault> {
    let db = context.app.db.read();
    let operation = operations::get(db, target, id(&context)?).await?.ok_or(Fault::NotFound)?;
    let after = number(&context, "after")?;
    let mut items = operations::operation_items(db, operation.id, after.unwrap_or(0), ROWS + 1).await?;
    let more = items.len() > ROWS;
    items.truncate(ROWS);
    let address = address(target, operation.id);
    let next = items.last().filter(|_| more).map(|last| format!("{address}?after={}", last.target));
    let by = users::get(db, operation.created_by).await?;
    let job = match operation.job {
        Some(job) => job_list::get(db, job).await?,
        None => None,
    };
    let manages = manages(&context.ui, target);
    let page = OperationPage {
        by: by.map_or_else(|| operation.created_by.to_string(), |user| user.full_name),
        matching: match &operation.aim {
            Aim::Jobs(_, filter) => Some(jobs::address(filter, &[])),
            Aim::Batches(..) => None,
        },
        can_undo: manages && operation.can_be_undone(),
        can_stop: manages && operation.is_open() && !operation.can_be_undone(),
        dead: operation.is_open() && job.is_some_and(|(job, _)| job.state == JobState::Dead),
        ui: context.ui.clone(),
        address,
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
pub(crate) async fn act(context: Context, target: OperationTarget) -> Result<Response, Fault> {
    let (how, done) = match context.path("act") {
        "undo" => (Halt::Undo, "operation-undone"),
        "stop" => (Halt::Stop, "operation-stopped"),
        _ => return Err(Fault::NotFound),
    };
    let (id, app) = (id(&context)?, &context.app);
    let now = app.clock.now();
    let tx = app.db.begin().await?;
    let halted = operations::halt(&tx, now, target, id, how).await;
    halted.map_err(|error| match error {
        HaltError::NotFound => Fault::NotFound,
        HaltError::Conflict(_) => Fault::Conflict(context.ui.t("operation-too-late")),
        HaltError::Database(error) => error.into(),
    })?;
    audit_log::record(&tx, now, &context.origin(), Action::OperationStop, Some(id)).await?;
    db::commit(tx, faults::Commit::Steer).await?;
    Ok(redirect(&format!("{}?done={done}", address(target, id))))
}
