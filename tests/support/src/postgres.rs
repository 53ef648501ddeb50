//! Fresh databases, and servers to kill.

use crate::Blocking;
use servers::{PostgresOptions, tools};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::env;
use std::thread;
use tokio::sync::OnceCell;

/// The server of this test process when the run has none: started at the first need, ended by its reaper when the
/// process ends, since nobody drops a static.
static FALLBACK: OnceCell<PostgresServer> = OnceCell::const_new();

/// Where databases and servers come from.
#[derive(Clone, Copy, Debug)]
pub struct Postgres;

impl Postgres {
    /// A fresh, empty database on the server of the run, which `cargo xtask test` has started and names in
    /// `PACELINE_TEST_POSTGRES`; without it, on a private server that the tests of this process share.
    ///
    /// Other tests use the same server at the same time: a test that stops it takes [`Postgres::server`].
    pub async fn database() -> Database {
        match env::var(tools::POSTGRES_URL_VAR) {
            Ok(url) => Database::create(&url).await,
            Err(_) => FALLBACK.get_or_init(PostgresServer::start).await.database().await,
        }
    }

    /// A server of this test alone, which may be killed, stopped and started again.
    pub async fn server() -> PostgresServer {
        PostgresServer::start().await
    }

    /// The same, told what to be like.
    pub async fn server_with(options: PostgresOptions) -> PostgresServer {
        PostgresServer::start_with(options).await
    }
}

/// A PostgreSQL server of its own; it ends when this is dropped.
#[derive(Debug)]
pub struct PostgresServer {
    server: Blocking<servers::Postgres>,
    url: String,
}

impl PostgresServer {
    async fn start() -> Self {
        Self::start_with(PostgresOptions::default()).await
    }

    async fn start_with(options: PostgresOptions) -> Self {
        let server = Blocking::make(|| servers::Postgres::start_with(options)).await;
        let url = server.get().url("postgres");
        Self { server, url }
    }

    /// The URL of its maintenance database, the same over restarts.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A fresh, empty database on it.
    pub async fn database(&self) -> Database {
        Database::create(&self.url).await
    }

    /// SIGKILL: what was committed is on disk, and nothing else.
    pub async fn kill9(&mut self) {
        self.server.with(servers::Postgres::kill9).await;
    }

    /// Stops it in good order; its clients are disconnected.
    pub async fn stop(&mut self) {
        self.server.with(servers::Postgres::stop).await;
    }

    /// Starts it again on the same data and port, stopping it first if it runs.
    pub async fn restart(&mut self) {
        self.server.with(servers::Postgres::restart).await;
    }
}

/// A database of one test. Dropping it drops the database, whoever is still connected.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
    maintenance_url: String,
}

impl Database {
    /// Makes a database with a random name beside the one that `maintenance_url` leads to.
    async fn create(maintenance_url: &str) -> Self {
        let name = format!("paceline_test_{}", uuid::Uuid::new_v4().simple());
        let (server, _) = maintenance_url.rsplit_once('/').expect("a database URL ends in /<database>");
        let url = format!("{server}/{name}");
        execute(maintenance_url, format!("CREATE DATABASE {name}"))
            .await
            .unwrap_or_else(|error| panic!("cannot create a database at {maintenance_url}: {error}"));
        Self { name, url, maintenance_url: maintenance_url.to_owned() }
    }

    /// Its URL, for `PACELINE_DATABASE_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A connection of the test's own, to look at tables or to hold locks.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap_or_else(|error| panic!("cannot connect to {}: {error}", self.url))
    }

    /// Runs statements, separated by semicolons.
    pub async fn execute(&self, sql: impl Into<String>) {
        let sql = sql.into();
        execute(&self.url, sql.clone()).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The one whole number that a query gives, such as a count.
    pub async fn number(&self, sql: impl Into<String>) -> i64 {
        let sql = sql.into();
        let mut connection = self.connect().await;
        sqlx::query_scalar(AssertSqlSafe(sql.clone()))
            .fetch_one(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The texts of the one column that a query gives.
    pub async fn texts(&self, sql: impl Into<String>) -> Vec<String> {
        let sql = sql.into();
        let mut connection = self.connect().await;
        sqlx::query_scalar(AssertSqlSafe(sql.clone()))
            .fetch_all(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Breaks every connection to it, as a failover does; returns how many there were.
    pub async fn disconnect_all(&self) -> i64 {
        self.number(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let url = self.maintenance_url.clone();
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // Drop cannot wait on the test's runtime, so it brings its own. The server may be dead, killed by the test, and
        // then the database went with its directory: there is nothing to report.
        let dropper = thread::spawn(move || -> Option<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(execute(&url, sql)).ok()
        });
        dropper.join().ok();
    }
}

async fn execute(url: &str, sql: String) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await
}
