//! `/console/workers`: the workers, what each does and since when.

use crate::fault::Fault;
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use domain::queue::{self, MAX_JOBS, Worker};
use poem::Response;
use std::collections::BTreeSet;

#[derive(Template)]
#[template(path = "pages/queue/workers.html", blocks = ["now"])]
struct Workers {
    ui: Ui,
    workers: Vec<Worker>,
    /// Whether they are of several releases.
    mixed: bool,
    /// Whether there are more jobs at work than are shown.
    cut: bool,
}

/// Shows them.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let workers = queue::workers(context.app.db.read()).await?;
    let versions: BTreeSet<_> = workers.iter().filter_map(|worker| worker.version.as_deref()).collect();
    let jobs: usize = workers.iter().map(|worker| worker.jobs.len()).sum();
    let page = Workers { ui: context.ui.clone(), mixed: versions.len() > 1, cut: jobs as u64 >= MAX_JOBS, workers };
    Ok(match context.fragment() {
        Some("now") => guard::html(&page.ui, &page.as_now()),
        _ => guard::html(&page.ui, &page),
    })
}
