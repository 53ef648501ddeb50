//! From the store to the network: claims what is due, hands it over, writes what came of it.
//!
//! A claim is committed before its message leaves. A message holds one of the places from its claim until its hand-over
//! has ended; it waits there for its slot, which is at most a moment away: what may leave later is not claimed yet.

use super::rules::AttemptContext;
use super::store::{AttemptResult, Claimed, Store};
use crate::transport::{Class, Refusal, Submission, SubmissionOutcome, Transport};
use faults::{GatewayStep, Point, Side};
use futures::FutureExt;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many messages one claim takes.
const GROUP: usize = 256;

/// How many outcomes one commit takes.
const OUTCOMES: usize = 500;

/// How long nothing is looked for when nobody rings: what another process changed (`paceline sender resume`) is seen then.
const SWEEP: Duration = Duration::from_secs(1);

/// How long a store that did not take something is left alone.
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) struct Sending {
    pub(crate) store: Arc<Store>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) senders: Vec<String>,
    /// Which sender is asked first, the next time: with few places each has its turn.
    pub(crate) turn: AtomicUsize,
    pub(crate) places: Arc<Semaphore>,
    /// Claimed, and its outcome is not written yet.
    pub(crate) under_way: Mutex<HashSet<i64>>,
    pub(crate) hands: TaskTracker,
    pub(crate) outcomes: mpsc::Sender<AttemptResult>,
}

impl Sending {
    /// Claims and hands over until told to stop. Called again after a panic: what was claimed and not begun is let go.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        stop.run_until_cancelled(self.let_go()).await;
        while !stop.is_cancelled() {
            if stop.run_until_cancelled(self.round()).await.is_none() {
                // Between a claim and its tasks nothing waits, so whatever was claimed is under way, or comes back below.
                break;
            }
        }
        self.let_go().await;
    }

    async fn round(self: &Arc<Self>) {
        if !self.transport.session().ready {
            tokio::time::sleep(SWEEP).await;
            return;
        }
        // The semaphore is never closed.
        let Ok(first) = self.places.clone().acquire_owned().await else { return };
        let free = self.places.available_permits().min(GROUP - 1) + 1;
        let rung = self.store.bells.sending.notified();
        let (mut place, mut left, mut next_at_ms) = (Some(first), free, None);
        let begin = self.turn.fetch_add(1, Ordering::Relaxed);
        for at in 0..self.senders.len() {
            let sender = &self.senders[(begin + at) % self.senders.len()];
            if left == 0 {
                // The next round comes at once, and begins with another one.
                next_at_ms = Some(0);
                break;
            }
            let claims = match self.store.claim(sender, left, self.transport.settles()).await {
                Ok(claims) => claims,
                Err(error) => {
                    tracing::warn!(%error, sender, "nothing was claimed");
                    drop(place);
                    tokio::time::sleep(PAUSE).await;
                    self.let_go().await;
                    return;
                }
            };
            left = left.saturating_sub(claims.messages.len());
            next_at_ms = next_at_ms.into_iter().chain(claims.next_at_ms).min();
            for message in claims.messages {
                self.under_way.lock().insert(message.seq);
                let place = match place.take() {
                    Some(place) => Some(place),
                    // Others only give places back.
                    None => self.places.clone().try_acquire_owned().ok(),
                };
                self.hands.spawn(self.clone().hand(message, claims.waits, place));
            }
        }
        drop(place);
        let wait = next_at_ms
            .map_or(SWEEP, |at: i64| Duration::from_millis((at - (self.store.now)()).max(0).unsigned_abs()).min(SWEEP));
        if !wait.is_zero() {
            tokio::select! {
                () = rung => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Makes what was claimed and is not under way claimable again: a claim whose answer was lost is nobody's.
    async fn let_go(&self) {
        loop {
            let except: Vec<i64> = self.under_way.lock().iter().copied().collect();
            match self.store.unclaim(except).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "what was claimed is not let go yet"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn hand(self: Arc<Self>, message: Claimed, waits: u32, place: Option<OwnedSemaphorePermit>) {
        let early = message.slot_us - (self.store.now)() * 1_000;
        if early > 0 {
            tokio::time::sleep(Duration::from_micros(early.unsigned_abs())).await;
        }
        let began = std::time::Instant::now();
        let handed = AssertUnwindSafe(self.attempt(&message)).catch_unwind().await.unwrap_or_else(|_| {
            metrics::counter!("paceline_panics_total", "in" => "gateway transport").increment(1);
            tracing::error!("a hand-over panicked; the log has its place");
            SubmissionOutcome::Unknown {
                code: "gateway_panic".into(),
                detail: "the gateway failed while it handed it over".into(),
            }
        });
        metrics::histogram!("paceline_gateway_hand_seconds").record(began.elapsed().as_secs_f64());
        drop(place);
        let standing = AttemptContext {
            attempts: message.attempts,
            doubt: message.doubt,
            settles: self.transport.settles(),
            waits,
        };
        let Claimed { seq, id, numeric, sender, .. } = message;
        if self.outcomes.send(AttemptResult { seq, id, numeric, sender, handed, standing }).await.is_err() {
            tracing::warn!("an outcome is not written; the next start finds out about it");
        }
    }

    async fn attempt(&self, message: &Claimed) -> SubmissionOutcome {
        let broke = |error: std::io::Error| (String::from("gateway_broke_off"), error.to_string());
        if let Err(error) = faults::hit(Point::Gateway(GatewayStep::Hand, Side::Before)) {
            let (code, detail) = broke(error);
            return SubmissionOutcome::Refused(Refusal { class: Class::Trouble, code, detail, retry_after: None });
        }
        let Claimed { id, recipient, body, sender, .. } = message;
        let handed = self.transport.hand(&Submission { message_id: id, to: recipient, text: body, sender }).await;
        match faults::hit(Point::Gateway(GatewayStep::Hand, Side::After)) {
            Ok(()) => handed,
            Err(error) => {
                let (code, detail) = broke(error);
                SubmissionOutcome::Unknown { code, detail }
            }
        }
    }
}

/// Writes outcomes in groups until nobody sends any more. What the store does not take is tried until it does: it finds
/// what it took.
pub(crate) async fn write_outcomes(sending: Arc<Sending>, outcomes: &mut mpsc::Receiver<AttemptResult>) {
    let mut group = Vec::with_capacity(OUTCOMES);
    while outcomes.recv_many(&mut group, OUTCOMES).await > 0 {
        while let Err(error) = sending.store.settle(group.clone()).await {
            tracing::warn!(%error, outcomes = group.len(), "outcomes are not written yet");
            tokio::time::sleep(PAUSE).await;
        }
        let mut under_way = sending.under_way.lock();
        for outcome in group.drain(..) {
            under_way.remove(&outcome.seq);
        }
    }
}
