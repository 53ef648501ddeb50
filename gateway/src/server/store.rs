//! The gateway's own store: messages, reports, senders. Its writer is the only one that changes them.
//!
//! What is written together belongs together: a message's outcome and the report of it are one commit; so are a claim
//! and the slots it took. Each ask may be repeated: it finds what it did and does nothing more.

use super::rules::{self, Known, Next, SenderNext, Slots, Standing, State};
use crate::sqlite::{Book, OpenError, Place, StoreError, Writer, lock};
use crate::transport::{Class, Event, Handed, Settles, Status};
use crate::{Outgoing, Report};
use faults::{GatewayStep, Point, Side};
use rand::Rng;
use serde::Serialize;
use sqlx::sqlite::{SqliteRow, SqliteSynchronous};
use sqlx::{Row, SqliteConnection, SqlitePool};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The file's name.
pub(crate) const FILE: &str = "gateway.db";

/// The schema, a step each.
const STEPS: [&str; 1] = [include_str!("schema.sql")];

/// How far ahead slots are taken: a claimed message waits for its slot in its place, so not far.
const HORIZON_US: i64 = 20_000;

/// How many rows one transaction deletes.
const PRUNE: i64 = 500;

/// How long what a network told of nobody's message is kept for somebody whose it may turn out to be.
const ORPHAN_MS: i64 = 24 * 3600 * 1000;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// How long a backend is asked to wait for a sender that a person has to see to.
const STOPPED_WAIT: Duration = Duration::from_secs(30);

/// Tells the time, in milliseconds since the epoch.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A message to be taken.
#[derive(Clone, Debug)]
pub(crate) struct NewMessage {
    pub(crate) id: String,
    /// The backend named it by a number, and is told of it by a number.
    pub(crate) numeric: bool,
    pub(crate) sender: String,
    pub(crate) recipient: String,
    pub(crate) body: String,
}

/// What became of a message that was to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// It is taken.
    Fresh,
    /// It was before.
    Known,
    /// The sender has sent enough for today.
    Capped { retry_after: Duration },
    /// The sender is stopped.
    Stopped { retry_after: Duration, code: String },
}

/// A message that was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(crate) seq: i64,
    pub(crate) id: String,
    pub(crate) numeric: bool,
    pub(crate) sender: String,
    pub(crate) recipient: String,
    pub(crate) body: String,
    pub(crate) attempts: u32,
    pub(crate) doubt: bool,
    /// When it may leave, in microseconds.
    pub(crate) slot_us: i64,
}

/// What a claim found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) messages: Vec<Claimed>,
    /// When there will be something to claim, as far as is known now.
    pub(crate) next_at_ms: Option<i64>,
    /// The sender was told to wait so often in a row.
    pub(crate) waits: u32,
}

/// What came of a claimed message.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) seq: i64,
    pub(crate) id: String,
    pub(crate) numeric: bool,
    pub(crate) sender: String,
    pub(crate) handed: Handed,
    pub(crate) standing: Standing,
}

/// What the backend made of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It took it.
    Taken,
    /// It will never take it.
    Refused { status: u16, detail: String },
    /// It is told again.
    Again { due_at_ms: i64 },
}

/// A report that is due.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) seq: i64,
    pub(crate) thread: i64,
    pub(crate) tries: u32,
    pub(crate) outgoing: Outgoing,
}

/// A sender's row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sender {
    /// Its name.
    pub name: String,
    /// Messages a minute; 0: no limit of its own.
    pub rate_per_minute: i64,
    /// Messages a day of UTC; 0: no limit.
    pub daily_cap: i64,
    /// The network's reason why it is stopped, if it is.
    pub stopped_code: Option<String>,
    /// The same for people.
    pub stopped_detail: Option<String>,
    /// How often in a row it was told to wait.
    pub waits: i64,
    /// Until when it waits, in milliseconds since the epoch.
    pub wait_until: i64,
    /// The next moment at which a message may leave, in microseconds since the epoch.
    pub next_slot_us: i64,
    /// The day that is counted, in days since the epoch.
    pub day: i64,
    /// Messages that day.
    pub used: i64,
}

impl Sender {
    fn read(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            name: row.try_get("name")?,
            rate_per_minute: row.try_get("rate_per_minute")?,
            daily_cap: row.try_get("daily_cap")?,
            stopped_code: row.try_get("stopped_code")?,
            stopped_detail: row.try_get("stopped_detail")?,
            waits: row.try_get("waits")?,
            wait_until: row.try_get("wait_until")?,
            next_slot_us: row.try_get("next_slot_us")?,
            day: row.try_get("day")?,
            used: row.try_get("used")?,
        })
    }

    /// `ok`, `waiting` or `stopped`.
    #[must_use]
    pub fn health(&self, now_ms: i64) -> &'static str {
        match (&self.stopped_code, self.wait_until > now_ms) {
            (Some(_), _) => "stopped",
            (None, true) => "waiting",
            (None, false) => "ok",
        }
    }

    /// How many messages it may still send today.
    fn left_today(&mut self, now_ms: i64) -> i64 {
        let today = now_ms.div_euclid(DAY_MS);
        if self.day != today {
            (self.day, self.used) = (today, 0);
        }
        if self.daily_cap > 0 { (self.daily_cap - self.used).max(0) } else { i64::MAX }
    }
}

fn midnight_after(now_ms: i64) -> i64 {
    (now_ms.div_euclid(DAY_MS) + 1) * DAY_MS
}

/// What a gateway's store can be asked.
#[derive(Debug)]
pub(crate) enum Ask {
    Accept(NewMessage),
    Claim {
        sender: String,
        most: i64,
        settles: Settles,
    },
    /// What was claimed and not handed over is as it was: all that is claimed but these.
    Unclaim {
        except: Vec<i64>,
    },
    /// The process starts: what was claimed may have been handed over.
    Recover {
        settles: Settles,
    },
    Settle(Vec<Outcome>),
    Heard(Vec<Event>),
    Told(Vec<(Due, Told)>),
    Prune {
        before_ms: i64,
        after_seq: i64,
    },
}

/// Its answers.
#[derive(Debug)]
pub(crate) enum Answer {
    Accepted(Accepted),
    Claims(Claims),
    Done,
    /// Where to go on pruning; absent: all is done.
    Pruned(Option<i64>),
}

/// Who is told of what is written.
#[derive(Debug, Default)]
pub(crate) struct Bells {
    /// There may be something to send.
    pub(crate) sending: Notify,
    /// There may be something to report.
    pub(crate) reporting: Notify,
}

pub(crate) struct Ledger {
    now: Now,
    bells: Arc<Bells>,
}

/// The store.
pub(crate) struct Store {
    writer: Writer<Ledger>,
    readers: SqlitePool,
    pub(crate) bells: Arc<Bells>,
    pub(crate) now: Now,
    _lock: File,
}

/// Numbers of a store, for whoever watches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Depths {
    /// Messages that are not handed over yet.
    pub messages_waiting: i64,
    /// Reports that the backend has not taken yet.
    pub reports_waiting: i64,
    /// Reports that it will never take.
    pub reports_refused: i64,
}

impl Store {
    /// Opens the store in `dir`, for this process alone.
    pub(crate) async fn open(
        dir: &Path,
        synchronous: SqliteSynchronous,
        max_mib: u32,
        now: Now,
    ) -> Result<Self, OpenError> {
        crate::sqlite::make_dir(dir)?;
        let place = Place { path: dir.join(FILE), synchronous, max_mib };
        let lock = lock(&place.path)?;
        place.migrate(&STEPS).await?;
        let readers = place.readers().await?;
        let bells = Arc::new(Bells::default());
        let writer = Writer::start(place, Ledger { now: now.clone(), bells: bells.clone() });
        Ok(Self { writer, readers, bells, now, _lock: lock })
    }

    pub(crate) async fn accept(&self, message: NewMessage) -> Result<Accepted, StoreError> {
        match self.writer.ask(Ask::Accept(message)).await? {
            Answer::Accepted(accepted) => Ok(accepted),
            Answer::Claims(_) | Answer::Done | Answer::Pruned(_) => Err(StoreError::Fault),
        }
    }

    pub(crate) async fn claim(&self, sender: &str, most: usize, settles: Settles) -> Result<Claims, StoreError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        match self.writer.ask(Ask::Claim { sender: sender.to_owned(), most, settles }).await? {
            Answer::Claims(claims) => Ok(claims),
            Answer::Accepted(_) | Answer::Done | Answer::Pruned(_) => Err(StoreError::Fault),
        }
    }

    pub(crate) async fn unclaim(&self, except: Vec<i64>) -> Result<(), StoreError> {
        self.writer.ask(Ask::Unclaim { except }).await.map(drop)
    }

    pub(crate) async fn recover(&self, settles: Settles) -> Result<(), StoreError> {
        self.writer.ask(Ask::Recover { settles }).await.map(drop)
    }

    pub(crate) async fn settle(&self, outcomes: Vec<Outcome>) -> Result<(), StoreError> {
        self.writer.ask(Ask::Settle(outcomes)).await.map(drop)
    }

    pub(crate) async fn heard(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.writer.ask(Ask::Heard(events)).await.map(drop)
    }

    pub(crate) async fn told(&self, told: Vec<(Due, Told)>) -> Result<(), StoreError> {
        self.writer.ask(Ask::Told(told)).await.map(drop)
    }

    pub(crate) async fn prune(&self, before_ms: i64, after_seq: i64) -> Result<Option<i64>, StoreError> {
        match self.writer.ask(Ask::Prune { before_ms, after_seq }).await? {
            Answer::Pruned(next) => Ok(next),
            Answer::Accepted(_) | Answer::Claims(_) | Answer::Done => Err(StoreError::Fault),
        }
    }

    /// Makes a sender's row, or gives it the limits that are configured now.
    pub(crate) async fn limit(&self, place: &Place, name: &str, rate: u32, cap: u32) -> Result<(), OpenError> {
        let failed = |error| OpenError::Sqlite(place.path.clone(), error);
        let mut conn = place.connect().await.map_err(failed)?;
        sqlx::query(
            "INSERT INTO senders (name, rate_per_minute, daily_cap) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET rate_per_minute = ?2, daily_cap = ?3",
        )
        .bind(name)
        .bind(i64::from(rate))
        .bind(i64::from(cap))
        .execute(&mut conn)
        .await
        .map_err(failed)?;
        sqlx::Connection::close(conn).await.map_err(failed)
    }

    /// The senders' rows.
    pub(crate) async fn senders(&self) -> Result<Vec<Sender>, sqlx::Error> {
        let rows = sqlx::query("SELECT * FROM senders ORDER BY name").fetch_all(&self.readers).await?;
        rows.iter().map(Sender::read).collect()
    }

    /// The first reports that are due, in order.
    pub(crate) async fn due_reports(&self, most: usize) -> Result<Vec<Due>, sqlx::Error> {
        let sql = "SELECT seq, thread, tries, report FROM reports WHERE due_at <= ?1 ORDER BY due_at, seq LIMIT ?2";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = sqlx::query(sql).bind((self.now)()).bind(most).fetch_all(&self.readers).await?;
        let read = |row: &SqliteRow| {
            Ok(Due {
                seq: row.try_get("seq")?,
                thread: row.try_get("thread")?,
                tries: row.try_get("tries")?,
                outgoing: serde_json::from_str(row.try_get("report")?)
                    .map_err(|error| sqlx::Error::Decode(error.into()))?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// When the next report is due.
    pub(crate) async fn next_report_at(&self) -> Result<Option<i64>, sqlx::Error> {
        sqlx::query_scalar("SELECT min(due_at) FROM reports WHERE due_at IS NOT NULL").fetch_one(&self.readers).await
    }

    /// Numbers for whoever watches.
    pub(crate) async fn depths(&self) -> Result<Depths, sqlx::Error> {
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM messages WHERE due_at IS NOT NULL) AS messages,
                    (SELECT count(*) FROM reports) AS reports,
                    (SELECT count(*) FROM refused) AS refused",
        )
        .fetch_one(&self.readers)
        .await?;
        Ok(Depths {
            messages_waiting: row.try_get("messages")?,
            reports_waiting: row.try_get("reports")?,
            reports_refused: row.try_get("refused")?,
        })
    }

    /// Whether the store can be read.
    pub(crate) async fn is_there(&self) -> bool {
        sqlx::query("SELECT 1 FROM senders LIMIT 1").fetch_optional(&self.readers).await.is_ok()
    }
}

/// A store in a folder, for a look or a word from another process: there must be one.
fn beside(dir: &Path) -> Result<Place, OpenError> {
    let place = Place { path: dir.join(FILE), synchronous: SqliteSynchronous::Full, max_mib: 0 };
    match place.path.is_file() {
        true => Ok(place),
        false => Err(OpenError::Io(place.path, io::ErrorKind::NotFound.into())),
    }
}

pub(crate) async fn senders_in(dir: &Path) -> Result<Vec<Sender>, OpenError> {
    let place = beside(dir)?;
    let failed = |error| OpenError::Sqlite(place.path.clone(), error);
    let mut conn = place.connect().await.map_err(failed)?;
    let rows = sqlx::query("SELECT * FROM senders ORDER BY name").fetch_all(&mut conn).await.map_err(failed)?;
    let senders = rows.iter().map(Sender::read).collect::<Sql<Vec<_>>>().map_err(failed)?;
    sqlx::Connection::close(conn).await.map_err(failed)?;
    Ok(senders)
}

pub(crate) async fn resume_in(dir: &Path, name: &str) -> Result<bool, OpenError> {
    let place = beside(dir)?;
    let failed = |error| OpenError::Sqlite(place.path.clone(), error);
    let mut conn = place.connect().await.map_err(failed)?;
    let changed = sqlx::query(RESUME).bind(name).execute(&mut conn).await.map_err(failed)?.rows_affected();
    sqlx::Connection::close(conn).await.map_err(failed)?;
    Ok(changed > 0)
}

/// The steps of the gateway that a group of asks takes: for fail points.
fn steps(asks: &[Ask]) -> HashSet<GatewayStep> {
    let step = |ask: &Ask| match ask {
        Ask::Accept(_) => Some(GatewayStep::Accept),
        Ask::Claim { .. } => Some(GatewayStep::Claim),
        Ask::Settle(_) => Some(GatewayStep::Outcome),
        Ask::Heard(_) => Some(GatewayStep::Heard),
        Ask::Told(_) => Some(GatewayStep::Told),
        Ask::Unclaim { .. } | Ask::Recover { .. } | Ask::Prune { .. } => None,
    };
    asks.iter().filter_map(step).collect()
}

fn hit_all(asks: &[Ask], side: Side) -> io::Result<()> {
    steps(asks).into_iter().try_for_each(|step| faults::hit(Point::Gateway(step, side)))
}

type Db = SqliteConnection;
type Sql<T> = Result<T, sqlx::Error>;

impl Book for Ledger {
    type Ask = Ask;
    type Answer = Answer;

    async fn apply(&mut self, conn: &mut Db, asks: &[Ask]) -> Sql<Vec<Answer>> {
        let now = (self.now)();
        // All that is to be taken in one go; the order among different asks does not matter.
        let new: Vec<&NewMessage> =
            asks.iter().filter_map(|ask| if let Ask::Accept(message) = ask { Some(message) } else { None }).collect();
        let mut accepted = accept(conn, now, &new).await?.into_iter();
        let mut answers = Vec::with_capacity(asks.len());
        for ask in asks {
            answers.push(match ask {
                Ask::Accept(_) => Answer::Accepted(accepted.next().unwrap_or(Accepted::Known)),
                Ask::Claim { sender, most, settles } => {
                    Answer::Claims(claim(conn, now, sender, *most, *settles).await?)
                }
                Ask::Unclaim { except } => unclaim(conn, now, except).await?,
                Ask::Recover { settles } => recover(conn, now, *settles).await?,
                Ask::Settle(outcomes) => settle(conn, now, outcomes).await?,
                Ask::Heard(events) => heard(conn, now, events).await?,
                Ask::Told(told) => tell(conn, now, told).await?,
                Ask::Prune { before_ms, after_seq } => prune(conn, now, *before_ms, *after_seq).await?,
            });
        }
        Ok(answers)
    }

    fn before(&self, asks: &[Ask]) -> io::Result<()> {
        hit_all(asks, Side::Before)
    }

    fn after(&self, asks: &[Ask]) -> io::Result<()> {
        hit_all(asks, Side::After)
    }

    fn committed(&self, asks: &[Ask]) {
        for ask in asks {
            match ask {
                Ask::Accept(_) | Ask::Unclaim { .. } => self.bells.sending.notify_one(),
                // What ended may have been before another to its recipient.
                Ask::Settle(_) | Ask::Heard(_) => {
                    self.bells.sending.notify_one();
                    self.bells.reporting.notify_one();
                }
                Ask::Told(_) => self.bells.reporting.notify_one(),
                Ask::Claim { .. } | Ask::Recover { .. } | Ask::Prune { .. } => {}
            }
        }
    }
}

/// A list as SQLite takes it.
fn json(rows: &impl Serialize) -> Sql<String> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()))
}

async fn sender(conn: &mut Db, name: &str) -> Sql<Sender> {
    let row = sqlx::query("SELECT * FROM senders WHERE name = ?1").bind(name).fetch_optional(conn).await?;
    row.as_ref().map_or_else(|| Ok(Sender { name: name.to_owned(), ..Sender::default() }), Sender::read)
}

async fn accept(conn: &mut Db, now: i64, new: &[&NewMessage]) -> Sql<Vec<Accepted>> {
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = new.iter().map(|message| message.id.as_str()).collect();
    let known =
        sqlx::query_scalar::<_, String>("SELECT id FROM messages WHERE id IN (SELECT value FROM json_each(?1))")
            .bind(json(&ids)?)
            .fetch_all(&mut *conn)
            .await?;
    let mut known: HashSet<String> = known.into_iter().collect();
    let mut senders: HashMap<&str, (Sender, i64)> = HashMap::new();
    let mut rows = Vec::new();
    let mut answers = Vec::with_capacity(new.len());
    for message in new {
        if known.contains(&message.id) {
            answers.push(Accepted::Known);
            continue;
        }
        let name = message.sender.as_str();
        if !senders.contains_key(name) {
            let mut row = sender(conn, name).await?;
            let mut left = row.left_today(now);
            if row.daily_cap > 0 {
                // What waits will be sent first.
                let sql = "SELECT count(*) FROM messages WHERE sender = ?1 AND due_at IS NOT NULL";
                left -= sqlx::query_scalar::<_, i64>(sql).bind(name).fetch_one(&mut *conn).await?;
            }
            senders.insert(name, (row, left));
        }
        let Some((row, left)) = senders.get_mut(name) else { continue };
        if let Some(code) = &row.stopped_code {
            answers.push(Accepted::Stopped { retry_after: STOPPED_WAIT, code: code.clone() });
        } else if *left <= 0 {
            let until = midnight_after(now) - now;
            answers.push(Accepted::Capped { retry_after: Duration::from_millis(until.unsigned_abs()) });
        } else {
            *left -= 1;
            known.insert(message.id.clone());
            rows.push((&message.id, i64::from(message.numeric), &message.sender, &message.recipient, &message.body));
            answers.push(Accepted::Fresh);
        }
    }
    if !rows.is_empty() {
        sqlx::query(
            "INSERT INTO messages (id, numeric, sender, recipient, body, state, due_at, accepted_at)
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, 0, ?2, ?2 FROM json_each(?1)",
        )
        .bind(json(&rows)?)
        .bind(now)
        .execute(conn)
        .await?;
    }
    Ok(answers)
}

/// A message `m` that nothing to the same recipient is before: what is said in order leaves in order. One whose outcome
/// nobody knows holds up nobody.
const FIRST: &str =
    "NOT EXISTS (SELECT 1 FROM messages b WHERE b.recipient = m.recipient AND b.seq < m.seq AND b.state < 2
                                 AND b.sender = m.sender)";

async fn claim(conn: &mut Db, now: i64, name: &str, most: i64, settles: Settles) -> Sql<Claims> {
    if let Settles::ByEvent { .. } = settles {
        give_up(conn, now, name).await?;
    }
    let mut row = sender(conn, name).await?;
    let waits = u32::try_from(row.waits).unwrap_or(u32::MAX);
    let nothing = |next_at_ms| Ok(Claims { messages: Vec::new(), next_at_ms, waits });
    if row.stopped_code.is_some() {
        return nothing(None);
    }
    if row.wait_until > now {
        return nothing(Some(row.wait_until));
    }
    let left = row.left_today(now);
    if left == 0 {
        return nothing(Some(midnight_after(now)));
    }
    let now_us = now * 1_000;
    let Slots { first, interval, count } =
        rules::slots(now_us, now_us + HORIZON_US, row.next_slot_us, row.rate_per_minute);
    if count == 0 {
        return nothing(Some((row.next_slot_us - HORIZON_US) / 1_000 + 1));
    }
    let by_event = i64::from(matches!(settles, Settles::ByEvent { .. }));
    let sql = format!(
        "UPDATE messages SET state = 1, due_at = NULL, doubt = max(doubt, state = 2)
         WHERE seq IN (SELECT seq FROM messages m WHERE sender = ?1 AND due_at <= ?2 AND NOT (?4 AND state = 2) AND {FIRST}
                       ORDER BY due_at, seq LIMIT ?3)
         RETURNING seq, id, numeric, recipient, body, attempts, doubt"
    );
    let found = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(name)
        .bind(now)
        .bind(most.min(left).min(count))
        .bind(by_event)
        .fetch_all(&mut *conn)
        .await?;
    let mut messages = Vec::with_capacity(found.len());
    for one in &found {
        messages.push(Claimed {
            seq: one.try_get("seq")?,
            id: one.try_get("id")?,
            numeric: one.try_get("numeric")?,
            sender: name.to_owned(),
            recipient: one.try_get("recipient")?,
            body: one.try_get("body")?,
            attempts: one.try_get("attempts")?,
            doubt: one.try_get("doubt")?,
            slot_us: 0,
        });
    }
    messages.sort_by_key(|message| message.seq);
    let mut slot = first;
    for message in &mut messages {
        message.slot_us = slot;
        slot += interval;
    }
    let taken = i64::try_from(messages.len()).unwrap_or(i64::MAX);
    if taken > 0 && (row.rate_per_minute > 0 || row.daily_cap > 0) {
        // One that is tried again is counted again, unless its refusal gave its count back: never under.
        sqlx::query("UPDATE senders SET next_slot_us = ?2, day = ?3, used = ?4 WHERE name = ?1")
            .bind(name)
            .bind(slot)
            .bind(row.day)
            .bind(row.used + taken)
            .execute(&mut *conn)
            .await?;
    }
    let next_at_ms = match taken < most {
        true if taken == count => Some((slot - HORIZON_US) / 1_000 + 1),
        true => {
            let sql =
                format!("SELECT min(due_at) FROM messages m WHERE sender = ?1 AND due_at IS NOT NULL AND {FIRST}");
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(name).fetch_one(conn).await?
        }
        false => Some(now),
    };
    Ok(Claims { messages, next_at_ms, waits })
}

/// Reports those as unknown of which the network has not told in time.
async fn give_up(conn: &mut Db, now: i64, name: &str) -> Sql<()> {
    let sql = "SELECT * FROM messages WHERE sender = ?1 AND due_at <= ?2 AND state = 2 ORDER BY due_at, seq LIMIT 500";
    let rows = sqlx::query(sql).bind(name).bind(now).fetch_all(&mut *conn).await?;
    let mut given_up = rows.iter().map(read_known).collect::<Sql<Vec<_>>>()?;
    let mut reports = Vec::new();
    for message in &mut given_up {
        let code = rules::OUTCOME_UNKNOWN.to_owned();
        let detail = message.detail.clone().unwrap_or_default();
        message.state = State::Failed;
        message.code = Some(code.clone());
        let report = Report::Failed { message_id: message.message_id.clone(), code, detail };
        reports.push((message.seq, Outgoing { report, numeric: message.numeric }));
    }
    write_known(conn, now, &given_up).await?;
    write_reports(conn, now, &reports).await
}

async fn unclaim(conn: &mut Db, now: i64, except: &[i64]) -> Sql<Answer> {
    sqlx::query(
        "UPDATE messages SET state = CASE WHEN doubt THEN 2 ELSE 0 END, due_at = ?1
         WHERE state = 1 AND seq NOT IN (SELECT value FROM json_each(?2))",
    )
    .bind(now)
    .bind(json(&except)?)
    .execute(conn)
    .await?;
    Ok(Answer::Done)
}

async fn recover(conn: &mut Db, now: i64, settles: Settles) -> Sql<Answer> {
    let due = match settles {
        Settles::ByHandingAgain => now,
        Settles::ByEvent { within } => now.saturating_add(i64::try_from(within.as_millis()).unwrap_or(i64::MAX)),
    };
    let sql =
        "UPDATE messages SET state = 2, doubt = 1, due_at = ?1, detail = 'the gateway ended while it was handed over'
               WHERE state = 1";
    let recovered = sqlx::query(sql).bind(due).execute(conn).await?.rows_affected();
    if recovered > 0 {
        tracing::warn!(
            messages = recovered,
            "handed over when the last process ended; whether they were taken is found out"
        );
    }
    Ok(Answer::Done)
}

/// A message's row after an attempt.
#[derive(Serialize)]
struct Settled<'a>(i64, i64, Option<i64>, u32, bool, Option<&'a str>, Option<&'a str>, Option<&'a str>, bool);

async fn settle(conn: &mut Db, now: i64, outcomes: &[Outcome]) -> Sql<Answer> {
    let judged: Vec<(Next, SenderNext)> =
        outcomes.iter().map(|outcome| rules::judge(&outcome.handed, outcome.standing, rand::rng().random())).collect();
    let after = |wait: Duration| now.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
    let rows: Vec<Settled<'_>> = outcomes
        .iter()
        .zip(&judged)
        .map(|(outcome, (next, _))| {
            let (seq, tried) = (outcome.seq, outcome.standing.attempts);
            match next {
                Next::Sent { network_id } => Settled(seq, 3, None, tried, false, Some(network_id), None, None, true),
                Next::Failed { code, detail } => {
                    Settled(seq, 4, None, tried + 1, false, None, Some(code), Some(detail), true)
                }
                Next::Again { after: wait, attempts, code, detail } => {
                    Settled(seq, 0, Some(after(*wait)), *attempts, false, None, Some(code), Some(detail), false)
                }
                Next::Unknown { after: wait, attempts, code, detail } => {
                    Settled(seq, 2, Some(after(*wait)), *attempts, true, None, Some(code), Some(detail), false)
                }
            }
        })
        .collect();
    let settled: HashSet<i64> = sqlx::query_scalar::<_, i64>(
        "UPDATE messages SET state = v.value ->> 1, due_at = v.value ->> 2, attempts = v.value ->> 3,
                doubt = v.value ->> 4, network_id = coalesce(network_id, v.value ->> 5), code = v.value ->> 6,
                detail = v.value ->> 7,
                body = CASE WHEN v.value ->> 8 THEN '' ELSE body END,
                ended_at = CASE WHEN v.value ->> 8 THEN ?2 END,
                sent_at = CASE WHEN v.value ->> 1 = 3 THEN ?2 END
         FROM json_each(?1) AS v
         WHERE messages.seq = v.value ->> 0 AND messages.state = 1
         RETURNING seq",
    )
    .bind(json(&rows)?)
    .bind(now)
    .fetch_all(&mut *conn)
    .await?
    .into_iter()
    .collect();
    let mut reports = Vec::with_capacity(outcomes.len());
    let mut mapped = Vec::new();
    for (outcome, (next, _)) in outcomes.iter().zip(&judged).filter(|(outcome, _)| settled.contains(&outcome.seq)) {
        let message_id = outcome.id.clone();
        let report = match next {
            Next::Sent { network_id } => {
                mapped.push(network_id.as_str());
                Report::Mapped { message_id, whatsapp_id: network_id.clone() }
            }
            Next::Failed { code, detail } => Report::Failed { message_id, code: code.clone(), detail: detail.clone() },
            Next::Again { .. } | Next::Unknown { .. } => continue,
        };
        reports.push((outcome.seq, Outgoing { report, numeric: outcome.numeric }));
    }
    write_reports(conn, now, &reports).await?;
    adopt(conn, now, &mapped).await?;
    settle_senders(conn, now, outcomes, &judged, &settled).await?;
    for (next, _) in &judged {
        let outcome = match next {
            Next::Sent { .. } => "sent",
            Next::Failed { .. } => "failed",
            Next::Again { .. } => "again",
            Next::Unknown { .. } => "unknown",
        };
        metrics::counter!("paceline_gateway_outcomes_total", "outcome" => outcome).increment(1);
    }
    Ok(Answer::Done)
}

/// What came of the attempts for their senders.
async fn settle_senders(
    conn: &mut Db,
    now: i64,
    outcomes: &[Outcome],
    judged: &[(Next, SenderNext)],
    settled: &HashSet<i64>,
) -> Sql<()> {
    let mut changes: HashMap<&str, Sender> = HashMap::new();
    for (outcome, (next, sender_next)) in outcomes.iter().zip(judged) {
        let given_back = matches!(next, Next::Again { .. } | Next::Failed { .. }) && settled.contains(&outcome.seq);
        let waited = outcome.standing.waits > 0 && matches!(next, Next::Sent { .. });
        if *sender_next == SenderNext::Fine && !given_back && !waited {
            continue;
        }
        let name = outcome.sender.as_str();
        if !changes.contains_key(name) {
            changes.insert(name, sender(conn, name).await?);
        }
        let Some(row) = changes.get_mut(name) else { continue };
        if given_back {
            row.used = (row.used - 1).max(0);
        }
        match sender_next {
            SenderNext::Fine if waited => row.waits = 0,
            SenderNext::Fine => {}
            SenderNext::Waits(wait) => {
                let until = now.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
                // Those that were on their way together are one warning.
                if row.wait_until <= now {
                    row.waits += 1;
                }
                row.wait_until = row.wait_until.max(until);
            }
            SenderNext::Stops { code, detail } => stop(row, code, detail),
        }
    }
    for row in changes.values() {
        write_sender(conn, row).await?;
    }
    Ok(())
}

fn stop(row: &mut Sender, code: &str, detail: &str) {
    if row.stopped_code.is_none() {
        tracing::error!(
            sender = row.name,
            code,
            detail,
            "the network stopped the sender; see to it, then `paceline sender resume`"
        );
        metrics::counter!("paceline_gateway_sender_stops_total").increment(1);
    }
    (row.stopped_code, row.stopped_detail) = (Some(code.to_owned()), Some(detail.to_owned()));
}

async fn write_sender(conn: &mut Db, row: &Sender) -> Sql<()> {
    sqlx::query(
        "UPDATE senders SET stopped_code = ?2, stopped_detail = ?3, waits = ?4, wait_until = ?5, used = ?6 WHERE name = ?1",
    )
    .bind(&row.name)
    .bind(&row.stopped_code)
    .bind(&row.stopped_detail)
    .bind(row.waits)
    .bind(row.wait_until)
    .bind(row.used)
    .execute(conn)
    .await?;
    Ok(())
}

/// What was stopped may send again, at once.
const RESUME: &str =
    "UPDATE senders SET stopped_code = NULL, stopped_detail = NULL, waits = 0, wait_until = 0 WHERE name = ?1";

fn read_known(row: &SqliteRow) -> Sql<Known> {
    Ok(Known {
        seq: row.try_get("seq")?,
        message_id: row.try_get("id")?,
        numeric: row.try_get("numeric")?,
        recipient: row.try_get("recipient")?,
        state: State::of(row.try_get("state")?),
        network_id: row.try_get("network_id")?,
        level: row.try_get("level")?,
        sent_at_ms: row.try_get("sent_at")?,
        code: row.try_get("code")?,
        detail: row.try_get("detail")?,
    })
}

#[derive(Serialize)]
struct KnownRow<'a>(i64, i64, &'a Option<String>, u8, Option<i64>, &'a Option<String>, &'a Option<String>);

/// Writes what is known of messages that the network told of, or that were given up.
async fn write_known(conn: &mut Db, now: i64, known: &[Known]) -> Sql<()> {
    if known.is_empty() {
        return Ok(());
    }
    let row = |m: &'_ Known| (m.seq, m.state as i64, m.level, m.sent_at_ms);
    let rows: Vec<KnownRow<'_>> = known
        .iter()
        .map(|m| {
            let (seq, state, level, sent_at) = row(m);
            KnownRow(seq, state, &m.network_id, level, sent_at, &m.code, &m.detail)
        })
        .collect();
    sqlx::query(
        "UPDATE messages SET state = v.value ->> 1, network_id = v.value ->> 2, level = v.value ->> 3,
                sent_at = v.value ->> 4, code = v.value ->> 5, detail = v.value ->> 6,
                due_at = CASE WHEN v.value ->> 1 >= 3 THEN NULL ELSE due_at END,
                body = CASE WHEN v.value ->> 1 >= 3 THEN '' ELSE body END,
                ended_at = CASE WHEN v.value ->> 1 >= 3 THEN ?2 END
         FROM json_each(?1) AS v WHERE messages.seq = v.value ->> 0",
    )
    .bind(json(&rows)?)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes reports behind those that their threads have already.
async fn write_reports(conn: &mut Db, now: i64, reports: &[(i64, Outgoing)]) -> Sql<()> {
    if reports.is_empty() {
        return Ok(());
    }
    let mut begun = HashSet::new();
    let mut rows = Vec::with_capacity(reports.len());
    for (thread, outgoing) in reports {
        rows.push((*thread, json(outgoing)?, begun.insert(*thread)));
    }
    sqlx::query(
        "INSERT INTO reports (thread, report, due_at)
         SELECT v.value ->> 0, v.value ->> 1,
                CASE WHEN v.value ->> 2 AND NOT EXISTS (SELECT 1 FROM reports r WHERE r.thread = v.value ->> 0) THEN ?2 END
         FROM json_each(?1) AS v ORDER BY v.key",
    )
    .bind(json(&rows)?)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// The thread of what a writer writes: never that of a message.
fn writers_thread(inbound: &crate::transport::Inbound) -> i64 {
    let mut hasher = DefaultHasher::new();
    (&inbound.from, inbound.from.is_empty().then_some(&inbound.identities)).hash(&mut hasher);
    -1 - i64::try_from(hasher.finish() >> 2).unwrap_or_default()
}

async fn heard(conn: &mut Db, now: i64, events: &[Event]) -> Sql<Answer> {
    let mut reports = Vec::new();
    let statuses: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Status { message_id, network_id, status, at_ms } => {
                Some((message_id.as_deref(), network_id.as_str(), status, *at_ms))
            }
            Event::Inbound(_) => None,
        })
        .collect();
    let orphans = hear_all(conn, now, &statuses, &mut reports).await?;
    for (network_id, status, told_at) in orphans {
        sqlx::query("INSERT INTO orphans (network_id, status, told_at, at) VALUES (?1, ?2, ?3, ?4)")
            .bind(network_id)
            .bind(json(status)?)
            .bind(told_at)
            .bind(now)
            .execute(&mut *conn)
            .await?;
    }
    for event in events {
        let Event::Inbound(inbound) = event else { continue };
        let sql = "INSERT INTO inbound (network_id, at) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        let fresh = inbound.network_id.is_empty()
            || sqlx::query(sql).bind(&inbound.network_id).bind(now).execute(&mut *conn).await?.rows_affected() > 0;
        if fresh {
            let report = Report::Inbound(inbound.clone());
            reports.push((writers_thread(inbound), Outgoing { report, numeric: false }));
        }
    }
    write_reports(conn, now, &reports).await?;
    Ok(Answer::Done)
}

type Heard<'a> = (Option<&'a str>, &'a str, &'a Status, i64);

/// Takes what was told of messages; returns what is of nobody's whom we know yet.
async fn hear_all<'a>(
    conn: &mut Db,
    now: i64,
    statuses: &[Heard<'a>],
    reports: &mut Vec<(i64, Outgoing)>,
) -> Sql<Vec<(&'a str, &'a Status, i64)>> {
    if statuses.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = statuses.iter().filter_map(|(id, ..)| *id).collect();
    let networks: Vec<&str> =
        statuses.iter().filter(|(id, ..)| id.is_none()).map(|(_, network, ..)| *network).collect();
    let rows = sqlx::query(
        "SELECT * FROM messages WHERE id IN (SELECT value FROM json_each(?1))
         UNION SELECT * FROM messages WHERE network_id IN (SELECT value FROM json_each(?2))",
    )
    .bind(json(&ids)?)
    .bind(json(&networks)?)
    .fetch_all(&mut *conn)
    .await?;
    let mut known = Vec::with_capacity(rows.len());
    let mut senders = HashMap::new();
    for row in &rows {
        let message = read_known(row)?;
        senders.insert(message.seq, row.try_get::<String, _>("sender")?);
        known.push(message);
    }
    let by_id: HashMap<String, usize> = known.iter().enumerate().map(|(at, m)| (m.message_id.clone(), at)).collect();
    let by_network: HashMap<String, usize> =
        known.iter().enumerate().filter_map(|(at, m)| Some((m.network_id.clone()?, at))).collect();
    let mut orphans = Vec::new();
    for (id, network_id, status, at_ms) in statuses {
        let at = id.and_then(|id| by_id.get(id)).or_else(|| by_network.get(*network_id));
        let Some(message) = at.and_then(|at| known.get_mut(*at)) else {
            metrics::counter!("paceline_gateway_orphans_total").increment(1);
            if id.is_none() {
                orphans.push((*network_id, *status, *at_ms));
            }
            continue;
        };
        let heard = rules::hear(message, network_id, status, *at_ms);
        reports.extend(heard.into_iter().map(|report| (message.seq, Outgoing { report, numeric: message.numeric })));
        if let Status::Failed(refusal) = status
            && refusal.class == Class::StopSender
            && let Some(name) = senders.get(&message.seq)
        {
            let mut row = sender(conn, name).await?;
            stop(&mut row, &rules::short_code(&refusal.code), &rules::short_detail(&refusal.detail));
            write_sender(conn, &row).await?;
        }
    }
    write_known(conn, now, &known).await?;
    Ok(orphans)
}

/// Takes what the network had told of messages before it answered for them.
async fn adopt(conn: &mut Db, now: i64, mapped: &[&str]) -> Sql<()> {
    if mapped.is_empty() {
        return Ok(());
    }
    let sql = "DELETE FROM orphans WHERE network_id IN (SELECT value FROM json_each(?1))
               RETURNING seq, network_id, status, told_at";
    let rows = sqlx::query(sql).bind(json(&mapped)?).fetch_all(&mut *conn).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let mut told = Vec::with_capacity(rows.len());
    for row in &rows {
        let status: Status =
            serde_json::from_str(row.try_get("status")?).map_err(|error| sqlx::Error::Decode(error.into()))?;
        told.push((
            row.try_get::<i64, _>("seq")?,
            row.try_get::<String, _>("network_id")?,
            status,
            row.try_get("told_at")?,
        ));
    }
    told.sort_by_key(|(seq, ..)| *seq);
    let statuses: Vec<Heard<'_>> =
        told.iter().map(|(_, network, status, at)| (None, network.as_str(), status, *at)).collect();
    let mut reports = Vec::new();
    hear_all(conn, now, &statuses, &mut reports).await?;
    write_reports(conn, now, &reports).await
}

async fn tell(conn: &mut Db, now: i64, told: &[(Due, Told)]) -> Sql<Answer> {
    let (mut gone, mut threads, mut again) = (Vec::new(), HashSet::new(), Vec::new());
    for (due, told) in told {
        match told {
            Told::Taken => {
                gone.push(due.seq);
                threads.insert(due.thread);
            }
            Told::Refused { status, detail } => {
                sqlx::query(
                    "INSERT INTO refused (seq, report, status, detail, refused_at)
                     SELECT seq, report, ?2, ?3, ?4 FROM reports WHERE seq = ?1 ON CONFLICT DO NOTHING",
                )
                .bind(due.seq)
                .bind(i64::from(*status))
                .bind(detail)
                .bind(now)
                .execute(&mut *conn)
                .await?;
                gone.push(due.seq);
                threads.insert(due.thread);
            }
            Told::Again { due_at_ms } => again.push((due.seq, *due_at_ms, due.tries.saturating_add(1))),
        }
    }
    if !gone.is_empty() {
        let sql = "DELETE FROM reports WHERE seq IN (SELECT value FROM json_each(?1))";
        sqlx::query(sql).bind(json(&gone)?).execute(&mut *conn).await?;
        sqlx::query(
            "UPDATE reports SET due_at = ?2
             WHERE due_at IS NULL AND seq IN (SELECT (SELECT min(r.seq) FROM reports r WHERE r.thread = v.value)
                                              FROM json_each(?1) AS v)",
        )
        .bind(json(&threads)?)
        .bind(now)
        .execute(&mut *conn)
        .await?;
    }
    if !again.is_empty() {
        let sql = "UPDATE reports SET due_at = v.value ->> 1, tries = v.value ->> 2
                   FROM json_each(?1) AS v WHERE reports.seq = v.value ->> 0";
        sqlx::query(sql).bind(json(&again)?).execute(conn).await?;
    }
    Ok(Answer::Done)
}

/// Deletes what is old: messages in the order in which they came, whose reports are all taken.
async fn prune(conn: &mut Db, now: i64, before: i64, after_seq: i64) -> Sql<Answer> {
    if after_seq == 0 {
        sqlx::query("DELETE FROM orphans WHERE at < ?1").bind(now - ORPHAN_MS).execute(&mut *conn).await?;
        sqlx::query("DELETE FROM inbound WHERE at < ?1").bind(before).execute(&mut *conn).await?;
        sqlx::query("DELETE FROM refused WHERE refused_at < ?1").bind(before).execute(&mut *conn).await?;
    }
    let last: Option<i64> = sqlx::query_scalar(
        "SELECT max(seq) FROM (SELECT seq, accepted_at FROM messages WHERE seq > ?1 ORDER BY seq LIMIT ?2)
         WHERE accepted_at < ?3",
    )
    .bind(after_seq)
    .bind(PRUNE)
    .bind(before)
    .fetch_one(&mut *conn)
    .await?;
    let Some(last) = last else { return Ok(Answer::Pruned(None)) };
    sqlx::query(
        "DELETE FROM messages WHERE seq > ?1 AND seq <= ?2 AND state >= 3 AND ended_at < ?3
           AND NOT EXISTS (SELECT 1 FROM reports WHERE thread = messages.seq)",
    )
    .bind(after_seq)
    .bind(last)
    .bind(before)
    .execute(conn)
    .await?;
    Ok(Answer::Pruned(Some(last)))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
