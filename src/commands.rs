//! What each command does.

use crate::cli::{Bench, Cli, Command, Migrate, Soak};
use crate::config::{self, Config, Loaded, Role, Secret};
use crate::roles::{self, Parts};
use crate::telemetry;
use anyhow::{Context, Result, anyhow, bail};
use bench::{Environment, Figure};
use domain::audit_log::{self, Action, Origin};
use domain::queue::system::Setting;
use domain::users;
use domain::{Clock, batches};
use gateway::CloudConfig;
use std::process::ExitCode;
use std::time::Duration;

/// Why a command ended badly.
pub(crate) enum CommandError {
    /// The configuration is wrong: all that is, a line each.
    Misconfigured(Vec<String>),
    /// It could not do what it was asked to.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// Does a command.
pub(crate) async fn run(cli: Cli) -> Result<ExitCode, CommandError> {
    let for_gateway = matches!(cli.command, Some(Command::Gateway));
    let loaded = config::load(&cli.global, for_gateway).map_err(CommandError::Misconfigured)?;
    let config = &loaded.config;
    let command = cli.command.unwrap_or(Command::Serve);
    let (role, parts) = match &command {
        Command::Serve | Command::Demo => (Role::Serve, Parts::ALL),
        Command::Api => (Role::Split, Parts { api: true, worker: false, scheduler: false }),
        Command::Worker => (Role::Worker, Parts { api: false, worker: true, scheduler: false }),
        Command::Scheduler => (Role::Split, Parts { api: false, worker: false, scheduler: true }),
        Command::Gateway => (Role::Gateway, Parts { api: false, worker: false, scheduler: false }),
        Command::Migrate { .. }
        | Command::Sender { .. }
        | Command::User { .. }
        | Command::Key { .. }
        | Command::Token { .. }
        | Command::Config { .. }
        | Command::Doctor(_)
        | Command::Bench(_)
        | Command::Soak(_) => (Role::Tool, Parts::ALL),
    };
    config.fits(role).map_err(CommandError::Misconfigured)?;
    if !matches!(command, Command::Config { .. }) {
        telemetry::init_logs(config)?;
    }
    match command {
        Command::Serve | Command::Api | Command::Worker | Command::Scheduler => {
            roles::run(config, effective(&loaded)?, role, parts).await?;
        }
        Command::Gateway => crate::gateway::run(config).await?,
        Command::Sender { action } => crate::gateway::senders(config, action).await?,
        Command::Demo => crate::demo::run(config, effective(&loaded)?).await?,
        Command::Migrate { action } => migrate(config, action).await?,
        Command::User { action } => crate::access::users(config, action).await?,
        Command::Key { action } => crate::access::keys(config, action).await?,
        Command::Token { email, ttl } => token(config, &email, ttl).await?,
        Command::Config { json } => print_config(&loaded, json)?,
        Command::Doctor(doctor) => return Ok(crate::doctor::run(config, doctor).await?),
        Command::Bench(args) => measure(&loaded, &args).await?,
        Command::Soak(args) => return Ok(soak(&loaded, args).await?),
    }
    Ok(ExitCode::SUCCESS)
}

async fn migrate(config: &Config, action: Migrate) -> Result<()> {
    match action {
        Migrate::Up => {
            store::migrate_up(&config.store()).await?;
            say!("the schema is up to date");
        }
        Migrate::Down { steps, yes } => {
            let db = store::open_present(&config.store()).await?;
            let going = store::going(&db, steps).await?;
            db.close().await;
            if going.is_empty() {
                say!("no step is applied; nothing was taken back");
                return Ok(());
            }
            if !yes {
                agreed(&going)?;
            }
            let steps = u32::try_from(going.len())?;
            store::migrate_down(&config.store(), steps).await?;
            say!("{steps} steps were taken back");
        }
        Migrate::Status => {
            let (pending, unknown) = match store::open_if_present(&config.store()).await? {
                Some(db) => {
                    let state = (store::pending(&db).await?, store::unknown(&db).await?);
                    db.close().await;
                    state
                }
                None => (store::steps(), Vec::new()),
            };
            for step in store::steps() {
                let state = if pending.contains(&step) { "pending" } else { "applied" };
                say!("{state}  {step}");
            }
            for step in &unknown {
                say!("unknown  {step}");
            }
            if !unknown.is_empty() {
                bail!(store::newer(&unknown));
            }
        }
    }
    Ok(())
}

/// Asks whether steps may be taken back.
fn agreed(going: &[String]) -> Result<()> {
    crate::out::complain(format_args!("this takes back, with all data in what they made: {}", going.join(", ")));
    if !crate::out::agreed()? {
        bail!("nothing was taken back; answer yes, or give --yes");
    }
    Ok(())
}

async fn token(config: &Config, email: &str, ttl: Duration) -> Result<()> {
    let keys = roles::present_token_keys(config)?;
    let db = store::open_current(&config.store()).await?;
    let user = users::by_email(db.read(), email).await?.ok_or_else(|| anyhow!("there is no user {email}"))?;
    if !user.active {
        bail!("{email} may not sign in; `paceline user enable` lets them");
    }
    let clock = Clock::machine();
    clock.correct(db.now().await?);
    let now = clock.now();
    let tx = db.begin().await?;
    let session = users::open_token_session(&tx, now, user.id, ttl).await?;
    audit_log::record(&tx, now, &Origin::system("paceline token"), Action::Token, Some(user.id)).await?;
    tx.commit().await?;
    say!("{}", keys.issue(&user, session, now, ttl)?);
    db.close().await;
    Ok(())
}

/// The configuration that is in force, key by key, with where each value comes from; secrets are masked.
fn effective(loaded: &Loaded) -> Result<Vec<Setting>> {
    let mut values = serde_json::to_value(&loaded.config)?;
    let Some(values) = values.as_object_mut() else { return Ok(Vec::new()) };
    for secret in config::SECRETS {
        if let Some(value) = values.get_mut(secret).filter(|value| !value.is_null() && *value != &serde_json::json!([]))
        {
            *value = "***".into();
        }
    }
    for secret in CloudConfig::SECRETS {
        let given = values.get_mut("cloud_api").and_then(|table| table.get_mut(secret));
        if let Some(value) = given.filter(|value| **value != "") {
            *value = "***".into();
        }
    }
    for url in ["gateway_url", "backend_url"] {
        if let Some(serde_json::Value::String(url)) = values.get_mut(url) {
            *url = config::without_credentials(url);
        }
    }
    for table in config::TABLES {
        if let Some(serde_json::Value::Object(rows)) = values.remove(table) {
            values.extend(rows.into_iter().map(|(key, value)| (format!("{table}.{key}"), value)));
        }
    }
    let setting = |(key, value): (&String, &serde_json::Value)| Setting {
        key: key.clone(),
        value: value.clone(),
        source: loaded.source(key),
    };
    Ok(values.iter().map(setting).collect())
}

fn print_config(loaded: &Loaded, as_json: bool) -> Result<()> {
    let settings = effective(loaded)?;
    if as_json {
        let row =
            |Setting { key, value, source }: Setting| (key, serde_json::json!({ "value": value, "source": source }));
        let rows: serde_json::Map<_, _> = settings.into_iter().map(row).collect();
        say!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    for Setting { key, value, source } in settings {
        let value = if value.is_null() { "(none)".to_owned() } else { value.to_string() };
        say!("{key:<32} {value:<28} {source}");
    }
    Ok(())
}

/// Where the servers are that a benchmark or a soak may use.
fn environment(loaded: &Loaded) -> Environment {
    let config = &loaded.config;
    let exposed = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    Environment {
        database_url: exposed(&config.database_url),
        redis_url: exposed(&config.redis_url),
        log_level: loaded.is_set("log_level").then(|| config.log_level.clone()),
    }
}

/// Measures what was asked for and prints it.
async fn measure(loaded: &Loaded, args: &Bench) -> Result<()> {
    let figures = bench::measure(&environment(loaded), &args.what, args.count).await?;
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&figures)?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    say!("{:<9} {:<52} {:>12} {:<11} note", "set-up", "what", "value", "unit");
    for Figure { setup, what, value, unit, note } in figures {
        let note = note.unwrap_or_default();
        say!("{setup:<9} {what:<52} {value:>12.1} {unit:<11} {note}");
    }
    Ok(())
}

/// Soaks; exit code 1 when anything was lost, sent twice, or disagrees.
async fn soak(loaded: &Loaded, args: Soak) -> Result<ExitCode> {
    let soaked = bench::soak(&environment(loaded), args.minutes, args.seed, crate::out::tell).await?;
    tell!("{soaked}");
    Ok(if soaked.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The ledger's findings as lines.
pub(crate) async fn audit(db: &domain::Db, clock: &Clock) -> Result<Vec<String>> {
    let findings = batches::audit(db.read(), clock.now(), 20).await?;
    Ok(findings.iter().map(ToString::to_string).collect())
}
