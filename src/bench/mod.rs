//! `paceline bench`: the rows of DESIGN's table of speeds, measured on one machine.
//!
//! Each figure is taken from real processes of this very binary over HTTP: the embedded set-up always, the split one
//! when PostgreSQL and Redis are configured. It makes a database of its own on that PostgreSQL and drops it at the end;
//! the Redis must be one that nothing else uses. Rates that depend on the machine stand beside what a bare load
//! generator gets from the same receiver in the same run.

mod batches;
mod crm;
mod fairness;
mod gateway;
mod load;
mod pace;
mod pickup;
mod reads;
mod sockets;

use crate::cli::Bench;
use crate::config::Config;
use crate::rig::Kind;
use anyhow::{Context, Result, bail};
use serde::Serialize;

/// One measured figure.
#[derive(Debug, Serialize)]
struct Figure {
    setup: &'static str,
    what: String,
    value: f64,
    unit: &'static str,
    /// What it stands beside, where it is a ratio, and else what was asked for.
    note: Option<String>,
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
const LONG: [&str; 3] = ["list", "many", "ones"];

/// Measures what was asked for and prints it.
pub(crate) async fn run(config: &Config, bench: Bench) -> Result<()> {
    let wanted: Vec<&str> = match bench.what.as_str() {
        "all" => ALL.to_vec(),
        one if ALL.contains(&one) || LONG.contains(&one) => vec![one],
        other => {
            bail!("{other:?} cannot be measured; there are {}, {} and all", ALL.join(", "), LONG.join(", "))
        }
    };
    let mut kinds = vec![Kind::Embedded];
    if config.database_url.is_some() && config.redis_url.is_some() {
        kinds.push(Kind::Split);
    }
    let mut figures = Vec::new();
    for kind in kinds {
        let mut of_kind = Figures { setup: kind.name(), all: Vec::new() };
        for what in &wanted {
            let done = match *what {
                "accept" => batches::accept(config, kind, bench.count, &mut of_kind).await,
                "import" => batches::import(config, kind, bench.count, &mut of_kind).await,
                "tag" => batches::tag(config, kind, bench.count, &mut of_kind).await,
                "delete" => batches::delete(config, kind, bench.count, &mut of_kind).await,
                "send" => batches::send(config, kind, bench.count, &mut of_kind).await,
                "gateway" => gateway::rate(config, kind, bench.count, &mut of_kind).await,
                "pickup" => pickup::idle(config, kind, bench.count, &mut of_kind).await,
                "critical" => pickup::critical(config, kind, bench.count, &mut of_kind).await,
                "pace" => pace::accuracy(config, kind, &mut of_kind).await,
                "read" => reads::rate(config, kind, bench.count, &mut of_kind).await,
                "list" => reads::lists(config, kind, bench.count, &mut of_kind).await,
                "many" => fairness::among_many(config, kind, bench.count, &mut of_kind).await,
                "ones" => fairness::of_one(config, kind, bench.count, &mut of_kind).await,
                "sockets" => sockets::idle(config, kind, bench.count, &mut of_kind).await,
                "crm" => crm::frontend(config, kind, bench.count, &mut of_kind).await,
                other => bail!("{other:?} cannot be measured"),
            };
            done.with_context(|| format!("bench {what}, {}", kind.name()))?;
        }
        figures.append(&mut of_kind.all);
    }
    print(&figures, bench.json.as_deref())
}

fn print(figures: &[Figure], json: Option<&std::path::Path>) -> Result<()> {
    if let Some(path) = json {
        std::fs::write(path, serde_json::to_string_pretty(figures)?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    say!("{:<9} {:<52} {:>12} {:<11} note", "set-up", "what", "value", "unit");
    for f in figures {
        let note = f.note.as_deref().unwrap_or("");
        say!("{:<9} {:<52} {:>12.1} {:<11} {note}", f.setup, f.what, f.value, f.unit);
    }
    Ok(())
}

/// The value below which this share of the measurements lies.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(((last as f64) * share).round() as usize).copied().unwrap_or(f64::NAN)
}
