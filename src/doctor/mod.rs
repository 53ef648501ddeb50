//! `paceline doctor`: what is wrong, and what to do; and the same as a job, for the console and the API.

mod resend;
mod sent;

use self::sent::Source;
use crate::cli::Doctor;
use crate::commands;
use crate::config::Config;
use anyhow::Result;
use domain::delivery::send::{self, OpenCircuit};
use domain::jobs::{self, Unknown};
use domain::queue::system::{Check, ExaminationEvent, ExaminationSink, Examine};
use domain::{Clock, Db, GatewayId, Timestamp, gateways};
use gateway::{ClientSettings, Gateway, HttpGateway, Identity};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use uuid::Uuid;

/// A clock that is off by more is worth a word.
const CLOCK_MS: i64 = 500;

/// How many kinds of jobs of another release are listed.
const MAX_UNKNOWN: u64 = 20;

/// What was found, told as it is found.
struct Findings {
    failed: bool,
    tell: ExaminationSink,
}

impl Findings {
    fn line(&mut self, part: &str, finding: Result<String, String>) {
        let fine = finding.is_ok();
        self.failed |= !fine;
        (self.tell)(ExaminationEvent::Found(Check {
            part: part.into(),
            fine,
            text: finding.unwrap_or_else(|wrong| wrong),
        }));
    }

    fn looks_at(&self, part: &'static str) {
        (self.tell)(ExaminationEvent::LooksAt(part));
    }
}

/// Prints what is found, a line each. Who reads no further has seen enough; what was found by then is the answer.
fn print() -> ExaminationSink {
    let failed = AtomicBool::new(false);
    Arc::new(move |told| {
        let ExaminationEvent::Found(Check { part, fine, text }) = told else { return };
        let failed = failed.fetch_or(!fine, Ordering::AcqRel) || !fine;
        let word = if fine { "ok  " } else { "FAIL" };
        if crate::out::line(format_args!("{word}  {part:<12} {text}")).is_err() {
            std::process::exit(i32::from(failed));
        }
    })
}

/// How long one statement may take here: the audit reads the whole ledger.
const STATEMENT_SECS: u64 = 600;

/// Checks everything that can be checked from here; exit code 1 when something is wrong.
pub(crate) async fn run(config: &Config, doctor: Doctor) -> Result<ExitCode> {
    let mut report = Findings { failed: false, tell: print() };
    let db = database(config, &mut report).await?;
    redis(config, &mut report).await;
    gateway(config, &mut report, db.as_ref(), doctor).await?;
    if let Some(db) = db {
        db.close().await;
    }
    Ok(if report.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The same for a job of a process: it changes nothing, and tells what it finds.
pub(crate) fn examine(config: &Config, db: &Db) -> Examine {
    let (config, db) = (config.clone(), db.clone());
    Examine(Arc::new(move |tell| {
        let (config, db) = (config.clone(), db.clone());
        Box::pin(async move {
            let mut report = Findings { failed: false, tell };
            if let Err(error) = all(&config, &db, &mut report).await {
                report.line("doctor", Err(format!("went no further: {error:#}")));
            }
        })
    }))
}

async fn all(config: &Config, db: &Db, report: &mut Findings) -> Result<()> {
    // The process has SQLite's file open, and who opens it once more in the same process would give its locks away when he
    // closes it. On PostgreSQL statements may take longer over connections of their own.
    let opened = if config.is_sqlite() {
        present(config, db, report).await?.then(|| db.clone())
    } else {
        database(config, report).await?
    };
    redis(config, report).await;
    let done = gateway(config, report, opened.as_ref(), Doctor::default()).await;
    if let Some(opened) = opened.filter(|_| !config.is_sqlite()) {
        opened.close().await;
    }
    done
}

/// The database, if it can be read: its schema, its clock, what it holds.
async fn database(config: &Config, report: &mut Findings) -> Result<Option<Db>> {
    report.looks_at("database");
    let patient = Config { database_statement_timeout_secs: STATEMENT_SECS, ..config.clone() };
    let db = match store::open_present(&patient.store()).await {
        Ok(db) => db,
        Err(error) => {
            let hint = if config.is_sqlite() { "" } else { "; check database_url and that it runs" };
            report.line("database", Err(format!("{error:#}{hint}")));
            return Ok(None);
        }
    };
    if present(config, &db, report).await? {
        return Ok(Some(db));
    }
    db.close().await;
    Ok(None)
}

/// A database that is there: whether it can be read, and what it holds.
async fn present(config: &Config, db: &Db, report: &mut Findings) -> Result<bool> {
    report.line("database", Ok(if config.is_sqlite() { "SQLite" } else { "PostgreSQL" }.into()));
    match store::unknown(db).await {
        Ok(unknown) if unknown.is_empty() => {}
        Ok(unknown) => {
            report.line("migrations", Err(store::newer(&unknown)));
            return Ok(false);
        }
        Err(error) => report.line("migrations", Err(format!("{error:#}"))),
    }
    match store::pending(db).await {
        Ok(pending) if pending.is_empty() => {
            report.line("migrations", Ok("all applied".into()));
            ledger(db, report).await?;
            return Ok(true);
        }
        Ok(pending) => {
            let text = format!("{} pending ({}); run `paceline migrate up`", pending.len(), pending.join(", "));
            report.line("migrations", Err(text));
        }
        Err(error) => report.line("migrations", Err(format!("{error:#}"))),
    }
    Ok(false)
}

/// Whether the ledger agrees with itself, and with the clock here.
async fn ledger(db: &Db, report: &mut Findings) -> Result<()> {
    let clock = Clock::machine();
    let offset = clock.correct(db.now().await?);
    let text = format!("{offset} ms from the database's");
    report.line("clock", if offset.abs() <= CLOCK_MS { Ok(text) } else { Err(format!("{text}; run NTP on both")) });
    report.looks_at("ledger");
    let findings = commands::audit(db, &clock).await?;
    if findings.is_empty() {
        report.line("ledger", Ok("every batch's counts equal its items".into()));
    }
    for finding in findings {
        report.line("ledger", Err(finding));
    }
    report.looks_at("jobs");
    for unknown in jobs::unknown(db.read(), MAX_UNKNOWN).await? {
        let Unknown { kind, lane, version, jobs, since } = unknown;
        let text = format!(
            "{jobs} of kind {kind:?} (lane {lane}, version {version}), the oldest due since {}: only another release knows \
             them; they are parked, and go on by themselves once that release runs again",
            since.to_rfc3339()
        );
        report.line("jobs", Err(text));
    }
    for open in send::open_circuits(db.read()).await? {
        let OpenCircuit { sender, until, reason } = open;
        let text = format!("messages wait: {reason}; the gateway is tried again at {}", until.to_rfc3339());
        report.line("sender", Err(format!("{sender}: {text}")));
    }
    Ok(())
}

async fn redis(config: &Config, report: &mut Findings) {
    report.looks_at("redis");
    let Some(url) = &config.redis_url else {
        return report.line("redis", Ok("none: the queue is in the process".into()));
    };
    let info = match backplane::redis_info(url.expose()).await {
        Ok(info) => info,
        Err(error) => return report.line("redis", Err(format!("{error}; check redis_url and that it runs"))),
    };
    report.line("redis", crate::system::healthy(&info));
}

/// The gateway, and whether it has what the ledger says.
async fn gateway(config: &Config, report: &mut Findings, db: Option<&Db>, doctor: Doctor) -> Result<()> {
    report.looks_at("gateway");
    let (Some(url), Some(secret)) = (&config.gateway_url, &config.gateway_secret) else {
        let has_store = config.data_dir.join(gateway::server::FILE).is_file();
        let text = if has_store || config.is_sqlite() {
            "inside `serve`, with a store in data_dir"
        } else {
            "none: a worker starts without one only with gateway_transport = \"simulator\", which sends nothing to anybody"
        };
        report.line("gateway", Ok(text.into()));
        match db {
            Some(db) if has_store => {
                let transport = config.transport().name();
                let name = gateway::server::identity(&config.data_dir, transport).await?;
                let told = name.map(|name| Identity { name, transport: Some(transport.into()) });
                look(config, report, db, &Source::Dir(&config.data_dir), told, doctor).await?;
            }
            _ => report.line("messages", Ok("not compared: there is no gateway's store in data_dir".into())),
        }
        return Ok(());
    };
    let hint = |error| format!("{error}; check gateway_url");
    // As the worker signs: by the database's clock, where there is a database.
    let clock = Clock::machine();
    if let Some(db) = db {
        match db.now().await {
            Ok(now) => drop(clock.correct(now)),
            Err(error) => report.line("clock", Err(format!("the database's is not read: {error}"))),
        }
    }
    let settings = ClientSettings {
        clock: Arc::new(move || clock.now().0 / 1_000),
        old_signature: config.gateway_old_signature,
        ..ClientSettings::new(url, secret.expose(), 1)
    };
    match HttpGateway::new(&settings) {
        Err(error) => report.line("gateway", Err(hint(error.to_string()))),
        Ok(gateway) => match (gateway.check().await, gateway.identity().await) {
            (Err(error), _) | (Ok(()), Err(error)) => report.line("gateway", Err(hint(error))),
            (Ok(()), Ok(told)) => {
                if let Err(refused) = gateway.kept(0, 1).await {
                    report.line("gateway", Err(refused));
                    return Ok(());
                }
                let name = told.as_ref().map_or("it does not say which it is", |told| told.name.as_str());
                report.line("gateway", Ok(format!("reachable, and takes our signature: {name}")));
                if let Some(db) = db {
                    look(config, report, db, &Source::Http(&gateway), told, doctor).await?;
                }
            }
        },
    }
    Ok(())
}

/// What is between a gateway and the ledger.
async fn look(
    config: &Config,
    report: &mut Findings,
    db: &Db,
    source: &Source<'_>,
    told: Option<Identity>,
    doctor: Doctor,
) -> Result<()> {
    let name = told.as_ref().map_or(gateways::UNNAMED, |told| told.name.as_str());
    let ours = gateways::find(db.read(), name).await?.map(|found| found.id);
    elsewhere(report, db, ours).await?;
    let gone = messages(config, report, db, source, ours).await;
    if doctor.resend {
        let clock = Clock::machine();
        clock.correct(db.now().await?);
        let transport = told.as_ref().and_then(|told| told.transport.as_deref());
        let ours = gateways::know(db.write(), clock.now(), name, transport).await?;
        resend::run(db, &clock, ours, name, &gone, doctor.yes).await?;
    }
    Ok(())
}

/// What belongs to other gateways than the configured one.
async fn elsewhere(report: &mut Findings, db: &Db, ours: Option<GatewayId>) -> Result<()> {
    for gateways::Waiting { batch, messages, gateway } in gateways::waiting(db.read(), ours).await? {
        let todo = if gateway.transport.as_deref() == Some(gateways::SIMULATOR) {
            "which sends nothing to anybody; `paceline doctor --resend` gives it to the configured one"
        } else {
            "and waits for it: start a worker with that gateway's gateway_url; if it is gone for good, cancel the batch and \
             send to the rest in a new one"
        };
        let what = batch.map_or_else(|| format!("{messages} single ones"), |batch| format!("batch {batch}"));
        report.line("elsewhere", Err(format!("{what} belongs to the gateway {gateway}, {todo}")));
    }
    let simulated = resend::count(db, ours).await?;
    if simulated > 0 {
        let todo = "`paceline doctor --resend` sends them through the configured gateway, after a question";
        let text = format!("{simulated} were taken by a simulator, which sends nothing to anybody; {todo}");
        report.line("simulated", Err(text));
    }
    for (gateway, taken) in gateways::others(db.read(), ours).await? {
        let todo = "run doctor with its gateway_url to compare them";
        report.line("elsewhere", Ok(format!("{taken} were taken by the gateway {gateway}; {todo}")));
    }
    Ok(())
}

/// Whether the gateway has what the ledger says; returns what it should have and does not.
async fn messages(
    config: &Config,
    report: &mut Findings,
    db: &Db,
    source: &Source<'_>,
    ours: Option<GatewayId>,
) -> Vec<Uuid> {
    let keeps_since = config.retention().map_or(Timestamp(0), |retention| Clock::machine().now().minus(retention));
    report.looks_at("messages");
    let tell = report.tell.clone();
    match sent::compare(db, source, keeps_since, ours, &|compared| tell(ExaminationEvent::Compared(compared))).await {
        Ok(None) => report.line("messages", Ok("not compared: the gateway does not say what it has".into())),
        Ok(Some(compared)) => {
            let findings = compared.findings();
            if findings.is_empty() {
                let since = compared.since.to_rfc3339();
                let text = format!(
                    "the {} that the gateway has are the ledger's, id by id, and it has all since {since}",
                    compared.messages
                );
                report.line("messages", Ok(text));
            }
            for finding in findings {
                report.line("messages", Err(finding));
            }
            set_aside(report, &compared);
            return compared.gone;
        }
        Err(error) => report.line("messages", Err(format!("not compared: {error:#}"))),
    }
    Vec::new()
}

/// What came to the gateway and went no further.
fn set_aside(report: &mut Findings, compared: &sent::Compared) {
    let (webhooks, reports) = (compared.webhooks_set_aside, compared.reports_refused);
    if webhooks > 0 {
        let todo = "they are kept, and read again when the gateway starts: upgrade it, or tell its makers";
        report.line("webhooks", Err(format!("{webhooks} have parts that the gateway cannot read; {todo}")));
    }
    if reports > 0 {
        let todo = "its log has the reasons; what people wrote is told again when the gateway starts: restart it";
        report.line("reports", Err(format!("{reports} of the gateway were refused by the backend; {todo}")));
    }
}
