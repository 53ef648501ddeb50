//! The CRM's frontend: lists, histories, replies and streams, over a history of a million messages.

use super::load::Sink;
use super::{Figures, percentile};
use crate::rig::{Environment, Kind, SECRET, Setup};
use anyhow::{Context, Result, bail};
use domain::db::{self, Dialect};
use futures::{StreamExt, TryStreamExt, stream};
use gateway::{SIGNATURE_HEADER, Signer, TIMESTAMP_HEADER};
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::unbounded_channel;

/// How many customers share the messages.
const CUSTOMERS: usize = 10_000;

/// How often each request is asked.
const ASKED: usize = 300;

/// How many streams are open at once.
const STREAMS: usize = 1_000;

/// Streams being opened at once.
const OPENING: usize = 32;

/// How long an event may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lists, histories, replies and streams.
pub(super) async fn frontend(
    environment: &Environment,
    kind: Kind,
    count: Option<usize>,
    figures: &mut Figures,
) -> Result<()> {
    let messages = count.unwrap_or(1_000_000).max(CUSTOMERS);
    let sink = Sink::start(Duration::ZERO).await?;
    let setup = Setup::start(environment, kind, &sink.url(), 1, &[]).await?;
    setup.import(CUSTOMERS).await?;
    fill(&setup, messages).await?;

    // All over the customers, so that nothing is read twice in a row.
    let customer = |nth: usize| (nth * 7_919) % CUSTOMERS + 1;
    let lists = [
        ("/customers/summary", "1,000 rows"),
        ("/customers/summary?limit=50", "50 rows"),
        ("/customers/", "1,000 rows"),
    ];
    for (path, rows) in lists {
        let took = timed(async |_| setup.get(path).await.map(drop)).await?;
        figures.add(format!("GET {path}, p95"), percentile(&took, 0.95), "ms");
        figures.note(format!("{rows}; {CUSTOMERS} customers, {messages} messages"));
    }
    let page = async |nth: usize| setup.get(&format!("/messages/{}?limit=50", customer(nth))).await.map(drop);
    figures.add("GET /messages/{id}, a page of 50, p95", percentile(&timed(page).await?, 0.95), "ms");
    let reply = async |nth: usize| {
        let body = json!({ "customer_id": customer(nth), "content": "Hello" });
        setup.request(Method::POST, "/messages/send").json(&body).send().await?.error_for_status()?;
        Ok(())
    };
    figures.add("POST /messages/send, p95", percentile(&timed(reply).await?, 0.95), "ms");
    streams(&setup, figures).await?;
    setup.stop().await
}

/// How long each of [`ASKED`] requests takes, in milliseconds, sorted.
async fn timed(ask: impl AsyncFn(usize) -> Result<()>) -> Result<Vec<f64>> {
    let mut took = Vec::with_capacity(ASKED);
    for nth in 0..ASKED {
        let began = Instant::now();
        ask(nth).await?;
        took.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    took.sort_by(f64::total_cmp);
    Ok(took)
}

/// How fast streams open, what a thousand of them take, and how fast an event reaches all.
async fn streams(setup: &Setup, figures: &mut Figures) -> Result<()> {
    let before = setup.memory_mib("api")?;
    let open = async |_: usize| {
        let began = Instant::now();
        let request = setup.request(Method::GET, "/messages/events/stream").timeout(PATIENCE * 10);
        let mut answer = request.send().await?.error_for_status()?;
        // The first words are there, not only the head.
        answer.chunk().await?.context("a stream ended at once")?;
        Ok::<_, anyhow::Error>((answer, began.elapsed().as_secs_f64() * 1_000.0))
    };
    let opened: Vec<_> = stream::iter(0..STREAMS)
        .map(open)
        .buffer_unordered(OPENING)
        .try_collect()
        .await
        .context("a stream was not opened; are so many open files allowed (ulimit -n)?")?;
    let (saw, mut seen) = unbounded_channel();
    let mut connected = Vec::with_capacity(STREAMS);
    for (mut answer, took) in opened {
        connected.push(took);
        let saw = saw.clone();
        tokio::spawn(async move {
            while let Ok(Some(text)) = answer.chunk().await {
                if text.windows(15).any(|part| part == b"inbound_message") {
                    saw.send(Instant::now()).ok();
                }
            }
        });
    }
    drop(saw);
    connected.sort_by(f64::total_cmp);
    figures.add(format!("a stream opened, of {STREAMS}, p95"), percentile(&connected, 0.95), "ms");
    figures.note(format!("{OPENING} opening at a time"));
    let memory = setup.memory_mib("api")?;
    figures.add(format!("{STREAMS} idle streams"), memory - before, "MiB");
    figures.note(format!("the process has {memory:.0} MiB"));

    let body = json!({ "phone": "601110000000", "content": "Hello", "whatsapp_id": "bench" }).to_string();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let signature = Signer::new(SECRET.as_bytes()).context("a secret")?.sign(now, body.as_bytes());
    let request = setup.request(Method::POST, "/messages/inbox").header("content-type", "application/json");
    let request = request.header(TIMESTAMP_HEADER, now).header(SIGNATURE_HEADER, signature).body(body);
    let began = Instant::now();
    request.send().await?.error_for_status()?;
    let mut last = began;
    for nth in 0..STREAMS {
        match tokio::time::timeout(PATIENCE, seen.recv()).await {
            Ok(Some(at)) => last = last.max(at),
            _ => bail!("{} of {STREAMS} streams heard nothing", STREAMS - nth),
        }
    }
    let took = last.duration_since(began).as_secs_f64() * 1_000.0;
    figures.add(format!("a customer's message, from the gateway to all {STREAMS}"), took, "ms");
    Ok(())
}

/// Writes a history straight into the ledger: what gateways and workers would have left there.
async fn fill(setup: &Setup, messages: usize) -> Result<()> {
    let ledger = setup.ledger.open().await?;
    let conn = ledger.write();
    let (numbers, uuid) = match Dialect::of(conn) {
        Dialect::Postgres => {
            (format!("generate_series(0, {messages} - 1) AS numbers(n)"), "gen_random_uuid()".to_owned())
        }
        Dialect::Sqlite => (
            format!(
                "(WITH RECURSIVE counted(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM counted WHERE n + 1 < {messages})
                  SELECT n FROM counted) AS numbers"
            ),
            // As a UUID is written; which one does not matter.
            "printf('%08x-0000-4000-8000-%012x', n, n)".to_owned(),
        ),
    };
    let statements = [
        format!(
            "INSERT INTO messages (uuid, contact_id, direction, content, status, ack, created_at)
             SELECT {uuid}, n % {CUSTOMERS} + 1, CASE WHEN n % 3 = 0 THEN 'inbound' ELSE 'outbound' END,
                    'A message of about the length that people write to one another.',
                    CASE WHEN n % 3 = 0 THEN 'received' ELSE 'read' END, 3, 1760000000000 + n FROM {numbers}"
        ),
        "INSERT INTO contact_activity (contact_id, last_message_at)
         SELECT contact_id, max(created_at) FROM messages GROUP BY contact_id"
            .to_owned(),
        "ANALYZE".to_owned(),
    ];
    for statement in statements {
        db::execute(conn, statement, []).await?;
    }
    ledger.close().await;
    Ok(())
}
