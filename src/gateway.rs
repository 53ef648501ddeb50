//! `paceline gateway`, and the gateway inside `paceline serve`.

use crate::cli::Sender;
use crate::config::{Config, GatewayTransport};
use crate::telemetry;
use anyhow::{Context, Result, bail};
use api::RenderMetrics;
use gateway::server::{
    self, Backend, BackendSettings, HttpBackend, HttpSettings, Network, Server, Settings, machine_clock,
};
use gateway::{CloudApi, Signer, SimulatedNetwork};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Where it listens when nobody says.
const LISTEN: &str = "127.0.0.1:3002";

/// How long the backend may take for a report.
const REPORT_WITHIN: Duration = Duration::from_secs(10);

/// Reports at once: at a backend over HTTP, and at one in this process, which takes them in groups.
const REPORTS: usize = 64;
pub(crate) const REPORTS_INSIDE: usize = 512;

/// Opens the gateway's store and its network.
pub(crate) async fn open(config: &Config, backend: Arc<dyn Backend>, reports: usize) -> Result<Arc<Server>> {
    let settings = Settings {
        dir: config.data_dir.clone(),
        durability: config.durability(),
        max_mib: config.sqlite_max_mib,
        senders: senders_of(config),
        rate_per_minute: config.gateway_sender_rate_per_min,
        daily_cap: config.gateway_daily_cap,
        concurrency: config.gateway_concurrency,
        report_concurrency: reports,
        retention: config.retention(),
        grace: config.shutdown_grace(),
        now: machine_clock(),
    };
    let network = match config.transport() {
        GatewayTransport::Simulator => {
            tracing::info!("no network is configured: the simulator sends nothing to anybody");
            let simulator = SimulatedNetwork::open(&config.data_dir, config.simulator.clone(), machine_clock());
            Network::Simulator(Arc::new(simulator.await?))
        }
        GatewayTransport::CloudApi => Network::Real(Arc::new(CloudApi::new(config.cloud_api.clone())?)),
    };
    Ok(Server::open(settings, network, backend).await?)
}

/// The senders' names: that of whatever names none, and those that are configured.
fn senders_of(config: &Config) -> Vec<String> {
    let mut senders = vec![domain::senders::DEFAULT.to_owned()];
    for name in &config.gateway_senders {
        if !senders.contains(name) {
            senders.push(name.clone());
        }
    }
    senders
}

/// Over HTTP, as `config` says; `None` without a secret, which nobody could sign with.
pub(crate) fn http(config: &Config, render_metrics: RenderMetrics) -> Option<HttpSettings> {
    let signer = Signer::new(config.gateway_secret.as_ref()?.expose().as_bytes())?;
    let signer = signer.with_old_form(config.gateway_old_signature);
    Some(HttpSettings { signer, render_metrics })
}

/// Runs the gateway until a signal comes; a second one ends the process at once.
pub(crate) async fn run(config: &Config) -> Result<()> {
    let render_metrics = telemetry::init_metrics()?;
    let http = http(config, render_metrics).context("gateway_secret: must not be empty")?;
    let secret = config.gateway_secret.as_ref().map(|secret| secret.expose().to_owned()).unwrap_or_default();
    let clock = machine_clock();
    let backend = HttpBackend::new(&BackendSettings {
        url: config.backend_url.clone(),
        secret,
        old_signature: config.gateway_old_signature,
        timeout: REPORT_WITHIN,
        pool: REPORTS,
        clock: Arc::new(move || clock().div_euclid(1_000)),
    })
    .context("backend_url")?;
    let server = open(config, Arc::new(backend), REPORTS).await?;
    let address = config.gateway_listen.as_deref().unwrap_or(LISTEN);
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("gateway_listen: {address} cannot be listened on"))?;
    let address = listener.local_addr()?;
    tell!("listening on http://{address}");
    tracing::info!(%address, "listening");
    let (stop, stop_sending) = (CancellationToken::new(), CancellationToken::new());
    let sending = tokio::spawn(server.clone().run(stop_sending.clone()));
    let (serving_server, until) = (server.clone(), stop.clone());
    let mut serving = tokio::spawn(async move { serving_server.serve(listener, http, until).await });
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = &mut serving => {
            ended??;
            bail!("the server ended by itself");
        }
    }
    tracing::info!("stopping; a second signal ends the process at once");
    let ending = async {
        // Whoever is being answered is answered first; what was taken by then is in the store.
        stop.cancel();
        serving.await??;
        stop_sending.cancel();
        sending.await.map_err(anyhow::Error::from)
    };
    tokio::select! {
        ended = ending => ended,
        _ = terminate.recv() => bail!("ended by a second signal"),
        _ = interrupt.recv() => bail!("ended by a second signal"),
    }
}

/// Lists the senders, or lets one send again.
pub(crate) async fn senders(config: &Config, action: Sender) -> Result<()> {
    match action {
        Sender::List => {
            let now = machine_clock()();
            for sender in server::senders(&config.data_dir).await? {
                let reason = match (sender.health(now), &sender.stopped_code, &sender.stopped_detail) {
                    ("stopped", Some(code), detail) => format!("{code}: {}", detail.as_deref().unwrap_or_default()),
                    ("waiting", ..) => format!("for {} s", (sender.wait_until - now) / 1_000 + 1),
                    _ => String::new(),
                };
                let limit = |n: i64| if n == 0 { "no limit".to_owned() } else { n.to_string() };
                say!(
                    "{:<16} {:<8} {} a minute, {} a day  {reason}",
                    sender.name,
                    sender.health(now),
                    limit(sender.rate_per_minute),
                    limit(sender.daily_cap),
                );
            }
        }
        Sender::Resume { name } => {
            if !server::resume_sender(&config.data_dir, &name).await? {
                bail!("there is no sender {name}; `paceline sender list` lists them");
            }
            say!("{name} may send again");
        }
    }
    Ok(())
}
