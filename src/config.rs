//! Configuration: defaults < `paceline.toml` < `PACELINE_*` < flags.

use crate::cli::Global;
use domain::contacts::phone::Country;
use domain::contacts::stop_words::OptOut;
use figment::Figment;
use figment::providers::{Format, Serialized, Toml};
use gateway::server::Durability;
use gateway::{CloudConfig, SimulatorConfig};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::{Location, Synchronous};

mod sources;

pub(crate) use sources::TABLES;
use sources::{Flags, PREFIX, Variables, variables};

/// A value that no log and no listing shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"***\"")
    }
}

/// What can be configured. The same names in the file, and in capitals behind `PACELINE_`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where to listen.
    pub(crate) listen: String,
    /// Where a worker or scheduler of its own serves /healthz and /metrics; absent: nowhere.
    pub(crate) observe_listen: Option<String>,
    /// Where the embedded set-up keeps its files.
    pub(crate) data_dir: PathBuf,
    /// The database; absent: SQLite in the data folder.
    pub(crate) database_url: Option<Secret>,
    /// The most connections to PostgreSQL.
    pub(crate) database_max_connections: u32,
    /// How long PostgreSQL may take for one statement.
    pub(crate) database_statement_timeout_secs: u64,
    /// SQLite's durability: `full` also survives a power cut, `normal` may lose the last commits to one.
    pub(crate) sqlite_synchronous: Synchronous,
    /// The most MiB that SQLite's file may grow to; 0: as the disk allows.
    pub(crate) sqlite_max_mib: u32,
    /// Redis; absent: in this process.
    pub(crate) redis_url: Option<Secret>,
    /// The gateway; absent: the one inside `serve`.
    pub(crate) gateway_url: Option<String>,
    /// The secret shared with the gateway.
    pub(crate) gateway_secret: Option<Secret>,
    /// Whether signatures of time and body alone, the form of the release before, are sent and taken.
    pub(crate) gateway_old_signature: bool,
    /// Where `paceline gateway` listens; in `serve`: where the gateway inside listens, absent: nowhere.
    pub(crate) gateway_listen: Option<String>,
    /// The network that `paceline gateway` sends through; absent: the simulator. A worker without `gateway_url` wants it
    /// said: `simulator`.
    pub(crate) gateway_transport: Option<GatewayTransport>,
    /// Where `paceline gateway` reports to.
    pub(crate) backend_url: String,
    /// Messages at the network at once.
    pub(crate) gateway_concurrency: usize,
    /// The names of the gateway's senders beside `default`, as the backend calls them.
    pub(crate) gateway_senders: Vec<String>,
    /// What each of the gateway's senders may send a minute; 0: no limit of its own.
    pub(crate) gateway_sender_rate_per_min: u32,
    /// What each may send a day of UTC; 0: no limit.
    pub(crate) gateway_daily_cap: u32,
    /// The secret that signs tokens, at least 32 bytes; absent: made and kept in the data folder.
    pub(crate) jwt_secret: Option<Secret>,
    /// Secrets whose tokens are taken too: what `jwt_secret` was until now, or will be.
    pub(crate) jwt_secrets_accepted: Vec<Secret>,
    /// Sign-ins a minute; 0: no limit.
    pub(crate) limit_login_per_min: u32,
    /// Writes of batches a minute for a user; 0: no limit.
    pub(crate) limit_batch_per_min: u32,
    /// Everything else a minute for a user; 0: no limit.
    pub(crate) limit_general_per_min: u32,
    /// Jobs at once in the critical lane.
    pub(crate) lane_critical_concurrency: usize,
    /// Jobs at once in the default lane.
    pub(crate) lane_default_concurrency: usize,
    /// Jobs at once in the bulk lane.
    pub(crate) lane_bulk_concurrency: usize,
    /// Messages in flight to the gateway at once, in one process.
    pub(crate) send_concurrency: usize,
    /// What a sender may send a minute; 0: no limit.
    pub(crate) sender_rate_per_min: u32,
    /// Above how many recipients a send waits until a second person has approved it; 0: never.
    pub(crate) approval_above: u32,
    /// How many days ended batches and jobs are kept; 0: for ever.
    pub(crate) retention_days: u32,
    /// How many days records of the audit log are kept; 0: for ever.
    pub(crate) audit_retention_days: u32,
    /// Sockets at once in one process.
    pub(crate) ws_max_connections: usize,
    /// Streams of the CRM's events at once in one process.
    pub(crate) sse_max_connections: usize,
    /// Whether the CRM's frontend paths take requests without a token; only where nobody but this machine can ask.
    pub(crate) crm_open: bool,
    /// Whether browsers reach the console by TLS: its cookies are for TLS alone then.
    pub(crate) console_secure: bool,
    /// Whether the console refuses every change, but those of the reader's own session and password.
    pub(crate) console_read_only: bool,
    /// The origins whose pages may read answers; `*` means all.
    pub(crate) cors_origins: Vec<String>,
    /// Where phone numbers without a country's code are at home: two letters of ISO 3166-1, as MY; absent: such a number is
    /// taken only where it can be nothing but an international one.
    pub(crate) default_country: Option<Country>,
    /// How long what is under way may take to end after SIGTERM.
    pub(crate) shutdown_grace_secs: u64,
    /// auto, text or json.
    pub(crate) log_format: LogFormat,
    /// error, warn, info, debug or trace, also by target.
    pub(crate) log_level: String,
    /// The words by which people opt out of bulk messages and in again, and what is answered.
    pub(crate) opt_out: OptOut,
    /// The simulator's ways.
    pub(crate) simulator: SimulatorConfig,
    /// Meta's Cloud API, for `gateway_transport = "cloud-api"`.
    pub(crate) cloud_api: CloudConfig,
}

/// The network that the gateway sends through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum GatewayTransport {
    /// None: nothing reaches anybody.
    Simulator,
    /// Meta's Cloud API.
    CloudApi,
}

impl GatewayTransport {
    /// Its name, as the configuration and the gateway's `/status` have it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Simulator => "simulator",
            Self::CloudApi => "cloud-api",
        }
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8000".into(),
            observe_listen: None,
            data_dir: "paceline-data".into(),
            database_url: None,
            database_max_connections: 16,
            database_statement_timeout_secs: 20,
            sqlite_synchronous: Synchronous::Full,
            sqlite_max_mib: 0,
            redis_url: None,
            gateway_url: None,
            gateway_secret: None,
            gateway_old_signature: true,
            gateway_listen: None,
            gateway_transport: None,
            backend_url: "http://127.0.0.1:8000".into(),
            gateway_concurrency: 64,
            gateway_senders: Vec::new(),
            gateway_sender_rate_per_min: 0,
            gateway_daily_cap: 0,
            jwt_secret: None,
            jwt_secrets_accepted: Vec::new(),
            limit_login_per_min: 5,
            limit_batch_per_min: 10,
            limit_general_per_min: 100,
            lane_critical_concurrency: 16,
            lane_default_concurrency: 4,
            lane_bulk_concurrency: 8,
            send_concurrency: 64,
            sender_rate_per_min: 4_800,
            approval_above: 0,
            retention_days: 30,
            audit_retention_days: 365,
            ws_max_connections: 1_000,
            sse_max_connections: 2_000,
            crm_open: false,
            console_secure: false,
            console_read_only: false,
            cors_origins: vec!["http://localhost:3000".into(), "http://127.0.0.1:3000".into()],
            default_country: None,
            shutdown_grace_secs: 25,
            log_format: LogFormat::Auto,
            log_level: "info".into(),
            opt_out: OptOut::default(),
            simulator: SimulatorConfig::default(),
            cloud_api: CloudConfig::default(),
        }
    }
}

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Everything.
    Serve,
    /// One of several processes.
    Split,
    /// One of several processes, which sends.
    Worker,
    /// The WhatsApp gateway, which has a store of its own and no database.
    Gateway,
    /// A command that only needs the database.
    Tool,
}

/// The file that is read when none is named.
const FILE: &str = "paceline.toml";

/// Where a value comes from that nobody set.
const DEFAULT: &str = "default";

/// The configuration, and where each value comes from.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    figment: Figment,
}

impl Loaded {
    /// Whether a value was set, rather than left as it is by default.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.source(key) != DEFAULT
    }

    /// Where a value comes from.
    pub(crate) fn source(&self, key: &str) -> String {
        let Some(metadata) = self.figment.find_metadata(key) else { return DEFAULT.into() };
        match metadata.name.as_ref() {
            "environment" => format!("{PREFIX}{}", key.replace('.', "_").to_uppercase()),
            "flags" if key == "gateway_listen" => "--listen".into(),
            "flags" => format!("--{}", key.replace('_', "-")),
            name if name.contains("TOML") => match &metadata.source {
                Some(figment::Source::File(path)) => path.display().to_string(),
                _ => FILE.into(),
            },
            _ => DEFAULT.into(),
        }
    }
}

/// Reads the configuration.
///
/// # Errors
/// Every key that is unknown or whose value is not taken, with its source.
pub(crate) fn load(global: &Global, for_gateway: bool) -> Result<Loaded, Vec<String>> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    match &global.config {
        Some(path) if !path.is_file() => return Err(vec![format!("{}: no such file", path.display())]),
        Some(path) => figment = figment.merge(Toml::file_exact(path)),
        None if Path::new(FILE).is_file() => figment = figment.merge(Toml::file_exact(FILE)),
        None => {}
    }
    figment = figment.merge(Variables(variables())).merge(Flags(global, for_gateway));
    let config: Config = figment.extract().map_err(|errors| errors.into_iter().map(describe).collect::<Vec<_>>())?;
    let loaded = Loaded { config, figment };
    let problems = check(&loaded.config);
    if problems.is_empty() { Ok(loaded) } else { Err(problems) }
}

fn describe(error: figment::Error) -> String {
    use figment::error::Kind;
    let source = error.metadata.as_ref().map_or_else(String::new, |metadata| match &metadata.source {
        Some(figment::Source::File(path)) => format!(" ({})", path.display()),
        _ => format!(" ({})", metadata.name),
    });
    let key = error.path.join(".");
    match &error.kind {
        Kind::UnknownField(field, _) => {
            let whole = if key.is_empty() || key == *field { field.clone() } else { format!("{key}.{field}") };
            format!("unknown key {whole}{source}; `paceline config` lists the keys")
        }
        // A value may be a secret: what it was is not repeated.
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            format!("{key}{source}: the value is not taken; expected {expected}")
        }
        Kind::UnknownVariant(_, expected) => format!("{key}{source}: expected one of {}", expected.join(", ")),
        other => format!("{key}{source}: {other}"),
    }
}

/// Ranges that types do not say.
fn check(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    let addresses = [
        ("listen", Some(&config.listen)),
        ("observe_listen", config.observe_listen.as_ref()),
        ("gateway_listen", config.gateway_listen.as_ref()),
    ];
    for (key, address) in addresses {
        if address.is_some_and(|address| address.parse::<std::net::SocketAddr>().is_err()) {
            problems.push(format!("{key}: expected an address and a port, as 127.0.0.1:8000"));
        }
    }
    let counts = [
        ("lane_critical_concurrency", config.lane_critical_concurrency, 1_000),
        ("lane_default_concurrency", config.lane_default_concurrency, 1_000),
        ("lane_bulk_concurrency", config.lane_bulk_concurrency, 1_000),
        ("send_concurrency", config.send_concurrency, 10_000),
        ("gateway_concurrency", config.gateway_concurrency, 10_000),
        ("ws_max_connections", config.ws_max_connections, 1_000_000),
        ("sse_max_connections", config.sse_max_connections, 1_000_000),
    ];
    for (key, value, most) in counts {
        if !(1..=most).contains(&value) {
            problems.push(format!("{key}: expected 1 to {most}"));
        }
    }
    if !(4..=1_000).contains(&config.database_max_connections) {
        problems.push("database_max_connections: expected 4 to 1000".into());
    }
    if !(1..=3_600).contains(&config.database_statement_timeout_secs) {
        problems.push("database_statement_timeout_secs: expected 1 to 3600".into());
    }
    problems.extend(check_senders(config));
    if !["http://", "https://"].iter().any(|scheme| config.backend_url.starts_with(scheme)) {
        problems.push("backend_url: expected http://… or https://…".into());
    }
    if let Some(url) = &config.database_url
        && !["postgres://", "postgresql://", "sqlite://"].iter().any(|scheme| url.expose().starts_with(scheme))
    {
        problems.push("database_url: expected postgres://… or sqlite://…".into());
    }
    if config.jwt_secret.as_ref().is_some_and(|secret| secret.expose().len() < domain::users::MIN_SECRET) {
        problems.push(format!("jwt_secret: expected at least {} bytes", domain::users::MIN_SECRET));
    }
    if config.jwt_secrets_accepted.iter().any(|secret| secret.expose().len() < domain::users::MIN_SECRET) {
        problems.push(format!("jwt_secrets_accepted: expected at least {} bytes in each", domain::users::MIN_SECRET));
    }
    if config.gateway_url.is_some() && config.gateway_secret.is_none() {
        problems.push("gateway_secret: is required with gateway_url".into());
    }
    let own = |address: &str| address.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_loopback());
    if config.crm_open && !own(&config.listen) {
        problems.push("crm_open: only with listen on this machine's own address, as 127.0.0.1:8000".into());
    }
    let origin = |text: &String| {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        text == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ']))
    };
    if let Some(bad) = config.cors_origins.iter().find(|text| !origin(text)) {
        problems.push(format!("cors_origins: {bad:?} is no origin; write it as http://localhost:3000, without a path"));
    }
    problems.extend(config.opt_out.validate().err());
    problems.extend(config.simulator.validate().err());
    if config.transport() == GatewayTransport::CloudApi {
        problems.extend(config.cloud_api.validate().err());
    }
    problems
}

/// The same of senders, ours and the gateway's.
fn check_senders(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    if config.sender_rate_per_min > 6_000_000 {
        problems.push("sender_rate_per_min: expected 0 to 6000000".into());
    }
    if config.gateway_sender_rate_per_min > 6_000_000 {
        problems.push("gateway_sender_rate_per_min: expected 0 to 6000000".into());
    }
    if let Some(bad) = config.gateway_senders.iter().find(|name| !domain::senders::is_name(name)) {
        problems
            .push(format!("gateway_senders: {bad:?} is no name; expected 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'"));
    }
    let numbers = &config.cloud_api.senders;
    let mut others = config.gateway_senders.iter().filter(|name| *name != domain::senders::DEFAULT);
    let without = others.find(|name| !numbers.contains_key(*name));
    if let Some(name) = without.filter(|_| config.transport() == GatewayTransport::CloudApi) {
        problems
            .push(format!("cloud_api.senders: {name} is missing; give the phone number ID of each of gateway_senders"));
    }
    problems
}

impl Config {
    /// The database, and how it is used.
    pub(crate) fn store(&self) -> store::Settings {
        store::Settings {
            place: self.place(),
            sqlite_synchronous: self.sqlite_synchronous,
            sqlite_max_mib: self.sqlite_max_mib,
            max_connections: self.database_max_connections,
            statement_timeout: self.statement_timeout(),
        }
    }

    fn place(&self) -> Location {
        Location::of(self.database_url.as_ref().map(Secret::expose), &self.data_dir)
    }

    /// Whether the database is SQLite.
    pub(crate) fn is_sqlite(&self) -> bool {
        self.place().is_sqlite()
    }

    /// What a role needs beyond right values.
    pub(crate) fn fits(&self, role: Role) -> Result<(), Vec<String>> {
        let mut problems = Vec::new();
        if role == Role::Gateway && self.gateway_secret.is_none() {
            problems.push("gateway_secret: a gateway needs the secret that it shares with its backend".into());
        }
        // In `serve` the port is only opened where it is configured, and then somebody signs.
        if role == Role::Serve && self.gateway_listen.is_some() && self.gateway_secret.is_none() {
            problems.push("gateway_secret: is required with gateway_listen".into());
        }
        // Meta tells what became of messages at the gateway's port alone: without it a lost answer were never settled, and
        // what customers write would reach nobody.
        let inside = role == Role::Serve && self.gateway_url.is_none();
        if inside && self.transport() == GatewayTransport::CloudApi && self.gateway_listen.is_none() {
            problems.push("gateway_listen: is required with gateway_transport cloud-api, for Meta's webhooks".into());
        }
        // What it sends must never go to nobody only because a line of its configuration is missing.
        if role == Role::Worker
            && self.gateway_url.is_none()
            && self.gateway_transport != Some(GatewayTransport::Simulator)
        {
            problems.push(
                "gateway_url: a worker needs the gateway that it sends through (and gateway_secret); where nothing is to be \
                 sent to anybody, say gateway_transport = \"simulator\""
                    .into(),
            );
        }
        if matches!(role, Role::Split | Role::Worker) {
            if self.is_sqlite() {
                problems.push(
                    "database_url: roles of their own need PostgreSQL; SQLite has one process (`paceline serve`)"
                        .into(),
                );
            }
            if self.redis_url.is_none() {
                problems.push("redis_url: roles of their own need Redis to ring one another".into());
            }
            if self.jwt_secret.is_none() {
                problems.push("jwt_secret: roles of their own must share one; set PACELINE_JWT_SECRET in all".into());
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The network of a gateway of ours.
    pub(crate) fn transport(&self) -> GatewayTransport {
        self.gateway_transport.unwrap_or(GatewayTransport::Simulator)
    }

    /// A sender's limit a minute, if there is one.
    pub(crate) fn sender_rate(&self) -> Option<i64> {
        (self.sender_rate_per_min > 0).then(|| i64::from(self.sender_rate_per_min))
    }

    /// Above how many recipients a send waits for a second person; `None`: none does.
    pub(crate) fn approval_above(&self) -> Option<u32> {
        (self.approval_above > 0).then_some(self.approval_above)
    }

    /// How long ended things are kept.
    pub(crate) fn retention(&self) -> Option<Duration> {
        (self.retention_days > 0).then(|| Duration::from_secs(u64::from(self.retention_days) * 86_400))
    }

    /// How long records of the audit log are kept.
    pub(crate) fn audit_retention(&self) -> Option<Duration> {
        (self.audit_retention_days > 0).then(|| Duration::from_secs(u64::from(self.audit_retention_days) * 86_400))
    }

    /// How durable a commit to SQLite is.
    pub(crate) fn durability(&self) -> Durability {
        match self.sqlite_synchronous {
            Synchronous::Full => Durability::Full,
            Synchronous::Normal => Durability::Normal,
        }
    }

    /// How long PostgreSQL may take for one statement.
    pub(crate) fn statement_timeout(&self) -> Duration {
        Duration::from_secs(self.database_statement_timeout_secs)
    }

    pub(crate) fn shutdown_grace(&self) -> Duration {
        Duration::from_secs(self.shutdown_grace_secs)
    }
}

/// The names of secrets: masked where the configuration is printed.
pub(crate) const SECRETS: [&str; 5] =
    ["database_url", "redis_url", "gateway_secret", "jwt_secret", "jwt_secrets_accepted"];

/// An address without the user and password that it may have in it.
pub(crate) fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    match authority.rfind('@').and_then(|at| rest.get(at..)) {
        Some(rest) => format!("{scheme}://***{rest}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_role_says_all_that_it_lacks() {
        let problems = Config::default().fits(Role::Split).expect_err("lacks all");
        assert_eq!(problems.len(), 3);
        assert!(Config::default().fits(Role::Serve).is_ok());
        let deaf = Config { gateway_transport: Some(GatewayTransport::CloudApi), ..Config::default() };
        let problems = deaf.fits(Role::Serve).expect_err("lacks a port");
        assert!(problems.iter().any(|problem| problem.starts_with("gateway_listen")), "{problems:?}");
        assert!(deaf.fits(Role::Split).expect_err("lacks others").iter().all(|problem| !problem.contains("cloud-api")));
        let url = Some("http://127.0.0.1:3002".to_owned());
        assert!(Config { gateway_url: url, ..deaf }.fits(Role::Serve).is_ok(), "another process listens");
    }

    #[test]
    fn a_worker_sends_to_nobody_only_where_that_is_said() {
        let lacks = |config: &Config| {
            let problems = config.fits(Role::Worker).err().unwrap_or_default();
            problems.iter().any(|problem| problem.starts_with("gateway_url"))
        };
        assert!(lacks(&Config::default()));
        let cloud = Config { gateway_transport: Some(GatewayTransport::CloudApi), ..Config::default() };
        assert!(lacks(&cloud), "Meta is the gateway's, not the worker's");
        let said = Config { gateway_transport: Some(GatewayTransport::Simulator), ..Config::default() };
        assert!(!lacks(&said));
        let url = Some("http://127.0.0.1:3002".to_owned());
        assert!(!lacks(&Config { gateway_url: url, ..Config::default() }));
        for role in [Role::Split, Role::Serve, Role::Tool] {
            let problems = Config::default().fits(role).err().unwrap_or_default();
            assert!(problems.iter().all(|problem| !problem.starts_with("gateway_url")), "{role:?}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret("hush".into())), "\"***\"");
    }

    #[test]
    fn credentials_in_an_address_are_not_shown() {
        for (url, shown) in [
            ("http://gateway:3002/x@y", "http://gateway:3002/x@y"),
            ("http://user:p@ss@gateway:3002/x", "http://***@gateway:3002/x"),
            ("http://user@gateway?x", "http://***@gateway?x"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
    }

    #[test]
    fn ranges_are_checked_together() {
        let config = Config {
            listen: "nowhere".into(),
            send_concurrency: 0,
            gateway_url: Some("http://x".into()),
            jwt_secret: Some(Secret("short".into())),
            ..Config::default()
        };
        assert_eq!(check(&config).len(), 4);
    }
}
