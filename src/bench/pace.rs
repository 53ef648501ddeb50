//! How exactly a batch's pace is kept.

use super::Figures;
use super::load::Sink;
use crate::config::Config;
use crate::rig::{Kind, Setup};
use anyhow::{Result, bail};
use serde_json::json;
use std::time::{Duration, Instant};

/// Messages a minute, and how many are sent.
const RATES: [(u32, usize); 3] = [(600, 120), (6_000, 1_200), (60_000, 12_000)];

/// Sends at several paces over four workers (the embedded set-up has one process) and compares the receiver's times.
pub(super) async fn accuracy(config: &Config, kind: Kind, figures: &mut Figures) -> Result<()> {
    let sink = Sink::start(Duration::ZERO).await?;
    let setup = Setup::start(config, kind, &sink.url(), 4, &[]).await?;
    let most = RATES.iter().map(|(_, messages)| *messages).max().unwrap_or(0);
    let ids = setup.import(most).await?;
    for (rate, messages) in RATES {
        let body = json!({ "contactIds": ids[..messages], "content": "Hello", "ratePerMinute": rate }).to_string();
        sink.arrivals();
        let id = setup.post("/batch/send", body).await?;
        setup.ended(&id).await?;
        let mut at = sink.arrivals();
        at.sort_unstable();
        let (Some(first), Some(last)) = (at.first(), at.last()) else { bail!("nothing was sent") };
        let per_second = f64::from(rate) / 60.0;
        let took = last.duration_since(*first).as_secs_f64();
        let reached = (at.len() - 1) as f64 / took;
        figures.add(format!("{rate} a minute: under the pace by"), 100.0 * (1.0 - reached / per_second), "%");
        figures.add(format!("{rate} a minute: most over it in any window"), excess(&at, per_second), "messages");
    }
    setup.stop().await
}

/// The most messages that any window has beyond `rate × window + 1`, as the receiver saw them: the way there varies,
/// so that it may be a little above nothing where the sender never was.
fn excess(at: &[Instant], per_second: f64) -> f64 {
    let Some(first) = at.first() else { return 0.0 };
    let mut lowest = f64::INFINITY;
    let mut most = 0.0_f64;
    for (i, time) in at.iter().enumerate() {
        let ahead = i as f64 - per_second * time.duration_since(*first).as_secs_f64();
        lowest = lowest.min(ahead);
        most = most.max(ahead - lowest);
    }
    most
}
