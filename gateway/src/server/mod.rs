//! The gateway as a server: takes messages durably, hands them to a network, and tells the backend what became of them.
//!
//! ```text
//! /send ─ accept ─▶ store ─ claim ─▶ sending ─ hand ─▶ transport
//!                     ▲  ◀─ outcome ────┘                  │
//!                     └──────────── heard ─────────────────┘
//!                   store ─ report ─▶ reporting ─▶ backend
//! ```
//!
//! Every arrow out of the store is committed before it is drawn, and every arrow into it is drawn again until it is
//! committed. So a kill at any place loses nothing, and doubles nothing but a hand-over whose answer was not written: that
//! one is found out about as the transport says ([`Settles`](crate::transport::Settles)).
//!
//! What is deliberately not there: a priority among messages. The backend decides who goes first and how fast; the queue
//! here is only as long as a network is slow.

mod backend;
mod http;
mod reporting;
mod rereading;
mod rules;
mod sending;
mod store;

pub use crate::sqlite::{Durability, OpenError, StoreError};
pub use backend::{Backend, BackendSettings, Delivery, HttpBackend, LocalBackend, Verdict};
pub use http::{HttpSettings, RenderMetrics};
pub use store::{Depths, FILE, Now, Sender, StoredMessage, StoredPage, StoredState};

use crate::simulator::SimulatedNetwork;
use crate::sqlite::StoreFile;
use crate::transport::{Event, EventSink, Transport};
use crate::{Gateway, Identity, MISDIRECTED, NO_SENDER_WAIT, Outbound, SendOutcome};
use futures::FutureExt;
use parking_lot::Mutex;
use reporting::Reporting;
use sending::Sending;
use sqlx::sqlite::SqliteSynchronous;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, SystemTime};
use store::{Accepted, NewMessage, Store};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How a gateway works.
#[derive(Clone)]
pub struct Settings {
    /// Where its store is.
    pub dir: PathBuf,
    /// How durable a commit is.
    pub durability: Durability,
    /// The most MiB that the store may grow to; 0: as the disk allows.
    pub max_mib: u32,
    /// The senders' names, as the network knows them; the first is that of a message which names none.
    pub senders: Vec<String>,
    /// What each of them may send a minute; 0: no limit of its own.
    pub rate_per_minute: u32,
    /// What each may send a day of UTC; 0: no limit.
    pub daily_cap: u32,
    /// Messages at the network at once.
    pub concurrency: usize,
    /// Reports at the backend at once.
    pub report_concurrency: usize,
    /// How long messages are kept that are done, and with them their ids; `None`: for ever.
    pub retention: Option<Duration>,
    /// How long what is under way may take to end.
    pub grace: Duration,
    /// The time, in milliseconds since the epoch.
    pub now: Now,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("dir", &self.dir).field("senders", &self.senders).finish_non_exhaustive()
    }
}

/// The machine's clock, in milliseconds since the epoch.
#[must_use]
pub fn machine_clock() -> Now {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// The network that a gateway sends through.
pub enum Network {
    /// None: the simulator.
    Simulator(Arc<SimulatedNetwork>),
    /// A real one.
    Real(Arc<dyn Transport>),
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Simulator(_) => "Simulator",
            Self::Real(_) => "Real",
        })
    }
}

const fn synchronous(durability: Durability) -> SqliteSynchronous {
    match durability {
        Durability::Full => SqliteSynchronous::Full,
        Durability::Normal => SqliteSynchronous::Normal,
    }
}

/// How often what is old is looked for.
const PRUNE_PERIOD: Duration = Duration::from_secs(600);

/// How long a loop that panicked, or a step that failed, is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// How many outcomes, and how many answers of the backend, wait to be written.
const UNWRITTEN: usize = 2_048;

/// A gateway.
pub struct Server {
    store: Arc<Store>,
    transport: Arc<dyn Transport>,
    simulator: Option<Arc<SimulatedNetwork>>,
    backend: Arc<dyn Backend>,
    identity: Identity,
    settings: Settings,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Runs a loop until it ends by itself; one that panics begins anew.
async fn supervise<F: Future<Output = ()>>(what: &'static str, mut make: impl FnMut() -> F) {
    while AssertUnwindSafe(make()).catch_unwind().await.is_err() {
        metrics::counter!("paceline_panics_total", "in" => what).increment(1);
        tracing::error!(what, "panicked, and begins anew; the log has its place");
        tokio::time::sleep(PAUSE).await;
    }
}

struct StoreSink(Arc<Store>);

#[async_trait::async_trait]
impl EventSink for StoreSink {
    async fn heard(&self, events: Vec<Event>) -> Result<(), String> {
        self.0.heard(events).await.map_err(|error| error.to_string())
    }
}

impl Server {
    /// Opens the store, for this process alone, and finds out what the last process left under way.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(settings: Settings, network: Network, backend: Arc<dyn Backend>) -> Result<Arc<Self>, OpenError> {
        let (transport, simulator): (Arc<dyn Transport>, _) = match network {
            Network::Simulator(simulator) => (simulator.clone(), Some(simulator)),
            Network::Real(transport) => (transport, None),
        };
        let synchronous = synchronous(settings.durability);
        let store = Store::open(&settings.dir, synchronous, settings.max_mib, settings.now.clone()).await?;
        let place = StoreFile { path: settings.dir.join(store::FILE), synchronous, max_mib: settings.max_mib };
        let name = store::identity(&place, transport.name()).await?;
        let identity = Identity { name, transport: Some(transport.name().to_owned()) };
        for sender in &settings.senders {
            store.limit(&place, sender, settings.rate_per_minute, settings.daily_cap).await?;
        }
        // Nothing may be claimed before: until a full disk has room, nothing is begun.
        while let Err(error) = store.recover(transport.settles()).await {
            tracing::warn!(%error, "what the last process left is not taken up yet");
            tokio::time::sleep(PAUSE).await;
        }
        let server = Self { store: Arc::new(store), transport, simulator, backend, identity, settings };
        server.warn_of_senders_without_a_place().await;
        Ok(Arc::new(server))
    }

    /// Sends, listens and reports until told to stop; then lets what is under way end, for as long as the grace.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let (outcomes, mut written_outcomes) = mpsc::channel(UNWRITTEN);
        let (told, mut written_told) = mpsc::channel(UNWRITTEN);
        let sending = Arc::new(Sending {
            store: self.store.clone(),
            transport: self.transport.clone(),
            senders: self.settings.senders.clone(),
            turn: AtomicUsize::new(0),
            places: Arc::new(Semaphore::new(self.settings.concurrency.max(1))),
            under_way: Mutex::default(),
            hands: TaskTracker::new(),
            outcomes,
        });
        let reporting =
            Reporting::new(self.store.clone(), self.backend.clone(), self.settings.report_concurrency.max(1), told);
        // The writers end last: everything that is under way is to be written.
        let end = CancellationToken::new();
        let writers = TaskTracker::new();
        let (of, ended) = (sending.clone(), end.clone());
        writers.spawn(async move {
            let writing = async {
                loop {
                    let writing = AssertUnwindSafe(sending::write_outcomes(of.clone(), &mut written_outcomes));
                    if writing.catch_unwind().await.is_ok() {
                        return;
                    }
                }
            };
            ended.run_until_cancelled(writing).await;
        });
        let (of, ended) = (reporting.clone(), end.clone());
        writers.spawn(async move {
            let writing = async {
                loop {
                    let writing = AssertUnwindSafe(reporting::write_told(of.clone(), &mut written_told));
                    if writing.catch_unwind().await.is_ok() {
                        return;
                    }
                }
            };
            ended.run_until_cancelled(writing).await;
        });
        writers.close();
        let loops = TaskTracker::new();
        let (of, until) = (sending.clone(), stop.clone());
        loops.spawn(async move { supervise("gateway sending", || of.clone().run(until.clone())).await });
        let (of, until) = (reporting.clone(), stop.clone());
        loops.spawn(async move { supervise("gateway reporting", || of.clone().run(until.clone())).await });
        let (server, until) = (self.clone(), stop.clone());
        loops.spawn(async move { supervise("gateway listening", || server.clone().listen(until.clone())).await });
        let (server, until) = (self.clone(), stop.clone());
        loops.spawn(async move { supervise("gateway pruning", || server.clone().prune(until.clone())).await });
        let (server, until) = (self.clone(), stop.clone());
        loops.spawn(async move { supervise("gateway rereading", || server.clone().reread(until.clone())).await });
        loops.close();
        tracing::info!(transport = self.transport.name(), senders = ?self.settings.senders, "gateway started");
        loops.wait().await;
        sending.hands.close();
        reporting.deliveries.close();
        let ending = async {
            sending.hands.wait().await;
            reporting.deliveries.wait().await;
            while !sending.under_way.lock().is_empty() || !reporting.is_idle() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(self.settings.grace, ending).await.is_err() {
            tracing::warn!("not all that was under way ended in time; the next start finds out about it");
        }
        end.cancel();
        writers.wait().await;
        tracing::info!("gateway stopped");
    }

    async fn listen(self: Arc<Self>, stop: CancellationToken) {
        let sink: Arc<dyn EventSink> = Arc::new(StoreSink(self.store.clone()));
        stop.run_until_cancelled(self.transport.listen(sink)).await;
    }

    async fn prune(self: Arc<Self>, stop: CancellationToken) {
        let Some(retention) = self.settings.retention else { return };
        let retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        loop {
            let before = (self.store.now)().saturating_sub(retention_ms);
            let mut after = Some(0);
            while let Some(seq) = after.filter(|_| !stop.is_cancelled()) {
                after = self.store.prune(before, seq).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "what is old is not deleted yet");
                    None
                });
            }
            if stop.run_until_cancelled(tokio::time::sleep(PRUNE_PERIOD)).await.is_none() {
                return;
            }
        }
    }

    /// Serves the gateway's paths until told to stop, and lets what is under way end.
    ///
    /// # Errors
    /// The listener's.
    pub async fn serve(
        self: &Arc<Self>,
        listener: TcpListener,
        http: HttpSettings,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        listener::serve(listener, http::routes(self.clone(), http), stop, self.settings.grace).await
    }

    /// The gateway for a backend in the same process.
    #[must_use]
    pub fn local(self: &Arc<Self>) -> LocalGateway {
        LocalGateway(self.clone())
    }

    /// The sender of a message that names this one, or none; `None`: there is no such sender here.
    fn sender_named(&self, name: Option<&str>) -> Option<&str> {
        let senders = &self.settings.senders;
        match name {
            None => senders.first(),
            Some(name) => senders.iter().find(|sender| *sender == name),
        }
        .map(String::as_str)
    }

    /// Whether any sender is not stopped. Of a store that cannot be read nobody knows, so it takes nothing.
    async fn takes_messages(&self) -> bool {
        let senders = self.store.senders().await.unwrap_or_default();
        senders.iter().any(|sender| self.settings.senders.contains(&sender.name) && sender.stopped_code.is_none())
    }

    /// Says which senders have a row and are not configured any more: what waits for them stays.
    async fn warn_of_senders_without_a_place(&self) {
        let Ok(known) = self.store.senders().await else { return };
        for sender in known.iter().filter(|sender| !self.settings.senders.contains(&sender.name)) {
            tracing::warn!(
                sender = sender.name,
                "is not among gateway_senders any more; messages that wait for it stay here"
            );
        }
    }

    /// Sets the gauges.
    async fn measure(&self) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        let gauge = |name: &'static str, value: i64| metrics::gauge!(name).set(value as f64);
        match self.store.depths().await {
            Ok(depths) => {
                gauge("paceline_gateway_messages_waiting", depths.messages_waiting);
                gauge("paceline_gateway_reports_waiting", depths.reports_waiting);
                gauge("paceline_gateway_reports_refused", depths.reports_refused);
                gauge("paceline_gateway_webhooks_set_aside", depths.webhooks_set_aside);
            }
            Err(error) => tracing::debug!(%error, "the store's depths are not read"),
        }
        let now = (self.store.now)();
        for sender in self.store.senders().await.unwrap_or_default() {
            for health in ["ok", "waiting", "stopped"] {
                let is = if sender.health(now) == health { 1.0 } else { 0.0 };
                metrics::gauge!("paceline_gateway_sender_health", "sender" => sender.name.clone(), "health" => health)
                    .set(is);
            }
        }
    }
}

/// A gateway in the same process: what it takes is durable as well.
#[derive(Clone, Debug)]
pub struct LocalGateway(Arc<Server>);

#[async_trait::async_trait]
impl Gateway for LocalGateway {
    async fn send(&self, message: &Outbound<'_>) -> SendOutcome {
        let fields = [
            (http::is_number(message.to), "to must be 7 to 15 digits"),
            (http::is_message(message.text), "message must be a text of 1 to 4096 characters"),
            (http::is_id(message.message_id), "backend_message_id must be 1 to 255 visible ASCII characters"),
        ];
        if let Some((_, detail)) = fields.iter().find(|(fine, _)| !fine) {
            return SendOutcome::Rejected { code: "gateway_422".into(), detail: (*detail).into() };
        }
        if !self.0.transport.session().ready {
            return SendOutcome::Throttled { retry_after: PAUSE };
        }
        let Some(sender) = self.0.sender_named(message.sender) else {
            tracing::error!(sender = message.sender, "there is no such sender here; add it to gateway_senders");
            return SendOutcome::Throttled { retry_after: NO_SENDER_WAIT };
        };
        let new = NewMessage {
            id: message.message_id.into(),
            numeric: false,
            sender: sender.to_owned(),
            recipient: message.to.into(),
            body: message.text.into(),
        };
        if message.gateway.is_some_and(|asked| asked != self.0.identity.name) {
            return SendOutcome::Unreachable { detail: MISDIRECTED.into() };
        }
        match self.0.store.accept(new).await {
            Ok(Accepted::Fresh | Accepted::Known) => SendOutcome::Accepted,
            Ok(Accepted::Capped { retry_after } | Accepted::Stopped { retry_after, .. }) => {
                SendOutcome::Throttled { retry_after }
            }
            Err(error @ StoreError::Unsettled) => {
                SendOutcome::Unknown { code: "gateway_unsettled".into(), detail: error.to_string() }
            }
            Err(error @ (StoreError::Full | StoreError::Away | StoreError::Fault)) => {
                SendOutcome::Failed { code: "gateway_500".into(), detail: error.to_string() }
            }
        }
    }

    async fn check(&self) -> Result<(), String> {
        if !self.0.transport.session().ready {
            return Err("it says that it is not ready".into());
        }
        if !self.0.takes_messages().await {
            return Err("its senders are stopped; `paceline sender list` has the reason".into());
        }
        Ok(())
    }

    async fn identity(&self) -> Result<Option<Identity>, String> {
        Ok(Some(self.0.identity.clone()))
    }
}

/// The senders of the store in a folder, whether or not a gateway runs there.
///
/// # Errors
/// See [`OpenError`].
pub async fn senders(dir: &Path) -> Result<Vec<Sender>, OpenError> {
    store::senders_in(dir).await
}

/// Lets a sender that was stopped send again. A gateway that runs there sees it within a second.
///
/// # Errors
/// See [`OpenError`]; `Ok(false)`: there is no such sender.
pub async fn resume_sender(dir: &Path, name: &str) -> Result<bool, OpenError> {
    store::resume_in(dir, name).await
}

/// What the store in a folder has of the messages behind a place, whether or not a gateway runs there: `limit` at most.
///
/// # Errors
/// See [`OpenError`].
pub async fn kept(dir: &Path, after: i64, limit: i64) -> Result<StoredPage, OpenError> {
    store::kept_in(dir, machine_clock()(), after, limit).await
}

/// The name that the gateway in a folder has over a network, whether or not it runs; `None`: it never ran over it.
///
/// # Errors
/// See [`OpenError`].
pub async fn identity(dir: &Path, transport: &str) -> Result<Option<String>, OpenError> {
    store::identity_in(dir, transport).await
}
