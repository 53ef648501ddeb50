//! The worker: takes jobs from three lanes and does them.
//!
//! A ring comes from the queue (`backend`), apalis' monitor (`lanes`) hands it to `execute`, which claims the job's row and calls the
//! file of its kind in `kinds`. Everything durable happens in `domain`'s steps; here is what surrounds them: which
//! ring to take, how many jobs at once, when to write outcomes, what to do when the process is told to stop.
//!
//! Only the row decides. A ring for a job that is not ready does nothing; a job whose ring was lost is rung by the
//! sweep; while the queue is away the pump asks the database, at a lower rate.

mod attempt;
mod backend;
mod circuits;
mod control;
mod execute;
mod identity;
mod kinds;
mod lanes;
mod leases;
mod orders;
mod places;
mod reports;
mod sender_names;
mod step_rows;

pub use reports::take_reports;

use backplane::{After, Backplane, supervise};
use circuits::Circuits;
use control::Controls;
use domain::jobs::workers;
use domain::queue::system::Examine;
use domain::{Clock, Db, Lane};
use gateway::Gateway;
use identity::{Identity, KnownGateway, UnknownGateway};
use leases::Leases;
use orders::Lanes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sender_names::SenderNames;
use std::sync::Arc;
use std::time::Duration;
use step_rows::StepRows;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How a worker works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Jobs at once in the critical lane.
    pub critical_concurrency: usize,
    /// Jobs at once in the default lane.
    pub default_concurrency: usize,
    /// Jobs at once in the bulk lane.
    pub bulk_concurrency: usize,
    /// Messages in flight to the gateway at once, over all jobs of this process.
    pub send_concurrency: usize,
    /// The limit a minute of a sender whose row has none; `None`: no limit.
    pub sender_rate_per_minute: Option<i64>,
    /// How long jobs may take to come to rest after the process was told to stop.
    pub shutdown_grace: Duration,
    /// Told of each probe job when its handler starts: how a benchmark measures the way from a commit to there.
    pub probes: Option<Probes>,
    /// Examines the installation; `None`: this worker cannot, and an examination that comes to it is dead.
    pub examine: Option<Examine>,
}

/// Where the starts of probe jobs are told.
pub type Probes = tokio::sync::mpsc::UnboundedSender<(domain::JobId, std::time::Instant)>;

impl Settings {
    fn concurrency(&self, lane: Lane) -> usize {
        match lane {
            Lane::Critical => self.critical_concurrency,
            Lane::Default => self.default_concurrency,
            Lane::Bulk => self.bulk_concurrency,
        }
    }
}

/// What every job can use.
pub(crate) struct Shared {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) after: After,
    pub(crate) gateway: Arc<dyn Gateway>,
    pub(crate) identity: Identity,
    pub(crate) settings: Settings,
    pub(crate) leases: Leases,
    pub(crate) lanes: Lanes,
    pub(crate) controls: Controls,
    pub(crate) circuits: Circuits,
    pub(crate) sender_names: SenderNames,
    pub(crate) sends: Arc<Semaphore>,
    pub(crate) step_rows: StepRows,
    /// Told to stop: claim nothing more, let go of what has not started.
    pub(crate) stopping: CancellationToken,
    /// This process, as the owner of leases: never the same twice.
    pub(crate) owner: String,
}

impl Shared {
    /// The gateway that messages leave through now.
    pub(crate) async fn known_gateway(&self) -> Result<Arc<KnownGateway>, UnknownGateway> {
        self.identity.current(self.gateway.as_ref(), &self.db, &self.clock).await
    }

    /// Randomness for one step. A generator of its own, since a step is held across awaits.
    pub(crate) fn rng(&self) -> StdRng {
        StdRng::from_rng(&mut rand::rng())
    }
}

/// Works until told to stop; then lets running jobs come to rest, or gives up on them after the grace: their leases end
/// and another worker takes them over.
pub async fn run(
    db: Db,
    clock: Clock,
    backplane: Backplane,
    gateway: Arc<dyn Gateway>,
    settings: Settings,
    stop: CancellationToken,
) {
    let background = CancellationToken::new();
    let tasks = TaskTracker::new();
    let controls = Controls::default();
    let shared = Arc::new(Shared {
        after: After::new(&backplane, clock.clone()),
        sends: Arc::new(Semaphore::new(settings.send_concurrency.max(1))),
        owner: format!("worker-{}", uuid::Uuid::now_v7().simple()),
        leases: Leases::default(),
        lanes: Lanes::new(&settings),
        circuits: Circuits::default(),
        sender_names: SenderNames::default(),
        identity: Identity::default(),
        step_rows: StepRows::new(db.dialect()),
        stopping: stop.clone(),
        controls,
        db,
        clock,
        gateway,
        settings,
    });
    tracing::info!(owner = %shared.owner, "worker started");
    // Before the first claim, so that no lease is ever held by somebody unknown.
    let does = shared.lanes.orders();
    if let Err(error) = workers::beat(shared.db.vital(), shared.clock.now(), &shared.owner, &does).await {
        tracing::warn!(%error, "the database is away");
    }
    let (beater, stop_beater) = (shared.clone(), background.clone());
    tasks.spawn(async move {
        supervise("beat", || leases::beat(beater.clone(), stop_beater.clone())).await;
    });
    let (keeper, stop_keeper) = (shared.clone(), background.clone());
    tasks.spawn(async move {
        supervise("leases", || leases::keep(keeper.clone(), stop_keeper.clone())).await;
    });
    let (follower, notifier, stop_follower) = (shared.clone(), backplane.notifier.clone(), background.clone());
    tasks.spawn(async move {
        supervise("control", || control::follow(follower.clone(), notifier.clone(), stop_follower.clone())).await;
    });
    lanes::run(&shared, &backplane.queue).await;
    let running = shared.leases.len();
    if running > 0 {
        tracing::warn!(running, "jobs did not come to rest in time; their leases will end");
    }
    shared.after.flush().await;
    background.cancel();
    tasks.close();
    tasks.wait().await;
    match workers::leave(shared.db.write(), shared.clock.now(), &shared.owner).await {
        Ok(0) => {}
        Ok(left) => tracing::warn!(left, "jobs are left to other workers"),
        Err(error) => tracing::warn!(%error, "leases not ended; they will end by themselves"),
    }
    tracing::info!("worker stopped");
}
