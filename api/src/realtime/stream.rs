//! A surface's stream of events: the outbox, handed on to whoever watches, in its order.
//!
//! What an event looks like, and whether it is shown at all, is for the surface to say ([`Render`]). One task of the process
//! reads the outbox when it hears that it grew (or now and then, since news may be lost) and hands each event to all watchers,
//! rendered once. A watcher first reads what it missed from the database, then goes on with what the task hands out, passing
//! over what it has; so it sees every event once, whatever happens in between. Where what it missed is not kept any more, it
//! is told so by a `reset` event, and goes on with everything from now on.

use crate::App;
use backplane::Notice;
use bytes::Bytes;
use domain::db::Handle;
use domain::outbox::{self, Gone, Missed, StoredEvent};
use domain::{Event, SessionId, Timestamp};
use futures::Stream;
use futures::future::BoxFuture;
use sea_orm::DbErr;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How far a watcher may be behind before it reads the database again.
const MAX_BEHIND: usize = 1_024;

/// How many events are read at once.
const PAGE: usize = 500;

/// How often the outbox is looked at although nobody said that it grew.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often a silent stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a stream begins with: how long a browser waits before it comes again, in milliseconds.
const HELLO: &str = "retry: 3000\n\n";

/// What a silent stream says.
const HERE: &str = ": here\n\n";

/// How a surface shows events on its stream.
pub(crate) trait Render: Send + Sync {
    /// Those of a page that it shows, in their order. What it needs beside their ids it reads for all of them at once.
    fn render<'a>(
        &'a self,
        db: &'a Handle,
        events: &'a [StoredEvent],
    ) -> BoxFuture<'a, Result<Vec<RenderedEvent>, DbErr>>;
}

/// An event as a surface shows it: JSON, which has no line breaks of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RenderedEvent {
    /// The event's number.
    pub(crate) id: i64,
    /// For those who see phone numbers.
    pub(crate) whole: String,
    /// For those who do not; `None`: the same, since it has none.
    pub(crate) masked: Option<String>,
}

/// An event as it goes over the wire.
#[derive(Clone, Debug)]
struct Frame {
    id: i64,
    whole: Bytes,
    masked: Bytes,
}

impl Frame {
    fn of(event: &RenderedEvent) -> Self {
        let frame = |data: &str| Bytes::from(format!("id: {}\ndata: {data}\n\n", event.id));
        let whole = frame(&event.whole);
        let masked = event.masked.as_deref().map_or_else(|| whole.clone(), frame);
        Self { id: event.id, whole, masked }
    }

    fn into_bytes(self, sees_phones: bool) -> Bytes {
        if sees_phones { self.whole } else { self.masked }
    }
}

/// What all watchers are handed.
#[derive(Clone, Debug)]
enum Broadcast {
    /// An event.
    Event(Frame),
    /// Events were thrown away before they were handed out: whoever does not have them reads by themselves.
    Gap,
}

/// Who watches a stream, and where events are handed out to them.
pub(crate) struct StreamHub {
    render: Arc<dyn Render>,
    frames: broadcast::Sender<Broadcast>,
    /// Where the first watcher after nobody begins: what comes behind it is handed out.
    begin: AtomicI64,
    open: AtomicUsize,
    max: usize,
    /// Sessions that have ended: their streams must.
    ended: broadcast::Sender<SessionId>,
    stopping: CancellationToken,
}

/// The permit of one more watcher; given back when dropped.
pub(crate) struct StreamPermit(Arc<StreamHub>);

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let open = self.0.open.fetch_sub(1, Ordering::Relaxed) - 1;
        metrics::gauge!("paceline_stream_connections").set(open as f64);
    }
}

impl StreamHub {
    pub(crate) fn new(render: Arc<dyn Render>, max: usize, stopping: CancellationToken) -> Self {
        Self {
            render,
            frames: broadcast::channel(MAX_BEHIND).0,
            begin: AtomicI64::new(i64::MAX),
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

    /// A permit for one more watcher, if there is one.
    pub(crate) fn permit(self: &Arc<Self>) -> Option<StreamPermit> {
        let taken = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.max).then_some(n + 1));
        let open = taken.ok()? + 1;
        metrics::gauge!("paceline_stream_connections").set(open as f64);
        Some(StreamPermit(self.clone()))
    }
}

/// Hands events out until told to stop.
pub(crate) async fn follow(app: Arc<App>, stop: CancellationToken) {
    let mut news = app.backplane.notifier.subscribe();
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut position: Option<i64> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            notice = news.recv() => match notice {
                Notice::Event(Event::OutboxGrew(id)) if position.is_some_and(|position| id <= position) => continue,
                Notice::Event(Event::OutboxGrew(_)) | Notice::Missed => {}
                Notice::Event(Event::SessionRevoked(session)) => {
                    // An error says that nobody watches.
                    drop(app.streams.ended.send(session));
                    continue;
                }
                Notice::Event(Event::BatchChanged(_) | Event::BatchControl(_)) => continue,
            },
            _ = tick.tick() => {}
        }
        // Whoever comes later begins with the newest event: nothing is read for nobody.
        if app.streams.open.load(Ordering::Relaxed) == 0 {
            position = None;
            continue;
        }
        let begin = app.streams.begin.swap(i64::MAX, Ordering::SeqCst);
        match hand_out(&app, position, begin).await {
            Ok(newest) => position = Some(newest),
            Err(error) => {
                app.streams.begin.fetch_min(begin, Ordering::SeqCst);
                tracing::debug!(%error, "the outbox could not be read; the next look tries again");
            }
        }
    }
}

/// Hands out what is new; returns the newest event's number.
async fn hand_out(app: &App, position: Option<i64>, begin: i64) -> Result<i64, DbErr> {
    let db = app.db.read();
    let mut position = match position {
        Some(position) => position,
        // Each watcher reads what came before it by itself.
        None => outbox::newest(db).await?.min(begin),
    };
    loop {
        let page = outbox::read(db, position, PAGE).await?;
        // A process that stood still for long, or a database that was put back while it ran.
        if page.missed != Missed::Nothing {
            drop(app.streams.frames.send(Broadcast::Gap));
        }
        if let Missed::Everything { newest, .. } = page.missed {
            position = newest;
            continue;
        }
        for event in app.streams.render.render(db, &page.events).await? {
            drop(app.streams.frames.send(Broadcast::Event(Frame::of(&event))));
        }
        position = page.through;
        if !page.more {
            return Ok(position);
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
    /// What it says of the last event that it saw.
    pub(crate) seen: Seen,
    /// Whether it sees phone numbers in full.
    pub(crate) sees_phones: bool,
}

/// The last event that a client saw, by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// None: it begins with what happens from now on.
    Nothing,
    /// The one of this number.
    Event(i64),
    /// One of an id that no event of ours can have.
    Unknown,
}

impl Seen {
    /// Reads a `Last-Event-ID`.
    pub(crate) fn read(text: Option<&str>) -> Self {
        match text.map(str::trim) {
            None | Some("") => Self::Nothing,
            Some(text) => text.parse().ok().filter(|id| *id >= 0).map_or(Self::Unknown, Self::Event),
        }
    }
}

struct Watching {
    app: Arc<App>,
    session: Option<SessionId>,
    sees_phones: bool,
    ends: Option<Instant>,
    /// The number of the last event that was sent, or passed over.
    position: i64,
    frames: broadcast::Receiver<Broadcast>,
    ended: broadcast::Receiver<SessionId>,
    ready: VecDeque<Bytes>,
    /// Whether the database may have events that were not handed out to this one.
    behind: bool,
    /// The newest event when it was last told to read the lists again: what was lost up to there, it has read.
    reread_at: i64,
    _permit: StreamPermit,
}

/// The stream's text. Ends with the token, the session or the process.
pub(crate) async fn watch(
    app: Arc<App>,
    watcher: Watcher,
    permit: StreamPermit,
) -> Result<impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static, DbErr> {
    // Listen first, then read: what happens in between is heard.
    let (frames, ended) = (app.streams.frames.subscribe(), app.streams.ended.subscribe());
    let newest = outbox::newest(app.db.read()).await?;
    app.streams.begin.fetch_min(newest, Ordering::SeqCst);
    let mut ready = VecDeque::from([Bytes::from_static(HELLO.as_bytes())]);
    let (position, reread_at) = match watcher.seen {
        Seen::Nothing => (newest, newest),
        Seen::Event(seen) => (seen, seen),
        Seen::Unknown => {
            ready.push_back(reset(newest, "all", "unknown_id"));
            (newest, newest)
        }
    };
    let now = app.clock.now();
    let ends = watcher.until.map(|until| Instant::now() + until.since(now));
    let watching = Watching {
        session: watcher.session,
        sees_phones: watcher.sees_phones,
        ends,
        position,
        frames,
        ended,
        ready,
        behind: true,
        reread_at,
        _permit: permit,
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
                () = self.app.streams.stopping.cancelled() => return None,
                ended = self.ended.recv() => match ended {
                    Ok(session) if Some(session) == self.session => return None,
                    Ok(_) => {}
                    // Which sessions ended is not known: whoever still may comes again.
                    Err(RecvError::Lagged(_)) if self.session.is_some() => return None,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
                next = self.frames.recv() => match next {
                    Ok(Broadcast::Event(frame)) if frame.id > self.position => {
                        self.position = frame.id;
                        return Some(frame.into_bytes(self.sees_phones));
                    }
                    Ok(Broadcast::Event(_)) => {}
                    Ok(Broadcast::Gap) | Err(RecvError::Lagged(_)) => self.behind = true,
                    Err(RecvError::Closed) => return None,
                },
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(Bytes::from_static(HERE.as_bytes())),
            }
        }
    }

    /// Reads what was missed.
    async fn catch_up(&mut self) -> Option<()> {
        match self.read_on().await {
            Ok(()) => Some(()),
            Err(error) => {
                // It comes again with the last event that it saw.
                tracing::debug!(%error, "a stream ends: the outbox could not be read");
                None
            }
        }
    }

    /// Reads the next page of what was missed, and says so where some of it is not kept any more.
    async fn read_on(&mut self) -> Result<(), DbErr> {
        let db = self.app.db.read();
        let page = outbox::read(db, self.position, PAGE).await?;
        match page.missed {
            Missed::Nothing => {}
            Missed::Receipts { to, newest } => {
                if to > self.reread_at {
                    self.ready.push_back(reset(self.position, "receipts", "too_old"));
                    self.reread_at = newest;
                }
            }
            Missed::Everything { newest, reason } => {
                let reason = match reason {
                    Gone::TooOld => "too_old",
                    Gone::NeverGiven => "unknown_id",
                };
                self.ready.push_back(reset(newest, "all", reason));
                (self.position, self.reread_at) = (newest, newest);
                return Ok(());
            }
        }
        let rendered = self.app.streams.render.render(db, &page.events).await?;
        (self.position, self.behind) = (page.through, page.more);
        self.ready.extend(rendered.iter().map(|event| Frame::of(event).into_bytes(self.sees_phones)));
        Ok(())
    }
}

/// What tells a client to read the lists again: what it missed is not kept any more, `all` of it or only `receipts` of
/// batches. It goes on behind the event `last`.
fn reset(last: i64, missed: &str, reason: &str) -> Bytes {
    let data = json!({ "type": "reset", "missed": missed, "reason": reason });
    Bytes::from(format!("id: {last}\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn only_a_number_from_0_up_is_an_event_of_ours() {
        for (text, seen) in [
            (None, Seen::Nothing),
            (Some(""), Seen::Nothing),
            (Some(" 12 "), Seen::Event(12)),
            (Some("0"), Seen::Event(0)),
            (Some("9223372036854775807"), Seen::Event(i64::MAX)),
            (Some("9223372036854775808"), Seen::Unknown),
            (Some("-1"), Seen::Unknown),
            (Some("1.5"), Seen::Unknown),
            (Some("evt_12"), Seen::Unknown),
        ] {
            assert_eq!(Seen::read(text), seen, "{text:?}");
        }
    }

    #[test]
    fn the_document_says_how_a_stream_begins_and_that_it_lives() {
        let document: Value = serde_json::from_str(crate::docs::ASYNCAPI).expect("JSON");
        let told = &document["channels"]["stream"]["x-server-sent-events"];
        assert_eq!(HELLO, format!("retry: {}\n\n", told["retry"]["milliseconds"]));
        assert_eq!(told["keepAlive"]["seconds"], KEEP_ALIVE.as_secs());
        let comment = told["keepAlive"]["comment"].as_str().expect("a text");
        assert_eq!(HERE, format!(": {comment}\n\n"));
    }

    #[test]
    fn who_does_not_see_numbers_gets_what_is_masked() {
        let bytes = |event: &RenderedEvent, sees| String::from_utf8(Frame::of(event).into_bytes(sees).to_vec());
        let mut event = RenderedEvent { id: 7, whole: "{1}".into(), masked: Some("{*}".into()) };
        assert_eq!(bytes(&event, true).expect("text"), "id: 7\ndata: {1}\n\n");
        assert_eq!(bytes(&event, false).expect("text"), "id: 7\ndata: {*}\n\n");
        event.masked = None;
        assert_eq!(bytes(&event, true), bytes(&event, false));
    }
}
