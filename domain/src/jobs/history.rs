//! What went wrong with a job, and who steered it.
//!
//! What goes well is not written: a claim that comes to a planned rest costs no row more. A job keeps its last
//! [`TROUBLES`] troubles and its last [`ACTS`] acts: each has a place in the table's key, and a later one takes the place
//! of an old one. So a history needs no clearing while its job is there; it goes with it ([`prune`](super::prune)).

use super::IS_RUNNING;
use super::finish::Ending;
use crate::db::{self, Dialect};
use crate::model::JobEventKind;
use crate::time::Timestamp;
use entities::{JobId, UserId, job_events};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, DerivePartialModel, EntityTrait, QueryFilter, QueryOrder};

/// How many troubles a job keeps.
pub const TROUBLES: i64 = 32;

/// How many acts a job keeps.
pub const ACTS: i64 = 16;

/// The longest text that is kept, in characters.
const MAX_DETAIL: usize = 2_000;

/// Something that went wrong with a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Failed,
    TimedOut,
    Postponed,
    Crashed,
    LeaseEnded,
    Unreadable,
}

impl Trouble {
    /// What an ending says went wrong; `None`: nothing did.
    pub(super) const fn of(ending: &Ending) -> Option<Self> {
        match ending {
            Ending::Failed { .. } | Ending::Dead { .. } => Some(Self::Failed),
            Ending::TimedOut { .. } => Some(Self::TimedOut),
            Ending::Postponed { .. } => Some(Self::Postponed),
            Ending::Done | Ending::Asleep { .. } | Ending::Paused | Ending::GivenBack => None,
        }
    }

    const fn kind(self) -> JobEventKind {
        match self {
            Self::Failed => JobEventKind::Failed,
            Self::TimedOut => JobEventKind::TimedOut,
            Self::Postponed => JobEventKind::Postponed,
            Self::Crashed => JobEventKind::Crashed,
            Self::LeaseEnded => JobEventKind::LeaseEnded,
            Self::Unreadable => JobEventKind::Unreadable,
        }
    }
}

/// The rest of a statement that writes an event: a later one takes the place of an old one.
const OR_REPLACE: &str = "ON CONFLICT (job_id, place) DO UPDATE SET attempt = excluded.attempt, what = excluded.what,
    detail = excluded.detail, worker = excluded.worker, user_id = excluded.user_id, at = excluded.at,
    again_at = excluded.again_at";

/// Writes what went wrong with a running job, before its claim ends: the worker's name is in the row until then. `fence`:
/// only if this claim still stands.
pub(super) async fn record_trouble(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: JobId,
    fence: Option<i64>,
    trouble: Trouble,
    error: &str,
    again_at: Option<Timestamp>,
) -> Result<(), DbErr> {
    let sql = format!(
        "INSERT INTO job_events (job_id, place, attempt, what, detail, worker, user_id, at, again_at)
         SELECT id, attempts % {TROUBLES}, attempts, $2, $3, lease_owner, NULL, $4, CAST($5 AS BIGINT) FROM jobs
         WHERE id = $1 AND fence = coalesce($6, fence) AND {IS_RUNNING} {OR_REPLACE}"
    );
    let values = [
        id.into(),
        trouble.kind().as_str().into(),
        cut(error).into(),
        now.0.into(),
        again_at.map(|at| at.0).into(),
        fence.into(),
    ];
    db::execute(conn, sql, values).await.map(drop)
}

/// Writes that somebody steered jobs. Of several acts between two claims the last is kept.
pub(crate) async fn record_acts(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    ids: &[JobId],
    act: JobEventKind,
    user: Option<UserId>,
    again_at: Option<Timestamp>,
) -> Result<(), DbErr> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let (among, ids) = Dialect::of(conn).one_of_numbers(1, &ids);
    let sql = format!(
        "INSERT INTO job_events (job_id, place, attempt, what, detail, worker, user_id, at, again_at)
         SELECT id, {TROUBLES} + attempts % {ACTS}, attempts, $2, NULL, NULL, CAST($3 AS BIGINT), $4, CAST($5 AS BIGINT)
         FROM jobs WHERE id {among} {OR_REPLACE}"
    );
    let values =
        [ids, act.as_str().into(), user.map(|user| user.0).into(), now.0.into(), again_at.map(|at| at.0).into()];
    db::execute(conn, sql, values).await.map(drop)
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(MAX_DETAIL).map_or(text, |(end, _)| &text[..end])
}

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq, Eq, DerivePartialModel)]
#[sea_orm(entity = "job_events::Entity")]
pub struct JobEvent {
    /// What.
    #[sea_orm(from_col = "what")]
    pub kind: JobEventKind,
    /// In which attempt, or after which; the first is 1.
    pub attempt: i64,
    /// What went wrong, for people.
    pub detail: Option<String>,
    /// The worker that had it.
    pub worker: Option<String>,
    /// Who did it.
    #[sea_orm(from_col = "user_id")]
    pub user: Option<UserId>,
    /// When.
    pub at: Timestamp,
    /// From when on the job could be claimed after it.
    pub again_at: Option<Timestamp>,
}

/// What is kept of a job's past, the oldest first.
///
/// # Errors
/// The database's.
pub async fn of(conn: &impl ConnectionTrait, id: JobId) -> Result<Vec<JobEvent>, DbErr> {
    job_events::Entity::find()
        .filter(job_events::Column::JobId.eq(id))
        .order_by_asc(job_events::Column::At)
        .order_by_asc(job_events::Column::Attempt)
        .order_by_asc(job_events::Column::Place)
        .into_partial_model()
        .all(conn)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_its_characters() {
        assert_eq!(cut("short"), "short");
        let long = "é".repeat(MAX_DETAIL + 5);
        assert_eq!(cut(&long).chars().count(), MAX_DETAIL);
    }
}
