//! How exactly a batch's pace is kept.

use super::Figures;
use super::load::Sink;
use crate::rig::{Environment, Kind, Setup};
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

/// Messages a minute, and how many are sent.
const RATES: [(u32, usize); 3] = [(600, 120), (6_000, 1_200), (60_000, 12_000)];

/// How long anything may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// The pace at which two of the four workers are killed and started again, and how many are sent.
const KILLED_AT: (u32, usize) = (6_000, 3_000);

/// Sends at several paces over four workers (the embedded set-up has one process) and compares the receiver's times.
pub(super) async fn accuracy(environment: &Environment, kind: Kind, figures: &mut Figures) -> Result<()> {
    let sink = Sink::start(Duration::ZERO).await?;
    let mut setup = Setup::start(environment, kind, &sink.url(), 4, &[]).await?;
    let most = RATES.iter().map(|(_, messages)| *messages).max().unwrap_or(0);
    let ids = setup.import(most).await?;
    for (rate, messages) in RATES {
        let id = begin(&setup, &sink, &ids[..messages], rate).await?;
        setup.ended(&id).await?;
        compare(&sink, rate, "", figures)?;
    }
    if kind == Kind::Split {
        let (rate, messages) = KILLED_AT;
        let id = begin(&setup, &sink, &ids[..messages], rate).await?;
        for worker in [0, 1] {
            until(&sink, (worker + 1) * messages / 4).await?;
            setup.signal(worker, Signal::KILL)?;
            setup.wait(worker, PATIENCE).await?.context("it was killed")?;
        }
        until(&sink, messages * 5 / 8).await?;
        for worker in [0, 1] {
            setup.revive(worker).await?;
        }
        setup.ended(&id).await?;
        compare(&sink, rate, ", two of four workers killed and started", figures)?;
    }
    setup.stop().await
}

async fn begin(setup: &Setup, sink: &Sink, ids: &[String], rate: u32) -> Result<String> {
    let body = json!({ "contactIds": ids, "content": "Hello", "ratePerMinute": rate }).to_string();
    sink.arrivals();
    setup.post("/batch/send", body).await
}

/// Waits until so many messages came.
async fn until(sink: &Sink, count: usize) -> Result<()> {
    let began = Instant::now();
    while sink.arrived() < count {
        if began.elapsed() > PATIENCE {
            bail!("{} messages came, and no more", sink.arrived());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Compares when messages came with when they might.
fn compare(sink: &Sink, rate: u32, while_what: &str, figures: &mut Figures) -> Result<()> {
    let mut at = sink.arrivals();
    at.sort_unstable();
    let (Some(first), Some(last)) = (at.first(), at.last()) else { bail!("nothing was sent") };
    let per_second = f64::from(rate) / 60.0;
    let took = last.duration_since(*first).as_secs_f64();
    let reached = (at.len() - 1) as f64 / took;
    figures.add(format!("{rate} a minute{while_what}: under the pace by"), 100.0 * (1.0 - reached / per_second), "%");
    figures.add(
        format!("{rate} a minute{while_what}: most over it in any window"),
        excess(&at, per_second),
        "messages",
    );
    Ok(())
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
