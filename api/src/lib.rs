//! HTTP: the surfaces, the sockets, the documents.
//!
//! A surface turns requests into calls of `domain` and what comes back into its contract's envelope; it holds no rule
//! and no SQL. What surfaces have in common is in `foundation`; they never import one another.

mod docs;
mod foundation;
mod realtime;
mod surface;

use backplane::{After, Backplane, Intake, supervise};
use docs::Documented;
use domain::contacts::phone::Country;
use domain::contacts::stop_words::OptOut;
use domain::queue::system::Inspect;
use domain::users::TokenKeys;
use domain::{Clock, Db};
use foundation::auth::Sessions;
use futures::future::BoxFuture;
use poem::endpoint::BoxEndpoint;
use poem::{Endpoint, EndpointExt, Response, Route};
use realtime::Hub;
use realtime::stream::{self, StreamHub};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How the API behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sign-ins a minute, for an address and for an account; 0: no limit.
    pub login_per_minute: u32,
    /// Writes of batches a minute, for a user.
    pub batch_per_minute: u32,
    /// Everything else a minute, for a user.
    pub general_per_minute: u32,
    /// Sockets at once in this process.
    pub max_sockets: usize,
    /// The limit a minute of a sender whose row has none: for forecasts.
    pub sender_rate_per_minute: Option<i64>,
    /// Above how many recipients a send waits for a second person; `None`: none does.
    pub approval_above: Option<u32>,
    /// How long requests may take to end after the process was told to stop.
    pub shutdown_grace: Duration,
    /// Streams of events at once in this process.
    pub max_streams: usize,
    /// Checks what the gateway signs; `None`: its paths are closed.
    pub internal: Option<gateway::Signer>,
    /// Whether the CRM's frontend paths take requests without a token.
    pub crm_open: bool,
    /// The origins whose pages may read answers; `*` means all.
    pub cors_origins: Vec<String>,
    /// The words by which people opt out and in, and what is answered.
    pub opt_out: OptOut,
    /// Where numbers without a country's code are at home, unless a request says another country.
    pub default_country: Option<Country>,
}

/// Makes the text that Prometheus reads.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Looks whether the parts that a process needs are there, by name.
pub type ReadyCheck = Arc<dyn Fn() -> BoxFuture<'static, Vec<(&'static str, bool)>> + Send + Sync>;

/// What a process tells of itself.
#[derive(Clone)]
pub struct Observed {
    /// For `/readyz`.
    pub ready: ReadyCheck,
    /// For `/metrics`.
    pub render_metrics: RenderMetrics,
    /// For `/queue/system`.
    pub inspect: Inspect,
}

impl std::fmt::Debug for Observed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observed")
    }
}

/// What every request can use.
pub(crate) struct App {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) backplane: Backplane,
    pub(crate) after: After,
    pub(crate) keys: TokenKeys,
    pub(crate) settings: Settings,
    pub(crate) sessions: Sessions,
    pub(crate) hub: Arc<Hub>,
    pub(crate) streams: Arc<StreamHub>,
    pub(crate) intake: Intake,
    pub(crate) observed: Observed,
    pub(crate) started: Instant,
}

impl App {
    /// Does what a committed step left to do, and returns its value.
    pub(crate) fn after<T>(&self, step: domain::Step<T>) -> T {
        self.after.commit(step)
    }
}

/// Serves until told to stop. `console` are the pages for people, served as they are at `/console` and below.
///
/// # Errors
/// The listener's.
#[expect(clippy::too_many_arguments, reason = "the process's parts, each of its own type")]
pub async fn serve(
    listener: TcpListener,
    db: Db,
    clock: Clock,
    backplane: Backplane,
    keys: TokenKeys,
    settings: Settings,
    observed: Observed,
    console: BoxEndpoint<'static, Response>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let hub = Arc::new(Hub::new(settings.max_sockets, surface::batch::summary_json));
    let grace = settings.shutdown_grace;
    let after = After::new(&backplane, clock.clone());
    let sessions = Sessions::default();
    let streams = Arc::new(StreamHub::new(Arc::new(surface::crm::CrmEvents), settings.max_streams, stop.clone()));
    let intake = Intake::start(db.clone(), clock.clone(), after.clone(), settings.opt_out.clone());
    let started = Instant::now();
    let app = Arc::new(App {
        sessions,
        hub,
        streams,
        intake,
        db,
        clock,
        backplane,
        after,
        keys,
        settings,
        observed,
        started,
    });
    let (followed, until) = (app.clone(), stop.clone());
    tokio::spawn(async move { supervise("streams", || stream::follow(followed.clone(), until.clone())).await });
    let (followed, until) = (app.clone(), stop.clone());
    tokio::spawn(async move { supervise("news", || realtime::follow(followed.clone(), until.clone())).await });
    let (ended, until) = (app.clone(), stop.clone());
    tokio::spawn(
        async move { supervise("sessions", || realtime::sessions::follow(ended.clone(), until.clone())).await },
    );
    let after = app.after.clone();
    let served = listener::serve(listener, routes(app, console), stop, grace).await;
    after.flush().await;
    served
}

/// Serves `/healthz`, `/readyz` and `/metrics` alone: for a process that has no API.
///
/// # Errors
/// The listener's.
pub async fn serve_observability(
    listener: TcpListener,
    observed: Observed,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let metrics = surface::crm::metrics(observed.render_metrics);
    let routes = foundation::outermost(docs::observability(observed.ready, metrics));
    listener::serve(listener, routes.boxed(), stop, Duration::from_secs(1)).await
}

fn routes(app: Arc<App>, console: BoxEndpoint<'static, Response>) -> BoxEndpoint<'static> {
    let batch = surface::batch::endpoint(app.clone());
    let support_desk = surface::support_desk::endpoint(app.clone());
    let admin_chat = surface::admin_chat::endpoint(app.clone());
    let crm = surface::crm::endpoint(app.clone());
    let origins = app.settings.cors_origins.clone();
    let routes = Route::new()
        .nest_no_strip("/batch", batch.clone())
        .nest_no_strip("/templates", batch.clone())
        .nest_no_strip("/contacts", batch.clone())
        .nest_no_strip("/suppressions", batch.clone())
        .nest_no_strip("/senders", batch.clone())
        .nest_no_strip("/calendar", batch.clone())
        .nest_no_strip("/views", batch.clone())
        .nest_no_strip("/drafts", batch.clone())
        .nest_no_strip("/test-numbers", batch.clone())
        .nest_no_strip("/queue", batch)
        .nest_no_strip("/api/v1", support_desk)
        .nest_no_strip("/api/v2", admin_chat.clone())
        .nest_no_strip("/admin/chat", admin_chat.clone())
        .at("/ws", admin_chat)
        .nest_no_strip("/customers", crm.clone())
        .nest_no_strip("/messages", crm.clone())
        .nest_no_strip("/webhooks", crm.clone())
        .at("/metrics", crm)
        .nest_no_strip("/console", console)
        .nest("/", docs::endpoint(app.observed.ready.clone(), documented(&app)));
    foundation::outermost(foundation::cors::share(&origins, routes)).boxed()
}

/// The surfaces that have a document.
fn documented(app: &Arc<App>) -> Vec<Documented> {
    let support_desk = surface::support_desk::service(app.clone());
    vec![
        Documented::of("batch", "Batch", "Batch operations", &surface::batch::service(app.clone())),
        Documented::of("crm", "Crm", "WhatsApp CRM", &surface::crm::service(app.clone())),
        Documented::of("support-desk", "SupportDesk", "Support desk", &support_desk),
    ]
}

/// Shares an endpoint among routes.
pub(crate) fn shared(endpoint: impl Endpoint<Output = poem::Response> + 'static) -> Arc<BoxEndpoint<'static>> {
    Arc::new(endpoint.boxed())
}
