//! What `/queue/operations` says.

use super::wire::{JobState, JobView, KindName, LaneName, UnfitCode};
use crate::foundation::time::Time;
use crate::surface::batch::operations::View;
use domain::jobs::list::Filter;
use domain::model::{JobAct, OperationStatus};
use domain::queue::operations::of_jobs::Forecast;
use domain::queue::operations::{Aim, Operation, OperationItem};
use poem_openapi::{Enum, Object};

/// What is done to the jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename = "OperationAct", rename_all = "snake_case")]
pub(super) enum ActName {
    /// Dead ones are tried again.
    Retry,
    /// They are taken away; dead ones are seen to.
    Cancel,
    /// Those that wait for their time run at once.
    Run,
}

impl From<JobAct> for ActName {
    fn from(act: JobAct) -> Self {
        match act {
            JobAct::Retry => Self::Retry,
            JobAct::Cancel => Self::Cancel,
            JobAct::Run => Self::Run,
        }
    }
}

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename = "OperationStatus", rename_all = "snake_case")]
pub(in crate::surface::batch) enum StatusName {
    /// It begins soon, and can be taken back.
    Waiting,
    /// Under way.
    Running,
    /// Somebody stopped it.
    Stopped,
    /// It was taken back before it began.
    Undone,
    /// Over.
    Done,
}

impl From<OperationStatus> for StatusName {
    fn from(status: OperationStatus) -> Self {
        match status {
            OperationStatus::Waiting => Self::Waiting,
            OperationStatus::Running => Self::Running,
            OperationStatus::Stopped => Self::Stopped,
            OperationStatus::Undone => Self::Undone,
            OperationStatus::Done => Self::Done,
        }
    }
}

/// Which jobs.
#[derive(Debug, Object)]
#[oai(rename = "OperationFilter", rename_all = "camelCase")]
pub(super) struct FilterView {
    /// Only in this state: `dead` for `retry`, `ready` for `run`, either for `cancel`, whose default is `dead`.
    state: Option<JobState>,
    /// Only in this lane.
    lane: Option<LaneName>,
    /// Only of this kind.
    kind: Option<KindName>,
    /// Only of this batch.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    batch_id: Option<String>,
    /// Only those whose error has this text, in any case.
    #[oai(validator(min_length = 1, max_length = 200))]
    error: Option<String>,
    /// Only these.
    #[oai(validator(min_items = 1, max_items = 200, pattern = "^[1-9][0-9]{0,18}$"))]
    job_ids: Option<Vec<String>>,
}

impl FilterView {
    pub(super) fn of(filter: Filter) -> Self {
        Self {
            state: filter.state.map(Into::into),
            lane: filter.lane.map(Into::into),
            kind: filter.kind.map(Into::into),
            batch_id: filter.batch.map(|batch| batch.to_string()),
            error: filter.error,
            job_ids: filter.ids.map(|ids| ids.iter().map(ToString::to_string).collect()),
        }
    }
}

/// An act on all the jobs that match.
#[derive(Debug, Object)]
#[oai(rename = "OperationRequest", rename_all = "camelCase")]
pub(super) struct OperationRequest {
    /// What is done.
    act: ActName,
    /// To which jobs. An empty filter means nothing and is refused: say at least the state.
    filter: FilterView,
    /// How many jobs a minute at most; without it, as many as it can.
    #[oai(validator(minimum(value = "1"), maximum(value = "600000")))]
    rate_per_minute: Option<i64>,
    /// How many jobs the client was told of: if others match by now, it is refused.
    #[oai(validator(minimum(value = "0"), maximum(value = "4294967295")))]
    expected: Option<i64>,
    /// Writes nothing, and answers 200 with what it would do; the query may say it as well.
    dry_run: Option<bool>,
}

/// Jobs that are left out.
#[derive(Debug, Object)]
#[oai(rename = "OperationLeftOut", rename_all = "camelCase")]
pub(super) struct LeftOut {
    /// Why.
    why: UnfitCode,
    /// How many.
    jobs: i64,
}

/// What an operation would do.
#[derive(Debug, Object)]
#[oai(rename = "OperationForecast", rename_all = "camelCase")]
pub(super) struct ForecastView {
    /// How many jobs match.
    matched: i64,
    /// Whether there may be more: 10,000 were looked at, and not all.
    at_least: bool,
    /// To how many of them it would be done.
    fit: i64,
    /// How many are left out, and why.
    left_out: Vec<LeftOut>,
    /// Some of those that match.
    samples: Vec<JobView>,
}

impl ForecastView {
    pub(super) fn of(forecast: Forecast) -> Self {
        let left_out = forecast.left_out.into_iter().map(|(why, jobs)| LeftOut { why: why.into(), jobs });
        Self {
            matched: forecast.matched,
            at_least: forecast.at_least,
            fit: forecast.fit,
            left_out: left_out.collect(),
            samples: forecast.samples.into_iter().map(JobView::of).collect(),
        }
    }
}

/// An act on all the jobs that matched when it was asked for.
#[derive(Debug, Object)]
#[oai(rename = "Operation", rename_all = "camelCase")]
pub(super) struct OperationView {
    /// Its number.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    id: String,
    /// What it does.
    act: ActName,
    /// Where it stands.
    status: StatusName,
    /// To which jobs.
    filter: FilterView,
    /// The newest job that it means: what came later is not touched.
    upto: String,
    /// How many jobs a minute at most.
    rate_per_minute: Option<i64>,
    /// How many jobs matched when it was made; of many, at least so many.
    matched: i64,
    /// To how many it was done.
    done: i64,
    /// How many were left out or had changed.
    skipped: i64,
    /// Its own job.
    job_id: Option<String>,
    /// Who asked for it.
    created_by: String,
    /// When.
    created_at: Time,
    /// When it begins, and can no longer be undone.
    starts_at: Time,
    /// When it ended.
    ended_at: Option<Time>,
}

impl View for OperationView {
    fn of(operation: Operation) -> Option<Self> {
        let Aim::Jobs(act, filter) = operation.aim else { return None };
        Some(Self {
            id: operation.id.to_string(),
            act: act.into(),
            status: operation.status.into(),
            filter: FilterView::of(filter),
            upto: operation.upto.to_string(),
            rate_per_minute: operation.rate_per_minute,
            matched: operation.matched,
            done: operation.done,
            skipped: operation.skipped,
            job_id: operation.job.map(|job| job.to_string()),
            created_by: operation.created_by.to_string(),
            created_at: Time(operation.created_at),
            starts_at: Time(operation.starts_at),
            ended_at: operation.ended_at.map(Time),
        })
    }
}

/// What an operation did with a job.
#[derive(Debug, Object)]
#[oai(rename = "OperationItem", rename_all = "camelCase")]
pub(super) struct ItemView {
    /// The job.
    job_id: String,
    /// `done`, `changed` (it was no longer as the filter says), or why the act did not fit it.
    result: String,
    /// When.
    at: Time,
}

impl From<OperationItem> for ItemView {
    fn from(item: OperationItem) -> Self {
        Self { job_id: item.target.to_string(), result: item.result, at: Time(item.at) }
    }
}
