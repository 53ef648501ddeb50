//! Addresses of Redis, read without connecting to anything. No refusal repeats any part of an address: it may have a
//! password.

use crate::BackplaneError;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

/// What an address names.
pub(crate) enum Address {
    /// One server.
    Single(ConnectionInfo),
    /// A Cluster, by some of its nodes.
    Cluster(Vec<ConnectionInfo>),
    /// The primary that Sentinels know by a name.
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        master: String,
        /// How to introduce oneself to the primary, and its database.
        primary: RedisConnectionInfo,
        /// Whether the primary is spoken to under TLS, as the Sentinels are.
        tls: bool,
    },
}

const SENTINEL: &str = "redis+sentinel://";
const SENTINEL_TLS: &str = "rediss+sentinel://";

/// Sentinels that ask for the same user and password as the primary.
const SENTINEL_AUTH: &str = "sentinel_auth=true";

impl Address {
    /// Reads what [`crate::Backplane::redis`] takes.
    pub(crate) fn parse(url: &str) -> Result<Self, BackplaneError> {
        if let Some(rest) = url.strip_prefix(SENTINEL) {
            sentinel(rest, false)
        } else if let Some(rest) = url.strip_prefix(SENTINEL_TLS) {
            sentinel(rest, true)
        } else if url.contains(',') {
            url.split(',').map(|url| node(url.trim())).collect::<Result<_, _>>().map(Self::Cluster)
        } else {
            node(url).map(Self::Single)
        }
    }
}

/// The library's own error would name the whole address.
fn bad(what: &str) -> BackplaneError {
    BackplaneError::Address(format!("not a Redis address: {what}"))
}

fn node(url: &str) -> Result<ConnectionInfo, BackplaneError> {
    if !(url.starts_with("redis://") || url.starts_with("rediss://")) {
        return Err(bad("it begins neither with redis:// nor with rediss://"));
    }
    let node = url.into_connection_info().map_err(|_| bad("its host, port or database cannot be read"))?;
    match node.addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } if host.is_empty() => {
            Err(bad("it has no host"))
        }
        _ => Ok(node),
    }
}

/// What follows the scheme: `[user:password@]host:port[,host:port]/name[/database][?sentinel_auth=true]`.
fn sentinel(rest: &str, tls: bool) -> Result<Address, BackplaneError> {
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let sentinel_auth = match query {
        None => false,
        Some(SENTINEL_AUTH) => true,
        Some(_) => return Err(bad("the only option of Sentinels is sentinel_auth=true")),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (master, database) = path.split_once('/').unwrap_or((path, ""));
    if master.is_empty() {
        return Err(bad("the primary's name is missing: /<name>"));
    }
    let database: i64 = match database {
        "" => 0,
        database => database.parse().map_err(|_| bad("the database after the primary's name is no number"))?,
    };
    let (auth, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let scheme = if tls { "rediss" } else { "redis" };
    let mut primary = RedisConnectionInfo::default();
    let mut sentinels = Vec::new();
    for host in hosts.split(',').map(str::trim) {
        // Redis's default port would be taken otherwise, and no Sentinel listens there.
        let port = host.rsplit_once(':').map_or("", |(_, port)| port);
        if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad("a Sentinel is host:port"));
        }
        let sentinel = node(&format!("{scheme}://{auth}@{host}"))?;
        primary = sentinel.redis_settings().clone();
        sentinels.push(if sentinel_auth {
            sentinel
        } else {
            sentinel.set_redis_settings(RedisConnectionInfo::default())
        });
    }
    Ok(Address::Sentinel { sentinels, master: master.to_owned(), primary: primary.set_db(database), tls })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hosts(nodes: &[ConnectionInfo]) -> Vec<String> {
        nodes.iter().map(|node| node.addr().to_string()).collect()
    }

    #[test]
    fn one_server() {
        let Ok(Address::Single(node)) = Address::parse("redis://bob:p%40ss@127.0.0.1:7000/3") else { panic!() };
        assert_eq!(node.addr().to_string(), "127.0.0.1:7000");
        let settings = node.redis_settings();
        assert_eq!((settings.username(), settings.password(), settings.db()), (Some("bob"), Some("p@ss"), 3));
        let Ok(Address::Single(node)) = Address::parse("rediss://cache.example") else { panic!() };
        assert!(matches!(node.addr(), ConnectionAddr::TcpTls { port: 6379, insecure: false, .. }));
    }

    #[test]
    fn a_cluster() {
        let Ok(Address::Cluster(nodes)) = Address::parse("redis://:pw@a:7000, redis://:pw@b:7001") else { panic!() };
        assert_eq!(hosts(&nodes), ["a:7000", "b:7001"]);
        assert!(nodes.iter().all(|node| node.redis_settings().password() == Some("pw")));
    }

    #[test]
    fn sentinels() {
        let url = "redis+sentinel://bob:p%40ss@a:26379,b:26380/main/2";
        let Ok(Address::Sentinel { sentinels, master, primary, tls }) = Address::parse(url) else { panic!() };
        assert_eq!(
            (hosts(&sentinels), master.as_str(), tls),
            (vec!["a:26379".into(), "b:26380".into()], "main", false)
        );
        assert_eq!((primary.username(), primary.password(), primary.db()), (Some("bob"), Some("p@ss"), 2));
        // One that wants no password refuses whoever gives one.
        assert!(sentinels.iter().all(|it| it.redis_settings().password().is_none()));

        let url = "rediss+sentinel://:pw@a:26379/main?sentinel_auth=true";
        let Ok(Address::Sentinel { sentinels, primary, tls, .. }) = Address::parse(url) else { panic!() };
        assert!(tls && matches!(sentinels[0].addr(), ConnectionAddr::TcpTls { .. }));
        assert_eq!((primary.password(), primary.db()), (Some("pw"), 0));
        assert!(sentinels.iter().all(|it| it.redis_settings().password() == Some("pw")));
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for bad in [
            "",
            "localhost:6379",
            "http://secret@a",
            "redis://",
            "redis://secret@:6379",
            "redis://:secret@a:port",
            "redis://:secret@a/x",
            "redis://:secret@a,b:1",
            "redis://:secret@a,",
            ",",
            "redis+sentinel://:secret@a:1",
            "redis+sentinel://:secret@a:1/",
            "redis+sentinel://:secret@a:1//0",
            "redis+sentinel://:secret@a/main",
            "redis+sentinel://:secret@a:1,/main",
            "redis+sentinel://:secret@a:99999/main",
            "redis+sentinel://:secret@/main",
            "redis+sentinel://:secret@a:1/main/x",
            "redis+sentinel://:secret@a:1/main?secret=1",
        ] {
            let Err(error) = Address::parse(bad) else { panic!("{bad:?} was taken") };
            let said = error.to_string();
            assert!(said.starts_with("not a Redis address: ") && !said.contains("secret"), "{bad:?}: {said}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged(
            scheme in prop_oneof!["redis://", "rediss://", "redis\\+sentinel://", ""], rest in "[ -~]{0,40}",
        ) {
            if let Err(error) = Address::parse(&format!("{scheme}{rest}")) {
                prop_assert!(error.to_string().starts_with("not a Redis address: "));
            }
        }
    }
}
