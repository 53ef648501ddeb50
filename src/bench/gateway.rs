//! The gateway: what it takes durably, and what a message costs on its whole way there.

use super::Figures;
use super::load::Sink;
use crate::config::Config;
use crate::rig::{self, CONCURRENCY, Kind, Setup};
use anyhow::{Context, Result, bail};
use futures::{StreamExt, stream};
use gateway::{SIGNATURE_HEADER, Signer, TIMESTAMP_HEADER};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime};

/// How many messages are sent.
const MESSAGES: usize = 20_000;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// A gateway of its own over the simulated network, under 64 clients; then one inside `serve` that sends a campaign.
pub(super) async fn rate(config: &Config, kind: Kind, count: Option<usize>, figures: &mut Figures) -> Result<()> {
    if kind == Kind::Split {
        return Ok(());
    }
    let messages = count.unwrap_or(MESSAGES);
    for synchronous in ["full", "normal"] {
        alone(config, messages, synchronous, figures).await?;
    }
    for synchronous in ["full", "normal"] {
        // Empty is as good as absent: the gateway is inside.
        let more = [
            ("GATEWAY_URL", String::new()),
            ("GATEWAY_SECRET", String::new()),
            ("SQLITE_SYNCHRONOUS", synchronous.to_owned()),
        ];
        let setup = Setup::start(config, kind, "", 1, &more).await?;
        let ids = setup.import(messages).await?;
        let body = json!({ "contactIds": ids, "content": "Hello {{ name }}" }).to_string();
        let began = Instant::now();
        let id = setup.post("/batch/send", body).await?;
        let done = setup.ended(&id).await?;
        if done["successCount"] != json!(messages) {
            bail!("not all messages were sent: {done}");
        }
        let rate = messages as f64 / began.elapsed().as_secs_f64();
        figures.add(format!("send {messages} through the gateway inside, {synchronous}"), rate, "messages/s");
        setup.stop().await?;
    }
    Ok(())
}

async fn alone(config: &Config, messages: usize, synchronous: &str, figures: &mut Figures) -> Result<()> {
    let sink = Sink::start(Duration::ZERO).await?;
    let more = [
        ("BACKEND_URL", sink.url()),
        ("GATEWAY_LISTEN", "127.0.0.1:0".into()),
        ("SQLITE_SYNCHRONOUS", synchronous.into()),
    ];
    let gateway = rig::Alone::start(config, "gateway", &more).await?;
    let client = reqwest::Client::builder().pool_max_idle_per_host(CONCURRENCY).tcp_nodelay(true).no_proxy().build()?;
    let signer = Signer::new(rig::SECRET.as_bytes()).context("a secret")?;
    let (url, began) = (format!("{}/send", gateway.url()), Instant::now());
    let refused = stream::iter(0..messages)
        .map(|n| {
            let body = json!({ "to": (60_123_000_000_u64 + n as u64).to_string(), "message": "Hello Contact", "backend_message_id": n }).to_string();
            let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let at = i64::try_from(at).unwrap_or_default();
            let request = client
                .post(&url)
                .header("content-type", "application/json")
                .header(TIMESTAMP_HEADER, at)
                .header(SIGNATURE_HEADER, signer.sign(at, body.as_bytes()))
                .body(body);
            tokio::spawn(async move { request.send().await.map(|answer| answer.status()) })
        })
        .buffer_unordered(CONCURRENCY)
        .filter(|done| futures::future::ready(!matches!(done, Ok(Ok(status)) if status.as_u16() == 202)))
        .count()
        .await;
    if refused > 0 {
        bail!("{refused} of {messages} messages were not taken");
    }
    figures.add(
        format!("/send of a gateway alone, {synchronous}"),
        messages as f64 / began.elapsed().as_secs_f64(),
        "202s/s",
    );
    let stats = format!("{}/sim/stats", gateway.url());
    loop {
        let sent: Value = client.get(&stats).send().await?.json().await?;
        if sent["sent"] == json!(messages) {
            break;
        }
        if began.elapsed() > PATIENCE {
            bail!("not all was sent: {sent}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let rate = messages as f64 / began.elapsed().as_secs_f64();
    figures.add(format!("the same, until the network had all, {synchronous}"), rate, "messages/s");
    figures.note(format!("{:.0} µs a message", 1e6 / rate));
    gateway.stop().await
}
