//! Opening the database: SQLite's file and its locks, PostgreSQL's connections, and the steps of the schema.

use anyhow::{Context, Result, bail};
use domain::db::Limits;
use domain::{Db, Dialect};
use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, SqlxPostgresConnector, SqlxSqliteConnector};
use serde::{Deserialize, Serialize};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use tracing::log::LevelFilter;

/// A statement that takes longer is logged.
const SLOW: Duration = Duration::from_secs(1);

/// Readers of SQLite at once.
const SQLITE_READERS: u32 = 4;

/// Which database it is, and how it is used. Its addresses may have passwords in them, so it is never printed.
#[derive(Clone)]
pub struct Settings {
    /// Where the database is.
    pub place: Location,
    /// SQLite's durability.
    pub sqlite_synchronous: Synchronous,
    /// The most MiB that SQLite's file may grow to; 0: as the disk allows.
    pub sqlite_max_mib: u32,
    /// The most connections to PostgreSQL.
    pub max_connections: u32,
    /// How long PostgreSQL may take for one statement.
    pub statement_timeout: Duration,
}

/// Where a database is.
#[derive(Clone)]
pub enum Location {
    /// SQLite, in a folder that is made where it is missing.
    Folder(PathBuf),
    /// SQLite, in the file of a `sqlite://` address.
    Sqlite(String),
    /// PostgreSQL, at a `postgres://` address.
    Postgres(String),
}

impl Location {
    /// The place of an address; without one, SQLite in the folder.
    #[must_use]
    pub fn of(url: Option<&str>, folder: &Path) -> Self {
        match url {
            None => Self::Folder(folder.to_owned()),
            Some(url) if url.starts_with("sqlite:") => Self::Sqlite(url.to_owned()),
            Some(url) => Self::Postgres(url.to_owned()),
        }
    }

    /// Whether it is SQLite.
    #[must_use]
    pub const fn is_sqlite(&self) -> bool {
        matches!(self, Self::Folder(_) | Self::Sqlite(_))
    }
}

/// SQLite's durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// Every commit is on the disk.
    Full,
    /// A power cut may lose the last commits; a crash of the process loses none.
    Normal,
}

/// Opens the database. Waits a while for one that is still starting.
///
/// # Errors
/// An address that is none, a database that cannot be reached or opened.
pub async fn open(settings: &Settings) -> Result<Db> {
    match &settings.place {
        Location::Postgres(url) => open_postgres(url, settings).await,
        Location::Folder(_) | Location::Sqlite(_) => open_sqlite(sqlite_made(settings)?, settings).await,
    }
}

/// Where SQLite's file is.
fn sqlite_options(settings: &Settings) -> Result<SqliteConnectOptions> {
    match &settings.place {
        Location::Folder(folder) => Ok(SqliteConnectOptions::new().filename(folder.join("paceline.db"))),
        Location::Sqlite(url) => {
            SqliteConnectOptions::from_str(url).map_err(|_| anyhow::anyhow!("database_url: not a sqlite:// address"))
        }
        Location::Postgres(_) => bail!("database_url: not a sqlite:// address"),
    }
}

/// The same for who may make it: in a data folder of its own, the folder is made.
fn sqlite_made(settings: &Settings) -> Result<SqliteConnectOptions> {
    if let Location::Folder(folder) = &settings.place {
        make_dir(folder)?;
    }
    sqlite_options(settings)
}

/// Opens the database for a command that makes none: `None` where SQLite's file is not there.
///
/// # Errors
/// The same as [`open`]'s.
pub async fn open_if_present(settings: &Settings) -> Result<Option<Db>> {
    if settings.place.is_sqlite() && !sqlite_options(settings)?.get_filename().is_file() {
        return Ok(None);
    }
    open(settings).await.map(Some)
}

/// Opens a database that is there.
///
/// # Errors
/// The same as [`open`]'s; that there is none.
pub async fn open_present(settings: &Settings) -> Result<Db> {
    let file = || sqlite_options(settings).map(|options| options.get_filename().display().to_string());
    match open_if_present(settings).await? {
        Some(db) => Ok(db),
        None => bail!("there is no database {}; `paceline serve` or `paceline migrate up` makes it", file()?),
    }
}

/// Opens a database whose schema is this binary's.
///
/// # Errors
/// The same as [`open_present`]'s; a schema that is older or newer.
pub async fn open_current(settings: &Settings) -> Result<Db> {
    let db = open_present(settings).await?;
    match current(&db).await {
        Ok(()) => Ok(db),
        Err(error) => {
            db.close().await;
            Err(error)
        }
    }
}

/// Refuses a schema that is not this binary's, and says what to do.
///
/// # Errors
/// A schema that is older or newer; the database's.
pub async fn current(db: &Db) -> Result<()> {
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
#[must_use]
pub fn newer(unknown: &[String]) -> String {
    format!(
        "the database's schema is newer than paceline {}, which does not know {}: this binary is older; run the release \
         that made the schema, or let that one take its steps back (`paceline migrate down`)",
        env!("CARGO_PKG_VERSION"),
        unknown.join(", ")
    )
}

/// Makes the data folder, for nobody else to look into: it has people's numbers and the token secret.
///
/// # Errors
/// Why the folder cannot be made.
pub fn make_dir(dir: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("the data folder {} cannot be made", dir.display()))
}

/// SQLite's page, in bytes.
const PAGE: u32 = 4_096;

fn sqlite_tuned(options: SqliteConnectOptions, settings: &Settings) -> SqliteConnectOptions {
    let mut options = options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .page_size(PAGE)
        .synchronous(match settings.sqlite_synchronous {
            Synchronous::Full => SqliteSynchronous::Full,
            Synchronous::Normal => SqliteSynchronous::Normal,
        })
        .busy_timeout(Duration::from_secs(10))
        .pragma("cache_size", "-65536")
        .pragma("temp_store", "memory")
        .pragma("journal_size_limit", "67108864")
        .log_statements(LevelFilter::Trace)
        .log_slow_statements(LevelFilter::Debug, SLOW);
    if settings.sqlite_max_mib > 0 {
        let pages = u64::from(settings.sqlite_max_mib) * (1 << 20) / u64::from(PAGE);
        options = options.pragma("max_page_count", pages.to_string());
    }
    options
}

/// The one connection that writes.
async fn sqlite_writer(options: SqliteConnectOptions, settings: &Settings) -> Result<DatabaseConnection> {
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(Duration::from_secs(30))
        .connect_with(sqlite_tuned(options, settings))
        .await
        .context("the SQLite database cannot be opened")?;
    Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
}

async fn open_sqlite(options: SqliteConnectOptions, settings: &Settings) -> Result<Db> {
    let write = sqlite_writer(options.clone(), settings).await?;
    let read = SqlitePoolOptions::new()
        .max_connections(SQLITE_READERS)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(sqlite_tuned(options, settings).pragma("query_only", "1"))
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

async fn open_postgres(url: &str, settings: &Settings) -> Result<Db> {
    let limits = Limits {
        connections: settings.max_connections,
        acquire: ACQUIRE,
        answer: settings.statement_timeout + ANSWER_SLACK,
    };
    let options = postgres_options(url, settings.statement_timeout)?;
    Db::postgres(options, limits).await.context("PostgreSQL cannot be reached")
}

/// What several processes that migrate at once wait on: a lock of the session.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_lock(7236487263)";

/// Applies all steps that are not applied; several processes do it one after the other.
///
/// # Errors
/// A schema that is newer; the database's.
pub async fn migrate_up(settings: &Settings) -> Result<()> {
    if let Some(db) = open_if_present(settings).await? {
        let unknown = unknown(&db).await;
        db.close().await;
        let unknown = unknown?;
        if !unknown.is_empty() {
            bail!(newer(&unknown));
        }
    }
    with_migrator(settings, async |db| Migrator::up(db, None).await)
        .await
        .context("the database's schema could not be brought up to date")
}

/// Takes steps back.
///
/// # Errors
/// The database's.
pub async fn migrate_down(settings: &Settings, steps: u32) -> Result<()> {
    with_migrator(settings, async |db| Migrator::down(db, Some(steps)).await)
        .await
        .context("the database's schema could not be taken back")
}

/// Works on a connection of its own, which holds the lock until it is closed. Its statements take as long as they take.
async fn with_migrator(
    settings: &Settings,
    work: impl AsyncFnOnce(&DatabaseConnection) -> Result<(), DbErr>,
) -> Result<()> {
    let db = match &settings.place {
        Location::Postgres(url) => {
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
        Location::Folder(_) | Location::Sqlite(_) => sqlite_writer(sqlite_made(settings)?, settings).await?,
    };
    let lock = settings.place.is_sqlite().then(|| sqlite_lock(settings, "migrating")).transpose()?;
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
#[must_use]
pub fn steps() -> Vec<String> {
    Migrator::migrations().iter().map(|step| step.name().to_owned()).collect()
}

/// The names of steps that are not applied.
///
/// # Errors
/// The database's.
pub async fn pending(db: &Db) -> Result<Vec<String>> {
    let applied = applied_if_any(db).await?;
    Ok(steps().into_iter().filter(|step| !applied.contains(step)).collect())
}

/// The names of steps that are applied and that this binary does not know.
///
/// # Errors
/// The database's.
pub async fn unknown(db: &Db) -> Result<Vec<String>> {
    let ours = steps();
    let mut unknown = applied_if_any(db).await?;
    unknown.retain(|step| !ours.contains(step));
    unknown.sort();
    Ok(unknown)
}

/// The last steps that are applied, the last one first.
///
/// # Errors
/// A count that is too large; a schema that is newer; the database's.
pub async fn going(db: &Db, count: u32) -> Result<Vec<String>> {
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
///
/// # Errors
/// The database's.
pub async fn is_current(db: &Db) -> Result<bool> {
    let applied = applied(db).await?;
    Ok(Migrator::migrations().iter().all(|step| applied.iter().any(|name| name == step.name())))
}

/// A file beside SQLite's, to lock.
fn sqlite_lock(settings: &Settings, extension: &str) -> Result<File> {
    let path = sqlite_options(settings)?.get_filename().with_added_extension(extension);
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("{} cannot be opened", path.display()))
}

/// A lock beside SQLite's file, for as long as the process lives: SQLite has one process.
///
/// # Errors
/// Another process has it; why the file cannot be locked.
pub fn lock_sqlite(settings: &Settings) -> Result<File> {
    let database = sqlite_made(settings)?.get_filename().to_owned();
    let file = sqlite_lock(settings, "lock")?;
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
