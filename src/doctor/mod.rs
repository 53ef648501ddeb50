//! `paceline doctor`: what is wrong, and what to do.

use crate::config::Config;
use crate::{commands, store};
use anyhow::Result;
use domain::batches::send::OpenCircuit;
use domain::{Clock, batches};
use gateway::{ClientSettings, Gateway, HttpGateway};
use std::process::ExitCode;

/// A clock that is off by more is worth a word.
const CLOCK_MS: i64 = 500;

struct Report {
    failed: bool,
}

impl Report {
    #[expect(clippy::print_stdout, reason = "the command's answer")]
    fn line(&mut self, part: &str, finding: Result<String, String>) {
        match finding {
            Ok(text) => println!("ok    {part:<12} {text}"),
            Err(text) => {
                self.failed = true;
                println!("FAIL  {part:<12} {text}");
            }
        }
    }
}

/// How long one statement may take here: the audit reads the whole ledger.
const STATEMENT_SECS: u64 = 600;

/// Checks everything that can be checked from here; exit code 1 when something is wrong.
pub(crate) async fn run(config: &Config) -> Result<ExitCode> {
    let mut report = Report { failed: false };
    let patient = Config { database_statement_timeout_secs: STATEMENT_SECS, ..config.clone() };
    match store::open(&patient).await {
        Err(error) => report.line("database", Err(format!("{error:#}; check database_url and that it runs"))),
        Ok(db) => {
            let kind = if config.is_sqlite() { "SQLite" } else { "PostgreSQL" };
            report.line("database", Ok(kind.into()));
            match store::pending(&db).await {
                Ok(pending) if pending.is_empty() => {
                    report.line("migrations", Ok("all applied".into()));
                    let clock = Clock::machine();
                    let offset = clock.correct(db.now().await?);
                    report.line(
                        "clock",
                        if offset.abs() <= CLOCK_MS {
                            Ok(format!("{offset} ms from the database's"))
                        } else {
                            Err(format!("{offset} ms from the database's; run NTP on both"))
                        },
                    );
                    let findings = commands::audit(&db, &clock).await?;
                    if findings.is_empty() {
                        report.line("ledger", Ok("every batch's counts equal its items".into()));
                    }
                    for finding in findings {
                        report.line("ledger", Err(finding));
                    }
                    for open in batches::send::open_circuits(db.read()).await? {
                        let OpenCircuit { sender, until, reason } = open;
                        let text =
                            format!("messages wait: {reason}; the gateway is tried again at {}", until.to_rfc3339());
                        report.line("sender", Err(format!("{sender}: {text}")));
                    }
                }
                Ok(pending) => report.line(
                    "migrations",
                    Err(format!("{} pending ({}); run `paceline migrate up`", pending.len(), pending.join(", "))),
                ),
                Err(error) => report.line("migrations", Err(format!("{error:#}"))),
            }
            db.close().await;
        }
    }
    match &config.redis_url {
        None => report.line("redis", Ok("none: the queue is in the process".into())),
        Some(url) => match backplane::redis_info(url.expose()).await {
            Err(error) => report.line("redis", Err(format!("{error}; check redis_url and that it runs"))),
            Ok(info) => {
                let major: u32 = info.version.split('.').next().and_then(|n| n.parse().ok()).unwrap_or(0);
                report.line(
                    "redis",
                    if major < 7 {
                        Err(format!("version {}; BZMPOP needs 7 or later", info.version))
                    } else if info.maxmemory_policy != "noeviction" {
                        Err(format!(
                            "maxmemory-policy is {}; set noeviction, or rings vanish when memory is short",
                            info.maxmemory_policy
                        ))
                    } else {
                        Ok(format!("version {}", info.version))
                    },
                );
            }
        },
    }
    match (&config.gateway_url, &config.gateway_secret) {
        (Some(url), Some(secret)) => {
            let checked = match HttpGateway::new(&ClientSettings::new(url, secret.expose(), 1)) {
                Ok(gateway) => gateway.check().await,
                Err(error) => Err(error.to_string()),
            };
            report.line("gateway", checked.map(|()| "reachable".into()).map_err(|e| format!("{e}; check gateway_url")));
        }
        _ => report.line("gateway", Ok("the simulator: nothing is sent to anybody".into())),
    }
    Ok(if report.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
