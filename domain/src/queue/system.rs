//! What a process can tell of the installation that it belongs to. It is found out by whoever has put it together.

use std::pin::Pin;
use std::sync::Arc;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at: `database`, `migrations`, `clock`, `redis`, `jobs`, `sender`, `disk`.
    pub part: String,
    /// Whether it is as it should be.
    pub fine: bool,
    /// What was found and, where it is wrong, what to do; in English, as `paceline doctor` says it.
    pub text: String,
}

/// One value of the configuration that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key.
    pub key: String,
    /// Its value as JSON; a secret is `"***"`.
    pub value: serde_json::Value,
    /// Where it comes from: a file, a variable, a flag, or `default`.
    pub source: String,
}

/// An installation, as one of its processes sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// What was looked at.
    pub checks: Vec<Check>,
    /// The steps of the schema that this release knows, in their order.
    pub migrations: Vec<String>,
    /// This process's configuration.
    pub settings: Vec<Setting>,
}

/// What an examination tells while it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExaminationEvent {
    /// It looks at this now.
    LooksAt(&'static str),
    /// It has compared so many of the gateway's messages.
    Compared(i64),
    /// It found this.
    Found(Check),
}

/// Where an examination tells what it finds.
pub type ExaminationSink = Arc<dyn Fn(ExaminationEvent) + Send + Sync>;

type Examining = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Examines the installation: all that `paceline doctor` looks at, however long that takes.
#[derive(Clone)]
pub struct Examine(pub Arc<dyn Fn(ExaminationSink) -> Examining + Send + Sync>);

impl std::fmt::Debug for Examine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Examine")
    }
}

/// Looks at the installation: at what is cheap to look at.
pub type Inspect = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = System> + Send>> + Send + Sync>;
