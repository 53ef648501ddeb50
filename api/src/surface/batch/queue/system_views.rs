//! What `/queue/system` says.

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

impl SystemView {
    pub(super) fn of(system: System) -> Self {
        let check = |check: Check| CheckView { part: check.part, ok: check.fine, text: check.text };
        let setting =
            |setting: Setting| SettingView { key: setting.key, value: Any(setting.value), source: setting.source };
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            checks: system.checks.into_iter().map(check).collect(),
            migrations: system.migrations,
            settings: system.settings.into_iter().map(setting).collect(),
        }
    }
}
