//! `/console/system`: what `paceline doctor` checks, versions, the schema, and the configuration with its sources.

use crate::fault::Fault;
use crate::guard::{self, Context, redirect};
use crate::ui::Ui;
use askama::Template;
use domain::audit_log::{self, Action};
use domain::jobs::list;
use domain::jobs::workers::VERSION;
use domain::model::JobState;
use domain::queue::examinations::{self, Examination};
use domain::queue::samples;
use domain::queue::system::{Setting, System};
use domain::users::Permission;
use domain::{Timestamp, db};
use poem::Response;

#[derive(Template)]
#[template(path = "pages/queue/system.html", blocks = ["examination"])]
struct SystemPage {
    ui: Ui,
    system: System,
    version: &'static str,
    /// When a scheduler last looked at the queue, and its release.
    scheduler: Option<(Timestamp, String)>,
    /// Whether those values are left out that nobody set.
    set: bool,
    /// The newest examination.
    examination: Option<Examination>,
    /// Whether its job died.
    dead: bool,
    /// Whether the reader may ask for one.
    manages: bool,
}

/// A value of the configuration as people read it.
struct Row<'a> {
    setting: &'a Setting,
    value: String,
}

impl SystemPage {
    fn goes_on(&self) -> bool {
        self.examination.as_ref().is_some_and(Examination::is_open)
    }

    fn rows(&self) -> Vec<Row<'_>> {
        let wanted = |setting: &&Setting| !self.set || setting.source != "default";
        let row = |setting: &'_ Setting| match &setting.value {
            serde_json::Value::Null => "–".to_owned(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let rows = self.system.settings.iter().filter(wanted);
        rows.map(|setting| Row { value: row(setting), setting }).collect()
    }
}

/// Shows it.
pub(crate) async fn show(context: Context) -> Result<Response, Fault> {
    let db = context.app.db.read();
    let part = context.fragment() == Some("examination");
    let system = if part { System::default() } else { (context.app.settings.inspect)().await };
    let scheduler = if part { None } else { samples::scheduler(db).await? };
    let examination = examinations::newest(db).await?;
    let job = match examination.as_ref().filter(|examination| examination.is_open()).and_then(|open| open.job) {
        Some(job) => list::get(db, job).await?,
        None => None,
    };
    let page = SystemPage {
        ui: context.ui.clone(),
        system,
        version: VERSION,
        scheduler,
        set: context.query("settings") == Some("set"),
        dead: job.is_some_and(|(job, _)| job.state == JobState::Dead),
        examination,
        manages: context.ui.may(Permission::QueuesManage),
    };
    Ok(if part { guard::html(&page.ui, &page.as_examination()) } else { guard::html(&page.ui, &page) })
}

/// Asks for an examination.
pub(crate) async fn examine(context: Context) -> Result<Response, Fault> {
    let (app, user, now) = (&context.app, context.viewer()?.user.id, context.app.clock.now());
    let tx = app.db.begin().await?;
    let step = examinations::create(&tx, now, user).await?;
    audit_log::record(&tx, now, &context.origin(), Action::ExaminationCreate, Some(step.value.id)).await?;
    db::commit(tx, faults::Commit::Steer).await?;
    let examination = app.after.commit(step);
    tracing::info!(examination = %examination.id, %user, "an examination was asked for in the console");
    Ok(redirect("/console/system#examination"))
}
