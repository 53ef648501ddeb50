//! The rows of DESIGN's table of speeds, measured on one machine.
//!
//! Each figure is taken from real processes of this very binary over HTTP: the embedded set-up always, the split one
//! when PostgreSQL and Redis are configured. It makes a database of its own on that PostgreSQL and drops it at the end;
//! the Redis must be one that nothing else uses. Rates that depend on the machine stand beside what a bare load
//! generator gets from the same receiver in the same run.

mod batches;
mod console;
mod crm;
mod fairness;
mod gateway;
mod load;
mod pace;
mod pickup;
mod reads;
mod sockets;

use crate::rig::{Environment, Kind};
use anyhow::{Context, Result, bail};
use serde::Serialize;

/// One measured figure.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// The set-up: `embedded` or `split`.
    pub setup: &'static str,
    /// What was measured.
    pub what: String,
    /// How much it was.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// What it stands beside, where it is a ratio, and else what was asked for.
    pub note: Option<String>,
}

/// The figures of one set-up.
struct Figures {
    setup: &'static str,
    all: Vec<Figure>,
}

impl Figures {
    fn add(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.all.push(Figure { setup: self.setup, what: what.into(), value, unit, note: None });
    }

    fn note(&mut self, note: impl Into<String>) {
        if let Some(last) = self.all.last_mut() {
            last.note = Some(note.into());
        }
    }
}

/// What can be measured, in this order.
const ALL: [&str; 12] =
    ["accept", "import", "tag", "delete", "send", "gateway", "pickup", "critical", "pace", "read", "sockets", "crm"];

/// What takes minutes, and is measured only when asked for by name.
const LONG: [&str; 4] = ["list", "many", "ones", "console"];

/// Measures `what`, by the names that `paceline bench --help` lists; `count` is how many contacts, items, messages, probes,
/// requests, sockets or batches there are, without it as many as DESIGN's table says.
///
/// # Errors
/// A name that is none; a set-up that does not start, or does not do what is measured.
pub async fn measure(environment: &Environment, what: &str, count: Option<usize>) -> Result<Vec<Figure>> {
    let wanted: Vec<&str> = match what {
        "all" => ALL.to_vec(),
        one if ALL.contains(&one) || LONG.contains(&one) => vec![one],
        other => {
            bail!("{other:?} cannot be measured; there are {}, {} and all", ALL.join(", "), LONG.join(", "))
        }
    };
    let mut kinds = vec![Kind::Embedded];
    if environment.has_servers() {
        kinds.push(Kind::Split);
    }
    let mut figures = Vec::new();
    for kind in kinds {
        let mut of_kind = Figures { setup: kind.name(), all: Vec::new() };
        for what in &wanted {
            let done = match *what {
                "accept" => batches::accept(environment, kind, count, &mut of_kind).await,
                "import" => batches::import(environment, kind, count, &mut of_kind).await,
                "tag" => batches::tag(environment, kind, count, &mut of_kind).await,
                "delete" => batches::delete(environment, kind, count, &mut of_kind).await,
                "send" => batches::send(environment, kind, count, &mut of_kind).await,
                "gateway" => gateway::rate(environment, kind, count, &mut of_kind).await,
                "pickup" => pickup::idle(environment, kind, count, &mut of_kind).await,
                "critical" => pickup::critical(environment, kind, count, &mut of_kind).await,
                "pace" => pace::accuracy(environment, kind, &mut of_kind).await,
                "read" => reads::rate(environment, kind, count, &mut of_kind).await,
                "list" => reads::lists(environment, kind, count, &mut of_kind).await,
                "console" => console::pages(environment, kind, count, &mut of_kind).await,
                "many" => fairness::among_many(environment, kind, count, &mut of_kind).await,
                "ones" => fairness::of_one(environment, kind, count, &mut of_kind).await,
                "sockets" => sockets::idle(environment, kind, count, &mut of_kind).await,
                "crm" => crm::frontend(environment, kind, count, &mut of_kind).await,
                other => bail!("{other:?} cannot be measured"),
            };
            done.with_context(|| format!("bench {what}, {}", kind.name()))?;
        }
        figures.append(&mut of_kind.all);
    }
    Ok(figures)
}

/// The value below which this share of the measurements lies.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(((last as f64) * share).round() as usize).copied().unwrap_or(f64::NAN)
}
