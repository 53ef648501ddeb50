//! A soak: real processes under load, with random faults, and an audit at the end.
//!
//! On the embedded set-up, or, where PostgreSQL and Redis are configured, on the split one with two workers: on a database
//! of its own, which is dropped at the end. The Redis must be one that nothing else uses. The seed decides what is asked
//! for and what goes wrong; when exactly is the machine's.

mod audit;
mod faults;
mod gateway;
mod load;

use crate::rig::{Environment, Kind, Setup, contacts};
use anyhow::{Context, Result, bail};
use audit::AuditReport;
use faults::Faults;
use gateway::{Gateway, Mood};
use load::{CONTACTS, Users};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// Between two requests of the users.
const BETWEEN: Duration = Duration::from_millis(60);

/// How long all that is under way may take to end once nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a soak did and found.
#[derive(Debug)]
pub struct Soaked {
    faults: BTreeMap<&'static str, u32>,
    report: AuditReport,
    /// From the last fault until all had ended.
    calm: Duration,
}

impl Soaked {
    /// Whether nothing was lost, nothing was sent twice, and nothing disagrees.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.report.findings.is_empty()
    }
}

impl fmt::Display for Soaked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "faults:")?;
        for (fault, times) in &self.faults {
            writeln!(f, "  {times:>4}  {fault}")?;
        }
        writeln!(f, "{}", self.report)?;
        write!(f, "all had ended {:.1} s after the last fault", self.calm.as_secs_f64())
    }
}

/// Soaks for so many minutes. The seed decides the load and the faults; without one it is another each time. `begun` is
/// told what begins.
///
/// # Errors
/// A set-up that does not start, or does not come to its end; a soak too short for anything to be tried.
pub async fn soak(
    environment: &Environment,
    minutes: u32,
    seed: Option<u64>,
    begun: impl FnOnce(fmt::Arguments<'_>),
) -> Result<Soaked> {
    let kind = if environment.has_servers() { Kind::Split } else { Kind::Embedded };
    let seed = seed.unwrap_or_else(rand::random);
    begun(format_args!("soak: {} set-up, {minutes} minutes, seed {seed}", kind.name()));
    let gateway = Gateway::start(seed).await?;
    // A port that stays the same when the API is started again.
    let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    let more = [
        ("LISTEN", format!("127.0.0.1:{port}")),
        ("SQLITE_SYNCHRONOUS", "normal".into()),
        ("LOG_LEVEL", environment.log_level("error")),
    ];
    let mut setup = Setup::start(environment, kind, gateway.url(), 2, &more).await?;
    let import = setup.post("/batch/import", contacts(CONTACTS)?).await?;
    setup.ended(&import).await?;
    let few: Vec<String> = (1..=20).map(|id| id.to_string()).collect();
    let tags = json!({ "contactIds": few, "tags": ["few"], "operation": "add" });
    let tagged = setup.post("/batch/tags", tags.to_string()).await?;
    setup.ended(&tagged).await?;

    let mut users = Users::new(seed);
    let mut faults = Faults::new(seed);
    let end = Instant::now() + Duration::from_secs(60 * u64::from(minutes));
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
    let db = setup.ledger.open().await?;
    audit::resume_all(&setup, &db).await?;
    audit::all_ended(&db, PATIENCE).await.context("not everything came to its end")?;
    let took = calm.elapsed();
    let report = audit::audit(&db, &gateway, &users).await?;
    db.close().await;
    setup.stop().await?;

    if users.accepted.is_empty() || faults.done.is_empty() {
        bail!("nothing was tried: the minutes were too few for this machine");
    }
    Ok(Soaked { faults: faults.done, report, calm: took })
}
