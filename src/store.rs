//! Opening the database.

use crate::config::{Config, Synchronous};
use anyhow::{Context, Result, bail};
use domain::db::Limits;
use domain::{Db, Dialect};
use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, SqlxPostgresConnector, SqlxSqliteConnector};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;
use tracing::log::LevelFilter;

/// A statement that takes longer is logged.
const SLOW: Duration = Duration::from_secs(1);

/// Readers of SQLite at once.
const SQLITE_READERS: u32 = 4;

/// Opens the database that is configured. Waits a while for one that is still starting.
pub(crate) async fn open(config: &Config) -> Result<Db> {
    match config.database_url.as_ref().map(|url| url.expose()) {
        Some(url) if !url.starts_with("sqlite:") => open_postgres(url, config).await,
        _ => open_sqlite(sqlite_made(config)?, config).await,
    }
}

/// Where SQLite's file is.
fn sqlite_options(config: &Config) -> Result<SqliteConnectOptions> {
    match &config.database_url {
        Some(url) => SqliteConnectOptions::from_str(url.expose())
            .map_err(|_| anyhow::anyhow!("database_url: not a sqlite:// address")),
        None => Ok(SqliteConnectOptions::new().filename(config.data_dir.join("paceline.db"))),
    }
}

/// The same for who may make it: in a data folder of its own, the folder is made.
fn sqlite_made(config: &Config) -> Result<SqliteConnectOptions> {
    if config.database_url.is_none() {
        make_dir(&config.data_dir)?;
    }
    sqlite_options(config)
}

/// Opens the database for a command that makes none: `None` where SQLite's file is not there.
pub(crate) async fn open_if_present(config: &Config) -> Result<Option<Db>> {
    if config.is_sqlite() && !sqlite_options(config)?.get_filename().is_file() {
        return Ok(None);
    }
    open(config).await.map(Some)
}

/// Opens a database that is there.
pub(crate) async fn open_present(config: &Config) -> Result<Db> {
    let file = || sqlite_options(config).map(|options| options.get_filename().display().to_string());
    match open_if_present(config).await? {
        Some(db) => Ok(db),
        None => bail!("there is no database {}; `paceline serve` or `paceline migrate up` makes it", file()?),
    }
}

/// Opens a database whose schema is this binary's.
pub(crate) async fn open_current(config: &Config) -> Result<Db> {
    let db = open_present(config).await?;
    match current(&db).await {
        Ok(()) => Ok(db),
        Err(error) => {
            db.close().await;
            Err(error)
        }
    }
}

/// Refuses a schema that is not this binary's, and says what to do.
pub(crate) async fn current(db: &Db) -> Result<()> {
    let unknown = unknown(db).await?;
    if !unknown.is_empty() {
        bail!(newer(&unknown));
    }
    let pending = pending(db).await?;
    if !pending.is_empty() {
        bail!("the database lacks {} steps of its schema; run `paceline migrate up`", pending.len());
    }
    Ok(())
}

/// What to say of a schema that has steps which this binary does not know.
pub(crate) fn newer(unknown: &[String]) -> String {
    format!(
        "the database's schema is newer than paceline {}, which does not know {}: this binary is older; run the release \
         that made the schema, or let that one take its steps back (`paceline migrate down`)",
        env!("CARGO_PKG_VERSION"),
        unknown.join(", ")
    )
}

/// Makes the data folder, for nobody else to look into: it has people's numbers and the token secret.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("the data folder {} cannot be made", dir.display()))
}

/// SQLite's page, in bytes.
const PAGE: u32 = 4_096;

fn sqlite_tuned(options: SqliteConnectOptions, config: &Config) -> SqliteConnectOptions {
    let mut options = options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .page_size(PAGE)
        .synchronous(match config.sqlite_synchronous {
            Synchronous::Full => SqliteSynchronous::Full,
            Synchronous::Normal => SqliteSynchronous::Normal,
        })
        .busy_timeout(Duration::from_secs(10))
        .pragma("cache_size", "-65536")
        .pragma("temp_store", "memory")
        .pragma("journal_size_limit", "67108864")
        .log_statements(LevelFilter::Trace)
        .log_slow_statements(LevelFilter::Debug, SLOW);
    if config.sqlite_max_mib > 0 {
        let pages = u64::from(config.sqlite_max_mib) * (1 << 20) / u64::from(PAGE);
        options = options.pragma("max_page_count", pages.to_string());
    }
    options
}

/// The one connection that writes.
async fn sqlite_writer(options: SqliteConnectOptions, config: &Config) -> Result<DatabaseConnection> {
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(Duration::from_secs(30))
        .connect_with(sqlite_tuned(options, config))
        .await
        .context("the SQLite database cannot be opened")?;
    Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
}

async fn open_sqlite(options: SqliteConnectOptions, config: &Config) -> Result<Db> {
    let write = sqlite_writer(options.clone(), config).await?;
    let read = SqlitePoolOptions::new()
        .max_connections(SQLITE_READERS)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(sqlite_tuned(options, config).pragma("query_only", "1"))
        .await
        .context("the SQLite database cannot be opened for reading")?;
    Ok(Db::sqlite(write, SqlxSqliteConnector::from_sqlx_sqlite_pool(read)))
}

fn postgres_options(url: &str, statement_timeout: Duration) -> Result<PgConnectOptions> {
    // The parser's own error would show the address with its password.
    let options =
        PgConnectOptions::from_str(url).map_err(|_| anyhow::anyhow!("database_url: not a postgres:// address"))?;
    Ok(options
        .application_name("paceline")
        .options([
            ("statement_timeout", format!("{}ms", statement_timeout.as_millis()).as_str()),
            // Less than a lease: who stands still in a transaction (a process that is frozen, a machine asleep) holds its locks.
            ("idle_in_transaction_session_timeout", "10s"),
            // A peer that is gone without a word is found out within half a minute.
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "4"),
            // The ledger's statements are short; compiling them costs more than it saves.
            ("jit", "off"),
        ])
        .statement_cache_capacity(256)
        .log_statements(LevelFilter::Trace)
        .log_slow_statements(LevelFilter::Debug, SLOW))
}

/// How much longer than the server's own limit an answer is waited for. So the server's words come first, and only a
/// connection over which nothing comes any more is given up.
const ANSWER_SLACK: Duration = Duration::from_secs(2);

/// How long a free connection is waited for.
const ACQUIRE: Duration = Duration::from_secs(5);

async fn open_postgres(url: &str, config: &Config) -> Result<Db> {
    let limits = Limits {
        connections: config.database_max_connections,
        acquire: ACQUIRE,
        answer: config.statement_timeout() + ANSWER_SLACK,
    };
    let options = postgres_options(url, config.statement_timeout())?;
    Db::postgres(options, limits).await.context("PostgreSQL cannot be reached")
}

/// What several processes that migrate at once wait on: a lock of the session.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_lock(7236487263)";

/// Applies all steps that are not applied; several processes do it one after the other.
pub(crate) async fn migrate_up(config: &Config) -> Result<()> {
    if let Some(db) = open_if_present(config).await? {
        let unknown = unknown(&db).await;
        db.close().await;
        let unknown = unknown?;
        if !unknown.is_empty() {
            bail!(newer(&unknown));
        }
    }
    with_migrator(config, async |db| Migrator::up(db, None).await)
        .await
        .context("the database's schema could not be brought up to date")
}

/// Takes steps back.
pub(crate) async fn migrate_down(config: &Config, steps: u32) -> Result<()> {
    with_migrator(config, async |db| Migrator::down(db, Some(steps)).await)
        .await
        .context("the database's schema could not be taken back")
}

/// Works on a connection of its own, which holds the lock until it is closed. Its statements take as long as they take.
async fn with_migrator(
    config: &Config,
    work: impl AsyncFnOnce(&DatabaseConnection) -> Result<(), DbErr>,
) -> Result<()> {
    let url = config.database_url.as_ref().map(|url| url.expose()).filter(|url| !url.starts_with("sqlite:"));
    let db = match url {
        Some(url) => {
            let pool = PgPoolOptions::new()
                .max_connections(1)
                .acquire_timeout(ACQUIRE)
                .connect_with(postgres_options(url, Duration::ZERO)?)
                .await
                .context("PostgreSQL cannot be reached")?;
            let db = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
            db.execute_unprepared(MIGRATION_LOCK).await?;
            db
        }
        None => sqlite_writer(sqlite_made(config)?, config).await?,
    };
    let lock = config.is_sqlite().then(|| sqlite_lock(config, "migrating")).transpose()?;
    let lock = match lock {
        Some(file) => Some(tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await??),
        None => None,
    };
    let done = work(&db).await;
    drop(lock);
    db.close().await?;
    Ok(done?)
}

/// The names of this binary's steps, in order.
pub(crate) fn steps() -> Vec<String> {
    Migrator::migrations().iter().map(|step| step.name().to_owned()).collect()
}

/// The names of steps that are not applied.
pub(crate) async fn pending(db: &Db) -> Result<Vec<String>> {
    let applied = applied_if_any(db).await?;
    Ok(steps().into_iter().filter(|step| !applied.contains(step)).collect())
}

/// The names of steps that are applied and that this binary does not know.
pub(crate) async fn unknown(db: &Db) -> Result<Vec<String>> {
    let ours = steps();
    let mut unknown = applied_if_any(db).await?;
    unknown.retain(|step| !ours.contains(step));
    unknown.sort();
    Ok(unknown)
}

/// The last steps that are applied, the last one first.
pub(crate) async fn going(db: &Db, count: u32) -> Result<Vec<String>> {
    let unknown = unknown(db).await?;
    if !unknown.is_empty() {
        bail!(newer(&unknown));
    }
    let applied = applied_if_any(db).await?;
    let mut steps: Vec<String> = steps().into_iter().filter(|step| applied.contains(step)).collect();
    steps.reverse();
    steps.truncate(usize::try_from(count)?);
    Ok(steps)
}

async fn applied_if_any(db: &Db) -> Result<Vec<String>> {
    // A database that nobody has migrated yet has no list.
    let list = match db.dialect() {
        Dialect::Postgres => "SELECT 1 AS n WHERE to_regclass('seaql_migrations') IS NOT NULL",
        Dialect::Sqlite => "SELECT 1 AS n FROM sqlite_master WHERE type = 'table' AND name = 'seaql_migrations'",
    };
    if domain::db::one(db.read(), list, []).await.context("the schema's state cannot be read")?.is_none() {
        return Ok(Vec::new());
    }
    applied(db).await.context("the schema's state cannot be read")
}

async fn applied(db: &Db) -> Result<Vec<String>> {
    let rows = domain::db::all(db.read(), "SELECT version FROM seaql_migrations", []).await?;
    Ok(rows.iter().map(|row| row.try_get::<String>("", "version")).collect::<Result<Vec<_>, _>>()?)
}

/// Whether this build's schema is there: asked often, and of a connection that only reads.
pub(crate) async fn is_current(db: &Db) -> Result<bool> {
    let applied = applied(db).await?;
    Ok(Migrator::migrations().iter().all(|step| applied.iter().any(|name| name == step.name())))
}

/// A file beside SQLite's, to lock.
fn sqlite_lock(config: &Config, extension: &str) -> Result<File> {
    let path = sqlite_options(config)?.get_filename().with_added_extension(extension);
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("{} cannot be opened", path.display()))
}

/// A lock beside SQLite's file, for as long as the process lives: SQLite has one process.
pub(crate) fn lock_sqlite(config: &Config) -> Result<File> {
    let database = sqlite_made(config)?.get_filename().to_owned();
    let file = sqlite_lock(config, "lock")?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another process serves {}; SQLite has one process: stop the other, or use PostgreSQL and Redis",
            database.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} cannot be locked", database.display()))
        }
    }
}
