//! The gateway: what it takes durably, and what a message costs on its whole way there.

use super::Figures;
use super::load::Sink;
use crate::rig::{self, CONCURRENCY, Environment, Kind, Setup};
use anyhow::{Context, Result, bail};
use futures::{StreamExt, stream};
use gateway::{SIGNATURE_HEADER, Signer, TIMESTAMP_HEADER};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime};

/// How many messages are sent.
const MESSAGES: usize = 20_000;

/// How many messages a campaign through all processes has, and how often worker and gateway are killed in it.
const CAMPAIGN: usize = 100_000;
const KILLS: usize = 10;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// A gateway of its own over the simulated network, under 64 clients; then one inside `serve` that sends a campaign; and,
/// split, a campaign through a process for each role, left alone and with ten kills.
pub(super) async fn rate(
    environment: &Environment,
    kind: Kind,
    count: Option<usize>,
    figures: &mut Figures,
) -> Result<()> {
    if kind == Kind::Split {
        let messages = count.unwrap_or(CAMPAIGN);
        campaign(environment, messages, 0, figures).await?;
        return campaign(environment, messages, KILLS, figures).await;
    }
    let messages = count.unwrap_or(MESSAGES);
    for synchronous in ["full", "normal"] {
        alone(environment, messages, synchronous, figures).await?;
    }
    for synchronous in ["full", "normal"] {
        // Empty is as good as absent: the gateway is inside.
        let more = [
            ("GATEWAY_URL", String::new()),
            ("GATEWAY_SECRET", String::new()),
            ("SQLITE_SYNCHRONOUS", synchronous.to_owned()),
        ];
        let setup = Setup::start(environment, kind, "", 1, &more).await?;
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

/// A campaign through api, worker, scheduler and gateway, each a process of its own, while worker and gateway are killed in
/// turn. Fails when anything is lost, or went out twice.
async fn campaign(environment: &Environment, messages: usize, kills: usize, figures: &mut Figures) -> Result<()> {
    // Workers are told once where it is, so it is there again after a kill. Nobody else takes a port that was just let go.
    let listen = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let mut setup = Setup::start(environment, Kind::Split, &format!("http://{listen}"), 1, &[]).await?;
    let more = [("BACKEND_URL", setup.url().to_owned()), ("GATEWAY_LISTEN", listen)];
    let mut gateway = rig::Alone::start(environment, "gateway", &more).await?;
    let ids = setup.import(messages).await?;
    let body = json!({ "contactIds": ids, "content": "Hello {{ name }}" }).to_string();
    let (began, others, own) = (Instant::now(), setup.processor_time()?, gateway.processor_time()?);
    let id = setup.post("/batch/send", body).await?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let stats = format!("{}/sim/stats", gateway.url());
    let stats = async || Ok::<Value, anyhow::Error>(client.get(&stats).send().await?.json().await?);
    for kill in 0..kills {
        let some = messages * (kill + 1) / (kills + 2);
        while stats().await?["sent"].as_u64() < Some(some as u64) {
            if began.elapsed() > PATIENCE {
                bail!("it does not go on after {kill} kills: {}", stats().await?);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match kill % 2 {
            0 => {
                setup.signal(WORKER, Signal::KILL)?;
                setup.wait(WORKER, PATIENCE).await?;
                setup.revive(WORKER).await?;
            }
            _ => gateway.again().await?,
        }
    }
    let done = setup.ended(&id).await?;
    // The gateway has all of them; the network gets the last ones a moment later.
    while stats().await?["sent"].as_u64() < Some(messages as u64) && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let rate = messages as f64 / began.elapsed().as_secs_f64();
    let seen = stats().await?;
    if done["successCount"] != json!(messages) || seen["sent"] != json!(messages) || seen["duplicates"] != json!(0) {
        bail!("something was lost, or sent twice: {done}, {seen}");
    }
    figures.add(format!("a campaign of {messages} through all processes, {kills} kills"), rate, "messages/s");
    figures.note(format!("0 duplicates; {} asked for again under their id", seen["repeats"]));
    if kills == 0 {
        let (others, own) = (setup.processor_time()? - others, gateway.processor_time()? - own);
        let share = 100.0 * own.as_secs_f64() / (own + others).as_secs_f64();
        figures.add("the gateway's share of the processes' processor time", share, "%");
        figures.note(format!("{:.0} µs a message, PostgreSQL not counted", 1e6 * own.as_secs_f64() / messages as f64));
    }
    gateway.stop().await?;
    setup.stop().await
}

/// Which part of a set-up the one worker is.
const WORKER: usize = 0;

async fn alone(environment: &Environment, messages: usize, synchronous: &str, figures: &mut Figures) -> Result<()> {
    let sink = Sink::start(Duration::ZERO).await?;
    let more = [
        ("BACKEND_URL", sink.url()),
        ("GATEWAY_LISTEN", "127.0.0.1:0".into()),
        ("SQLITE_SYNCHRONOUS", synchronous.into()),
    ];
    let gateway = rig::Alone::start(environment, "gateway", &more).await?;
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
