//! Ways to Redis.
//!
//! A connection is made when it is first needed and dropped at its first error, so an outage is an error to each call
//! while it lasts and nothing afterwards. Calls that block have a connection of their own.

use crate::BackplaneError;
use parking_lot::Mutex;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisFuture, Value};
use std::time::Duration;
use tokio::sync::Mutex as AsyncMutex;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(2);

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

enum Kind {
    Single(Client),
    Cluster(ClusterClient),
    Sentinel(AsyncMutex<SentinelClient>),
}

/// A Redis, and a shared connection to it.
pub(crate) struct Server {
    kind: Kind,
    shared: Mutex<Option<Connection>>,
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

const SENTINEL: &str = "redis+sentinel://";

impl Server {
    /// Reads an address; connects to nothing.
    pub(crate) fn parse(url: &str) -> Result<Self, BackplaneError> {
        // The library's own error would name the whole address.
        let bad = |what: &str| BackplaneError::Address(format!("not a Redis address: {what}"));
        let client = |url: &str| {
            if !(url.starts_with("redis://") || url.starts_with("rediss://")) {
                return Err(bad("it begins neither with redis:// nor with rediss://"));
            }
            Client::open(url).map_err(|_| bad("its host, port or database cannot be read"))
        };
        let kind = if let Some(rest) = url.strip_prefix(SENTINEL) {
            let (hosts, master) = rest.split_once('/').ok_or_else(|| bad("the master's name is missing: /<name>"))?;
            let (auth, hosts) = hosts.rsplit_once('@').map_or(("", hosts), |(auth, hosts)| (auth, hosts));
            let node = |host: &str| match auth {
                "" => format!("redis://{host}"),
                auth => format!("redis://{auth}@{host}"),
            };
            let urls: Vec<String> = hosts.split(',').map(node).collect();
            for url in &urls {
                client(url)?;
            }
            let made = SentinelClient::build(
                urls,
                master,
                Some(SentinelNodeConnectionInfo::default()),
                SentinelServerType::Master,
            )
            .map_err(|_| bad("the Sentinels cannot be read"))?;
            Kind::Sentinel(AsyncMutex::new(made))
        } else if url.contains(',') {
            let nodes: Vec<&str> = url.split(',').map(str::trim).collect();
            for node in &nodes {
                client(node)?;
            }
            let made = ClusterClient::builder(nodes)
                .connection_timeout(CONNECT)
                .response_timeout(ANSWER)
                .build()
                .map_err(|_| bad("the Cluster's nodes cannot be read"))?;
            Kind::Cluster(made)
        } else {
            Kind::Single(client(url)?)
        };
        Ok(Self { kind, shared: Mutex::new(None) })
    }

    /// A connection of its own, whose answers may take `answer`.
    pub(crate) async fn connect(&self, answer: Duration) -> Result<Connection, BackplaneError> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(answer));
        let connecting = async {
            Ok(match &self.kind {
                Kind::Single(client) => {
                    Connection::Single(client.get_multiplexed_async_connection_with_config(&config).await?)
                }
                Kind::Sentinel(client) => {
                    let mut client = client.lock().await;
                    Connection::Single(client.get_async_connection_with_config(&config).await?)
                }
                Kind::Cluster(client) => Connection::Cluster(
                    client
                        .get_async_connection_with_config(
                            redis::cluster::ClusterConfig::new().set_response_timeout(answer),
                        )
                        .await?,
                ),
            })
        };
        match tokio::time::timeout(CONNECT * 2, connecting).await {
            Ok(connection) => connection,
            Err(_) => Err(BackplaneError::Timeout),
        }
    }

    async fn shared(&self) -> Result<Connection, BackplaneError> {
        if let Some(connection) = self.shared.lock().clone() {
            return Ok(connection);
        }
        let connection = self.connect(ANSWER).await?;
        *self.shared.lock() = Some(connection.clone());
        Ok(connection)
    }

    /// Runs commands on the shared connection, which an error closes: the next call makes a new one.
    pub(crate) async fn run<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, BackplaneError> {
        let mut connection = self.shared().await?;
        match pipeline.query_async(&mut connection).await {
            Ok(value) => Ok(value),
            Err(error) => {
                *self.shared.lock() = None;
                Err(error.into())
            }
        }
    }

    /// A client of the node that publishes and delivers: in a Cluster any, since news cross it.
    pub(crate) async fn pubsub_client(&self) -> Result<Client, BackplaneError> {
        match &self.kind {
            Kind::Single(client) => Ok(client.clone()),
            Kind::Sentinel(client) => Ok(client.lock().await.async_get_client().await?),
            Kind::Cluster(_) => {
                let mut connection = self.shared().await?;
                let slots: Value = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
                first_node(&slots)
                    .and_then(|(host, port)| Client::open(format!("redis://{host}:{port}")).ok())
                    .ok_or_else(|| BackplaneError::Address("the Cluster names no node".into()))
            }
        }
    }

    /// What it says of itself.
    pub(crate) async fn info(&self) -> Result<RedisInfo, BackplaneError> {
        let mut connection = self.connect(ANSWER).await?;
        let info: redis::InfoDict = match &mut connection {
            Connection::Single(c) => redis::cmd("INFO").query_async(c).await?,
            Connection::Cluster(c) => {
                let route = redis::cluster_routing::RoutingInfo::SingleNode(
                    redis::cluster_routing::SingleNodeRoutingInfo::Random,
                );
                let value = c.route_command(redis::cmd("INFO"), route).await?;
                redis::from_redis_value(value).map_err(redis::RedisError::from)?
            }
        };
        Ok(RedisInfo {
            version: info.get("redis_version").unwrap_or_default(),
            maxmemory_policy: info.get("maxmemory_policy").unwrap_or_default(),
            append_only: info.get::<i64>("aof_enabled") == Some(1),
        })
    }
}

fn first_node(slots: &Value) -> Option<(String, u16)> {
    let Value::Array(ranges) = slots else { return None };
    let Value::Array(range) = ranges.first()? else { return None };
    let Value::Array(node) = range.get(2)? else { return None };
    let host = redis::from_redis_value(node.first()?.clone()).ok()?;
    let port = redis::from_redis_value(node.get(1)?.clone()).ok()?;
    Some((host, port))
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
