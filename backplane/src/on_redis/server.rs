//! Ways to Redis.
//!
//! A connection is made when it is first needed and dropped at its first error; one that broke while nobody used it is
//! replaced at its next use. So an outage is an error to each call while it lasts and nothing afterwards. Calls that
//! block have a connection of their own.

use super::address::Address;
use crate::BackplaneError;
use parking_lot::Mutex;
use redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisFuture, ServerErrorKind,
    TlsMode, Value,
};
use std::time::Duration;
use tokio::sync::Mutex as AsyncMutex;

/// How long connecting may take, and with what precedes it: asking a Sentinel, or a Cluster for its slots.
const CONNECT: Duration = Duration::from_secs(2);
const CONNECT_IN_ALL: Duration = Duration::from_secs(4);

/// How long an answer may take. Less than the sweep's period: after that, waiting for a ring to be taken is pointless.
pub(crate) const ANSWER: Duration = Duration::from_secs(2);

/// A Cluster's connection must have a limit of its own; ours are shorter.
const NO_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

enum Kind {
    Single(Client),
    Cluster {
        client: ClusterClient,
        /// Each alone, for news: any node will do, since news cross the Cluster.
        nodes: Vec<Client>,
    },
    Sentinel(AsyncMutex<SentinelClient>),
}

/// A Redis, and a shared connection to it.
pub(crate) struct Server {
    kind: Kind,
    shared: Mutex<Shared>,
}

/// The shared connection, and how many there were before it.
#[derive(Default)]
struct Shared {
    generation: u64,
    connection: Option<Connection>,
}

/// A connection to any kind of Redis.
#[derive(Clone)]
pub(crate) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(c) => c.req_packed_command(cmd),
            Self::Cluster(c) => c.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(c) => c.req_packed_commands(cmd, offset, count),
            Self::Cluster(c) => c.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(c) => c.get_db(),
            Self::Cluster(c) => c.get_db(),
        }
    }
}

/// Within a time, or [`BackplaneError::Timeout`].
pub(crate) async fn within<T, E: Into<BackplaneError>>(
    time: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, BackplaneError> {
    tokio::time::timeout(time, work).await.map_err(|_| BackplaneError::Timeout)?.map_err(Into::into)
}

impl BackplaneError {
    /// Whether the connection is at fault, so that a new one may do better at once: it broke, or its server is no
    /// primary any more.
    pub(crate) fn is_stale_connection(&self) -> bool {
        match self {
            Self::Redis(error) => {
                (error.is_io_error() && !error.is_timeout())
                    || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
            }
            Self::Address(_) | Self::Timeout => false,
        }
    }
}

impl Server {
    /// Reads an address; connects to nothing.
    pub(crate) fn parse(url: &str) -> Result<Self, BackplaneError> {
        let unusable = |_: RedisError| BackplaneError::Address("not a Redis address: nothing can be made of it".into());
        let kind = match Address::parse(url)? {
            Address::Single(node) => Kind::Single(Client::open(node).map_err(unusable)?),
            Address::Cluster(nodes) => Kind::Cluster {
                client: ClusterClient::builder(nodes.clone()).connection_timeout(CONNECT).build().map_err(unusable)?,
                nodes: nodes.into_iter().map(Client::open).collect::<Result<_, _>>().map_err(unusable)?,
            },
            Address::Sentinel { sentinels, master, primary, tls } => {
                let mut node = SentinelNodeConnectionInfo::default().set_redis_connection_info(primary);
                if tls {
                    node = node.set_tls_mode(TlsMode::Secure);
                }
                let client = SentinelClient::build(sentinels, master, Some(node), SentinelServerType::Master);
                Kind::Sentinel(AsyncMutex::new(client.map_err(unusable)?))
            }
        };
        Ok(Self { kind, shared: Mutex::default() })
    }

    /// A connection of its own. How long it waits for an answer is the caller's: see [`within`].
    pub(crate) async fn connect(&self) -> Result<Connection, BackplaneError> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
        within(CONNECT_IN_ALL, async {
            Ok::<_, RedisError>(match &self.kind {
                Kind::Single(client) => {
                    Connection::Single(client.get_multiplexed_async_connection_with_config(&config).await?)
                }
                Kind::Sentinel(client) => {
                    let mut client = client.lock().await;
                    Connection::Single(client.get_async_connection_with_config(&config).await?)
                }
                Kind::Cluster { client, .. } => {
                    let config = ClusterConfig::new().set_response_timeout(NO_LIMIT);
                    Connection::Cluster(client.get_async_connection_with_config(config).await?)
                }
            })
        })
        .await
    }

    /// Runs commands on the shared connection, which an error closes. If it was there before and turns out to be
    /// broken, they are run on a new one: so they may run twice, which must do no harm.
    pub(crate) async fn run<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, BackplaneError> {
        let (generation, known) = {
            let shared = self.shared.lock();
            (shared.generation, shared.connection.clone())
        };
        if let Some(connection) = known {
            match self.run_on(connection, generation, pipeline).await {
                Err(error) if error.is_stale_connection() => {
                    tracing::debug!(%error, "a connection to redis broke; trying another");
                }
                answer => return answer,
            }
        }
        let connection = self.connect().await?;
        let generation = {
            let mut shared = self.shared.lock();
            shared.generation += 1;
            shared.connection = Some(connection.clone());
            shared.generation
        };
        self.run_on(connection, generation, pipeline).await
    }

    async fn run_on<T: FromRedisValue>(
        &self,
        mut connection: Connection,
        generation: u64,
        pipeline: &Pipeline,
    ) -> Result<T, BackplaneError> {
        let answer = within(ANSWER, pipeline.query_async(&mut connection)).await;
        if answer.is_err() {
            let mut shared = self.shared.lock();
            // Somebody else may have made a better one meanwhile.
            if shared.generation == generation {
                shared.connection = None;
            }
        }
        answer
    }

    /// A connection for news.
    pub(crate) async fn pubsub(&self) -> Result<PubSub, BackplaneError> {
        match &self.kind {
            Kind::Single(client) => within(CONNECT, client.get_async_pubsub()).await,
            Kind::Sentinel(client) => {
                within(CONNECT_IN_ALL, async {
                    let primary = client.lock().await.async_get_client().await?;
                    primary.get_async_pubsub().await
                })
                .await
            }
            Kind::Cluster { nodes, .. } => {
                let mut last = BackplaneError::Timeout;
                for node in nodes {
                    match within(CONNECT, node.get_async_pubsub()).await {
                        Ok(pubsub) => return Ok(pubsub),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }

    /// What it says of itself.
    pub(crate) async fn info(&self) -> Result<RedisInfo, BackplaneError> {
        let mut connection = self.connect().await?;
        let info: redis::InfoDict = within(ANSWER, async {
            match &mut connection {
                Connection::Single(c) => redis::cmd("INFO").query_async(c).await,
                Connection::Cluster(c) => {
                    let route = redis::cluster_routing::RoutingInfo::SingleNode(
                        redis::cluster_routing::SingleNodeRoutingInfo::Random,
                    );
                    let value = c.route_command(redis::cmd("INFO"), route).await?;
                    redis::from_redis_value(value).map_err(RedisError::from)
                }
            }
        })
        .await?;
        Ok(RedisInfo {
            version: info.get("redis_version").unwrap_or_default(),
            maxmemory_policy: info.get("maxmemory_policy").unwrap_or_default(),
            append_only: info.get::<i64>("aof_enabled") == Some(1),
        })
    }
}

/// What a Redis says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisInfo {
    /// Its version.
    pub version: String,
    /// What it throws away when its memory is full; rings want `noeviction`.
    pub maxmemory_policy: String,
    /// Whether it keeps an append-only file. Rings do not need one.
    pub append_only: bool,
}
