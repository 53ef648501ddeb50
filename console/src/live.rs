//! The stream that tells browsers what changed.
//!
//! `GET /console/live` sends server-sent events whose data is a topic and a version, `batch:7 41`; pages that show the
//! topic fetch that part of themselves again. So the stream carries nothing that a reader may not see but numbers, and
//! these only to who may watch batches. A topic is told at most twice a second: what comes after a while of silence at
//! once, what follows with the next.
//!
//! Of the queue as a whole (`queue`) nobody publishes news: while somebody listens, this process feels its pulse several
//! times a second, which reads only the ends of indexes, and tells when that is another than before. `samples` is told when
//! a scheduler has looked at the queue.

use crate::fault::Fault;
use crate::guard::Context;
use backplane::{Backplane, Notice, supervise};
use bytes::Bytes;
use domain::queue::{self, samples};
use domain::users::Permission;
use domain::{Db, Event, SessionId};
use poem::http::header;
use poem::{Body, Response};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often a topic is told at most.
const SPACING: Duration = Duration::from_millis(500);

/// How often the queue's pulse is felt while somebody listens.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often it is looked whether a scheduler has looked at the queue.
const SAMPLES_EVERY: u32 = 8;

/// How long a stream may be silent: proxies end those that are for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a stream lasts. The browser opens the next one, and shows again that its session stands.
const LASTS: Duration = Duration::from_secs(600);

/// When a browser that found no place may come again, in seconds.
const NO_PLACE: u64 = 5;

/// How many pieces of news a browser may be behind; beyond them it reads everything again.
const MAX_BEHIND: usize = 256;

#[derive(Clone, Debug)]
enum LiveNews {
    /// Changed topics, as the stream's text.
    Changed(Arc<str>),
    /// A session has ended.
    Ended(SessionId),
}

/// The streams of this process.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    tell: broadcast::Sender<LiveNews>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
    /// How often changes were told.
    version: Arc<AtomicU64>,
}

impl Live {
    /// Starts to listen for news, until told to stop.
    pub(crate) fn start(backplane: &Backplane, db: Db, max_streams: usize, stop: CancellationToken) -> Self {
        let places = Arc::new(Semaphore::new(max_streams.min(Semaphore::MAX_PERMITS)));
        let live = Self { tell: broadcast::channel(MAX_BEHIND).0, places, stop, version: Arc::default() };
        let (backplane, listening) = (backplane.clone(), live.clone());
        tokio::spawn(async move {
            supervise("console", || {
                // Both anew, should one of them panic: the other then has nobody to speak to.
                let (tell, told) = mpsc::channel(MAX_BEHIND);
                let (backplane, db, listening) = (backplane.clone(), db.clone(), listening.clone());
                async move {
                    let watching = watch_queue(db, listening.clone(), tell);
                    tokio::join!(follow(backplane, listening, told), watching);
                }
            })
            .await;
        });
        live
    }

    /// How often changes were told. Of what was read at one count, nobody was told at that count that it has changed.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}

/// Feels the queue's pulse while somebody listens, and says what has changed.
async fn watch_queue(db: Db, live: Live, changed: mpsc::Sender<&'static str>) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut felt, mut looked_at, mut nth) = (None, None, 0_u32);
    loop {
        tokio::select! {
            () = live.stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        if live.tell.receiver_count() == 0 {
            continue;
        }
        let mut told = Vec::new();
        match queue::pulse(db.read()).await {
            Ok(pulse) if felt.as_ref() != Some(&pulse) => {
                felt = Some(pulse);
                told.push("queue");
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the queue's pulse was not felt"),
        }
        if nth.is_multiple_of(SAMPLES_EVERY) {
            match samples::scheduler(db.read()).await {
                Ok(found) => {
                    let found = found.map(|(at, _)| at);
                    if std::mem::replace(&mut looked_at, found) != found {
                        told.push("samples");
                    }
                }
                Err(error) => tracing::debug!(%error, "the samples were not looked at"),
            }
        }
        nth = nth.wrapping_add(1);
        for topic in told {
            // Nobody takes it any more only when the process ends.
            if changed.send(topic).await.is_err() {
                return;
            }
        }
    }
}

/// Collects the topics that changed, and tells them once for each span of time.
async fn follow(backplane: Backplane, live: Live, mut queue: mpsc::Receiver<&'static str>) {
    let mut news = backplane.notifier.subscribe();
    let mut changed: BTreeMap<String, i64> = BTreeMap::new();
    let mut looks = 0;
    let mut may_tell = Instant::now();
    loop {
        tokio::select! {
            () = live.stop.cancelled() => return,
            Some(topic) = queue.recv() => {
                looks += 1;
                changed.insert(topic.into(), looks);
            }
            notice = news.recv() => match notice {
                Notice::Event(Event::BatchChanged(summary)) => {
                    let version = changed.entry(format!("batch:{}", summary.id)).or_default();
                    *version = (*version).max(summary.version);
                }
                Notice::Event(Event::SessionRevoked(session)) => drop(live.tell.send(LiveNews::Ended(session))),
                Notice::Event(Event::BatchControl(_) | Event::OutboxGrew(_)) => {}
                Notice::Missed => {
                    changed.insert("all".into(), 0);
                }
            },
            () = tokio::time::sleep_until(may_tell), if !changed.is_empty() => {
                may_tell = Instant::now() + SPACING;
                let text: String = std::mem::take(&mut changed)
                    .into_iter()
                    .map(|(topic, version)| format!("data: {topic} {version}\n\n"))
                    .collect();
                live.version.fetch_add(1, Ordering::AcqRel);
                // An error says that nobody listens.
                drop(live.tell.send(LiveNews::Changed(text.into())));
            }
        }
    }
}

/// `GET /console/live`.
pub(crate) async fn stream(context: Context) -> Result<Response, Fault> {
    context.needs(Permission::BatchesRead)?;
    let session = context.viewer()?.session;
    let live = context.app.live.clone();
    let place = live.places.clone().try_acquire_owned().map_err(|_| Fault::Limited(NO_PLACE))?;
    let end = tokio::time::Instant::now() + LASTS;
    let told = live.tell.subscribe();
    // What happened before the stream was there is read by the page again.
    let first = Bytes::from_static(b"retry: 2000\n\ndata: all 0\n\n");
    let lines =
        futures::stream::unfold((Some(first), told, live, place), move |(first, mut told, live, place)| async move {
            if let Some(first) = first {
                return Some((Ok::<_, std::io::Error>(first), (None, told, live, place)));
            }
            loop {
                let next = tokio::select! {
                    () = live.stop.cancelled() => return None,
                    () = tokio::time::sleep_until(end) => return None,
                    heard = told.recv() => match heard {
                        Ok(LiveNews::Changed(text)) => Bytes::copy_from_slice(text.as_bytes()),
                        Ok(LiveNews::Ended(ended)) if ended == session => return None,
                        Ok(LiveNews::Ended(_)) => continue,
                        Err(broadcast::error::RecvError::Lagged(_)) => Bytes::from_static(b"data: all 0\n\n"),
                        Err(broadcast::error::RecvError::Closed) => return None,
                    },
                    () = tokio::time::sleep(KEEP_ALIVE) => Bytes::from_static(b": here\n\n"),
                };
                return Some((Ok(next), (None, told, live, place)));
            }
        });
    Ok(Response::builder()
        .content_type("text/event-stream")
        .header(header::CACHE_CONTROL, "no-store")
        .header("x-accel-buffering", "no")
        .body(Body::from_bytes_stream(lines)))
}
