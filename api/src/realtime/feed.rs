//! The CRM's stream: the feed, told on to whoever watches, in its order.
//!
//! One task of the process reads the feed when it hears that it grew (or now and then, since news may be lost) and hands
//! each event to all watchers, formatted once. A watcher first reads what it missed from the database, then goes on with
//! what the task hands out, passing over what it has; so it sees every event once, whatever happens in between. Where what
//! it missed is not kept any more, it is told so by a `reset` event, and goes on with everything from now on.

use crate::App;
use backplane::Notice;
use bytes::Bytes;
use domain::contacts::phone::mask_digits;
use domain::feed::{self, FeedEvent, Place as Kept};
use domain::{Event, SessionId, Timestamp};
use futures::Stream;
use serde_json::{Value, json};
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
const PAGE: u64 = 500;

/// How often the feed is looked at although nobody said that it grew.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often a silent stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a stream begins with: how long a browser waits before it comes again, in milliseconds.
const HELLO: &str = "retry: 3000\n\n";

/// What a silent stream says.
const HERE: &str = ": here\n\n";

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

/// What all watchers are handed.
#[derive(Clone, Debug)]
enum Handed {
    /// An event.
    Event(Told),
    /// Events were thrown away before they were handed out: whoever does not have them reads by themselves.
    Gap,
}

/// Who watches, and where they are told.
pub(crate) struct FeedHub {
    tell: broadcast::Sender<Handed>,
    /// Where the first watcher after nobody begins: what comes behind it is handed out.
    begin: AtomicI64,
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
        let begin = app.feed.begin.swap(i64::MAX, Ordering::SeqCst);
        match tell(&app, told, begin).await {
            Ok(newest) => told = Some(newest),
            Err(error) => {
                app.feed.begin.fetch_min(begin, Ordering::SeqCst);
                tracing::debug!(%error, "the feed could not be read; the next look tries again");
            }
        }
    }
}

/// Hands out what is new; returns the newest event's number.
async fn tell(app: &App, told: Option<i64>, begin: i64) -> Result<i64, sea_orm::DbErr> {
    let mut last = match told {
        Some(last) => last,
        // Each watcher reads what came before it by itself.
        None => feed::newest(app.db.read()).await?.min(begin),
    };
    loop {
        let events = feed::after(app.db.read(), last, PAGE).await?;
        // A process that stood still for long, or a database that was put back while it ran.
        let kept = feed::place(app.db.read(), last).await?;
        if kept != Kept::Kept {
            drop(app.feed.tell.send(Handed::Gap));
        }
        if let Kept::Gone { newest, .. } = kept {
            last = newest;
            continue;
        }
        for event in &events {
            last = event.id;
            drop(app.feed.tell.send(Handed::Event(Told::of(event))));
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
    last: i64,
    told: broadcast::Receiver<Handed>,
    ended: broadcast::Receiver<SessionId>,
    ready: VecDeque<Bytes>,
    /// Whether the database may have events that were not handed out to this one.
    behind: bool,
    /// The newest event when it was last told to read the lists again: what was lost up to there, it has read.
    reread_at: i64,
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
    let newest = feed::newest(app.db.read()).await?;
    app.feed.begin.fetch_min(newest, Ordering::SeqCst);
    let mut ready = VecDeque::from([Bytes::from_static(HELLO.as_bytes())]);
    let (last, reread_at) = match watcher.seen {
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
        last,
        told,
        ended,
        ready,
        behind: true,
        reread_at,
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
                    Ok(Handed::Event(told)) if told.id > self.last => {
                        self.last = told.id;
                        return Some(told.frame(self.sees_phones));
                    }
                    Ok(Handed::Event(_)) => {}
                    Ok(Handed::Gap) | Err(RecvError::Lagged(_)) => self.behind = true,
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
                tracing::debug!(%error, "a stream ends: the feed could not be read");
                None
            }
        }
    }

    /// Reads the next page of what was missed, and says so where some of it is not kept any more.
    async fn read_on(&mut self) -> Result<(), sea_orm::DbErr> {
        let events = feed::after(self.app.db.read(), self.last, PAGE).await?;
        match feed::place(self.app.db.read(), self.last).await? {
            Kept::Kept => {}
            Kept::ReceiptsGone { to, newest } => {
                if to > self.reread_at {
                    self.ready.push_back(reset(self.last, "receipts", "too_old"));
                    self.reread_at = newest;
                }
            }
            Kept::Gone { newest, unknown } => {
                self.ready.push_back(reset(newest, "all", if unknown { "unknown_id" } else { "too_old" }));
                (self.last, self.reread_at) = (newest, newest);
                return Ok(());
            }
        }
        self.behind = events.len() as u64 == PAGE;
        for event in &events {
            self.last = event.id;
            self.ready.push_back(Told::of(event).frame(self.sees_phones));
        }
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
