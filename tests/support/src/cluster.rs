//! A whole Paceline over a fresh PostgreSQL database and a Redis, each role in a process of its own.

use crate::{Client, Database, Gateway, Paceline, Postgres, PostgresServer, Program, Proxy, Redis};
use futures::future::join_all;
use servers::{PostgresOptions, RedisOptions};
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
    /// The binary with the cluster's settings, for commands. They go past all proxies.
    pub program: Program,
    /// The ways of the processes, when the test asked for proxies: the API's, the scheduler's, and each worker's in turn.
    pub links: Vec<Links>,
    /// The ledger.
    pub database: Database,
    /// The ledger's server, when the test asked for one of its own.
    pub postgres: Option<PostgresServer>,
    /// The rings, limits and notifications. Idle when the test brought a Redis of another kind.
    pub redis: Redis,
}

/// The ways of one process to what it stands on.
#[derive(Debug)]
pub struct Links {
    /// To the ledger.
    pub postgres: Proxy,
    /// To the rings.
    pub redis: Proxy,
    /// To the gateway, if it has one.
    pub gateway: Option<Proxy>,
}

/// What the cluster is to be made of.
#[derive(Clone, Debug)]
pub struct ClusterBuilder {
    program: Program,
    workers: Vec<Vec<(String, String)>>,
    postgres: Option<PostgresOptions>,
    redis: RedisOptions,
    redis_url: Option<String>,
    gateway_url: Option<String>,
    proxied: bool,
}

impl Cluster {
    /// A cluster of the binary at `path`, with one worker unless told otherwise.
    #[must_use]
    pub fn of(path: impl Into<PathBuf>) -> ClusterBuilder {
        ClusterBuilder {
            // For those without a gateway: workers send to nobody only where that is said.
            program: Program::new(path).env("PACELINE_GATEWAY_TRANSPORT", "simulator"),
            workers: vec![Vec::new()],
            postgres: None,
            redis: RedisOptions::default(),
            redis_url: None,
            gateway_url: None,
            proxied: false,
        }
    }

    /// A client of the API with the token of a new user with this role.
    pub async fn client(&self, role: &str) -> Client {
        self.api.client().with_token(self.program.token_for(role).await)
    }

    /// The API's ways.
    ///
    /// # Panics
    /// When the test asked for no proxies.
    #[must_use]
    pub fn api_links(&self) -> &Links {
        &self.links[0]
    }

    /// The scheduler's ways.
    ///
    /// # Panics
    /// When the test asked for no proxies.
    #[must_use]
    pub fn scheduler_links(&self) -> &Links {
        &self.links[1]
    }

    /// A worker's ways, the first one's number being 0.
    ///
    /// # Panics
    /// When the test asked for no proxies, or there are not so many workers.
    #[must_use]
    pub fn worker_links(&self, worker: usize) -> &Links {
        &self.links[2 + worker]
    }

    /// Every process.
    pub fn processes(&self) -> impl Iterator<Item = &Paceline> {
        [&self.api, &self.scheduler].into_iter().chain(&self.workers)
    }
}

impl Links {
    async fn of(database: &str, redis: &str, gateway: Option<&str>) -> Self {
        let gateway = match gateway {
            Some(url) => Some(Proxy::before(url).await),
            None => None,
        };
        // A Cluster's or Sentinels' nodes say themselves where they are: nothing can stand before them.
        let first = redis.split(',').next().unwrap_or(redis);
        Self { postgres: Proxy::before(database).await, redis: Proxy::before(first).await, gateway }
    }
}

impl ClusterBuilder {
    /// With so many workers.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers.resize(workers, Vec::new());
        self
    }

    /// With one more environment variable for every process.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.program = self.program.env(name, value);
        self
    }

    /// With one more worker, which has environment variables of its own.
    #[must_use]
    pub fn and_worker(mut self, env: &[(&str, &str)]) -> Self {
        self.workers.push(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
        self
    }

    /// Sending through this gateway.
    #[must_use]
    pub fn gateway(mut self, gateway: &Gateway) -> Self {
        self.gateway_url = Some(gateway.url());
        self.env("PACELINE_GATEWAY_URL", gateway.url()).env("PACELINE_GATEWAY_SECRET", "gateway-secret")
    }

    /// On a PostgreSQL server of its own, which the test may kill.
    #[must_use]
    pub fn private_postgres(self) -> Self {
        self.postgres_with(PostgresOptions::default())
    }

    /// On a PostgreSQL server of its own, told what to be like.
    #[must_use]
    pub fn postgres_with(mut self, options: PostgresOptions) -> Self {
        self.postgres = Some(options);
        self
    }

    /// On a Redis that is told what to keep.
    #[must_use]
    pub fn redis_with(mut self, options: RedisOptions) -> Self {
        self.redis = options;
        self
    }

    /// On a Redis that the test has started itself: a Cluster, or Sentinels.
    #[must_use]
    pub fn redis_at(mut self, url: impl Into<String>) -> Self {
        self.redis_url = Some(url.into());
        self
    }

    /// With a proxy on each way of each process: see [`Cluster::links`].
    #[must_use]
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Migrates the database, starts all processes and waits until each is ready.
    ///
    /// # Panics
    /// When one of them does not come up; the message has the end of its log.
    pub async fn start(self) -> Cluster {
        let postgres = match self.postgres {
            Some(options) => Some(Postgres::server_with(options).await),
            None => None,
        };
        let database = match &postgres {
            Some(server) => server.database().await,
            None => Postgres::database().await,
        };
        let redis = Redis::start_with(self.redis).await;
        let redis_url = self.redis_url.unwrap_or_else(|| redis.url().to_owned());
        let program = self
            .program
            .env("PACELINE_DATABASE_URL", database.url())
            .env("PACELINE_REDIS_URL", &redis_url)
            .env("PACELINE_JWT_SECRET", "a secret that all roles of a cluster share")
            .env("PACELINE_OBSERVE_LISTEN", "127.0.0.1:0");
        program.run(&["migrate", "up"], "").await;
        let mut programs = vec![program.elsewhere(), program.elsewhere()];
        for env in &self.workers {
            let add = |program: Program, (name, value): &(String, String)| program.env(name, value);
            programs.push(env.iter().fold(program.elsewhere(), add));
        }
        let mut links = Vec::new();
        if self.proxied {
            for program in &mut programs {
                let link = Links::of(database.url(), &redis_url, self.gateway_url.as_deref()).await;
                let mut through = program.clone().env("PACELINE_DATABASE_URL", link.postgres.url(database.url()));
                if !redis_url.contains(',') && !redis_url.contains("sentinel") {
                    through = through.env("PACELINE_REDIS_URL", link.redis.url(&redis_url));
                }
                if let (Some(proxy), Some(url)) = (&link.gateway, &self.gateway_url) {
                    through = through.env("PACELINE_GATEWAY_URL", proxy.url(url));
                }
                *program = through;
                links.push(link);
            }
        }
        let start = async |program: &Program, role: &'static str| program.start(&[role]).await;
        let (api, scheduler, workers) = tokio::join!(
            start(&programs[0], "api"),
            start(&programs[1], "scheduler"),
            join_all(programs[2..].iter().map(|program| start(program, "worker"))),
        );
        Cluster { api, workers, scheduler, program, links, database, postgres, redis }
    }
}
