//! Reads of the API.

use super::load::{self, Sink};
use super::{Figures, percentile};
use crate::rig::{CONCURRENCY, Environment, Kind, Setup};
use anyhow::Result;
use domain::db::{self, Dialect};
use serde_json::json;
use std::time::{Duration, Instant};

/// `GET /batch`, requests a second, beside a bare handler.
pub(super) async fn rate(
    environment: &Environment,
    kind: Kind,
    count: Option<usize>,
    figures: &mut Figures,
) -> Result<()> {
    let requests = count.unwrap_or(20_000);
    let sink = Sink::start(Duration::ZERO).await?;
    let setup = Setup::start(environment, kind, &sink.url(), 1, &[]).await?;
    for _ in 0..20 {
        let body = json!({ "contactIds": ["1"], "content": "x", "scheduleAt": "2099-01-01T00:00:00Z" }).to_string();
        setup.post("/batch/send", body).await?;
    }
    let url = format!("{}/batch", setup.url());
    load::get(&url, Some(setup.token()), requests / 10, CONCURRENCY).await?;
    let bare = load::get(&sink.url(), None, requests, CONCURRENCY).await?;
    let rate = load::get(&url, Some(setup.token()), requests, CONCURRENCY).await?;
    figures.add("GET /batch, a page of 20", rate, "requests/s");
    figures.add("the same, of a bare handler", 100.0 * rate / bare, "%");
    figures.note(format!("{bare:.0}/s bare"));
    setup.stop().await
}

/// Items of each batch that fills the ledger.
const BATCH: usize = 10_000;

/// Lists, statistics and items, with ten million items in the ledger.
pub(super) async fn lists(
    environment: &Environment,
    kind: Kind,
    count: Option<usize>,
    figures: &mut Figures,
) -> Result<()> {
    let items = count.unwrap_or(10_000_000);
    let sink = Sink::start(Duration::ZERO).await?;
    let setup = Setup::start(environment, kind, &sink.url(), 1, &[]).await?;
    let batches = items.div_ceil(BATCH).max(1);
    fill(&setup, batches).await?;
    for path in [
        "/batch".to_owned(),
        format!("/batch?type=SEND&status=COMPLETED&offset={}", batches / 2),
        "/batch/stats".into(),
        format!("/batch/{}", batches / 2),
        format!("/batch/{}/items?limit=50", batches / 2),
        format!("/batch/{}/items?status=failed&limit=50", batches / 2),
    ] {
        let mut took = Vec::new();
        for _ in 0..300 {
            let began = Instant::now();
            setup.get(&path).await?;
            took.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        took.sort_by(f64::total_cmp);
        figures.add(format!("GET {path}, p95"), percentile(&took, 0.95), "ms");
    }
    figures.note(format!("{} items in {batches} batches", batches * BATCH));
    setup.stop().await
}

/// Writes ended batches straight into the ledger: what their workers would have left there.
async fn fill(setup: &Setup, batches: usize) -> Result<()> {
    let db = setup.ledger.open().await?;
    let conn = db.write();
    let numbers = |to: &str| match Dialect::of(conn) {
        Dialect::Postgres => format!("(SELECT generate_series(0, {to} - 1)::bigint AS n) AS numbers"),
        Dialect::Sqlite => format!(
            "(WITH RECURSIVE counted(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM counted WHERE n + 1 < {to})
              SELECT n FROM counted) AS numbers"
        ),
    };
    let chunks = BATCH.div_ceil(500);
    db::execute(
        conn,
        format!(
            "INSERT INTO batches (type, status, created_by, config, content, total, succeeded, failed, expanded, chunk_count,
                                  next_chunk, created_at, started_at, completed_at)
             SELECT 'SEND', 'COMPLETED', 1, '{{}}', 'Hello', {BATCH}, {BATCH} - {BATCH} / 100, {BATCH} / 100, TRUE, {chunks},
                    {chunks}, $1 + n, $1 + n, $1 + n + 60000 FROM {}",
            numbers(&batches.to_string())
        ),
        [1_760_000_000_000_i64.into()],
    )
    .await?;
    let mut done = 0;
    while done < batches {
        let some = (batches - done).min(50);
        db::execute(
            conn,
            format!(
                "INSERT INTO messages (batch_id, seq, contact_id, item_status, attempts, fence, error_code, error_message,
                                       direction, status, created_at, started_at, finished_at)
                 SELECT {done} + 1 + n / {BATCH}, n % {BATCH}, n, CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'succeeded' END, 1, 1,
                        CASE WHEN n % 100 = 0 THEN 'gateway_404' END, CASE WHEN n % 100 = 0 THEN 'not found' END,
                        'outbound', CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'sent' END, 1760000000000, 1760000000000,
                        1760000000000 FROM {}",
                numbers(&(some * BATCH).to_string())
            ),
            [],
        )
        .await?;
        done += some;
    }
    db::execute(conn, "ANALYZE", []).await?;
    db.close().await;
    Ok(())
}
