//! The installation, as the console and the API show it: what `paceline doctor` checks and is cheap to check.

use crate::config::Config;
use anyhow::Result;
use backplane::RedisInfo;
use domain::delivery::send::{self, OpenCircuit};
use domain::jobs::{self, Unknown};
use domain::queue::system::{Check, Inspect, Setting, System};
use domain::{Clock, Db};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long one look may take.
const WITHIN: Duration = Duration::from_secs(2);

/// How many kinds of jobs of another release are told of.
const MAX_UNKNOWN: u64 = 20;

/// How full a disk may be, in percent.
const DISK_FULL: u64 = 90;

/// Looks at the installation when it is asked to.
pub(crate) fn inspect(config: &Config, settings: Vec<Setting>, db: &Db, clock: &Clock) -> Inspect {
    let (config, db, clock) = (config.clone(), db.clone(), clock.clone());
    Arc::new(move || {
        let (config, db, clock, settings) = (config.clone(), db.clone(), clock.clone(), settings.clone());
        Box::pin(async move {
            let (database, redis) = tokio::join!(database(&db, &clock, config.is_sqlite()), redis(&config));
            let checks = database.into_iter().chain([redis]).chain(disk(&config)).collect();
            System { checks, migrations: store::steps(), settings }
        })
    })
}

fn check(part: &str, found: Result<String, String>) -> Check {
    let fine = found.is_ok();
    Check { part: part.into(), fine, text: found.unwrap_or_else(|wrong| wrong) }
}

async fn database(db: &Db, clock: &Clock, embedded: bool) -> Vec<Check> {
    let mut checks = Vec::new();
    let schema =
        match timeout(WITHIN, async { Ok::<_, anyhow::Error>((store::pending(db).await?, store::unknown(db).await?)) })
            .await
        {
            Err(_) => Err("the database does not answer".to_owned()),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Ok(Ok((pending, unknown))) if pending.is_empty() && unknown.is_empty() => Ok("all applied".to_owned()),
            Ok(Ok((pending, unknown))) if unknown.is_empty() => {
                Err(format!("{} pending ({}); run `paceline migrate up`", pending.len(), pending.join(", ")))
            }
            Ok(Ok((_, unknown))) => Err(store::newer(&unknown)),
        };
    checks.push(check("database", Ok(if embedded { "SQLite" } else { "PostgreSQL" }.into())));
    checks.push(check("migrations", schema));
    match timeout(WITHIN, ledger(db, clock)).await {
        Ok(Ok(found)) => checks.extend(found),
        Ok(Err(error)) => checks.push(check("database", Err(error.to_string()))),
        Err(_) => checks.push(check("database", Err("the database does not answer".into()))),
    }
    checks
}

async fn ledger(db: &Db, clock: &Clock) -> Result<Vec<Check>> {
    let apart = (db.now().await?.0 - clock.now().0).abs();
    let text = format!("{apart} ms from the database's");
    let mut checks =
        vec![check("clock", if apart <= 500 { Ok(text) } else { Err(format!("{text}; run NTP on both")) })];
    for Unknown { kind, lane, version, jobs, since } in jobs::unknown_among(db.read(), MAX_UNKNOWN).await? {
        let since = since.to_rfc3339();
        let text = format!(
            "{jobs} of kind {kind:?} (lane {lane}, version {version}), due since {since}: only another release knows them"
        );
        checks.push(check("jobs", Err(text)));
    }
    for OpenCircuit { sender, until, reason } in send::open_circuits(db.read()).await? {
        let text = format!("{sender}: messages wait: {reason}; the gateway is tried again at {}", until.to_rfc3339());
        checks.push(check("sender", Err(text)));
    }
    Ok(checks)
}

async fn redis(config: &Config) -> Check {
    let Some(url) = &config.redis_url else { return check("redis", Ok("none: the queue is in the process".into())) };
    let found = match timeout(WITHIN, backplane::redis_info(url.expose())).await {
        Err(_) => Err("it does not answer".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(info)) => healthy(&info),
    };
    check("redis", found)
}

/// Whether a Redis is of a release and with a policy that Paceline can use.
pub(crate) fn healthy(info: &RedisInfo) -> Result<String, String> {
    let major: u32 = info.version.split('.').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    if major < 7 {
        Err(format!("version {}; BZMPOP needs 7 or later", info.version))
    } else if info.maxmemory_policy != "noeviction" {
        let policy = &info.maxmemory_policy;
        Err(format!("maxmemory-policy is {policy}; set noeviction, or rings vanish when memory is short"))
    } else {
        Ok(format!("version {}", info.version))
    }
}

/// The disk that the process keeps its files on; nothing where that cannot be told.
fn disk(config: &Config) -> Option<Check> {
    let stat = rustix::fs::statvfs(&config.data_dir).ok().filter(|stat| stat.f_blocks > 0)?;
    let used = (stat.f_blocks - stat.f_bavail.min(stat.f_blocks)) * 100 / stat.f_blocks;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize) / (1 << 20);
    let text = format!("{used}% used, {free} MiB free");
    Some(check("disk", if used < DISK_FULL { Ok(text) } else { Err(format!("{text}; make room")) }))
}
