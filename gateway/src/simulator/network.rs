//! The simulated network behind the gateway's process: with a memory of its own.
//!
//! Its file is beside the gateway's store and not in it: it is another party. What it took before the gateway was killed it
//! has taken, and what it was going to tell it tells. So an id that comes twice is seen as what it is, a repeat, or a
//! duplicate where the configuration wants a network that cannot tell.

use super::SimulatorConfig;
use super::fate::{self, Fate, Later, REPLY, key_of};
use crate::server::Now;
use crate::sqlite::{GroupHandler, GroupWriter, OpenError, StoreError, StoreFile, make_dir};
use crate::transport::{
    Class, Event, EventSink, HookAnswer, HookRequest, Inbound, Refusal, Session, Settles, Status, Submission,
    SubmissionOutcome, Transport,
};
use faults::{Point, Side};
use serde::Serialize;
use sqlx::sqlite::SqliteSynchronous;
use sqlx::{Row, SqliteConnection, SqlitePool};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const FILE: &str = "simulator.db";

const STEPS: [&str; 2] = [
    "
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    recipient TEXT NOT NULL,
    body TEXT NOT NULL,
    network_id TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    repeats INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE TABLE events (seq INTEGER PRIMARY KEY, due_at INTEGER NOT NULL, event TEXT NOT NULL) STRICT;
CREATE INDEX events_due ON events (due_at, seq);
CREATE TABLE counts (name TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;
",
    "ALTER TABLE messages ADD COLUMN sender TEXT NOT NULL DEFAULT 'default'",
];

/// How many events are told at once.
const GROUP: i64 = 500;

/// How long the network is patient with what is told and not taken.
const PAUSE: Duration = Duration::from_millis(200);

/// How long nothing is looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// How many messages may come at once before the network's rate counts.
const BURST: i64 = 10;

/// How long a network that sends an id twice is waited for to say what it has.
const SAYS_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Given {
    id: String,
    recipient: String,
    body: String,
    sender: String,
}

#[derive(Debug)]
enum Ask {
    Hand(Given),
    SettleEvents(Vec<i64>),
}

struct Memory {
    config: SimulatorConfig,
    now: Now,
    /// The next free moment of its rate, in microseconds.
    next_us: i64,
    planned: Arc<Notify>,
}

/// What the network remembers of an id.
#[derive(Clone, Debug)]
struct SeenMessage {
    attempts: u32,
    sent: i64,
    repeats: i64,
}

impl Memory {
    /// Told to wait, if it comes too fast.
    fn too_fast(&mut self, now_ms: i64) -> Option<Refusal> {
        let rate = i64::from(self.config.rate_per_minute);
        if rate == 0 {
            return None;
        }
        let (now, interval) = (now_ms * 1_000, 60_000_000 / rate);
        let next = self.next_us.max(now);
        if next > now + BURST * interval {
            let wait = Duration::from_micros((next - now - BURST * interval).unsigned_abs());
            let wait = wait.max(Duration::from_millis(1));
            return Some(Refusal {
                class: Class::Later,
                code: "too_fast".into(),
                detail: "the network takes no more for now".into(),
                retry_after: Some(wait),
            });
        }
        self.next_us = next + interval;
        None
    }

    /// The events of a message, each with its time.
    fn events(&self, asked: &Given, network_id: &str, later: &[(u64, Later)], now: i64) -> Vec<(i64, Event)> {
        let status = |status, at_ms| Event::Status {
            message_id: Some(asked.id.clone()),
            network_id: network_id.to_owned(),
            wa_id: None,
            status,
            at_ms,
        };
        let event = |(after, what): &(u64, Later)| {
            let due = now + i64::try_from(self.config.scaled(*after).as_millis()).unwrap_or_default();
            // In the network's own time: how long somebody took to read it is what the backend is told.
            let at = now + i64::try_from(*after).unwrap_or_default();
            let event = match what {
                Later::Sent => status(Status::Sent, now),
                Later::Delivered => status(Status::Delivered, at),
                Later::Read => status(Status::Read, at),
                Later::Played => status(Status::Played, at),
                Later::Undelivered => status(Status::Failed(fate::undelivered()), at),
                Later::Replied => Event::Inbound(Inbound {
                    from: asked.recipient.clone(),
                    text: REPLY.into(),
                    network_id: format!("{network_id}R"),
                    kind: "text".into(),
                    at_ms: due,
                    ..Inbound::default()
                }),
            };
            (due, event)
        };
        later.iter().map(event).collect()
    }
}

const fn name_of(class: Class) -> &'static str {
    match class {
        Class::Later => "later",
        Class::LaterForRecipient => "later_for_recipient",
        Class::Trouble => "trouble",
        Class::Message => "message",
        Class::Recipient => "recipient",
        Class::NotNow => "not_now",
        Class::StopSender => "stop_sender",
    }
}

fn json(rows: &impl Serialize) -> Result<String, sqlx::Error> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// What is known of messages, by their ids.
async fn known(conn: &mut SqliteConnection, ids: &[&str]) -> Result<HashMap<String, SeenMessage>, sqlx::Error> {
    let sql = "SELECT id, attempts, sent, repeats FROM messages WHERE id IN (SELECT value FROM json_each(?1))";
    let mut known = HashMap::new();
    for row in sqlx::query(sql).bind(json(&ids)?).fetch_all(&mut *conn).await? {
        let one = SeenMessage {
            attempts: row.try_get("attempts")?,
            sent: row.try_get("sent")?,
            repeats: row.try_get("repeats")?,
        };
        known.insert(row.try_get::<String, _>("id")?, one);
    }
    Ok(known)
}

/// Keeps what is to be told later.
async fn write_events(conn: &mut SqliteConnection, events: &[(i64, Event)]) -> Result<(), sqlx::Error> {
    if events.is_empty() {
        return Ok(());
    }
    let mut rows = Vec::with_capacity(events.len());
    for (due, event) in events {
        rows.push((due, json(event)?));
    }
    let sql = "INSERT INTO events (due_at, event)
               SELECT v.value ->> 0, v.value ->> 1 FROM json_each(?1) AS v ORDER BY v.key";
    sqlx::query(sql).bind(json(&rows)?).execute(&mut *conn).await?;
    Ok(())
}

impl GroupHandler for Memory {
    type Ask = Ask;
    type Answer = Option<(Fate, String)>;

    async fn apply(&mut self, conn: &mut SqliteConnection, asks: &[Ask]) -> Result<Vec<Self::Answer>, sqlx::Error> {
        let now = (self.now)();
        let hands = || asks.iter().filter_map(|ask| if let Ask::Hand(hand) = ask { Some(hand) } else { None });
        let ids: Vec<&str> = hands().map(|hand| hand.id.as_str()).collect();
        let mut known = known(conn, &ids).await?;
        let mut counts: BTreeMap<&'static str, i64> = BTreeMap::new();
        let (mut answers, mut events) = (Vec::with_capacity(asks.len()), Vec::new());
        for ask in asks {
            let Ask::Hand(hand) = ask else {
                answers.push(None);
                continue;
            };
            let mut count = |name| *counts.entry(name).or_default() += 1;
            let key = key_of(&hand.id);
            let one = known.entry(hand.id.clone()).or_insert(SeenMessage { attempts: 0, sent: 0, repeats: 0 });
            let mut fate = self.config.fate(key, one.attempts);
            one.attempts = one.attempts.saturating_add(1);
            count("attempts");
            fate.refusal = fate.refusal.or_else(|| self.too_fast(now));
            let mut network_id = fate::network_id(key);
            match &fate.refusal {
                Some(refusal) => count(name_of(refusal.class)),
                None if one.sent > 0 && self.config.idempotent => {
                    one.repeats += 1;
                    count("repeats");
                }
                None => {
                    if one.sent > 0 {
                        count("duplicates");
                        network_id = format!("{network_id}-{}", one.sent);
                    }
                    one.sent += 1;
                    count("sent");
                    events.extend(self.events(hand, &network_id, &fate.later, now));
                }
            }
            if fate.refusal.is_none() && fate.lost {
                count("unknown");
            }
            answers.push(Some((fate, network_id)));
        }
        let mut written = std::collections::HashSet::new();
        let rows: Vec<_> = hands()
            .filter(|hand| written.insert(hand.id.as_str()))
            .filter_map(|hand| {
                let one = known.get(&hand.id)?;
                let network_id = fate::network_id(key_of(&hand.id));
                let Given { id, recipient, body, sender } = hand;
                Some((id, recipient, body, network_id, one.attempts, one.sent, one.repeats, sender))
            })
            .collect();
        if !rows.is_empty() {
            sqlx::query(
                "INSERT INTO messages (id, recipient, body, network_id, attempts, sent, repeats, at, sender)
                 SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, ?2,
                        value ->> 7
                 FROM json_each(?1) WHERE true
                 ON CONFLICT (id) DO UPDATE SET attempts = excluded.attempts, sent = excluded.sent,
                                                repeats = excluded.repeats",
            )
            .bind(json(&rows)?)
            .bind(now)
            .execute(&mut *conn)
            .await?;
            sqlx::query(
                "INSERT INTO counts (name, n) SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE true
                 ON CONFLICT (name) DO UPDATE SET n = n + excluded.n",
            )
            .bind(json(&counts.iter().collect::<Vec<_>>())?)
            .execute(&mut *conn)
            .await?;
        }
        write_events(conn, &events).await?;
        for ask in asks {
            let Ask::SettleEvents(told) = ask else { continue };
            let sql = "DELETE FROM events WHERE seq IN (SELECT value FROM json_each(?1))";
            sqlx::query(sql).bind(json(told)?).execute(&mut *conn).await?;
        }
        Ok(answers)
    }

    fn before(&self, _: &[Ask]) -> io::Result<()> {
        Ok(())
    }

    fn after(&self, _: &[Ask]) -> io::Result<()> {
        Ok(())
    }

    fn committed(&self, _: &[Ask]) {
        self.planned.notify_one();
    }
}

/// What the network "sent", and what else it did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NetworkStats {
    /// What it was asked.
    pub attempts: i64,
    /// Messages that went out, each id once unless the network is not idempotent.
    pub sent: i64,
    /// Messages that went out a second time under the same id.
    pub duplicates: i64,
    /// Ids that it knew, and did not send again.
    pub repeats: i64,
    /// Answers that it lost.
    pub unknown: i64,
    /// What it refused, by class.
    pub by_class: BTreeMap<String, i64>,
}

/// A message that the network "sent".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SimulatedMessage {
    /// Its place: the cursor.
    pub seq: i64,
    /// The gateway's id of it.
    pub backend_message_id: String,
    /// The network's.
    pub whatsapp_id: String,
    /// The recipient.
    pub to: String,
    /// The sender that it left from.
    pub sender: String,
    /// The text.
    pub message: String,
    /// How often it was asked for.
    pub attempts: i64,
    /// How often it went out: more than once is a duplicate.
    pub sent: i64,
    /// When it first came, in milliseconds since the epoch.
    pub at_ms: i64,
}

/// A network that sends nothing.
pub struct SimulatedNetwork {
    config: SimulatorConfig,
    writer: GroupWriter<Memory>,
    readers: SqlitePool,
    now: Now,
    planned: Arc<Notify>,
}

impl std::fmt::Debug for SimulatedNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedNetwork").field("config", &self.config).finish_non_exhaustive()
    }
}

fn away(error: &sqlx::Error) -> StoreError {
    tracing::warn!(%error, "the simulator's memory cannot be read");
    StoreError::Away
}

impl SimulatedNetwork {
    /// Opens its memory in `dir`, beside the store of the gateway that has the folder locked.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(dir: &Path, config: SimulatorConfig, now: Now) -> Result<Self, OpenError> {
        make_dir(dir)?;
        // It is only a rehearsal: a power cut may take the last of it, a kill does not.
        let place = StoreFile { path: dir.join(FILE), synchronous: SqliteSynchronous::Off, max_mib: 0 };
        place.migrate(&STEPS).await?;
        let readers = place.readers().await?;
        let planned = Arc::new(Notify::new());
        let memory = Memory { config: config.clone(), now: now.clone(), next_us: 0, planned: planned.clone() };
        Ok(Self { config, writer: GroupWriter::start(place, memory), readers, now, planned })
    }

    /// What it did so far.
    ///
    /// # Errors
    /// Its memory cannot be read.
    pub async fn stats(&self) -> Result<NetworkStats, StoreError> {
        let rows = sqlx::query("SELECT name, n FROM counts").fetch_all(&self.readers).await.map_err(|e| away(&e))?;
        let mut stats = NetworkStats::default();
        for row in rows {
            let (name, n): (String, i64) = (row.get("name"), row.get("n"));
            match name.as_str() {
                "attempts" => stats.attempts = n,
                "sent" => stats.sent = n,
                "duplicates" => stats.duplicates = n,
                "repeats" => stats.repeats = n,
                "unknown" => stats.unknown = n,
                _ => {
                    stats.by_class.insert(name, n);
                }
            }
        }
        Ok(stats)
    }

    /// What it "sent", in order, behind a place.
    ///
    /// # Errors
    /// Its memory cannot be read.
    pub async fn messages(&self, after: i64, limit: i64) -> Result<Vec<SimulatedMessage>, StoreError> {
        let sql = "SELECT * FROM messages WHERE seq > ?1 AND sent > 0 ORDER BY seq LIMIT ?2";
        let rows = sqlx::query(sql).bind(after).bind(limit).fetch_all(&self.readers).await.map_err(|e| away(&e))?;
        let message = |row: &sqlx::sqlite::SqliteRow| SimulatedMessage {
            seq: row.get("seq"),
            backend_message_id: row.get("id"),
            whatsapp_id: row.get("network_id"),
            to: row.get("recipient"),
            sender: row.get("sender"),
            message: row.get("body"),
            attempts: row.get("attempts"),
            sent: row.get("sent"),
            at_ms: row.get("at"),
        };
        Ok(rows.iter().map(message).collect())
    }

    /// Tells what is due; how long until the next is.
    async fn tell(&self, listener: &Arc<dyn EventSink>) -> Result<Duration, String> {
        let sql = "SELECT seq, due_at, event FROM events ORDER BY due_at, seq LIMIT ?1";
        let rows = sqlx::query(sql).bind(GROUP).fetch_all(&self.readers).await.map_err(|error| error.to_string())?;
        let now = (self.now)();
        let (mut told, mut events) = (Vec::new(), Vec::new());
        let mut next = SWEEP;
        for row in rows {
            let due: i64 = row.get("due_at");
            if due > now {
                next = Duration::from_millis((due - now).unsigned_abs()).min(SWEEP);
                break;
            }
            told.push(row.get::<i64, _>("seq"));
            events.push(serde_json::from_str(row.get("event")).map_err(|error| error.to_string())?);
        }
        if told.is_empty() {
            return Ok(next);
        }
        listener.heard(events).await?;
        self.writer.ask(Ask::SettleEvents(told)).await.map_err(|error| error.to_string())?;
        Ok(Duration::ZERO)
    }
}

#[async_trait::async_trait]
impl Transport for SimulatedNetwork {
    fn name(&self) -> &'static str {
        "simulator"
    }

    fn session(&self) -> Session {
        Session { ready: true, need_qr: false, active: true, qr: None }
    }

    fn settles(&self) -> Settles {
        match self.config.idempotent {
            true => Settles::BySubmittingAgain,
            false => Settles::ByEvent { within: SAYS_WITHIN.div_f64(self.config.time_scale.max(1.0)).max(SWEEP) },
        }
    }

    async fn hand(&self, message: &Submission<'_>) -> SubmissionOutcome {
        let trouble = |detail: String| {
            SubmissionOutcome::Refused(Refusal {
                class: Class::Trouble,
                code: "simulator".into(),
                detail,
                retry_after: None,
            })
        };
        if let Err(error) = faults::hit(Point::Take(Side::Before)) {
            return trouble(error.to_string());
        }
        let Submission { message_id, to, text, sender } = *message;
        let asked = Given { id: message_id.into(), recipient: to.into(), body: text.into(), sender: sender.into() };
        let lost = |detail: String| SubmissionOutcome::Unknown { code: "simulator".into(), detail };
        let (fate, network_id) = match self.writer.ask(Ask::Hand(asked)).await {
            Ok(Some(fate)) => fate,
            Ok(None) | Err(StoreError::Unsettled) => return lost("the simulator broke off".into()),
            Err(error) => return trouble(error.to_string()),
        };
        if !fate.latency.is_zero() {
            tokio::time::sleep(fate.latency).await;
        }
        match fate.refusal {
            Some(refusal) => SubmissionOutcome::Refused(refusal),
            None if fate.lost || faults::hit(Point::Take(Side::After)).is_err() => lost("simulated lost answer".into()),
            None => SubmissionOutcome::Taken { network_id, wa_id: None },
        }
    }

    async fn hook(&self, _: &HookRequest<'_>) -> Option<HookAnswer> {
        None
    }

    async fn listen(&self, listener: Arc<dyn EventSink>) {
        loop {
            let planned = self.planned.notified();
            let wait = self.tell(&listener).await.unwrap_or_else(|error| {
                tracing::warn!(error, "what the simulator tells is not taken yet");
                PAUSE
            });
            if !wait.is_zero() {
                tokio::select! {
                    () = planned => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}
