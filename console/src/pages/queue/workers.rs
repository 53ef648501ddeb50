//! `/console/workers`: the workers, what each does and since when, and how it takes jobs.

use crate::fault::Fault;
use crate::guard::{self, Context, encoded, redirect};
use crate::ui::Ui;
use askama::Template;
use domain::audit_log::{self, Action};
use domain::jobs::workers::{self, MAX_PLACES, NewOrders, OrderError, Orders};
use domain::queue::{self, MAX_JOBS, Worker};
use domain::users::Permission;
use domain::{Lane, db};
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
    /// Whether none of them takes jobs.
    idle: bool,
    manages: bool,
    /// The worker that was just told something, and what its lanes did before.
    told: Option<String>,
    was: Option<[u32; 3]>,
}

impl Workers {
    fn lanes(&self, orders: &Orders) -> [(Lane, u32); 3] {
        Lane::ALL.map(|lane| (lane, orders.of(lane)))
    }

    fn most(&self) -> u32 {
        MAX_PLACES
    }

    fn undo(&self) -> Vec<(Lane, u32)> {
        self.was.map(|was| Lane::ALL.into_iter().zip(was).collect()).unwrap_or_default()
    }
}

/// Shows them.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let workers = queue::workers(context.app.db.read()).await?;
    let versions: BTreeSet<_> = workers.iter().filter_map(|worker| worker.version.as_deref()).collect();
    let jobs: usize = workers.iter().map(|worker| worker.jobs.len()).sum();
    let was: Option<Vec<u32>> =
        context.query("was").and_then(|text| text.split('-').map(|part| part.parse().ok()).collect());
    let page = Workers {
        ui: context.ui.clone(),
        mixed: versions.len() > 1,
        cut: jobs as u64 >= MAX_JOBS,
        idle: !workers.is_empty() && workers.iter().all(|worker| worker.orders.is_some_and(|orders| orders.draining)),
        manages: context.ui.may(Permission::QueuesManage),
        // One of those that are shown: the address makes a form's, and anybody may have written it.
        told: workers.iter().map(|worker| &worker.name).find(|name| context.query("worker") == Some(name)).cloned(),
        was: was.and_then(|was| was.try_into().ok()),
        workers,
    };
    Ok(match context.fragment() {
        Some("now") => guard::html(&page.ui, &page.as_now()),
        _ => guard::html(&page.ui, &page),
    })
}

/// How many jobs each lane is to do at once, by the form.
fn places(context: &Context) -> Result<[Option<u32>; 3], Fault> {
    let mut places = [None; 3];
    for (place, lane) in places.iter_mut().zip(Lane::ALL) {
        let text = context.form(lane.as_str()).unwrap_or_default().trim();
        let count = text.parse().ok().filter(|count| (1..=MAX_PLACES).contains(count));
        *place = Some(count.ok_or_else(|| Fault::Bad("bad-places", text.to_owned()))?);
    }
    Ok(places)
}

/// Tells a worker something, and shows them again.
pub(crate) async fn act(context: Context) -> Result<Response, Fault> {
    let drain = |draining| NewOrders { draining: Some(draining), ..NewOrders::default() };
    let (new, action, done) = match context.path("act") {
        "drain" => (drain(true), Action::WorkerDrain, "worker-drained"),
        "resume" => (drain(false), Action::WorkerResume, "worker-resumed"),
        "places" => {
            let places = places(&context)?;
            (NewOrders { draining: None, places }, Action::WorkerUpdate, "worker-changed")
        }
        _ => return Err(Fault::NotFound),
    };
    let (app, name) = (&context.app, context.path("name").to_owned());
    let before = workers::orders(app.db.read(), &name).await?;
    let tx = app.db.begin().await?;
    audit_log::record(&tx, app.clock.now(), &context.origin(), action, Some(&name)).await?;
    workers::order(&tx, &name, &new).await.map_err(|error| match error {
        OrderError::NotFound => Fault::NotFound,
        OrderError::TooOld => Fault::Conflict(context.ui.t("worker-too-old")),
        OrderError::Database(error) => error.into(),
    })?;
    db::commit(tx, faults::Commit::Steer).await?;
    let user = context.viewer()?.user.id;
    tracing::info!(worker = name, %user, act = action.as_str(), "a worker was told something in the console");
    let was =
        before.filter(|_| new.draining.is_none()).map(|before| before.places.map(|count| count.to_string()).join("-"));
    let was = was.map_or(String::new(), |was| format!("&was={was}"));
    Ok(redirect(&format!("/console/workers?done={done}&worker={}{was}", encoded(&name))))
}
