//! Connections to PostgreSQL, and a limit of time on everything that is done with them.
//!
//! Four things hold:
//!
//! 1. A step ends. Connecting, a statement, `BEGIN`, `COMMIT`: whatever the network does, each has its answer or its error
//!    within [`Limits`]. The server's own `statement_timeout` is shorter, so that a statement which only takes too long
//!    ends there, with the server's words.
//! 2. A connection goes back only when it is known to be clean: every statement on it was answered, and no transaction is
//!    open. Any other is dropped, which closes its socket at once and frees its place; the server rolls back.
//! 3. Who gives up a connection in the middle of a transaction ends its session on the server too, over another one: a server
//!    that was told nothing keeps the transaction's locks, and everybody waits for them.
//! 4. What broke one connection broke the others: those that lie idle are dropped with it. A `BEGIN` on a connection that
//!    broke while it lay idle is begun again on a new one.
//!
//! Why not sqlx's pool: it asks a connection that comes back whether it is well, and waits for the answer without a limit,
//! so one that the network has swallowed keeps its place for ever (transact-rs/sqlx#4349); and a `begin` that is dropped
//! half-way leaves a transaction open in which the next borrower's single statements are never committed (#4385, #4393).
//! Here nothing is asked on the way back, which also saves a round trip for each transaction.

use parking_lot::Mutex;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgSeverity};
use sea_orm::sqlx::{self, ConnectOptions, Connection, PgConnection, Row};
use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

/// How long a connection is used, and how long it may lie idle.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
const IDLE: Duration = Duration::from_secs(10 * 60);

/// How long a rollback may take for which nobody waits.
const ROLLBACK: Duration = Duration::from_secs(5);

/// How long connections in use are waited for at the end, and how long a goodbye may take.
const CLOSE: Duration = Duration::from_secs(5);
const GOODBYE: Duration = Duration::from_secs(1);

/// Between two attempts to connect to a server that is starting or full; doubled each time.
const CONNECT_PAUSE: Duration = Duration::from_millis(20);
const CONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a pool keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: u32,
    /// How long a free connection is waited for, and a server that cannot be reached.
    pub acquire: Duration,
    /// How long an answer is waited for. More than the server's `statement_timeout`.
    pub answer: Duration,
}

/// Connections to one PostgreSQL.
#[derive(Clone)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    options: PgConnectOptions,
    limits: Limits,
    places: Arc<Semaphore>,
    /// The last used is the first taken.
    idle: Mutex<Vec<IdleConnection>>,
}

struct IdleConnection {
    open: OpenConnection,
    since: Instant,
}

/// A connection that is open, and what the server calls it.
struct OpenConnection {
    conn: PgConnection,
    session: Session,
    made: Instant,
}

/// A session as the server knows it: process ids come again, but not with the same beginning.
#[derive(Clone, Debug)]
struct Session {
    pid: i32,
    began: String,
}

const SESSION: &str = "SELECT pid, backend_start::text AS began FROM pg_stat_activity WHERE pid = pg_backend_pid()";

const END_SESSION: &str =
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2";

/// How long the end of a session is tried: after that the server's `idle_in_transaction_session_timeout` has long ended it.
const END_FOR: Duration = Duration::from_secs(60);

/// Between two tries.
const END_PAUSE: Duration = Duration::from_millis(500);

/// A connection in use. Dropped, it is closed; only [`LentConnection::give_back`] keeps it.
pub(super) struct LentConnection {
    /// `None` once it was given back.
    open: Option<OpenConnection>,
    /// It lay idle before, and may have broken meanwhile.
    used_before: bool,
    /// The server has a transaction open on it, as far as we know.
    in_transaction: bool,
    pool: Pool,
    // The last: the socket is closed before another may be opened in its stead.
    _place: OwnedSemaphorePermit,
}

/// One exchange over a connection.
pub(super) trait Ask<C>: Sync {
    /// What comes back.
    type Answer: Send;

    /// Sends it and waits for the whole answer, for as long as it takes.
    fn ask(&self, conn: &mut C) -> impl Future<Output = sqlx::Result<Self::Answer>> + Send;
}

/// A statement without parameters, as it is written.
pub(super) struct Unprepared<'a>(pub(super) &'a str);

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

impl Pool {
    /// An empty pool.
    pub(super) fn new(options: PgConnectOptions, limits: Limits) -> Self {
        let places = Arc::new(Semaphore::new(usize::try_from(limits.connections).unwrap_or(1).max(1)));
        Self(Arc::new(Inner { options, limits, places, idle: Mutex::default() }))
    }

    /// A connection that lay idle, or a new one.
    pub(super) async fn acquire(&self) -> Result<LentConnection, DbErr> {
        let deadline = Instant::now() + self.0.limits.acquire;
        let place = self.place(deadline).await?;
        let idle = {
            let now = Instant::now();
            let mut idle = self.0.idle.lock();
            idle.retain(|idle| now - idle.open.made < LIFETIME && now - idle.since < IDLE);
            idle.pop()
        };
        match idle {
            Some(IdleConnection { open, since: _ }) => Ok(self.lend(open, true, place)),
            None => self.connect(place, deadline).await,
        }
    }

    /// A connection that is new.
    async fn acquire_new(&self) -> Result<LentConnection, DbErr> {
        let deadline = Instant::now() + self.0.limits.acquire;
        let place = self.place(deadline).await?;
        self.connect(place, deadline).await
    }

    fn lend(&self, open: OpenConnection, used_before: bool, place: OwnedSemaphorePermit) -> LentConnection {
        LentConnection { open: Some(open), used_before, in_transaction: false, pool: self.clone(), _place: place }
    }

    async fn place(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, DbErr> {
        match timeout_at(deadline, self.0.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)),
            Err(_) => Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)),
        }
    }

    async fn connect(&self, place: OwnedSemaphorePermit, deadline: Instant) -> Result<LentConnection, DbErr> {
        let mut pause = CONNECT_PAUSE;
        loop {
            let error = match timeout_at(deadline, self.open()).await {
                Ok(Ok(open)) => return Ok(self.lend(open, false, place)),
                Ok(Err(error)) => error,
                Err(_) => return Err(DbErr::Conn(no_answer("a connection to the database was not made in time"))),
            };
            // Only what passes when a server has started, or others have gone, is worth another attempt.
            let passes = match &error {
                sqlx::Error::Io(error) => error.kind() == io::ErrorKind::ConnectionRefused,
                sqlx::Error::Database(error) => error.is_transient_in_connect_phase(),
                _ => false,
            };
            if !passes || Instant::now() + pause >= deadline {
                return Err(DbErr::Conn(RuntimeErr::SqlxError(error.into())));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(CONNECT_PAUSE_MAX);
        }
    }

    async fn open(&self) -> sqlx::Result<OpenConnection> {
        let mut conn = self.0.options.connect().await?;
        let row = sqlx::query(SESSION).fetch_one(&mut conn).await?;
        let session = Session { pid: row.try_get("pid")?, began: row.try_get("began")? };
        Ok(OpenConnection { conn, session, made: Instant::now() })
    }

    /// Ends a session that we gave up, over a connection that is none of the pool's: it is needed when those are stuck.
    async fn end_session(self, session: Session) {
        let give_up = Instant::now() + END_FOR;
        let once = async || {
            let mut conn = self.0.options.connect().await?;
            let ended: i64 =
                sqlx::query_scalar(END_SESSION).bind(session.pid).bind(&session.began).fetch_one(&mut conn).await?;
            // Nothing is lost if it is not waited for.
            conn.close().await.map(|()| ended)
        };
        while Instant::now() < give_up {
            match timeout(self.0.limits.acquire, once()).await {
                Ok(Ok(ended)) => {
                    metrics::counter!("paceline_database_sessions_ended_total")
                        .increment(u64::try_from(ended).unwrap_or(0));
                    tracing::debug!(pid = session.pid, ended, "a session was ended that had been given up");
                    return;
                }
                Ok(Err(error)) => tracing::debug!(pid = session.pid, %error, "a session was not ended yet"),
                Err(_) => tracing::debug!(pid = session.pid, "a session was not ended yet: no answer"),
            }
            tokio::time::sleep(END_PAUSE).await;
        }
    }

    /// Begins a transaction.
    pub(super) async fn begin(&self) -> Result<LentConnection, DbErr> {
        let mut lent = self.acquire().await?;
        lent.in_transaction = true;
        match lent.bounded(&Unprepared("BEGIN")).await {
            Ok(_) => return Ok(lent),
            // Nothing has happened yet, so nothing can happen twice.
            Err(error) if lent.used_before && is_broken(&error) => drop(lent),
            Err(error) => return Err(query_error(error)),
        }
        let mut lent = self.acquire_new().await?;
        lent.in_transaction = true;
        lent.bounded(&Unprepared("BEGIN")).await.map_err(query_error)?;
        Ok(lent)
    }

    /// Runs one statement that is a transaction of its own. One that only reads is run again on a new connection when the
    /// old one turns out to be broken.
    pub(super) async fn single<A: Ask<PgConnection>>(&self, only_reads: bool, ask: &A) -> Result<A::Answer, DbErr> {
        let mut lent = self.acquire().await?;
        let mut answer = lent.bounded(ask).await;
        if answer.as_ref().is_err_and(is_broken) && only_reads && lent.used_before {
            drop(lent);
            lent = self.acquire_new().await?;
            answer = lent.bounded(ask).await;
        }
        if !answer.as_ref().is_err_and(is_broken) {
            lent.give_back();
        }
        answer.map_err(query_error)
    }

    /// Closes all connections; those in use are waited for a while.
    pub(super) async fn close(&self) {
        let all = self.0.places.clone().acquire_many_owned(self.0.limits.connections.max(1));
        let all = timeout(CLOSE, all).await;
        if all.is_err() {
            tracing::debug!("connections to the database were in use to the end");
        }
        self.0.places.close();
        let idle = std::mem::take(&mut *self.0.idle.lock());
        for IdleConnection { open, .. } in idle {
            if !matches!(timeout(GOODBYE, open.conn.close()).await, Ok(Ok(()))) {
                tracing::debug!("a connection to the database did not close");
            }
        }
    }
}

impl LentConnection {
    /// Asks the server, within the limit of time. After an error for which [`is_broken`] holds, or
    /// when it is dropped half-way, the connection must not be given back.
    pub(super) async fn bounded<A: Ask<PgConnection>>(&mut self, ask: &A) -> sqlx::Result<A::Answer> {
        let limit = self.pool.0.limits.answer;
        let Some(open) = self.open.as_mut() else { return Err(sqlx::Error::PoolClosed) };
        let answer = match timeout(limit, ask.ask(&mut open.conn)).await {
            Ok(answer) => answer,
            Err(_) => {
                metrics::counter!("paceline_database_no_answer_total").increment(1);
                tracing::warn!(after = ?limit, "the database did not answer; the connection is given up");
                let late = io::Error::new(io::ErrorKind::TimedOut, "the database did not answer in time");
                Err(sqlx::Error::Io(late))
            }
        };
        if let Err(error) = &answer
            && is_broken(error)
        {
            self.pool.0.idle.lock().clear();
            // The server's own last words leave no session behind.
            self.in_transaction &= !matches!(error, sqlx::Error::Database(_));
        }
        answer
    }

    /// Puts a clean connection back: no statement is under way on it, and no transaction open.
    pub(super) fn give_back(mut self) {
        self.in_transaction = false;
        if self.pool.0.places.is_closed() {
            return;
        }
        if let Some(open) = self.open.take() {
            // Before the place is free: whoever gets it finds the connection.
            self.pool.0.idle.lock().push(IdleConnection { open, since: Instant::now() });
        }
    }

    /// Rolls back, for nobody who waits; the connection is kept if it goes well.
    pub(super) fn roll_back(mut self) {
        // Without a runtime the connection is closed, and the server rolls back.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            let Some(open) = self.open.as_mut() else { return };
            if matches!(timeout(ROLLBACK, Unprepared("ROLLBACK").ask(&mut open.conn)).await, Ok(Ok(_))) {
                self.give_back();
            }
        });
    }
}

impl Drop for LentConnection {
    fn drop(&mut self) {
        // The socket first: most servers learn from that.
        let Some(OpenConnection { conn, session, made: _ }) = self.open.take() else { return };
        drop(conn);
        if self.in_transaction
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(self.pool.clone().end_session(session));
        }
    }
}

/// Whether the connection can be used no more: all but an error that the server told and survived.
pub(super) fn is_broken(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
            Some(error) => matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic),
            None => true,
        },
        // What came was whole; it was only not what the caller wanted.
        sqlx::Error::RowNotFound
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::TypeNotFound { .. } => false,
        _ => true,
    }
}

pub(super) fn query_error(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

fn no_answer(text: &str) -> RuntimeErr {
    RuntimeErr::SqlxError(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text)).into())
}
