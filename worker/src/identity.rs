//! Which gateway this process sends through. It says so itself (`/status`); what it takes is written down with its name,
//! and a batch of another gateway is left alone.

use domain::{BatchId, Clock, Db, GatewayId, gateways};
use gateway::Gateway;
use parking_lot::Mutex;
use sea_orm::DbErr;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often it is said of a batch that it waits for another gateway.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// How many batches are remembered for that.
const REMEMBERED: usize = 1_000;

/// The gateway, as it was asked last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownGateway {
    /// Its number in the ledger.
    pub(crate) id: GatewayId,
    /// Its name; `None`: it tells none.
    pub(crate) name: Option<String>,
}

/// Why it is not known which gateway it is.
#[derive(Debug)]
pub(crate) enum UnknownGateway {
    /// It does not answer, for people.
    Away(String),
    /// The ledger could not be asked for its number.
    Ledger(DbErr),
}

/// What is known of the gateway.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    last: Mutex<Option<Arc<KnownGateway>>>,
    /// It was away since it was asked: who answers there now may be another.
    doubted: AtomicBool,
    /// When it was asked in vain last, and why. Held by the one who asks: the others wait for its answer.
    failed: tokio::sync::Mutex<Option<(Instant, String)>>,
    said: Mutex<HashMap<BatchId, Instant>>,
}

impl Identity {
    /// The gateway as it was asked last; `None`: it never answered.
    pub(crate) fn last(&self) -> Option<GatewayId> {
        self.last.lock().as_ref().map(|known| known.id)
    }

    /// It was away: it is asked again before it is sent anything.
    pub(crate) fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    fn trusted(&self) -> Option<Arc<KnownGateway>> {
        if self.doubted.load(Ordering::Relaxed) { None } else { self.last.lock().clone() }
    }

    /// The gateway that answers now: asked for, where that is not known.
    pub(crate) async fn current(
        &self,
        gateway: &dyn Gateway,
        db: &Db,
        clock: &Clock,
    ) -> Result<Arc<KnownGateway>, UnknownGateway> {
        if let Some(known) = self.trusted() {
            return Ok(known);
        }
        let came = Instant::now();
        let mut failed = self.failed.lock().await;
        // Somebody has asked meanwhile.
        if let Some(known) = self.trusted() {
            return Ok(known);
        }
        if let Some((_, why)) = failed.as_ref().filter(|(at, _)| *at >= came) {
            return Err(UnknownGateway::Away(why.clone()));
        }
        let told = match gateway.identity().await {
            Ok(told) => told,
            Err(why) => {
                *failed = Some((Instant::now(), why.clone()));
                return Err(UnknownGateway::Away(why));
            }
        };
        let (name, transport) = told.map(|told| (told.name, told.transport)).unzip();
        let called = name.clone().unwrap_or_else(|| gateways::UNNAMED.to_owned());
        let id = gateways::know(db.write(), clock.now(), &called, transport.flatten().as_deref()).await;
        let known = Arc::new(KnownGateway { id: id.map_err(UnknownGateway::Ledger)?, name });
        let before = self.last.lock().replace(known.clone());
        if before.as_ref() != Some(&known) {
            tracing::info!(gateway = called, "messages leave through this gateway");
        }
        self.doubted.store(false, Ordering::Relaxed);
        Ok(known)
    }

    /// Says that a batch belongs to another gateway, now and then.
    pub(crate) fn elsewhere(&self, batch: BatchId) {
        metrics::counter!("paceline_claims_elsewhere_total").increment(1);
        let mut said = self.said.lock();
        if said.len() >= REMEMBERED {
            said.clear();
        }
        let now = Instant::now();
        if said.get(&batch).is_some_and(|at| now.duration_since(*at) < SAID_EVERY) {
            return;
        }
        said.insert(batch, now);
        let ours = self.last.lock().as_ref().and_then(|known| known.name.clone()).unwrap_or_default();
        tracing::warn!(
            batch = batch.0,
            gateway = ours,
            "a batch belongs to another gateway than this worker's: nothing of it is claimed; `paceline doctor` says what to do"
        );
    }
}
