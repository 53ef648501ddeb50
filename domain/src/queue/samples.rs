//! How the queue was, minute by minute.
//!
//! The scheduler's look at the queue, which it takes every few seconds for the gauges, is kept: the last one as it is, so
//! that pages need not count what is open, and of each minute the worst. What batches decided is what their counts grew by
//! between two looks ([`Progress`]), so no item is read. Several schedulers write the same: of two numbers for a minute the
//! higher one stays.

use crate::db::{self, Dialect};
use crate::jobs::{self, Depth, workers};
use crate::ring::Lane;
use crate::time::Timestamp;
use entities::{BatchStatus, SenderId, queue_looks, sender_samples};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult, QueryFilter};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// How long samples are kept.
pub const KEPT: Duration = Duration::from_secs(8 * 86_400);

/// Up to how many open jobs are counted where they are asked for; beyond them the last look's count is told.
const COUNTED: i64 = 10_000;

/// How many batches a look reads.
const MAX_BATCHES: u64 = 2_000;

const MINUTE_MS: i64 = 60_000;

/// How far batches had come at the last look, in one scheduler.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Whether there was one.
    began: bool,
    /// The newest batch then.
    newest: i64,
    counts: HashMap<i64, (i64, i64)>,
    minute: i64,
    /// What was decided in that minute: succeeded, failed, and of each sender.
    succeeded: i64,
    failed: i64,
    by_sender: BTreeMap<i64, i64>,
}

impl Progress {
    fn to(&mut self, minute: i64) {
        if minute != self.minute {
            self.minute = minute;
            (self.succeeded, self.failed) = (0, 0);
            self.by_sender.clear();
        }
    }

    /// Takes in what a batch's counts are now.
    fn take(&mut self, id: i64, sender: Option<i64>, succeeded: i64, failed: i64) {
        // One that was not there at the last look had decided nothing; an older one that comes back is only begun with.
        let nothing = (self.began && id > self.newest).then_some((0, 0));
        let (s, f) = self.counts.insert(id, (succeeded, failed)).or(nothing).unwrap_or((succeeded, failed));
        // A retry takes failures back.
        let (more, less) = ((succeeded - s).max(0), (failed - f).max(0));
        self.succeeded += more;
        self.failed += less;
        if let Some(sender) = sender
            && more + less > 0
        {
            *self.by_sender.entry(sender).or_default() += more + less;
        }
    }
}

/// How far a batch has come.
#[derive(FromQueryResult)]
struct Counts {
    id: i64,
    sender_id: Option<i64>,
    status: BatchStatus,
    succeeded: i64,
    failed: i64,
}

/// Reads how far batches have come since the last look: those under way, those that were, and those that are new. Returns
/// which they are.
async fn progress(conn: &impl ConnectionTrait, now: Timestamp, progress: &mut Progress) -> Result<Vec<i64>, DbErr> {
    progress.to(now.0.div_euclid(MINUTE_MS));
    let known: Vec<i64> = progress.counts.keys().copied().collect();
    let (among, known) = Dialect::of(conn).one_of_numbers(2, &known);
    let from = if progress.began { progress.newest } else { i64::MAX };
    let columns = "id, sender_id, status, succeeded, failed";
    let sql = format!(
        "SELECT {columns} FROM (SELECT {columns} FROM batches WHERE status = 'PROCESSING' ORDER BY id DESC LIMIT {MAX_BATCHES}) a
         UNION SELECT {columns} FROM (SELECT {columns} FROM batches WHERE id > $1 ORDER BY id LIMIT {MAX_BATCHES}) b
         UNION SELECT {columns} FROM batches WHERE id {among}"
    );
    let mut over = Vec::new();
    let mut seen = Vec::new();
    let mut newest = progress.newest;
    for batch in db::all_as::<Counts>(conn, sql, [from.into(), known]).await? {
        progress.take(batch.id, batch.sender_id, batch.succeeded, batch.failed);
        newest = newest.max(batch.id);
        seen.push(batch.id);
        if batch.status != BatchStatus::Processing {
            over.push(batch.id);
        }
    }
    for id in over {
        progress.counts.remove(&id);
    }
    if !progress.began {
        let last = db::value(conn, "SELECT coalesce(max(id), 0) FROM batches", []).await?;
        newest = newest.max(last.unwrap_or(0));
    }
    (progress.began, progress.newest) = (true, newest);
    Ok(seen)
}

fn waiting(depths: &[Depth], lane: Lane) -> (i64, i64) {
    let ready = || depths.iter().filter(|depth| depth.lane == lane.as_str() && depth.state == "ready");
    let behind = ready().map(|depth| depth.oldest).max().unwrap_or_default();
    (ready().map(|depth| depth.jobs).sum(), i64::try_from(behind.as_millis()).unwrap_or(i64::MAX))
}

fn in_state(depths: &[Depth], state: &str) -> i64 {
    depths.iter().filter(|depth| depth.state == state).map(|depth| depth.jobs).sum()
}

/// What a look found, to be kept.
#[derive(Clone, Debug)]
pub struct Look {
    sample: Vec<(&'static str, i64)>,
    by_sender: Vec<(i64, i64)>,
    minute: i64,
    depths: String,
    /// The batches that went on since the look before.
    batches: Vec<i64>,
}

/// Looks at the queue: what there is to be kept of it. `depths` were just counted.
///
/// # Errors
/// The database's.
pub async fn look(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    depths: &[Depth],
    so_far: &mut Progress,
) -> Result<Look, DbErr> {
    let batches = progress(conn, now, so_far).await?;
    let minute = so_far.minute;
    let [critical, default, bulk] = Lane::ALL.map(|lane| waiting(depths, lane));
    let sample = vec![
        ("waiting_critical", critical.0),
        ("waiting_default", default.0),
        ("waiting_bulk", bulk.0),
        ("behind_critical_ms", critical.1),
        ("behind_default_ms", default.1),
        ("behind_bulk_ms", bulk.1),
        ("running", in_state(depths, "running")),
        ("dead", in_state(depths, "dead")),
        ("succeeded", so_far.succeeded),
        ("failed", so_far.failed),
    ];
    let depths = depths.iter().map(|depth| {
        let since = now.minus(depth.oldest).0;
        json!({ "lane": depth.lane, "kind": depth.kind, "state": depth.state, "jobs": depth.jobs, "since": since })
    });
    let depths = Value::Array(depths.collect()).to_string();
    let by_sender = so_far.by_sender.iter().map(|(sender, decided)| (*sender, *decided)).collect();
    Ok(Look { sample, by_sender, minute, depths, batches })
}

/// The key of the one row that has the last look.
const THE_LOOK: i64 = 1;

/// Keeps a look, and what ended in the minute before.
///
/// # Errors
/// The database's.
pub async fn keep(conn: &impl ConnectionTrait, now: Timestamp, look: &Look) -> Result<(), DbErr> {
    let sql = "INSERT INTO queue_looks (one, looked_at, version, depths) VALUES ($1, $2, $3, $4)
               ON CONFLICT (one) DO UPDATE SET looked_at = excluded.looked_at, version = excluded.version,
                  depths = excluded.depths";
    let values = [THE_LOOK.into(), now.0.into(), workers::VERSION.into(), look.depths.clone().into()];
    db::execute(conn, sql, values).await?;
    let names: Vec<&str> = look.sample.iter().map(|(name, _)| *name).collect();
    let places: Vec<String> = (2..2 + names.len()).map(|at| format!("${at}")).collect();
    let higher = |name: &&str| {
        format!(
            "{name} = CASE WHEN excluded.{name} > queue_samples.{name} THEN excluded.{name} ELSE queue_samples.{name} END"
        )
    };
    let highest: Vec<String> = names.iter().map(higher).collect();
    let sql = format!(
        "INSERT INTO queue_samples (minute, {}) VALUES ($1, {}) ON CONFLICT (minute) DO UPDATE SET {}",
        names.join(", "),
        places.join(", "),
        highest.join(", ")
    );
    let values = std::iter::once(look.minute).chain(look.sample.iter().map(|(_, value)| *value));
    db::execute(conn, sql, values.map(Into::into)).await?;
    for (sender, decided) in &look.by_sender {
        let sql = "INSERT INTO sender_samples (minute, sender_id, decided) VALUES ($1, $2, $3)
                   ON CONFLICT (minute, sender_id) DO UPDATE SET decided =
                      CASE WHEN excluded.decided > sender_samples.decided THEN excluded.decided ELSE sender_samples.decided END";
        db::execute(conn, sql, [look.minute.into(), (*sender).into(), (*decided).into()]).await?;
    }
    crate::batches::kept_pace::keep(conn, now, &look.batches).await?;
    ended(conn, look.minute - 1).await?;
    hours(conn, look.minute - 1, look.minute).await
}

/// The columns of a sample, each with how several are one.
const MEASURES: [(&str, bool); 12] = [
    ("waiting_critical", false),
    ("waiting_default", false),
    ("waiting_bulk", false),
    ("behind_critical_ms", false),
    ("behind_default_ms", false),
    ("behind_bulk_ms", false),
    ("running", false),
    ("dead", false),
    ("ended", true),
    ("died", true),
    ("succeeded", true),
    ("failed", true),
];

/// The columns of one sample that is made of several: the most of what is a state, the sum of what happened.
fn together() -> String {
    let column = |(name, adds): &(&str, bool)| match adds {
        true => format!("CAST(coalesce(sum({name}), 0) AS BIGINT) AS {name}"),
        false => format!("max({name}) AS {name}"),
    };
    MEASURES.iter().map(column).collect::<Vec<_>>().join(", ")
}

/// Writes the hours of these minutes anew, so that a week is read from 168 rows and not from ten thousand.
async fn hours(conn: &impl ConnectionTrait, from: i64, upto: i64) -> Result<(), DbErr> {
    let names = MEASURES.map(|(name, _)| name);
    let sql = format!(
        "INSERT INTO queue_hours (hour, {}) SELECT minute / 60 AS hour, {} FROM queue_samples WHERE minute >= $1 AND minute <= $2
         GROUP BY minute / 60 ON CONFLICT (hour) DO UPDATE SET {}",
        names.join(", "),
        together(),
        names.map(|name| format!("{name} = excluded.{name}")).join(", ")
    );
    db::execute(conn, sql, [(from.div_euclid(60) * 60).into(), upto.into()]).await.map(drop)
}

/// Writes how many jobs ended in a minute that is over, once.
async fn ended(conn: &impl ConnectionTrait, minute: i64) -> Result<(), DbErr> {
    let open = "SELECT minute FROM queue_samples WHERE minute = $1 AND ended IS NULL";
    if db::one(conn, open, [minute.into()]).await?.is_none() {
        return Ok(());
    }
    let sql = "UPDATE queue_samples SET
                  ended = (SELECT count(*) FROM jobs WHERE finished_at >= $2 AND finished_at < $3 AND state = 'done'),
                  died = (SELECT count(*) FROM jobs WHERE finished_at >= $2 AND finished_at < $3 AND state = 'dead')
               WHERE minute = $1 AND ended IS NULL";
    let from = minute * MINUTE_MS;
    db::execute(conn, sql, [minute.into(), from.into(), (from + MINUTE_MS).into()]).await.map(drop)
}

/// How the queue stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The jobs that are not over.
    pub depths: Vec<Depth>,
    /// When they were counted; `None`: now.
    pub counted_at: Option<Timestamp>,
    /// When a scheduler last looked, and of which release it was; `None`: none ever did.
    pub scheduler: Option<(Timestamp, String)>,
}

/// How the queue stands: counted now where that is quick, else as a scheduler counted it a few seconds ago.
///
/// # Errors
/// The database's.
pub async fn standing(conn: &impl ConnectionTrait, now: Timestamp) -> Result<Standing, DbErr> {
    let Some(look) = queue_looks::Entity::find_by_id(THE_LOOK).one(conn).await? else {
        return Ok(Standing { depths: jobs::depths(conn, now).await?, counted_at: None, scheduler: None });
    };
    let looked_at = look.looked_at;
    let scheduler = Some((looked_at, look.version));
    let kept: Vec<Value> = serde_json::from_str(&look.depths).unwrap_or_default();
    let total: i64 = kept.iter().filter_map(|depth| depth["jobs"].as_i64()).sum();
    if total <= COUNTED {
        return Ok(Standing { depths: jobs::depths(conn, now).await?, counted_at: None, scheduler });
    }
    let text = |depth: &Value, name: &str| depth[name].as_str().unwrap_or_default().to_owned();
    let read = |depth: &Value| Depth {
        lane: text(depth, "lane"),
        kind: text(depth, "kind"),
        state: text(depth, "state"),
        jobs: depth["jobs"].as_i64().unwrap_or_default(),
        oldest: now.since(Timestamp(depth["since"].as_i64().unwrap_or(now.0))),
    };
    Ok(Standing { depths: kept.iter().map(read).collect(), counted_at: Some(looked_at), scheduler })
}

/// When a scheduler last looked at the queue, and of which release it was; `None`: none ever did.
///
/// # Errors
/// The database's.
pub async fn scheduler(conn: &impl ConnectionTrait) -> Result<Option<(Timestamp, String)>, DbErr> {
    let look = queue_looks::Entity::find_by_id(THE_LOOK).one(conn).await?;
    Ok(look.map(|look| (look.looked_at, look.version)))
}

/// How far back samples are read, and how many minutes of them are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// An hour, minute by minute.
    Hour,
    /// A day, in quarters of an hour.
    Day,
    /// Seven days, hour by hour.
    Week,
}

impl Span {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    /// The name on the wire and in addresses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    /// How many minutes a sample of it has.
    #[must_use]
    pub const fn minutes(self) -> i64 {
        match self {
            Self::Hour => 1,
            Self::Day => 15,
            Self::Week => 60,
        }
    }

    /// How many samples it has.
    #[must_use]
    pub const fn samples(self) -> i64 {
        match self {
            Self::Hour => 60,
            Self::Day => 96,
            Self::Week => 168,
        }
    }
}

impl std::str::FromStr for Span {
    type Err = crate::ring::UnknownName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|span| span.as_str() == text);
        found.ok_or_else(|| crate::ring::UnknownName(text.to_owned()))
    }
}

/// How the queue was for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When it begins.
    pub at: Timestamp,
    /// The most jobs that waited in each lane, in the order of [`Lane::ALL`].
    pub waiting: [i64; 3],
    /// The most that each lane was behind, in milliseconds.
    pub behind_ms: [i64; 3],
    /// The most jobs at work.
    pub running: i64,
    /// The most jobs that were dead.
    pub dead: i64,
    /// How many jobs ended.
    pub ended: i64,
    /// How many jobs died.
    pub died: i64,
    /// How many recipients and rows of batches succeeded.
    pub succeeded: i64,
    /// How many of them failed.
    pub failed: i64,
}

impl Sample {
    /// The most jobs that waited, over all lanes.
    #[must_use]
    pub fn all_waiting(&self) -> i64 {
        self.waiting.iter().sum()
    }

    /// How far the lane that was furthest behind was, in seconds.
    #[must_use]
    pub fn behind_secs(&self) -> i64 {
        self.behind_ms.iter().max().map_or(0, |most| most / 1_000)
    }
}

/// The minutes of a sample, as one.
#[derive(FromQueryResult)]
struct Part {
    part: i64,
    waiting_critical: i64,
    waiting_default: i64,
    waiting_bulk: i64,
    behind_critical_ms: i64,
    behind_default_ms: i64,
    behind_bulk_ms: i64,
    running: i64,
    dead: i64,
    ended: i64,
    died: i64,
    succeeded: i64,
    failed: i64,
}

impl Part {
    fn of(self, minutes: i64) -> Sample {
        Sample {
            at: Timestamp(self.part * minutes * MINUTE_MS),
            waiting: [self.waiting_critical, self.waiting_default, self.waiting_bulk],
            behind_ms: [self.behind_critical_ms, self.behind_default_ms, self.behind_bulk_ms],
            running: self.running,
            dead: self.dead,
            ended: self.ended,
            died: self.died,
            succeeded: self.succeeded,
            failed: self.failed,
        }
    }
}

/// The samples of a span that are there, the oldest first: where no scheduler looked there is none.
///
/// # Errors
/// The database's.
pub async fn samples(conn: &impl ConnectionTrait, now: Timestamp, span: Span) -> Result<Vec<Sample>, DbErr> {
    let minutes = span.minutes();
    let from = (now.0.div_euclid(MINUTE_MS * minutes) - span.samples() + 1) * minutes;
    let (sql, from) = match span {
        Span::Hour | Span::Day => (
            format!(
                "SELECT minute / {minutes} AS part, {} FROM queue_samples WHERE minute >= $1 GROUP BY part ORDER BY part",
                together()
            ),
            from,
        ),
        Span::Week => {
            let names = MEASURES.map(|(name, _)| name).join(", ");
            (format!("SELECT hour AS part, {names} FROM queue_hours WHERE hour >= $1 ORDER BY hour"), from / minutes)
        }
    };
    let parts = db::all_as::<Part>(conn, sql, [from.into()]).await?;
    Ok(parts.into_iter().map(|part| part.of(minutes)).collect())
}

/// How many messages of batches each sender had decided in the last whole minute.
///
/// # Errors
/// The database's.
pub async fn pace_in_use(conn: &impl ConnectionTrait, now: Timestamp) -> Result<HashMap<SenderId, i64>, DbErr> {
    let last = now.0.div_euclid(MINUTE_MS) - 1;
    let rows = sender_samples::Entity::find().filter(sender_samples::Column::Minute.eq(last)).all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.sender_id, row.decided)).collect())
}

/// Throws away samples that are too old, at most `limit` of each kind; returns whether there may be more.
///
/// # Errors
/// The database's.
pub async fn prune(conn: &impl ConnectionTrait, now: Timestamp, limit: u64) -> Result<bool, DbErr> {
    let before = now.minus(KEPT).0.div_euclid(MINUTE_MS);
    let mut more = false;
    for (table, key, of, minutes) in [
        ("queue_samples", "minute", "minute", 1),
        ("sender_samples", "minute, sender_id", "minute", 1),
        ("queue_hours", "hour", "hour", 60),
    ] {
        let some = Dialect::of(conn).some_of(table, key, &format!("{of} < $1"), limit);
        let before = before.div_euclid(minutes);
        more |= db::execute(conn, format!("DELETE FROM {table} WHERE {some}"), [before.into()]).await? >= limit;
    }
    Ok(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_batches_decided_is_what_their_counts_grew_by() {
        let mut progress = Progress { began: true, newest: 5, ..Progress::default() };
        progress.to(1);
        // It was under way before anybody looked.
        progress.take(3, Some(1), 100, 10);
        assert_eq!((progress.succeeded, progress.failed), (0, 0));
        progress.take(3, Some(1), 140, 12);
        // It is new.
        progress.take(6, Some(2), 7, 0);
        assert_eq!((progress.succeeded, progress.failed), (47, 2));
        // A retry takes failures back, and then more succeed.
        progress.take(3, Some(1), 140, 0);
        progress.take(3, Some(1), 152, 0);
        assert_eq!((progress.succeeded, progress.failed), (59, 2));
        assert_eq!(progress.by_sender, BTreeMap::from([(1, 54), (2, 7)]));
        progress.to(2);
        progress.take(3, Some(1), 153, 0);
        assert_eq!((progress.succeeded, progress.by_sender.get(&1)), (1, Some(&1)));
    }

    #[test]
    fn a_span_has_one_name() {
        for span in Span::ALL {
            assert_eq!(span.as_str().parse(), Ok(span));
        }
    }
}
