//! `paceline soak`: real processes under load, with random faults, and an audit at the end.
//!
//! On the embedded set-up, or, where PostgreSQL and Redis are configured, on the split one with two workers: on a database
//! of its own, which is dropped at the end. The Redis must be one that nothing else uses. The seed decides what is asked
//! for and what goes wrong; when exactly is the machine's.

mod audit;
mod faults;
mod gateway;
mod load;

use crate::cli::Soak;
use crate::config::Config;
use crate::rig::{Kind, Setup, contacts};
use anyhow::{Context, Result, bail};
use faults::Faults;
use gateway::{Gateway, Mood};
use load::{CONTACTS, Users};
use serde_json::json;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// Between two requests of the users.
const BETWEEN: Duration = Duration::from_millis(60);

/// How long all that is under way may take to end once nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(300);

/// Soaks; exit code 1 when anything was lost, sent twice, or disagrees.
pub(crate) async fn run(config: &Config, soak: Soak) -> Result<ExitCode> {
    let split = config.database_url.is_some() && config.redis_url.is_some();
    let kind = if split { Kind::Split } else { Kind::Embedded };
    let seed = soak.seed.unwrap_or_else(rand::random);
    tell!("soak: {} set-up, {} minutes, seed {seed}", kind.name(), soak.minutes);
    let gateway = Gateway::start(seed).await?;
    // A port that stays the same when the API is started again.
    let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    let more = [
        ("LISTEN", format!("127.0.0.1:{port}")),
        ("SQLITE_SYNCHRONOUS", "normal".into()),
        ("LOG_LEVEL", std::env::var("PACELINE_LOG_LEVEL").unwrap_or_else(|_| "error".into())),
    ];
    let mut setup = Setup::start(config, kind, gateway.url(), 2, &more).await?;
    let import = setup.post("/batch/import", contacts(CONTACTS)?).await?;
    setup.ended(&import).await?;
    let few: Vec<String> = (1..=20).map(|id| id.to_string()).collect();
    let tags = json!({ "contactIds": few, "tags": ["few"], "operation": "add" });
    let tagged = setup.post("/batch/tags", tags.to_string()).await?;
    setup.ended(&tagged).await?;

    let mut users = Users::new(seed);
    let mut faults = Faults::new(seed);
    let end = Instant::now() + Duration::from_secs(60 * u64::from(soak.minutes));
    let mut strike_at = Instant::now() + faults.pause();
    while Instant::now() < end {
        users.act(&setup);
        faults.heal(&mut setup, &gateway, false).await?;
        if Instant::now() >= strike_at {
            faults.strike(&mut setup, kind, &gateway).await?;
            strike_at = Instant::now() + faults.pause();
        }
        tokio::time::sleep(BETWEEN).await;
    }
    faults.heal(&mut setup, &gateway, true).await?;
    gateway.be(Mood::Flawless);
    users.finish().await;
    let calm = Instant::now();
    // Not before: its connections would have been among those that are ended.
    let db = setup.ledger.open().await?.db;
    audit::resume_all(&setup, &db).await?;
    audit::all_ended(&db, PATIENCE).await.context("not everything came to its end")?;
    let took = calm.elapsed();
    let report = audit::audit(&db, &gateway, &users).await?;
    db.close().await;
    setup.stop().await?;

    tell!("faults:");
    for (fault, times) in &faults.done {
        tell!("  {times:>4}  {fault}");
    }
    tell!("{report}");
    tell!("all had ended {:.1} s after the last fault", took.as_secs_f64());
    if users.accepted.is_empty() || faults.done.is_empty() {
        bail!("nothing was tried: the minutes were too few for this machine");
    }
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
