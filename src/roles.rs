//! Wiring: the parts of each role, started and stopped.

use crate::config::{Config, Role, Secret};
use crate::{access, telemetry};
use anyhow::{Context, Result, bail};
use backplane::{After, Backplane, Intake, supervise};
use domain::audit_log::{self, Action, Origin};
use domain::jobs::workers;
use domain::queue::system::{Inspect, Setting};
use domain::users::{self, NewUser, TokenKeys};
use domain::{Clock, Db};
use gateway::server::{LocalBackend, LocalGateway, Server};
use gateway::{ClientSettings, Gateway, HttpGateway, Signer, Simulator};
use rand::Rng;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Which parts run in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) api: bool,
    pub(crate) worker: bool,
    pub(crate) scheduler: bool,
}

impl Parts {
    pub(crate) const ALL: Self = Self { api: true, worker: true, scheduler: true };
}

/// The parts that a process shares.
struct Process {
    db: Db,
    clock: Clock,
    backplane: Backplane,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Held for as long as the process serves SQLite.
    _lock: Option<std::fs::File>,
}

/// Opens the database and the backplane.
async fn open(config: &Config, role: Role) -> Result<Process> {
    let lock = (config.is_sqlite() && role == Role::Serve).then(|| store::lock_sqlite(&config.store())).transpose()?;
    if role == Role::Serve {
        store::migrate_up(&config.store()).await?;
    }
    let db = store::open(&config.store()).await?;
    store::current(&db).await?;
    let clock = Clock::machine();
    let offset_ms = clock.correct(db.now().await?);
    if offset_ms.abs() > 1_000 {
        tracing::warn!(offset_ms, "this machine's clock differs from the database's; the database's is used");
    }
    if lock.is_some() {
        // Nobody else can be at work on this database: what was, died.
        let ended = workers::bury_all(db.write(), clock.now()).await?;
        if ended > 0 {
            tracing::warn!(jobs = ended, "the last process died while it worked; its jobs are taken back");
        }
    }
    let backplane = match &config.redis_url {
        Some(url) => Backplane::redis(url.expose())?,
        None => Backplane::embedded(),
    };
    Ok(Process { db, clock, backplane, stop: CancellationToken::new(), tasks: TaskTracker::new(), _lock: lock })
}

/// The secret that signs tokens: configured, or made at the first start and kept in the data folder.
pub(crate) fn token_keys(config: &Config) -> Result<TokenKeys> {
    if config.jwt_secret.is_none() {
        make_secret(&config.data_dir)?;
    }
    present_token_keys(config)
}

/// The same for who only looks: where the secret is not there yet, none is made.
pub(crate) fn present_token_keys(config: &Config) -> Result<TokenKeys> {
    let secret = match &config.jwt_secret {
        Some(secret) => secret.expose().as_bytes().to_vec(),
        None => read_secret(&config.data_dir)?,
    };
    let keys = TokenKeys::new(&secret).context("jwt_secret")?;
    config
        .jwt_secrets_accepted
        .iter()
        .try_fold(keys, |keys, secret| keys.accepting(secret.expose().as_bytes()).context("jwt_secrets_accepted"))
}

fn make_secret(dir: &Path) -> Result<()> {
    store::make_dir(dir)?;
    let path = dir.join("jwt-secret");
    if !path.exists() {
        let secret: String = (0..64).map(|_| char::from(rand::rng().sample(rand::distr::Alphanumeric))).collect();
        let temporary = dir.join(format!("jwt-secret.{}", std::process::id()));
        let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(secret.as_bytes())?;
        file.sync_all()?;
        // Whoever links first wins; the others read what it wrote.
        let linked = std::fs::hard_link(&temporary, &path);
        std::fs::remove_file(&temporary)?;
        if let Err(error) = linked
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(error).with_context(|| format!("{} cannot be made", path.display()));
        }
    }
    Ok(())
}

fn read_secret(dir: &Path) -> Result<Vec<u8>> {
    let path = dir.join("jwt-secret");
    if !path.exists() {
        bail!("there is no {}: `paceline serve` makes it at its first start; or set jwt_secret", path.display());
    }
    let mode = std::fs::metadata(&path)?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!("{} can be read by others (mode {:o}); run chmod 600 on it", path.display(), mode & 0o777);
    }
    Ok(std::fs::read(&path)?)
}

/// At the very first start there is nobody who could sign in: makes an admin with a one-time password. Returns how to
/// sign in.
async fn first_admin(config: &Config, db: &Db, clock: &Clock) -> Result<Option<String>> {
    if !users::none_exists(db.read()).await? {
        return Ok(None);
    }
    let password = access::one_time_password();
    let admin = NewUser {
        email: "admin@localhost".into(),
        full_name: "Administrator".into(),
        role: users::Role::Admin,
        password: password.clone(),
    };
    let tx = db.begin().await?;
    let made = users::create_one_time(&tx, clock.now(), admin).await?;
    let by = Origin::system("paceline, its first start");
    audit_log::record(&tx, clock.now(), &by, Action::UserCreate, Some(made.id)).await?;
    // Before the commit: an admin whose password nobody was told could not sign in.
    let path = access::hand_over(&config.data_dir, made.id, &password)?;
    tx.commit().await?;
    let how = match path {
        Some(path) => format!("in {}", path.display()),
        None => password,
    };
    Ok(Some(format!("sign in once as {} with the password {how}, and choose another then", made.email)))
}

/// How often the clock is set by the database's.
const CLOCK_PERIOD: Duration = Duration::from_secs(5);

/// Keeps the clock set, until told to stop.
async fn keep_time(db: Db, clock: Clock, stop: CancellationToken) {
    let mut tick = tokio::time::interval(CLOCK_PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let now = tokio::select! {
            () = stop.cancelled() => return,
            now = db.now() => now,
        };
        match now {
            Ok(now) => {
                clock.correct(now);
            }
            // The timer carries it on meanwhile.
            Err(error) => tracing::debug!(%error, "the database's clock was not read"),
        }
    }
}

/// How long a part may take to say that it is there.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// Looks whether everything that the process needs is there.
fn ready_check(process: &Process) -> api::ReadyCheck {
    let (db, queue) = (process.db.clone(), process.backplane.queue.clone());
    Arc::new(move || {
        let (db, queue) = (db.clone(), queue.clone());
        Box::pin(async move {
            let schema = tokio::time::timeout(READY_WITHIN, store::is_current(&db)).await;
            let queue = tokio::time::timeout(READY_WITHIN, queue.ping()).await;
            vec![
                ("database", matches!(schema, Ok(Ok(_)))),
                ("migrations", matches!(schema, Ok(Ok(true)))),
                ("queue", matches!(queue, Ok(Ok(())))),
            ]
        })
    })
}

/// What the process tells of itself.
fn observed(process: &Process, render_metrics: &api::RenderMetrics, inspect: &Inspect) -> api::Observed {
    let (ready, render_metrics) = (ready_check(process), render_metrics.clone());
    api::Observed { ready, render_metrics, inspect: inspect.clone() }
}

fn api_settings(config: &Config) -> api::Settings {
    let signer =
        |secret: &Secret| Some(Signer::new(secret.expose().as_bytes())?.with_old_form(config.gateway_old_signature));
    api::Settings {
        login_per_minute: config.limit_login_per_min,
        batch_per_minute: config.limit_batch_per_min,
        general_per_minute: config.limit_general_per_min,
        max_sockets: config.ws_max_connections,
        sender_rate_per_minute: config.sender_rate(),
        approval_above: config.approval_above(),
        shutdown_grace: config.shutdown_grace(),
        max_streams: config.sse_max_connections,
        internal: config.gateway_secret.as_ref().and_then(signer),
        crm_open: config.crm_open,
        cors_origins: config.cors_origins.clone(),
        opt_out: config.opt_out.clone(),
        default_country: config.default_country,
    }
}

fn console_settings(config: &Config, role: Role, inspect: &Inspect) -> console::Settings {
    console::Settings {
        login_per_minute: config.limit_login_per_min,
        batch_per_minute: config.limit_batch_per_min,
        general_per_minute: config.limit_general_per_min,
        max_streams: config.sse_max_connections,
        read_only: config.console_read_only,
        sender_rate_per_minute: config.sender_rate(),
        approval_above: config.approval_above(),
        default_country: config.default_country,
        data_dir: Some(config.data_dir.clone()),
        // What `serve` has inside; another process may be a real gateway.
        simulator: role == Role::Serve
            && config.gateway_url.is_none()
            && config.transport().name() == domain::gateways::SIMULATOR,
        inspect: inspect.clone(),
        secure: config.console_secure,
    }
}

/// Runs the parts until a signal comes; a second one ends the process at once.
pub(crate) async fn run(config: &Config, settings: Vec<Setting>, role: Role, parts: Parts) -> Result<()> {
    let render_metrics = telemetry::init_metrics()?;
    let process = open(config, role).await?;
    let inspect = crate::system::inspect(config, settings, &process.db, &process.clock);
    let (db, clock, stop) = (process.db.clone(), process.clock.clone(), process.stop.clone());
    process.tasks.spawn(async move {
        supervise("clock", || keep_time(db.clone(), clock.clone(), stop.clone())).await;
    });
    // The API ends after the worker: until then it answers for what is under way.
    let stop_api = CancellationToken::new();
    let mut serving = None;
    if parts.api {
        let listener = TcpListener::bind(&config.listen)
            .await
            .with_context(|| format!("listen: {} cannot be listened on", config.listen))?;
        let address = listener.local_addr()?;
        let admin = if role == Role::Serve { first_admin(config, &process.db, &process.clock).await? } else { None };
        let api_settings = api_settings(config);
        let (db, clock, backplane) = (process.db.clone(), process.clock.clone(), process.backplane.clone());
        let keys = token_keys(config)?;
        let observed = observed(&process, &render_metrics, &inspect);
        let stop = stop_api.clone();
        let pages = console_settings(config, role, &inspect);
        let pages = console::endpoint(db.clone(), clock.clone(), backplane.clone(), pages, stop.clone());
        serving = Some(tokio::spawn(async move {
            api::serve(listener, db, clock, backplane, keys, api_settings, observed, pages, stop).await
        }));
        tell!("listening on http://{address}");
        tell!("the console: http://{address}/console");
        if let Some(how) = admin {
            tell!("first start: {how}");
        }
        tracing::info!(%address, "listening");
    } else if let Some(address) = &config.observe_listen {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("observe_listen: {address} cannot be listened on"))?;
        tell!("listening on http://{}", listener.local_addr()?);
        let observed = observed(&process, &render_metrics, &inspect);
        let stop = stop_api.clone();
        serving = Some(tokio::spawn(async move { api::serve_observability(listener, observed, stop).await }));
    }
    let mut gateway = None;
    if parts.worker {
        gateway = match config.gateway_url {
            None if role == Role::Serve => Some(Inside::start(config, &process, render_metrics.clone()).await?),
            _ => None,
        };
        start_worker(config, &process, gateway.as_ref().map(Inside::gateway))?;
    }
    if parts.scheduler {
        let settings = scheduler::Settings { retention: config.retention(), audit_retention: config.audit_retention() };
        let (db, clock, backplane) = (process.db.clone(), process.clock.clone(), process.backplane.clone());
        process.tasks.spawn(scheduler::run(db, clock, backplane, settings, process.stop.clone()));
    }
    if !parts.api {
        tell!("started");
    }
    until_stopped(&process, stop_api, serving, gateway).await
}

/// Starts a worker with the configured gateway, or the one inside, or a simulator in memory.
fn start_worker(config: &Config, process: &Process, inside: Option<LocalGateway>) -> Result<()> {
    let (db, clock, backplane) = (process.db.clone(), process.clock.clone(), process.backplane.clone());
    let gateway: Arc<dyn Gateway> = match (&config.gateway_url, &config.gateway_secret, inside) {
        (Some(url), Some(secret), _) => {
            let ours = clock.clone();
            let settings = ClientSettings {
                // The database's: a machine whose own is minutes off would sign what nobody takes.
                clock: Arc::new(move || ours.now().0 / 1_000),
                old_signature: config.gateway_old_signature,
                ..ClientSettings::new(url, secret.expose(), config.send_concurrency)
            };
            Arc::new(HttpGateway::new(&settings).context("gateway_url")?)
        }
        (_, _, Some(inside)) => Arc::new(inside),
        _ => {
            let (reports, reported) = tokio::sync::mpsc::channel(10_000);
            let taking = worker::take_reports(intake(config, process), clock.clone(), reported, process.stop.clone());
            process.tasks.spawn(taking);
            tracing::warn!("gateway_transport is simulator: what this worker takes is sent to nobody");
            Arc::new(Simulator::new(config.simulator.clone(), reports))
        }
    };
    let settings = worker::Settings {
        critical_concurrency: config.lane_critical_concurrency,
        default_concurrency: config.lane_default_concurrency,
        bulk_concurrency: config.lane_bulk_concurrency,
        send_concurrency: config.send_concurrency,
        sender_rate_per_minute: config.sender_rate(),
        shutdown_grace: config.shutdown_grace(),
        probes: None,
        examine: Some(crate::doctor::examine(config, &process.db)),
    };
    process.tasks.spawn(worker::run(db, clock, backplane, gateway, settings, process.stop.clone()));
    Ok(())
}

/// Where a gateway in this process reports to.
fn intake(config: &Config, process: &Process) -> Intake {
    let (db, clock) = (process.db.clone(), process.clock.clone());
    let after = After::new(&process.backplane, clock.clone());
    Intake::start(db, clock, after, config.opt_out.clone())
}

type Serving = tokio::task::JoinHandle<std::io::Result<()>>;

async fn until_stopped(
    process: &Process,
    stop_api: CancellationToken,
    serving: Option<Serving>,
    gateway: Option<Inside>,
) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut serving = serving;
    let failed = async {
        match serving.as_mut() {
            Some(serving) => serving.await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = failed => {
            ended??;
            bail!("the server ended by itself");
        }
    }
    tracing::info!("stopping; a second signal ends the process at once");
    process.stop.cancel();
    process.tasks.close();
    let ending = async {
        process.tasks.wait().await;
        if let Some(gateway) = gateway {
            gateway.stop().await;
        }
        stop_api.cancel();
        match serving {
            Some(serving) => serving.await?.map_err(anyhow::Error::from),
            None => Ok(()),
        }
    };
    tokio::select! {
        ended = ending => ended?,
        _ = terminate.recv() => bail!("ended by a second signal"),
        _ = interrupt.recv() => bail!("ended by a second signal"),
    }
    process.db.close().await;
    Ok(())
}

/// The gateway inside `serve`: its store is in the data folder, its backend the ledger beside it, and its port is opened
/// only where one is configured, so that any number of these can be started on one machine.
struct Inside {
    server: Arc<Server>,
    sending: tokio::task::JoinHandle<()>,
    serving: Option<Serving>,
    stop: CancellationToken,
    /// Cancelled when it has ended: no more reports come.
    ended: CancellationToken,
}

/// How many reports wait for the ledger at most; the others are in the gateway's store.
const REPORTS_WAITING: usize = 1_024;

impl Inside {
    async fn start(config: &Config, process: &Process, render_metrics: api::RenderMetrics) -> Result<Self> {
        let (backend, reported) = LocalBackend::new(REPORTS_WAITING);
        let server = crate::gateway::open(config, Arc::new(backend), crate::gateway::REPORTS_INSIDE).await?;
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let taking = worker::take_reports(intake(config, process), process.clock.clone(), reported, ended.clone());
        tokio::spawn(taking);
        let mut serving = None;
        if let (Some(address), Some(http)) = (&config.gateway_listen, crate::gateway::http(config, render_metrics)) {
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("gateway_listen: {address} cannot be listened on"))?;
            tell!("the gateway listens on http://{}", listener.local_addr()?);
            let (server, stop) = (server.clone(), stop.clone());
            serving = Some(tokio::spawn(async move { server.serve(listener, http, stop).await }));
        }
        let sending = tokio::spawn(server.clone().run(stop.clone()));
        Ok(Self { server, sending, serving, stop, ended })
    }

    fn gateway(&self) -> LocalGateway {
        self.server.local()
    }

    /// Ends it, after the worker: until then messages come.
    async fn stop(self) {
        self.stop.cancel();
        if let Some(serving) = self.serving {
            match serving.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the gateway's port did not close in good order"),
                Err(error) => tracing::error!(%error, "the gateway's port ended badly"),
            }
        }
        if let Err(error) = self.sending.await {
            tracing::error!(%error, "the gateway ended badly");
        }
        self.ended.cancel();
    }
}
