//! An examination of the installation: all that `paceline doctor` checks, as a job.
//!
//! It may take long, since it reads the whole ledger and compares it with the gateway's store, id by id. What it looks at,
//! how far it has come and what it found by then is in its row. An examination whose worker died begins anew.

use super::system::{Check, ExaminationEvent};
use crate::Step;
use crate::db::{self, Dialect};
use crate::jobs::{self, Claimed, Ending, Finished, NewJob};
use crate::ring::JobKind;
use crate::time::Timestamp;
use entities::{ExaminationId, JobId, UserId};
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use serde_json::{Value, json};

/// How many examinations are kept.
pub const KEPT: i64 = 50;

/// How many findings an examination keeps.
const MAX_CHECKS: usize = 500;

/// An examination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    /// Its number.
    pub id: ExaminationId,
    /// Who asked for it.
    pub created_by: UserId,
    /// When.
    pub created_at: Timestamp,
    /// When it was begun last.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its job.
    pub job: Option<JobId>,
    /// What it looks at now.
    pub looking_at: Option<String>,
    /// How many messages of the gateway it has compared.
    pub compared: i64,
    /// What it found.
    pub checks: Vec<Check>,
}

impl Examination {
    /// Whether it is not over.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.ended_at.is_none()
    }

    /// How many of its findings are wrong.
    #[must_use]
    pub fn wrong(&self) -> usize {
        self.checks.iter().filter(|check| !check.fine).count()
    }

    fn read(row: &QueryResult) -> Result<Self, DbErr> {
        let time = |column| Ok::<_, DbErr>(row.try_get::<Option<i64>>("", column)?.map(Timestamp));
        let checks: Vec<Value> =
            serde_json::from_str(&row.try_get::<String>("", "checks")?).map_err(|e| DbErr::Json(e.to_string()))?;
        let check = |check: &Value| Check {
            part: check["part"].as_str().unwrap_or_default().to_owned(),
            fine: check["fine"].as_bool().unwrap_or_default(),
            text: check["text"].as_str().unwrap_or_default().to_owned(),
        };
        Ok(Self {
            id: ExaminationId(row.try_get("", "id")?),
            created_by: UserId(row.try_get("", "created_by")?),
            created_at: Timestamp(row.try_get("", "created_at")?),
            started_at: time("started_at")?,
            ended_at: time("ended_at")?,
            job: row.try_get::<Option<i64>>("", "job_id")?.map(JobId),
            looking_at: row.try_get("", "looking_at")?,
            compared: row.try_get("", "compared")?,
            checks: checks.iter().map(check).collect(),
        })
    }
}

const COLUMNS: &str = "id, created_by, created_at, started_at, ended_at, job_id, looking_at, compared, checks";

/// Asks for an examination; the one that is under way where there is one.
///
/// # Errors
/// The database's.
pub async fn create(conn: &impl ConnectionTrait, now: Timestamp, user: UserId) -> Result<Step<Examination>, DbErr> {
    lock(conn).await?;
    if let Some(open) = newest(conn).await?.filter(Examination::is_open) {
        return Ok(Step::quiet(open));
    }
    let sql = "INSERT INTO examinations (created_by, created_at) VALUES ($1, $2) RETURNING id";
    let row = db::one(conn, sql, [user.into(), now.0.into()]).await?.ok_or(DbErr::RecordNotInserted)?;
    let id = ExaminationId(row.try_get("", "id")?);
    let sql = "DELETE FROM examinations WHERE id <= $1 AND ended_at IS NOT NULL";
    db::execute(conn, sql, [(id.0 - KEPT).into()]).await?;
    let payload = json!({ "examination": id });
    let job = NewJob { payload: payload.clone(), ..NewJob::of(JobKind::Examination, now) };
    let rings = jobs::enqueue(conn, now, &[job]).await?;
    let sql = format!(
        "UPDATE examinations SET job_id = (SELECT max(j.id) FROM jobs j WHERE j.kind = '{}' AND j.payload = $2)
         WHERE id = $1 RETURNING {COLUMNS}",
        JobKind::Examination.as_str()
    );
    let row = db::one(conn, sql, [id.into(), payload.to_string().into()]).await?.ok_or(DbErr::RecordNotUpdated)?;
    Ok(Step { value: Examination::read(&row)?, rings, events: Vec::new() })
}

/// An examination by its number.
///
/// # Errors
/// The database's.
pub async fn get(conn: &impl ConnectionTrait, id: ExaminationId) -> Result<Option<Examination>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM examinations WHERE id = $1");
    db::one(conn, sql, [id.into()]).await?.as_ref().map(Examination::read).transpose()
}

/// The newest examinations, at most [`KEPT`].
///
/// # Errors
/// The database's.
pub async fn all(conn: &impl ConnectionTrait) -> Result<Vec<Examination>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM examinations ORDER BY id DESC LIMIT {KEPT}");
    db::all(conn, sql, []).await?.iter().map(Examination::read).collect()
}

/// The newest examination; `None`: there was none.
///
/// # Errors
/// The database's.
pub async fn newest(conn: &impl ConnectionTrait) -> Result<Option<Examination>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM examinations ORDER BY id DESC LIMIT 1");
    db::one(conn, sql, []).await?.as_ref().map(Examination::read).transpose()
}

/// Begins the examination of a job, anew where it was begun before. `None`: the claim no longer stood, or it is over.
///
/// # Errors
/// The database's, or a payload that cannot be read.
pub async fn begin(conn: &impl ConnectionTrait, now: Timestamp, job: &Claimed) -> Result<Option<ExaminationId>, DbErr> {
    if !jobs::renew_with_progress(conn, now, job.id, job.fence).await? {
        return Ok(None);
    }
    let id = job.payload["examination"].as_i64();
    let id = id.ok_or_else(|| DbErr::Json("an examination job's payload names none".into()))?;
    let sql =
        "UPDATE examinations SET started_at = $2, looking_at = NULL, compared = 0, checks = '[]', version = version + 1
               WHERE id = $1 AND ended_at IS NULL";
    let begun = db::execute(conn, sql, [id.into(), now.0.into()]).await?;
    Ok((begun > 0).then_some(ExaminationId(id)))
}

/// Writes how far an examination has come; false: the claim no longer stood. `found` is all that it found by now.
///
/// # Errors
/// The database's.
pub async fn keep(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    id: ExaminationId,
    progress: &Progress,
) -> Result<bool, DbErr> {
    if !jobs::renew_with_progress(conn, now, job.id, job.fence).await? {
        return Ok(false);
    }
    progress.write(conn, id, None).await?;
    Ok(true)
}

/// Ends an examination with its job.
///
/// # Errors
/// The database's.
pub async fn end(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    id: ExaminationId,
    progress: &Progress,
    rng: &mut impl Rng,
) -> Result<Finished, DbErr> {
    let finished = jobs::finish(conn, now, job.id, job.fence, &Ending::Done, rng).await?;
    if finished != Finished::Stale {
        progress.write(conn, id, Some(now)).await?;
    }
    Ok(finished)
}

/// How far an examination has come.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    looking_at: Option<&'static str>,
    compared: i64,
    checks: Vec<Check>,
}

impl Progress {
    /// Takes in what is told.
    pub fn take(&mut self, told: ExaminationEvent) {
        match told {
            ExaminationEvent::LooksAt(part) => self.looking_at = Some(part),
            ExaminationEvent::Compared(messages) => self.compared = messages,
            ExaminationEvent::Found(check) if self.checks.len() < MAX_CHECKS => self.checks.push(check),
            ExaminationEvent::Found(_) => {}
        }
    }

    async fn write(
        &self,
        conn: &impl ConnectionTrait,
        id: ExaminationId,
        ended_at: Option<Timestamp>,
    ) -> Result<(), DbErr> {
        let check = |check: &Check| json!({ "part": check.part, "fine": check.fine, "text": check.text });
        let checks = Value::Array(self.checks.iter().map(check).collect()).to_string();
        let sql = "UPDATE examinations SET looking_at = $2, compared = $3, checks = $4, ended_at = CAST($5 AS BIGINT),
                          version = version + 1 WHERE id = $1";
        let looking_at = self.looking_at.filter(|_| ended_at.is_none());
        let values = [
            id.into(),
            looking_at.map(str::to_owned).into(),
            self.compared.into(),
            checks.into(),
            ended_at.map(|at| at.0).into(),
        ];
        db::execute(conn, sql, values).await.map(drop)
    }
}

/// Of two that ask at the same time one waits for the other, and finds what that one made.
async fn lock(conn: &impl ConnectionTrait) -> Result<(), DbErr> {
    match Dialect::of(conn) {
        Dialect::Postgres => {
            db::execute(conn, "LOCK TABLE examinations IN SHARE ROW EXCLUSIVE MODE", []).await.map(drop)
        }
        // Its transactions that write follow one another.
        Dialect::Sqlite => Ok(()),
    }
}
