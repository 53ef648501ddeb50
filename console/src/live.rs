//! The stream that tells browsers what changed.
//!
//! `GET /console/live` sends server-sent events whose data is a topic and a version, `batch:7 41`; pages that show the
//! topic fetch that part of themselves again. So the stream carries nothing that a reader may not see but numbers, and
//! these only to who may watch batches. A topic is told at most twice a second.
//!
//! Of the queue as a whole (`queue`) nobody publishes news: while somebody listens, this process looks at how many jobs
//! there are of each kind in each state, and tells when that is another than before.

use crate::fault::Fault;
use crate::guard::Context;
use backplane::{Backplane, Notice, supervise};
use bytes::Bytes;
use domain::jobs::{Depth, list};
use domain::queue::samples;
use domain::users::Permission;
use domain::{Clock, Db, Event, SessionId};
use poem::http::header;
use poem::{Body, Response};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

/// How often a topic is told at most.
const SPACING: Duration = Duration::from_millis(500);

/// How often the queue is looked at while somebody listens.
const LOOK_EVERY: Duration = Duration::from_secs(2);

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
}

impl Live {
    /// Starts to listen for news, until told to stop.
    pub(crate) fn start(
        backplane: &Backplane,
        db: Db,
        clock: Clock,
        max_streams: usize,
        stop: CancellationToken,
    ) -> Self {
        let places = Arc::new(Semaphore::new(max_streams.min(Semaphore::MAX_PERMITS)));
        let live = Self { tell: broadcast::channel(MAX_BEHIND).0, places, stop };
        let (backplane, listening) = (backplane.clone(), live.clone());
        tokio::spawn(async move {
            supervise("console", || follow(backplane.clone(), listening.clone())).await;
        });
        let listening = live.clone();
        tokio::spawn(async move {
            supervise("console_queue", || watch_queue(db.clone(), clock.clone(), listening.clone())).await;
        });
        live
    }
}

/// What a look at the queue compares: how many jobs of which kind there are in which state, and the newest of all.
async fn look(db: &Db, clock: &Clock) -> Result<(Vec<(String, String, String, i64)>, i64), sea_orm::DbErr> {
    let depths = samples::standing(db.read(), clock.now()).await?.depths;
    let mut seen: Vec<_> =
        depths.into_iter().map(|Depth { lane, kind, state, jobs, .. }| (lane, kind, state, jobs)).collect();
    seen.sort();
    Ok((seen, list::newest(db.read()).await?))
}

/// Looks at the queue while somebody listens, and tells when it has changed.
async fn watch_queue(db: Db, clock: Clock, live: Live) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut seen, mut version) = (None, 0_u64);
    loop {
        tokio::select! {
            () = live.stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        if live.tell.receiver_count() == 0 {
            continue;
        }
        match look(&db, &clock).await {
            Ok(found) if seen.as_ref() != Some(&found) => {
                seen = Some(found);
                version += 1;
                // An error says that nobody listens any more.
                drop(live.tell.send(LiveNews::Changed(format!("data: queue {version}\n\n").into())));
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the queue was not looked at"),
        }
    }
}

/// Collects the topics that changed, and tells them once for each span of time.
async fn follow(backplane: Backplane, live: Live) {
    let mut news = backplane.notifier.subscribe();
    let mut changed: BTreeMap<String, i64> = BTreeMap::new();
    let mut tick = tokio::time::interval(SPACING);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = live.stop.cancelled() => return,
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
            _ = tick.tick(), if !changed.is_empty() => {
                let text: String = std::mem::take(&mut changed)
                    .into_iter()
                    .map(|(topic, version)| format!("data: {topic} {version}\n\n"))
                    .collect();
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
