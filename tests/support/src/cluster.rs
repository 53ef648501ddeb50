//! A whole Paceline over a fresh PostgreSQL database and a Redis, each role in a process of its own.

use crate::{Client, Database, Gateway, Paceline, Postgres, PostgresServer, Program, Redis};
use futures::future::join_all;
use std::path::PathBuf;

/// The running processes. Tests reach into the fields to kill, freeze and restart.
///
/// Fields are in the order in which they are dropped: processes, then what they stand on.
#[derive(Debug)]
pub struct Cluster {
    /// The process that serves the contracts.
    pub api: Paceline,
    /// The processes that do the work.
    pub workers: Vec<Paceline>,
    /// The process that rings, rescues and fires.
    pub scheduler: Paceline,
    /// The binary with the cluster's settings, for commands.
    pub program: Program,
    /// The ledger.
    pub database: Database,
    /// The ledger's server, when the test asked for one of its own.
    pub postgres: Option<PostgresServer>,
    /// The rings, limits and notifications.
    pub redis: Redis,
}

/// What the cluster is to be made of.
#[derive(Clone, Debug)]
pub struct ClusterBuilder {
    program: Program,
    workers: usize,
    private_postgres: bool,
}

impl Cluster {
    /// A cluster of the binary at `path`, with one worker unless told otherwise.
    #[must_use]
    pub fn of(path: impl Into<PathBuf>) -> ClusterBuilder {
        ClusterBuilder { program: Program::new(path), workers: 1, private_postgres: false }
    }

    /// A client of the API with the token of a new user with this role.
    pub async fn client(&self, role: &str) -> Client {
        self.api.client().with_token(self.program.token_for(role).await)
    }
}

impl ClusterBuilder {
    /// With so many workers.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// With one more environment variable for every process.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.program = self.program.env(name, value);
        self
    }

    /// Sending through this gateway.
    #[must_use]
    pub fn gateway(self, gateway: &Gateway) -> Self {
        self.env("PACELINE_GATEWAY_URL", gateway.url()).env("PACELINE_GATEWAY_SECRET", "gateway-secret")
    }

    /// On a PostgreSQL server of its own, which the test may kill.
    #[must_use]
    pub fn private_postgres(mut self) -> Self {
        self.private_postgres = true;
        self
    }

    /// Migrates the database, starts all processes and waits until each is ready.
    ///
    /// # Panics
    /// When one of them does not come up; the message has the end of its log.
    pub async fn start(self) -> Cluster {
        let postgres = if self.private_postgres { Some(Postgres::server().await) } else { None };
        let database = match &postgres {
            Some(server) => server.database().await,
            None => Postgres::database().await,
        };
        let redis = Redis::start().await;
        let program = self
            .program
            .env("PACELINE_DATABASE_URL", database.url())
            .env("PACELINE_REDIS_URL", redis.url())
            .env("PACELINE_JWT_SECRET", "a secret that all roles of a cluster share")
            .env("PACELINE_OBSERVE_LISTEN", "127.0.0.1:0");
        program.run(&["migrate", "up"], "").await;
        let start = async |role: &'static str| program.elsewhere().start(&[role]).await;
        let (api, workers, scheduler) =
            tokio::join!(start("api"), join_all((0..self.workers).map(|_| start("worker"))), start("scheduler"));
        Cluster { api, workers, scheduler, program, database, postgres, redis }
    }
}
