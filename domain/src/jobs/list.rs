//! Jobs for the eyes of people: found by lane, kind, state, batch and text of error.
//!
//! A list never reads the table. Where a filter has an index (a state that few jobs are in, a batch) it reads by that;
//! what is left is looked for among the next [`SEARCHED`] jobs, and a page that found fewer than it may show says where to
//! go on. So each page costs the same, whatever is in the ledger.

use crate::db;
use crate::model::JobState;
use crate::ring::{JobKind, Lane};
use crate::time::Timestamp;
use entities::{BatchId, JobId};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Value};

/// Among how many jobs a page looks for what no index finds.
pub const SEARCHED: usize = 5_000;

/// The longest text that is searched for, in characters.
pub const MAX_TEXT: usize = 200;

/// How many jobs can be named one by one.
pub const MAX_CHOSEN: usize = 200;

/// Which jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only in this lane.
    pub lane: Option<Lane>,
    /// Only of this kind.
    pub kind: Option<JobKind>,
    /// Only in this state.
    pub state: Option<JobState>,
    /// Only of this batch.
    pub batch: Option<BatchId>,
    /// Only those whose error has this text, in any case.
    pub error: Option<String>,
    /// Only these, of which there are [`MAX_CHOSEN`] at most.
    pub ids: Option<Vec<JobId>>,
}

impl Filter {
    /// Whether it lets all pass.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A job as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// The kind's name; another release may know more kinds than this one.
    pub kind: String,
    /// The lane's name.
    pub lane: String,
    /// Where it stands.
    pub state: JobState,
    /// The batch it belongs to.
    #[sea_orm(alias = "batch_id")]
    pub batch: Option<BatchId>,
    /// The chunk of that batch.
    #[sea_orm(alias = "chunk_no")]
    pub chunk: Option<i64>,
    /// From when on it may be claimed.
    pub run_at: Timestamp,
    /// How often it was claimed.
    pub attempts: i64,
    /// How often in a row it failed.
    pub failures: i64,
    /// How often in a row its worker died.
    pub crashes: i64,
    /// How often in a row the database ended its statements.
    pub timeouts: i64,
    /// What went wrong last.
    pub error: Option<String>,
    /// Who has it.
    #[sea_orm(alias = "lease_owner")]
    pub worker: Option<String>,
    /// Until when, unless it is renewed.
    pub lease_until: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was claimed first.
    pub started_at: Option<Timestamp>,
    /// When it was claimed last.
    pub claimed_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

const COLUMNS: &str = "id, kind, lane, state, batch_id, chunk_no, run_at, attempts, failures, crashes, timeouts, error,
    lease_owner, lease_until, created_at, started_at, claimed_at, finished_at";

/// Where a list goes on: behind this job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListCursor {
    /// Its run time, where the list goes by that; else 0.
    pub run_at: i64,
    /// Its number.
    pub id: i64,
}

impl std::fmt::Display for ListCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.run_at, self.id)
    }
}

impl std::str::FromStr for ListCursor {
    type Err = crate::ring::UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || crate::ring::UnknownName(text.to_owned());
        let number = |part: &str| {
            let digits = (1..=18).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            if digits { part.parse().map_err(|_| bad()) } else { Err(bad()) }
        };
        let (run_at, id) = text.split_once('-').ok_or_else(bad)?;
        Ok(Self { run_at: number(run_at)?, id: number(id)? })
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The jobs.
    pub rows: Vec<Job>,
    /// Where it goes on; `None`: there are no more.
    pub next: Option<ListCursor>,
    /// Whether it found fewer than it may show and there are more to be looked at.
    pub partial: bool,
}

/// The order of a list: what is ready goes by its time, the next to run first; else the newest come first.
#[derive(Clone, Copy)]
enum Order {
    RunAt,
    Newest,
}

impl Order {
    fn of(filter: &Filter) -> Self {
        match filter.state {
            Some(JobState::Ready) if filter.batch.is_none() => Self::RunAt,
            _ => Self::Newest,
        }
    }

    const fn sql(self) -> &'static str {
        match self {
            Self::RunAt => "run_at, id",
            Self::Newest => "id DESC",
        }
    }

    /// The condition that a job comes behind a place, and its parameters.
    fn behind(self, place: Option<ListCursor>) -> (&'static str, Vec<Value>) {
        match self {
            Self::RunAt => {
                let ListCursor { run_at, id } = place.unwrap_or(ListCursor { run_at: i64::MIN, id: 0 });
                ("(run_at, id) > ($1, $2)", vec![run_at.into(), id.into()])
            }
            Self::Newest => ("id < $1", vec![place.map_or(i64::MAX, |place| place.id).into()]),
        }
    }

    fn place(self, job: &Job) -> ListCursor {
        let run_at = match self {
            Self::RunAt => job.run_at.0,
            Self::Newest => 0,
        };
        ListCursor { run_at, id: job.id.0 }
    }
}

/// The filter in two parts: what an index finds, and what is looked for among that. Their parameters are added.
pub(crate) fn conditions(filter: &Filter, values: &mut Vec<Value>) -> (String, String) {
    let (mut by_index, mut among) = (String::new(), String::new());
    let mut add = |to: &mut String, condition: &str, value: Value| {
        values.push(value);
        to.push_str(&format!(" AND {condition}").replace('?', &format!("${}", values.len())));
    };
    if let Some(batch) = filter.batch {
        add(&mut by_index, "batch_id = ?", batch.into());
    }
    if let Some(ids) = &filter.ids {
        // As numbers of the statement: they are few, and no index on a state is then better than the key.
        let ids: Vec<String> = ids.iter().take(MAX_CHOSEN).map(|id| id.0.to_string()).collect();
        let none = if ids.is_empty() { "NULL" } else { "" };
        by_index.push_str(&format!(" AND id IN ({none}{})", ids.join(", ")));
    }
    if let Some(state) = filter.state {
        // As a word of the statement: an index on some states is found by it alone.
        let condition = format!(" AND state = '{}'", state.as_str());
        let seldom = !matches!(state, JobState::Done);
        if seldom { by_index.push_str(&condition) } else { among.push_str(&condition) }
    }
    if let Some(lane) = filter.lane {
        add(&mut among, "lane = ?", lane.as_str().into());
    }
    if let Some(kind) = filter.kind {
        add(&mut among, "kind = ?", kind.as_str().into());
    }
    if let Some(error) = filter.error.as_deref() {
        let mut pattern = String::from("%");
        for c in error.chars().flat_map(char::to_lowercase) {
            if matches!(c, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push('%');
        add(&mut among, "lower(error) LIKE ? ESCAPE '\\'", pattern.into());
    }
    (by_index, among)
}

/// A page of the jobs that pass a filter: those that are ready in the order of their time, else the newest first.
///
/// # Errors
/// The database's.
pub async fn page(
    conn: &impl ConnectionTrait,
    filter: &Filter,
    after: Option<ListCursor>,
    rows: usize,
) -> Result<Page, DbErr> {
    let order = Order::of(filter);
    let by = order.sql();
    let (behind, mut values) = order.behind(after);
    let (by_index, among) = conditions(filter, &mut values);
    let wanted = rows + 1;
    let inner = if among.is_empty() { wanted } else { SEARCHED.max(wanted) };
    let looked_at = |columns: &str| {
        format!("(SELECT {columns} FROM jobs WHERE {behind}{by_index} ORDER BY {by} LIMIT {inner}) AS looked_at")
    };
    let sql = format!("SELECT {COLUMNS} FROM {} WHERE TRUE{among} ORDER BY {by} LIMIT {wanted}", looked_at(COLUMNS));
    let mut found: Vec<Job> = db::all_as(conn, sql, values).await?;
    if found.len() > rows {
        found.truncate(rows);
        let next = found.last().map(|job| order.place(job));
        return Ok(Page { rows: found, next, partial: false });
    }
    if among.is_empty() {
        return Ok(Page { rows: found, next: None, partial: false });
    }
    // How far it looked: the last of those, if there are so many.
    let (behind, mut values) = order.behind(after);
    let (by_index, _) = conditions(&Filter { lane: None, kind: None, error: None, ..filter.clone() }, &mut values);
    let sql = format!(
        "SELECT run_at, id FROM jobs WHERE {behind}{by_index} ORDER BY {by} LIMIT 1 OFFSET {}",
        inner.saturating_sub(1)
    );
    let last: Option<(i64, i64)> = db::value(conn, sql, values).await?;
    let next =
        last.map(|(run_at, id)| ListCursor { run_at: if matches!(order, Order::RunAt) { run_at } else { 0 }, id });
    Ok(Page { rows: found, next, partial: next.is_some() })
}

/// A job with its payload.
#[derive(FromQueryResult)]
struct WithPayload {
    #[sea_orm(nested)]
    job: Job,
    payload: String,
}

impl WithPayload {
    /// The payload is null where it cannot be read.
    fn read(self) -> (Job, serde_json::Value) {
        (self.job, serde_json::from_str(&self.payload).unwrap_or_default())
    }
}

/// A job, and what it was given to know.
///
/// # Errors
/// The database's.
pub async fn get(conn: &impl ConnectionTrait, id: JobId) -> Result<Option<(Job, serde_json::Value)>, DbErr> {
    let sql = format!("SELECT {COLUMNS}, payload FROM jobs WHERE id = $1");
    Ok(db::one_as(conn, sql, [id.into()]).await?.map(WithPayload::read))
}

/// The same for a step that changes it: locked on PostgreSQL until the transaction ends.
pub(crate) async fn lock(conn: &impl ConnectionTrait, id: JobId) -> Result<Option<(Job, serde_json::Value)>, DbErr> {
    let lock = db::Dialect::of(conn).for_update();
    let sql = format!("SELECT {COLUMNS}, payload FROM jobs WHERE id = $1{lock}");
    Ok(db::one_as(conn, sql, [id.into()]).await?.map(WithPayload::read))
}

/// Jobs with numbers above `$1` and up to `$2` that pass [`conditions`], in the order of their numbers, with their payloads:
/// at most `most`, of the next [`SEARCHED`] that an index finds.
pub(crate) async fn matching(
    conn: &impl ConnectionTrait,
    by_index: &str,
    among: &str,
    values: Vec<Value>,
    most: i64,
) -> Result<Vec<(Job, serde_json::Value)>, DbErr> {
    let sql = format!(
        "SELECT {COLUMNS}, payload FROM (SELECT {COLUMNS}, payload FROM jobs WHERE id > $1 AND id <= $2{by_index}
                                         ORDER BY id LIMIT {SEARCHED}) AS looked_at
         WHERE TRUE{among} ORDER BY id LIMIT {most}"
    );
    Ok(db::all_as(conn, sql, values).await?.into_iter().map(WithPayload::read).collect())
}

/// The jobs at work, the longest at work first, at most `limit`.
///
/// # Errors
/// The database's.
pub async fn running(conn: &impl ConnectionTrait, limit: u64) -> Result<Vec<Job>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE state = 'running' ORDER BY claimed_at, id LIMIT {limit}");
    db::all_as(conn, sql, []).await
}

/// These jobs, in the order in which they are named; those that are gone are left out.
///
/// # Errors
/// The database's.
pub async fn by_ids(conn: &impl ConnectionTrait, ids: &[i64]) -> Result<Vec<Job>, DbErr> {
    let (among, values) = db::Dialect::of(conn).one_of_numbers(1, ids);
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE id {among}");
    let mut jobs: Vec<Job> = db::all_as(conn, sql, [values]).await?;
    jobs.sort_by_key(|job| ids.iter().position(|id| *id == job.id.0));
    Ok(jobs)
}

/// The number of the newest job; 0 where there is none.
///
/// # Errors
/// The database's.
pub async fn newest(conn: &impl ConnectionTrait) -> Result<i64, DbErr> {
    Ok(db::value(conn, "SELECT coalesce(max(id), 0) FROM jobs", []).await?.unwrap_or(0))
}

/// How many jobs that pass a filter are newer than `than`: counts to `at_most`, among [`SEARCHED`] jobs.
///
/// # Errors
/// The database's.
pub async fn newer(conn: &impl ConnectionTrait, filter: &Filter, than: i64, at_most: u64) -> Result<i64, DbErr> {
    let mut values: Vec<Value> = vec![than.into()];
    let (by_index, among) = conditions(filter, &mut values);
    let sql = format!(
        "SELECT count(*) FROM (
            SELECT id FROM (SELECT id, state, lane, kind, error FROM jobs WHERE id > $1{by_index} ORDER BY id LIMIT {SEARCHED})
                AS looked_at WHERE TRUE{among} LIMIT {at_most}) AS those"
    );
    Ok(db::value(conn, sql, values).await?.unwrap_or(0))
}
