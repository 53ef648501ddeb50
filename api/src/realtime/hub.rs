//! The hub: from news to frames. A frame is written once and shared by all sockets of the process.
//!
//! News may be lost: who commits may be killed before it publishes, and a pub/sub message that nobody heard comes no
//! second time. While somebody listens, the hub therefore looks by itself how the batches stand that it told of, in two
//! statements of bounded size every [`LOOK_EVERY`].

use super::pacer::{Pacer, SPACING};
use crate::App;
use backplane::Notice;
use domain::batches::{self, BatchSummary};
use domain::{BatchId, Event, SessionId};
use parking_lot::Mutex;
use sea_orm::DbErr;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many live batches a new socket is told of.
pub(crate) const MAX_LIVE: u64 = 1_000;

/// How often the batches are looked at although nobody said that they changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How many frames a socket may be behind before it is cut off: a second of news of all the live batches. They come in
/// bursts, since a tick tells of all that was held, and who reads at once is not to lose his socket for that.
pub(crate) const MAX_BEHIND: usize = 4_096;

/// What all sockets are told.
#[derive(Clone, Debug)]
pub(crate) enum SocketNews {
    /// A frame for those who may watch batches.
    Batch(Arc<BatchFrame>),
    /// A session has ended: its sockets close.
    Ended(SessionId),
    /// The process stops: all sockets close.
    Stopping,
}

/// How a batch is told: in the words of the surface that has the batches.
pub(crate) type RenderBatch = fn(&BatchSummary) -> Value;

/// A `batch_update` frame.
#[derive(Debug)]
pub(crate) struct BatchFrame {
    pub(crate) id: BatchId,
    pub(crate) version: i64,
    pub(crate) text: String,
}

impl BatchFrame {
    fn of(shape: RenderBatch, summary: &BatchSummary, timestamp_ms: i64) -> Self {
        let frame = json!({ "type": "batch_update", "data": shape(summary), "timestamp": timestamp_ms });
        Self { id: summary.id, version: summary.version, text: frame.to_string() }
    }
}

/// The sockets of this process.
#[derive(Debug)]
pub(crate) struct Hub {
    tell: broadcast::Sender<SocketNews>,
    open: AtomicUsize,
    max: usize,
    shape: RenderBatch,
    /// The live batches that new sockets were told of.
    told: Mutex<HashMap<BatchId, BatchSummary>>,
}

/// The permit of one socket; given back when dropped.
pub(crate) struct SocketPermit(Arc<Hub>);

impl Drop for SocketPermit {
    fn drop(&mut self) {
        let open = self.0.open.fetch_sub(1, Ordering::Relaxed) - 1;
        metrics::gauge!("paceline_websocket_connections").set(open as f64);
    }
}

impl Hub {
    pub(crate) fn new(max: usize, shape: RenderBatch) -> Self {
        Self { tell: broadcast::channel(MAX_BEHIND).0, open: AtomicUsize::new(0), max, shape, told: Mutex::default() }
    }

    /// What sockets are told of a batch.
    pub(crate) fn frame(&self, summary: &BatchSummary, timestamp_ms: i64) -> BatchFrame {
        BatchFrame::of(self.shape, summary, timestamp_ms)
    }

    /// A permit for one more socket, if there is one.
    pub(crate) fn permit(self: &Arc<Self>) -> Option<SocketPermit> {
        let taken = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.max).then_some(n + 1));
        let open = taken.ok()? + 1;
        metrics::gauge!("paceline_websocket_connections").set(open as f64);
        Some(SocketPermit(self.clone()))
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<SocketNews> {
        self.tell.subscribe()
    }

    /// A new socket was told of these batches: their end is to be told too.
    pub(crate) fn was_told(&self, live: &[BatchSummary]) {
        self.told.lock().extend(live.iter().map(|summary| (summary.id, summary.clone())));
    }

    /// Closes the sockets of a session that has ended.
    pub(super) fn end(&self, session: SessionId) {
        self.tell(SocketNews::Ended(session));
    }

    fn tell(&self, told: SocketNews) {
        // An error says that nobody listens.
        drop(self.tell.send(told));
    }
}

/// Turns news into frames until told to stop.
pub(crate) async fn follow(app: Arc<App>, stop: CancellationToken) {
    let mut news = app.backplane.notifier.subscribe();
    let mut pacer = Pacer::default();
    let mut missed = false;
    let (mut looked, mut looked_to) = (Instant::now(), BatchId(0));
    let mut tick = tokio::time::interval(SPACING / 5);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => {
                app.hub.tell(SocketNews::Stopping);
                return;
            }
            notice = news.recv() => match notice {
                Notice::Event(Event::BatchChanged(summary)) => offer(&app, &mut pacer, summary),
                Notice::Event(Event::SessionRevoked(session)) => {
                    app.sessions.forget(session);
                    app.hub.tell(SocketNews::Ended(session));
                }
                Notice::Event(Event::BatchControl(_) | Event::OutboxGrew(_)) => {}
                Notice::Missed => missed = true,
            },
            _ = tick.tick() => {
                for summary in std::mem::take(&mut *app.hub.told.lock()).into_values() {
                    pacer.know(Instant::now(), &summary);
                }
                // Nothing is read for nobody: a new socket reads by itself.
                let listening = app.hub.open.load(Ordering::Relaxed) > 0;
                if listening && (missed || looked.elapsed() >= LOOK_EVERY) {
                    (looked, missed) = (Instant::now(), false);
                    if let Err(error) = reread(&app, &mut pacer, &mut looked_to).await {
                        tracing::debug!(%error, "the batches were not read; the next look tries again");
                    }
                }
                for summary in pacer.due(Instant::now()) {
                    tell(&app, &summary);
                }
            }
        }
    }
}

fn tell(app: &App, summary: &BatchSummary) {
    app.hub.tell(SocketNews::Batch(Arc::new(app.hub.frame(summary, app.clock.now().0))));
}

fn offer(app: &App, pacer: &mut Pacer, summary: BatchSummary) {
    if let Some(summary) = pacer.offer(Instant::now(), summary) {
        tell(app, &summary);
    }
}

/// Looks how things stand: all are told what they missed, the batches that ended meanwhile among it. Of batches that are not
/// among the first [`MAX_LIVE`] live ones, as many are read at once, in turns: `from` is where the last look ended.
async fn reread(app: &App, pacer: &mut Pacer, from: &mut BatchId) -> Result<(), DbErr> {
    let live = batches::live(app.db.read(), MAX_LIVE).await?;
    let mut others = pacer.watched();
    others.retain(|id| live.binary_search_by_key(id, |summary| summary.id).is_err());
    let others = next_turn(&others, from);
    for summary in live {
        offer(app, pacer, summary);
    }
    if others.is_empty() {
        return Ok(());
    }
    let mut found: HashMap<BatchId, BatchSummary> =
        batches::summaries(app.db.read(), &others).await?.into_iter().map(|summary| (summary.id, summary)).collect();
    for id in others {
        match found.remove(&id) {
            Some(summary) => offer(app, pacer, summary),
            None => pacer.forget(id),
        }
    }
    Ok(())
}

/// Up to [`MAX_LIVE`] of them, those behind `from` first; moves `from` to the last.
fn next_turn(sorted: &[BatchId], from: &mut BatchId) -> Vec<BatchId> {
    let start = sorted.partition_point(|id| id <= from);
    let most = usize::try_from(MAX_LIVE).unwrap_or(usize::MAX);
    let (before, behind) = sorted.split_at(start);
    let turn: Vec<BatchId> = behind.iter().chain(before).take(most).copied().collect();
    *from = turn.last().copied().unwrap_or(BatchId(0));
    turn
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Timestamp;
    use domain::batches::{BatchStatus, BatchType};
    use tokio::sync::broadcast::error::TryRecvError;

    #[test]
    fn each_has_its_turn_and_none_is_read_twice_in_one() {
        let all: Vec<BatchId> = (1..=2_500).map(BatchId).collect();
        let mut from = BatchId(0);
        let turns: Vec<Vec<BatchId>> = (0..5).map(|_| next_turn(&all, &mut from)).collect();
        let mut seen: Vec<BatchId> = turns.concat();
        assert_eq!(seen.len(), 5_000, "a look is bounded");
        seen.sort_unstable();
        assert!(all.iter().all(|id| seen.iter().filter(|seen| *seen == id).count() == 2));
        assert_eq!(next_turn(&[BatchId(7)], &mut from), [BatchId(7)]);
        assert_eq!(next_turn(&[], &mut from), []);
    }

    #[test]
    fn a_reader_is_not_cut_off_when_all_live_batches_change_at_once() {
        let (hub, mut pacer, now) = (Hub::new(1, |summary| json!(summary.version)), Pacer::default(), Instant::now());
        let mut reader = hub.listen();
        let summary = |id, version| BatchSummary {
            id: BatchId(id),
            batch_type: BatchType::Send,
            status: BatchStatus::Processing,
            total: 10,
            succeeded: version,
            failed: 0,
            skipped: 0,
            paused: false,
            version,
            created_at: Timestamp(0),
            started_at: None,
            completed_at: None,
        };
        let live = i64::try_from(MAX_LIVE).expect("a small number");
        // Told once, and then held: the next tick tells of all of them, and nobody reads in between.
        let told = (1..=2).flat_map(|version| (1..=live).map(move |id| (id, version)));
        let mut leaving: Vec<_> = told.filter_map(|(id, version)| pacer.offer(now, summary(id, version))).collect();
        leaving.extend(pacer.due(now + SPACING));
        for summary in &leaving {
            hub.tell(SocketNews::Batch(Arc::new(hub.frame(summary, 0))));
        }
        let heard = std::iter::from_fn(|| match reader.try_recv() {
            Ok(told) => Some(told),
            Err(TryRecvError::Empty) => None,
            Err(error) => panic!("the reader lost its place: {error}"),
        });
        assert_eq!(i64::try_from(heard.count()), Ok(2 * live));
    }
}
