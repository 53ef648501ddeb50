//! A SQLite file that one process writes: opened, locked, and written in groups.
//!
//! Whoever wants something written asks the file's one writer ([`GroupWriter`]) and waits. All that was asked while a commit
//! was under way is written by the next: one commit for many, and an answer means that it is durable. What the asks mean
//! is a [`GroupHandler`]'s.
//!
//! Transactions are begun, committed and rolled back in words, past sqlx's own count of them: SQLite undoes a transaction
//! by itself when its disk is full, sqlx does not learn of it, and would take the next one for one within another.

use futures::FutureExt;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Executor, SqliteConnection, SqlitePool};
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How many asks one transaction takes.
const GROUP: usize = 512;

/// How many asks wait at most; who comes then waits to ask.
const WAITING: usize = 4_096;

/// SQLite's page, in bytes.
const PAGE: u32 = 4_096;

/// Readers at once.
const READERS: u32 = 2;

/// How durable a commit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// It survives a power cut.
    #[default]
    Full,
    /// A power cut may lose the last commits; a crash of the process loses none.
    Normal,
}

/// Why nothing came of an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk is full. Nothing was written.
    #[error("the store's disk is full; nothing was written")]
    Full,
    /// The file cannot be reached, or somebody holds it. Nothing was written.
    #[error("the store is away or busy; nothing was written")]
    Away,
    /// It broke off while it committed: it may be written.
    #[error("the store broke off while it committed; nobody knows whether it was written")]
    Unsettled,
    /// A statement or its data are at fault. Nothing was written.
    #[error("the store did not take it; the log has the reason")]
    Fault,
}

impl StoreError {
    fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(database) => {
                let code: u32 = database.code().and_then(|code| code.parse().ok()).unwrap_or_default();
                match code & 0xff {
                    // FULL.
                    13 => Self::Full,
                    // BUSY, LOCKED, NOMEM, INTERRUPT, IOERR, CANTOPEN: a disk that is full says so in many ways.
                    5 | 6 | 7 | 9 | 10 | 14 => Self::Away,
                    _ => Self::Fault,
                }
            }
            sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
                Self::Away
            }
            _ => Self::Fault,
        }
    }
}

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("another process uses {0}; a gateway's store has one process")]
    Held(PathBuf),
    /// The file system's.
    #[error("{0} cannot be opened: {1}")]
    Io(PathBuf, #[source] io::Error),
    /// SQLite's.
    #[error("{0} cannot be opened: {1}")]
    Sqlite(PathBuf, #[source] sqlx::Error),
    /// Somebody newer has written it.
    #[error("{0} has the schema {1}, and this build knows {2}; use the newer build")]
    Newer(PathBuf, i64, i64),
}

/// A file, and how it is written.
#[derive(Clone, Debug)]
pub(crate) struct StoreFile {
    pub(crate) path: PathBuf,
    pub(crate) synchronous: SqliteSynchronous,
    /// The most MiB that it may grow to; 0: as the disk allows.
    pub(crate) max_mib: u32,
}

impl StoreFile {
    fn options(&self) -> SqliteConnectOptions {
        let mut options = SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .page_size(PAGE)
            .synchronous(self.synchronous)
            .busy_timeout(Duration::from_secs(10))
            .pragma("cache_size", "-32768")
            .pragma("temp_store", "memory")
            .pragma("journal_size_limit", "67108864")
            .disable_statement_logging();
        if self.max_mib > 0 {
            options =
                options.pragma("max_page_count", (u64::from(self.max_mib) * (1 << 20) / u64::from(PAGE)).to_string());
        }
        options
    }

    /// Opens a connection that may write.
    pub(crate) async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        self.options().connect().await
    }

    /// Connections that only read.
    pub(crate) async fn readers(&self) -> Result<SqlitePool, OpenError> {
        SqlitePoolOptions::new()
            .max_connections(READERS)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(self.options().pragma("query_only", "1"))
            .await
            .map_err(|error| OpenError::Sqlite(self.path.clone(), error))
    }

    /// Brings the schema up to date: `steps` are SQL, the n-th leads from the version n. All or nothing.
    pub(crate) async fn migrate(&self, steps: &'static [&'static str]) -> Result<(), OpenError> {
        let failed = |error| OpenError::Sqlite(self.path.clone(), error);
        let mut conn = self.connect().await.map_err(failed)?;
        conn.execute("BEGIN IMMEDIATE").await.map_err(failed)?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut conn).await.map_err(failed)?;
        let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
        if version > known {
            return Err(OpenError::Newer(self.path.clone(), version, known));
        }
        for step in steps.iter().skip(usize::try_from(version).unwrap_or_default()) {
            sqlx::raw_sql(*step).execute(&mut conn).await.map_err(failed)?;
        }
        // A pragma takes no parameters; the number is ours.
        let set = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {known}"));
        sqlx::raw_sql(set).execute(&mut conn).await.map_err(failed)?;
        conn.execute("COMMIT").await.map_err(failed)?;
        conn.close().await.map_err(failed)
    }
}

/// Makes a folder for nobody else to look into.
pub(crate) fn make_dir(dir: &Path) -> Result<(), OpenError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| OpenError::Io(dir.to_owned(), error))
}

/// A lock beside a file, for as long as it is kept.
pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    let beside = path.with_added_extension("lock");
    let failed = |error| OpenError::Io(beside.clone(), error);
    let file = File::options().create(true).truncate(false).write(true).open(&beside).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Held(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// What asks mean.
pub(crate) trait GroupHandler: Send + 'static {
    /// What can be asked.
    type Ask: Send + Sync + 'static;
    /// What is answered.
    type Answer: Send + 'static;

    /// Does a group inside a transaction: an answer for each, in order.
    fn apply(
        &mut self,
        conn: &mut SqliteConnection,
        asks: &[Self::Ask],
    ) -> impl Future<Output = Result<Vec<Self::Answer>, sqlx::Error>> + Send;

    /// Just before the commit.
    fn before(&self, asks: &[Self::Ask]) -> io::Result<()>;

    /// Just after it: it is done, and nobody was told.
    fn after(&self, asks: &[Self::Ask]) -> io::Result<()>;

    /// It is done, and everybody may know.
    fn committed(&self, asks: &[Self::Ask]);
}

type Pending<B> = (<B as GroupHandler>::Ask, oneshot::Sender<Result<<B as GroupHandler>::Answer, StoreError>>);

/// The way to a file's one writer.
pub(crate) struct GroupWriter<B: GroupHandler>(mpsc::Sender<Pending<B>>);

impl<B: GroupHandler> Clone for GroupWriter<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B: GroupHandler> GroupWriter<B> {
    /// Starts the writer. It ends when the last of these is gone.
    pub(crate) fn start(store: StoreFile, handler: B) -> Self {
        let (asks, asked) = mpsc::channel(WAITING);
        tokio::spawn(write_all(store, handler, asked));
        Self(asks)
    }

    /// Asks, and waits until it is durable.
    pub(crate) async fn ask(&self, ask: B::Ask) -> Result<B::Answer, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.0.send((ask, answer)).await.map_err(|_| StoreError::Away)?;
        answered.await.unwrap_or(Err(StoreError::Unsettled))
    }
}

async fn write_all<B: GroupHandler>(store: StoreFile, mut handler: B, mut asked: mpsc::Receiver<Pending<B>>) {
    let mut conn = None;
    let mut group = Vec::with_capacity(GROUP);
    while asked.recv_many(&mut group, GROUP).await > 0 {
        let (asks, answers): (Vec<_>, Vec<_>) = group.drain(..).unzip();
        let written = AssertUnwindSafe(write(&store, &mut conn, &mut handler, &asks)).catch_unwind().await;
        let results = written.unwrap_or_else(|_| {
            // In whatever state it is: the next connection finds what was committed, and nothing else.
            conn = None;
            metrics::counter!("paceline_panics_total", "in" => "gateway store").increment(1);
            tracing::error!("the store's writer panicked; the log has its place");
            asks.iter().map(|_| Err(StoreError::Unsettled)).collect()
        });
        for (answer, result) in answers.into_iter().zip(results) {
            // Who does not wait any more reads it from the file.
            drop(answer.send(result));
        }
    }
    if let Some(conn) = conn
        && let Err(error) = conn.close().await
    {
        tracing::warn!(%error, "the store did not close in good order");
    }
}

async fn write<B: GroupHandler>(
    store: &StoreFile,
    conn: &mut Option<SqliteConnection>,
    handler: &mut B,
    asks: &[B::Ask],
) -> Vec<Result<B::Answer, StoreError>> {
    match attempt(store, conn, handler, asks).await {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        // One of them is at fault, and the others are not to suffer for it.
        Err(StoreError::Fault) if asks.len() > 1 => {
            let mut results = Vec::with_capacity(asks.len());
            for ask in asks {
                let one = attempt(store, conn, handler, std::slice::from_ref(ask)).await;
                results.push(one.and_then(|answers| answers.into_iter().next().ok_or(StoreError::Fault)));
            }
            results
        }
        Err(error) => asks.iter().map(|_| Err(error)).collect(),
    }
}

async fn attempt<B: GroupHandler>(
    store: &StoreFile,
    conn: &mut Option<SqliteConnection>,
    handler: &mut B,
    asks: &[B::Ask],
) -> Result<Vec<B::Answer>, StoreError> {
    let mut open = match conn.take() {
        Some(open) => open,
        None => store.connect().await.map_err(|error| {
            tracing::error!(%error, "the store cannot be opened");
            StoreError::Away
        })?,
    };
    let result = transaction(&mut open, handler, asks).await;
    let clean = match &result {
        Ok(_) => true,
        Err(_) => match open.execute("ROLLBACK").await {
            Ok(_) => true,
            Err(sqlx::Error::Database(error)) => error.message().contains("no transaction is active"),
            Err(_) => false,
        },
    };
    if clean {
        *conn = Some(open);
    }
    if result.is_ok() {
        handler.committed(asks);
    }
    result
}

async fn transaction<B: GroupHandler>(
    conn: &mut SqliteConnection,
    handler: &mut B,
    asks: &[B::Ask],
) -> Result<Vec<B::Answer>, StoreError> {
    let failed = |error: sqlx::Error| {
        tracing::error!(%error, "the store did not take what was asked");
        StoreError::of(&error)
    };
    conn.execute("BEGIN IMMEDIATE").await.map_err(failed)?;
    let answers = handler.apply(conn, asks).await.map_err(failed)?;
    handler.before(asks).map_err(|_| StoreError::Away)?;
    if let Err(error) = conn.execute("COMMIT").await {
        return Err(match failed(error) {
            StoreError::Full => StoreError::Full,
            // The words may have reached the disk before what came after them did not.
            _ => StoreError::Unsettled,
        });
    }
    handler.after(asks).map_err(|_| StoreError::Unsettled)?;
    Ok(answers)
}
