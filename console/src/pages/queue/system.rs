//! `/console/system`: what `paceline doctor` checks, versions, the schema, and the configuration with its sources.

use crate::fault::Fault;
use crate::guard::{self, Context};
use crate::ui::Ui;
use askama::Template;
use domain::Timestamp;
use domain::jobs::workers::VERSION;
use domain::queue::samples;
use domain::queue::system::{Setting, System};
use poem::Response;

#[derive(Template)]
#[template(path = "pages/queue/system.html")]
struct SystemPage {
    ui: Ui,
    system: System,
    version: &'static str,
    /// When a scheduler last looked at the queue, and its release.
    scheduler: Option<(Timestamp, String)>,
    /// Whether those values are left out that nobody set.
    set: bool,
}

/// A value of the configuration as people read it.
struct Row<'a> {
    setting: &'a Setting,
    value: String,
}

impl SystemPage {
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
    let system = (context.app.settings.inspect)().await;
    let scheduler = samples::scheduler(context.app.db.read()).await?;
    let set = context.query("settings") == Some("set");
    let page = SystemPage { ui: context.ui.clone(), system, version: VERSION, scheduler, set };
    Ok(guard::html(&page.ui, &page))
}
