//! The hub: from news to frames.
//!
//! A frame is written once and shared by all sockets. Of one batch at most five frames a second leave: the first and the
//! last at once, the newest of those between when its turn comes. Versions order them, so counts never go back.

use crate::App;
use crate::surface::batch::summary_json;
use backplane::Notice;
use domain::batches::{self, BatchSummary};
use domain::{BatchId, Event, SessionId};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The shortest time between two frames of one batch.
const SPACING: Duration = Duration::from_millis(200);

/// How many frames a socket may be behind before it is cut off.
pub(crate) const MAX_BEHIND: usize = 256;

/// How many live batches a new socket is told of.
pub(crate) const MAX_LIVE: u64 = 1_000;

/// What all sockets are told.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// A frame for those who may watch batches.
    Batch(Arc<str>),
    /// A session has ended: its sockets close.
    Ended(SessionId),
}

struct Pending {
    version: i64,
    last: Instant,
    held: Option<BatchSummary>,
}

/// The sockets of this process.
#[derive(Debug)]
pub(crate) struct Hub {
    tell: broadcast::Sender<Told>,
    open: AtomicUsize,
    max: usize,
}

/// A socket's place; given back when dropped.
pub(crate) struct Place(Arc<Hub>);

impl Drop for Place {
    fn drop(&mut self) {
        let open = self.0.open.fetch_sub(1, Ordering::Relaxed) - 1;
        metrics::gauge!("paceline_websocket_connections").set(open as f64);
    }
}

impl Hub {
    pub(crate) fn new(max: usize) -> Self {
        Self { tell: broadcast::channel(MAX_BEHIND).0, open: AtomicUsize::new(0), max }
    }

    /// A place for one more socket, if there is one.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Place> {
        let taken = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.max).then_some(n + 1));
        let open = taken.ok()? + 1;
        metrics::gauge!("paceline_websocket_connections").set(open as f64);
        Some(Place(self.clone()))
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Told> {
        self.tell.subscribe()
    }

    fn tell(&self, told: Told) {
        // An error says that nobody listens.
        drop(self.tell.send(told));
    }
}

/// A `batch_update` frame.
pub(crate) fn batch_update(summary: &BatchSummary, timestamp_ms: i64) -> Arc<str> {
    json!({ "type": "batch_update", "data": summary_json(summary), "timestamp": timestamp_ms }).to_string().into()
}

/// Turns news into frames until told to stop.
pub(crate) async fn follow(app: Arc<App>, stop: CancellationToken) {
    let mut news = app.backplane.notifier.subscribe();
    let pending: Mutex<HashMap<BatchId, Pending>> = Mutex::default();
    let mut tick = tokio::time::interval(SPACING / 2);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            notice = news.recv() => match notice {
                Notice::Event(Event::BatchChanged(summary)) => offer(&app, &pending, summary),
                Notice::Event(Event::SessionRevoked(session)) => {
                    app.sessions.forget(session);
                    app.hub.tell(Told::Ended(session));
                }
                Notice::Event(Event::BatchControl(_)) => {}
                Notice::Missed => reread(&app, &pending).await,
            },
            _ = tick.tick() => release(&app, &pending),
        }
    }
}

/// Sends a summary now, or holds it until its turn.
fn offer(app: &App, pending: &Mutex<HashMap<BatchId, Pending>>, summary: BatchSummary) {
    let now = Instant::now();
    let mut pending = pending.lock();
    let known = pending.get(&summary.id);
    if known.is_some_and(|p| p.version >= summary.version) {
        return;
    }
    let terminal = summary.status.is_terminal();
    let wait = known.is_some_and(|p| now - p.last < SPACING) && !terminal;
    let last = match (wait, known) {
        (true, Some(p)) => p.last,
        _ => now,
    };
    let entry = Pending { version: summary.version, last, held: None };
    if wait {
        pending.insert(summary.id, Pending { held: Some(summary), ..entry });
    } else {
        app.hub.tell(Told::Batch(batch_update(&summary, app.clock.now().0)));
        pending.insert(summary.id, entry);
    }
}

/// Sends what was held and is due, and forgets batches that have been quiet.
fn release(app: &App, pending: &Mutex<HashMap<BatchId, Pending>>) {
    let now = Instant::now();
    pending.lock().retain(|_, p| {
        if now - p.last < SPACING {
            return true;
        }
        match p.held.take() {
            Some(summary) => {
                p.last = now;
                app.hub.tell(Told::Batch(batch_update(&summary, app.clock.now().0)));
                true
            }
            None => now - p.last < Duration::from_secs(60),
        }
    });
}

/// News may have been missed: everyone is told how things stand. Batches that ended meanwhile are among those last seen.
async fn reread(app: &App, pending: &Mutex<HashMap<BatchId, Pending>>) {
    let mut summaries = match batches::live(app.db.read(), MAX_LIVE).await {
        Ok(live) => live,
        Err(error) => {
            tracing::warn!(%error, "batches not read after missed news");
            return;
        }
    };
    let watched: Vec<BatchId> = pending.lock().keys().copied().collect();
    for id in watched {
        if let Ok(Some(batch)) = batches::get(app.db.read(), id).await {
            summaries.push(batch.summary);
        }
    }
    for summary in summaries {
        offer(app, pending, summary);
    }
}
