//! What `/queue/system` says.

use crate::foundation::time::Time;
use domain::queue::examinations::Examination;
use domain::queue::system::{Check, Setting, System};
use poem_openapi::Object;
use poem_openapi::types::Any;
use serde_json::Value;

/// One thing that was looked at.
#[derive(Debug, Object)]
#[oai(rename = "SystemCheck", rename_all = "camelCase")]
struct CheckView {
    /// What was looked at.
    part: String,
    /// Whether it is as it should be.
    ok: bool,
    /// What was found and, where it is wrong, what to do.
    text: String,
}

/// One value of the configuration that is in force.
#[derive(Debug, Object)]
#[oai(rename = "SystemSetting", rename_all = "camelCase")]
struct SettingView {
    /// Its key.
    key: String,
    /// Its value; `***` where it is a secret.
    value: Any<Value>,
    /// A file, a variable, a flag, or `default`.
    source: String,
}

/// The installation, as the process sees it that answers.
#[derive(Debug, Object)]
#[oai(rename = "System", rename_all = "camelCase")]
pub(super) struct SystemView {
    /// The process's release.
    version: String,
    /// What was looked at.
    checks: Vec<CheckView>,
    /// The steps of the schema that this release knows, in their order.
    migrations: Vec<String>,
    /// The configuration that is in force.
    settings: Vec<SettingView>,
}

impl CheckView {
    fn of(check: Check) -> Self {
        Self { part: check.part, ok: check.fine, text: check.text }
    }
}

/// An examination of the installation: all that `paceline doctor` checks.
#[derive(Debug, Object)]
#[oai(rename = "Examination", rename_all = "camelCase")]
pub(super) struct ExaminationView {
    /// Its number.
    id: String,
    /// Who asked for it.
    created_by: String,
    /// When.
    created_at: Time,
    /// When it was begun last.
    started_at: Option<Time>,
    /// When it ended; null: it goes on.
    ended_at: Option<Time>,
    /// Its job: if that is dead, the examination stands still.
    job_id: Option<String>,
    /// What it looks at now.
    looking_at: Option<String>,
    /// How many of the gateway's messages it has compared with the ledger.
    compared: i64,
    /// What it found by now.
    checks: Vec<CheckView>,
}

impl ExaminationView {
    pub(super) fn of(examination: Examination) -> Self {
        Self {
            id: examination.id.to_string(),
            created_by: examination.created_by.to_string(),
            created_at: Time(examination.created_at),
            started_at: examination.started_at.map(Time),
            ended_at: examination.ended_at.map(Time),
            job_id: examination.job.map(|job| job.to_string()),
            looking_at: examination.looking_at,
            compared: examination.compared,
            checks: examination.checks.into_iter().map(CheckView::of).collect(),
        }
    }
}

impl SystemView {
    pub(super) fn of(system: System) -> Self {
        let setting =
            |setting: Setting| SettingView { key: setting.key, value: Any(setting.value), source: setting.source };
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            checks: system.checks.into_iter().map(CheckView::of).collect(),
            migrations: system.migrations,
            settings: system.settings.into_iter().map(setting).collect(),
        }
    }
}
