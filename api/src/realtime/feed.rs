//! The CRM's stream: the feed, told on to whoever watches, in its order.
//!
//! One task of the process reads the feed when it hears that it grew (or now and then, since news may be lost) and hands
//! each event to all watchers, formatted once. A watcher first reads what it missed from the database, then goes on with
//! what the task hands out, passing over what it has; so it sees every event once, whatever happens in between.

use crate::App;
use backplane::Notice;
use bytes::Bytes;
use domain::contacts::phone::mask_digits;
use domain::feed::{self, FeedEvent};
use domain::{Event, SessionId, Timestamp};
use futures::Stream;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How far a watcher may be behind before it reads the database again.
const MAX_BEHIND: usize = 1_024;

/// How many events are read at once.
const PAGE: u64 = 500;

/// How often the feed is looked at although nobody said that it grew.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often a silent stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a stream begins with: how long a browser waits before it comes again, in milliseconds.
const HELLO: &str = "retry: 3000\n\n";

/// An event, formatted.
#[derive(Clone, Debug)]
struct Told {
    id: i64,
    /// For those who see phone numbers.
    whole: Bytes,
    /// For those who do not.
    masked: Bytes,
}

impl Told {
    fn of(event: &FeedEvent) -> Self {
        // JSON has no line breaks of its own, so an event's data is one line.
        let frame = |data: &str| Bytes::from(format!("id: {}\ndata: {data}\n\n", event.id));
        let whole = frame(&event.data);
        let masked = masked(&event.data).map_or_else(|| whole.clone(), |data| frame(&data));
        Self { id: event.id, whole, masked }
    }

    fn frame(self, sees_phones: bool) -> Bytes {
        if sees_phones { self.whole } else { self.masked }
    }
}

/// An event's data with the customer's number masked; `None`: it has no number.
fn masked(data: &str) -> Option<String> {
    let mut data: Value = serde_json::from_str(data).ok()?;
    let phone = data.pointer_mut("/customer/phone")?;
    *phone = mask_digits(phone.as_str()?).into();
    Some(data.to_string())
}

/// Who watches, and where they are told.
pub(crate) struct FeedHub {
    tell: broadcast::Sender<Told>,
    open: AtomicUsize,
    max: usize,
    /// Sessions that have ended: their streams must.
    ended: broadcast::Sender<SessionId>,
    stopping: CancellationToken,
}

/// A watcher's place; freed when dropped.
pub(crate) struct Place(Arc<FeedHub>);

impl Drop for Place {
    fn drop(&mut self) {
        let open = self.0.open.fetch_sub(1, Ordering::Relaxed) - 1;
        metrics::gauge!("paceline_stream_connections").set(open as f64);
    }
}

impl FeedHub {
    pub(crate) fn new(max: usize, stopping: CancellationToken) -> Self {
        Self {
            tell: broadcast::channel(MAX_BEHIND).0,
            open: AtomicUsize::new(0),
            max,
            ended: broadcast::channel(64).0,
            stopping,
        }
    }

    /// Ends the streams of a session that has ended.
    pub(super) fn end(&self, session: SessionId) {
        // An error says that nobody watches.
        drop(self.ended.send(session));
    }

    /// A place for one more watcher, if there is one.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Place> {
        let taken = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.max).then_some(n + 1));
        let open = taken.ok()? + 1;
        metrics::gauge!("paceline_stream_connections").set(open as f64);
        Some(Place(self.clone()))
    }
}

/// Tells the feed on until told to stop.
pub(crate) async fn follow(app: Arc<App>, stop: CancellationToken) {
    let mut news = app.backplane.notifier.subscribe();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told: Option<i64> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            notice = news.recv() => match notice {
                Notice::Event(Event::FeedGrew(id)) if told.is_some_and(|told| id <= told) => continue,
                Notice::Event(Event::FeedGrew(_)) | Notice::Missed => {}
                Notice::Event(Event::SessionRevoked(session)) => {
                    // An error says that nobody watches.
                    drop(app.feed.ended.send(session));
                    continue;
                }
                Notice::Event(Event::BatchChanged(_) | Event::BatchControl(_)) => continue,
            },
            _ = tick.tick() => {}
        }
        // Whoever comes later begins with the newest event: nothing is read for nobody.
        if app.feed.open.load(Ordering::Relaxed) == 0 {
            told = None;
            continue;
        }
        match tell(&app, told).await {
            Ok(newest) => told = Some(newest),
            Err(error) => tracing::debug!(%error, "the feed could not be read; the next look tries again"),
        }
    }
}

/// Hands out what is new; returns the newest event's number.
async fn tell(app: &App, told: Option<i64>) -> Result<i64, sea_orm::DbErr> {
    let mut last = match told {
        Some(last) => last,
        // Each watcher reads what came before by itself.
        None => feed::newest(app.db.read()).await?.saturating_sub(feed::KEPT).max(0),
    };
    loop {
        let events = feed::after(app.db.read(), last, PAGE).await?;
        for event in &events {
            last = event.id;
            drop(app.feed.tell.send(Told::of(event)));
        }
        if (events.len() as u64) < PAGE {
            return Ok(last);
        }
    }
}

/// Whom a stream is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watcher {
    /// The session that must stand; `None`: nobody signed in, and nobody has to.
    pub(crate) session: Option<SessionId>,
    /// When its token ends.
    pub(crate) until: Option<Timestamp>,
    /// The last event that it saw; `None`: it begins with what happens from now on.
    pub(crate) seen: Option<i64>,
    /// Whether it sees phone numbers in full.
    pub(crate) sees_phones: bool,
}

struct Watching {
    app: Arc<App>,
    session: Option<SessionId>,
    sees_phones: bool,
    ends: Option<Instant>,
    /// The number of the last event that was sent, or passed over.
    last: i64,
    told: broadcast::Receiver<Told>,
    ended: broadcast::Receiver<SessionId>,
    ready: VecDeque<Bytes>,
    /// Whether the database may have events that were not handed out to this one.
    behind: bool,
    _place: Place,
}

/// The stream's text. Ends with the token, the session or the process.
pub(crate) async fn watch(
    app: Arc<App>,
    watcher: Watcher,
    place: Place,
) -> Result<impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static, sea_orm::DbErr> {
    // Listen first, then read: what happens in between is heard.
    let (told, ended) = (app.feed.tell.subscribe(), app.feed.ended.subscribe());
    let last = match watcher.seen {
        Some(seen) => seen,
        None => feed::newest(app.db.read()).await?,
    };
    let now = app.clock.now();
    let ends = watcher.until.map(|until| Instant::now() + until.since(now));
    let watching = Watching {
        session: watcher.session,
        sees_phones: watcher.sees_phones,
        ends,
        last,
        told,
        ended,
        ready: VecDeque::from([Bytes::from_static(HELLO.as_bytes())]),
        behind: true,
        _place: place,
        app,
    };
    Ok(futures::stream::unfold(watching, |mut watching| async move {
        let next = watching.next().await?;
        Some((Ok(next), watching))
    }))
}

impl Watching {
    /// The next piece of the stream; `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if self.behind {
                self.catch_up().await?;
                continue;
            }
            let ends = self.ends;
            let over = async {
                match ends {
                    Some(ends) => tokio::time::sleep_until(ends).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return None,
                () = self.app.feed.stopping.cancelled() => return None,
                ended = self.ended.recv() => match ended {
                    Ok(session) if Some(session) == self.session => return None,
                    Ok(_) => {}
                    // Which sessions ended is not known: whoever still may comes again.
                    Err(RecvError::Lagged(_)) if self.session.is_some() => return None,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
                told = self.told.recv() => match told {
                    Ok(told) if told.id > self.last => {
                        self.last = told.id;
                        return Some(told.frame(self.sees_phones));
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => self.behind = true,
                    Err(RecvError::Closed) => return None,
                },
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(Bytes::from_static(b": here\n\n")),
            }
        }
    }

    /// Reads what was missed.
    async fn catch_up(&mut self) -> Option<()> {
        match feed::after(self.app.db.read(), self.last, PAGE).await {
            Ok(events) => {
                self.behind = events.len() as u64 == PAGE;
                for event in &events {
                    self.last = event.id;
                    self.ready.push_back(Told::of(event).frame(self.sees_phones));
                }
                Some(())
            }
            Err(error) => {
                // It comes again with the last event that it saw.
                tracing::debug!(%error, "a stream ends: the feed could not be read");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_not_told_numbers() {
        let data = r#"{"type":"new_customer","customer":{"id":1,"phone":"60123456789"}}"#;
        let told = Told::of(&FeedEvent { id: 7, data: data.into() });
        let text = |frame: Bytes| String::from_utf8(frame.to_vec()).expect("text");
        assert_eq!(text(told.clone().frame(true)), format!("id: 7\ndata: {data}\n\n"));
        let masked = text(told.frame(false));
        assert!(masked.starts_with("id: 7\ndata: {") && !masked.contains("123456789"), "{masked}");
        for data in [r#"{"type":"message_seen","customer_id":1}"#, r#"{"customer":{"phone":null}}"#] {
            let told = Told::of(&FeedEvent { id: 8, data: data.into() });
            assert_eq!(told.whole, told.masked);
        }
    }
}
