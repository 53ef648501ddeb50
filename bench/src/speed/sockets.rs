//! Sockets that only listen.

use super::Figures;
use super::load::Sink;
use crate::rig::{Environment, Kind, Setup};
use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::unbounded_channel;
use tokio_tungstenite::tungstenite::Message;

/// Sockets being opened at once.
const OPENING: usize = 64;

/// How long a broadcast may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The memory of so many idle sockets, and how long a change takes to reach all of them.
pub(super) async fn idle(
    environment: &Environment,
    kind: Kind,
    count: Option<usize>,
    figures: &mut Figures,
) -> Result<()> {
    let count = count.unwrap_or(10_000);
    let sink = Sink::start(Duration::ZERO).await?;
    let setup = Setup::start(environment, kind, &sink.url(), 1, &[]).await?;
    let before = setup.memory_mib("api")?;
    let url = format!("{}/ws?token={}", setup.url().replacen("http", "ws", 1), setup.token());
    let sockets: Vec<_> = stream::iter(0..count)
        .map(|_| tokio_tungstenite::connect_async(url.clone()))
        .buffer_unordered(OPENING)
        .try_collect()
        .await
        .context("a socket was not opened; are so many open files allowed (ulimit -n)?")?;
    let (saw, mut seen) = unbounded_channel();
    for (mut socket, _) in sockets {
        let saw = saw.clone();
        tokio::spawn(async move {
            while let Some(Ok(frame)) = socket.next().await {
                if let Message::Text(text) = frame
                    && text.contains("batch_update")
                {
                    saw.send(Instant::now()).ok();
                }
            }
        });
    }
    drop(saw);
    let memory = setup.memory_mib("api")?;
    figures.add(format!("{count} idle sockets"), memory - before, "MiB");
    figures.note(format!("the process has {memory:.0} MiB"));
    let body = json!({ "contactIds": ["1"], "content": "x", "scheduleAt": "2099-01-01T00:00:00Z" }).to_string();
    let began = Instant::now();
    setup.post("/batch/send", body).await?;
    let mut last = began;
    for nth in 0..count {
        match tokio::time::timeout(PATIENCE, seen.recv()).await {
            Ok(Some(at)) => last = last.max(at),
            _ => bail!("{} of {count} sockets heard nothing", count - nth),
        }
    }
    figures.add(
        format!("a change, from the request to all {count}"),
        last.duration_since(began).as_secs_f64() * 1000.0,
        "ms",
    );
    setup.stop().await
}
