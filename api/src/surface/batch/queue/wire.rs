//! What `/queue` says of jobs, workers and senders.

use crate::foundation::time::Time;
use crate::surface::batch::senders::SenderView;
use domain::batches::LimitedBy;
use domain::jobs::history::JobEvent;
use domain::jobs::list::Job;
use domain::model::{JobEventKind as Event, JobState as State};
use domain::queue::samples::{Sample, Span};
use domain::queue::{self, Act, SenderUse, Unfit};
use domain::{JobKind, Lane, Timestamp};
use poem_openapi::types::Any;
use poem_openapi::{Enum, Object};
use serde_json::Value;

macro_rules! mirrored {
    ($(#[$doc:meta])* $name:ident of $domain:ty { $($(#[$vdoc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
        #[oai(rename_all = "snake_case")]
        pub(super) enum $name {
            $($(#[$vdoc])* $variant,)+
        }

        impl From<$domain> for $name {
            fn from(value: $domain) -> Self {
                match value { $(<$domain>::$variant => Self::$variant,)+ }
            }
        }

        impl From<$name> for $domain {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => Self::$variant,)+ }
            }
        }
    };
}

mirrored! {
    /// Where a job stands.
    JobState of State {
        /// May be claimed from its `runAt` on.
        Ready,
        /// A worker has it.
        Running,
        /// Its batch is paused.
        Paused,
        /// Only another release knows it.
        Parked,
        /// Over.
        Done,
        /// Will not be tried again, and waits for a person.
        Dead,
        /// Was taken away before it was done.
        Cancelled,
    }
}

mirrored! {
    /// A lane.
    LaneName of Lane {
        /// Somebody waits for it.
        Critical,
        /// Work in between.
        Default,
        /// The chunks of batches.
        Bulk,
    }
}

mirrored! {
    /// What happened to a job.
    JobEventKind of Event {
        /// It met an error.
        Failed,
        /// The database ended a statement for the time it took.
        TimedOut,
        /// Something that it needs was away, or asked it to wait.
        Postponed,
        /// Its worker died while it ran.
        Crashed,
        /// Its worker could not write a result in time.
        LeaseEnded,
        /// Its row could not be read.
        Unreadable,
        /// Somebody let it be tried again.
        Retried,
        /// Somebody took it away.
        Cancelled,
        /// Somebody let it run at once.
        RunNow,
        /// Somebody gave it another time.
        Moved,
    }
}

mirrored! {
    /// Why an act makes no sense for a job: what each means is with the domain's own.
    UnfitCode of Unfit { Running, Over, Dead, NotDead, Due, OfBatch, Paused, Unknown }
}

mirrored! {
    /// What a job does: what each means is with the domain's own.
    KindName of JobKind {
        Expand, Start, Cancel, SendChunk, ImportChunk, TagChunk, DeleteChunk, Deliver, Operation, Examination,
        Probe,
    }
}

/// How far behind a lane is.
#[derive(Debug, Object)]
#[oai(rename = "QueueLane", rename_all = "camelCase")]
pub(super) struct LaneView {
    /// The lane.
    pub(super) lane: LaneName,
    /// Jobs that could run now or wait for their time.
    #[oai(validator(minimum(value = "0")))]
    pub(super) waiting: i64,
    /// For how long the oldest of them could have run already, in milliseconds.
    #[oai(validator(minimum(value = "0")))]
    pub(super) oldest_ms: i64,
    /// Jobs at work.
    #[oai(validator(minimum(value = "0")))]
    pub(super) running: i64,
    /// Jobs that wait for a person.
    #[oai(validator(minimum(value = "0")))]
    pub(super) dead: i64,
    /// Jobs that only another release knows.
    #[oai(validator(minimum(value = "0")))]
    pub(super) parked: i64,
}

/// How far back samples go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum SpanName {
    /// An hour, minute by minute.
    #[oai(rename = "1h")]
    Hour,
    /// A day, in quarters of an hour.
    #[oai(rename = "24h")]
    Day,
    /// Seven days, hour by hour.
    #[oai(rename = "7d")]
    Week,
}

impl From<SpanName> for Span {
    fn from(name: SpanName) -> Self {
        match name {
            SpanName::Hour => Self::Hour,
            SpanName::Day => Self::Day,
            SpanName::Week => Self::Week,
        }
    }
}

/// A number of each lane.
#[derive(Debug, Object)]
#[oai(rename = "QueueByLane", rename_all = "camelCase")]
struct ByLane {
    critical: i64,
    default: i64,
    bulk: i64,
}

impl ByLane {
    const fn of([critical, default, bulk]: [i64; 3]) -> Self {
        Self { critical, default, bulk }
    }
}

/// How the queue was for a while.
#[derive(Debug, Object)]
#[oai(rename = "QueueSample", rename_all = "camelCase")]
pub(super) struct SampleView {
    /// When it begins.
    at: Time,
    /// How many minutes it has.
    minutes: i64,
    /// The most jobs that waited.
    waiting: ByLane,
    /// The most that each lane was behind, in milliseconds.
    behind_ms: ByLane,
    /// The most jobs at work.
    running: i64,
    /// The most jobs that waited for a person.
    dead: i64,
    /// How many jobs ended.
    ended: i64,
    /// How many jobs died.
    died: i64,
    /// How many recipients and rows of batches succeeded.
    succeeded: i64,
    /// How many of them failed.
    failed: i64,
}

impl SampleView {
    pub(super) fn of(sample: Sample, span: Span) -> Self {
        Self {
            at: Time(sample.at),
            minutes: span.minutes(),
            waiting: ByLane::of(sample.waiting),
            behind_ms: ByLane::of(sample.behind_ms),
            running: sample.running,
            dead: sample.dead,
            ended: sample.ended,
            died: sample.died,
            succeeded: sample.succeeded,
            failed: sample.failed,
        }
    }
}

/// A job.
#[derive(Debug, Object)]
#[oai(rename = "QueueJob", rename_all = "camelCase")]
pub(super) struct JobView {
    /// Its number.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    id: String,
    /// What it does; another release may know more kinds than this one.
    kind: String,
    /// The lane's name.
    lane: String,
    /// Where it stands.
    state: JobState,
    /// The batch it belongs to.
    batch_id: Option<String>,
    /// The chunk of that batch.
    chunk: Option<i64>,
    /// From when on it may be claimed.
    run_at: Time,
    /// How often it was claimed.
    attempts: i64,
    /// How often in a row it failed.
    failures: i64,
    /// How often in a row its worker died.
    crashes: i64,
    /// How often in a row the database ended its statements for the time they took.
    timeouts: i64,
    /// What went wrong last.
    error: Option<String>,
    /// The worker that has it.
    worker: Option<String>,
    /// Until when, unless it is renewed.
    lease_until: Option<Time>,
    /// When it was made.
    created_at: Time,
    /// When it was claimed first.
    started_at: Option<Time>,
    /// When it was claimed last.
    claimed_at: Option<Time>,
    /// When it ended.
    finished_at: Option<Time>,
}

impl JobView {
    pub(super) fn of(job: Job) -> Self {
        Self {
            id: job.id.to_string(),
            kind: job.kind,
            lane: job.lane,
            state: job.state.into(),
            batch_id: job.batch.map(|batch| batch.to_string()),
            chunk: job.chunk,
            run_at: Time(job.run_at),
            attempts: job.attempts,
            failures: job.failures,
            crashes: job.crashes,
            timeouts: job.timeouts,
            error: job.error,
            worker: job.worker,
            lease_until: job.lease_until.map(Time),
            created_at: Time(job.created_at),
            started_at: job.started_at.map(Time),
            claimed_at: job.claimed_at.map(Time),
            finished_at: job.finished_at.map(Time),
        }
    }
}

/// Something that happened to a job.
#[derive(Debug, Object)]
#[oai(rename = "QueueJobEvent", rename_all = "camelCase")]
pub(super) struct JobEventView {
    /// What.
    what: JobEventKind,
    /// In which attempt, or after which.
    attempt: i64,
    /// What went wrong, for people.
    detail: Option<String>,
    /// The worker that had the job.
    worker: Option<String>,
    /// The user who did it.
    user_id: Option<String>,
    /// When.
    at: Time,
    /// From when on the job could be claimed after it.
    again_at: Option<Time>,
}

impl JobEventView {
    fn of(event: JobEvent) -> Self {
        Self {
            what: event.kind.into(),
            attempt: event.attempt,
            detail: event.detail,
            worker: event.worker,
            user_id: event.user.map(|user| user.to_string()),
            at: Time(event.at),
            again_at: event.again_at.map(Time),
        }
    }
}

/// Whether something may be done to a job.
#[derive(Debug, Object)]
#[oai(rename = "QueueJobActs", rename_all = "camelCase")]
pub(super) struct ActsView {
    /// Why it is not retried; null: it may be.
    retry: Option<UnfitCode>,
    /// Why it is not cancelled; null: it may be.
    cancel: Option<UnfitCode>,
    /// Why it is not let run at once; null: it may be.
    run: Option<UnfitCode>,
    /// Why it is not given another time; null: it may be.
    run_at: Option<UnfitCode>,
}

/// A job with its past.
#[derive(Debug, Object)]
#[oai(rename = "QueueJobDetail", rename_all = "camelCase")]
pub(super) struct JobDetail {
    /// The job.
    #[oai(flatten)]
    job: JobView,
    /// What it was given to know: a JSON value.
    payload: Any<Value>,
    /// What went wrong and who steered it, the oldest first: the last 32 troubles and the last 16 acts.
    events: Vec<JobEventView>,
    /// What may be done to it.
    acts: ActsView,
}

impl JobDetail {
    pub(super) fn of(now: Timestamp, job: Job, payload: Value, events: Vec<JobEvent>) -> Self {
        let unfit = |act| queue::unfit(now, &job, act).map(Into::into);
        let acts = ActsView {
            retry: unfit(Act::Retry),
            cancel: unfit(Act::Cancel),
            run: unfit(Act::RunNow),
            run_at: unfit(Act::Move(now)),
        };
        let events = events.into_iter().map(JobEventView::of).collect();
        Self { job: JobView::of(job), payload: Any(payload), events, acts }
    }
}

/// Another time for a job.
#[derive(Debug, Object)]
#[oai(rename = "QueueJobPatch", rename_all = "camelCase")]
pub(super) struct JobPatch {
    /// From when on it may be claimed; a time that is past is now.
    pub(super) run_at: Time,
}

/// A process that takes jobs.
#[derive(Debug, Object)]
#[oai(rename = "QueueWorker", rename_all = "camelCase")]
pub(super) struct WorkerView {
    /// Its name: never the same twice.
    name: String,
    /// Its release; null: it does not tell.
    version: Option<String>,
    /// When it began; null: it is known by its jobs alone.
    started_at: Option<Time>,
    /// When its last sign of life was.
    seen_at: Option<Time>,
    /// Whether it is to take no new jobs and only finish what it has; null: it takes no orders.
    draining: Option<bool>,
    /// How many jobs each of its lanes is to do at once; null: it takes no orders.
    places: Option<ByLane>,
    /// Since when it does so; null: not yet.
    obeyed_at: Option<Time>,
    /// What it works on, the longest at work first; 500 over all workers at most.
    jobs: Vec<JobView>,
}

impl WorkerView {
    pub(super) fn of(worker: queue::Worker) -> Self {
        Self {
            name: worker.name,
            version: worker.version,
            started_at: worker.started_at.map(Time),
            seen_at: worker.seen_at.map(Time),
            draining: worker.orders.map(|orders| orders.draining),
            places: worker.orders.map(|orders| ByLane::of(orders.places.map(i64::from))),
            obeyed_at: worker.obeyed_at.map(Time),
            jobs: worker.jobs.into_iter().map(JobView::of).collect(),
        }
    }
}

/// How many jobs each lane of a worker does at once; what is not given stays.
#[derive(Debug, Object)]
#[oai(rename = "QueueWorkerPatch")]
pub(super) struct WorkerPatch {
    /// Of the critical lane.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    critical: Option<i64>,
    /// Of the default lane.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    default: Option<i64>,
    /// Of the bulk lane.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    bulk: Option<i64>,
}

/// What holds a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename = "QueueLimitedBy", rename_all = "snake_case")]
enum HeldBy {
    /// Its own pace.
    Batch,
    /// Its sender's.
    Sender,
    /// The gateway.
    Gateway,
}

/// A batch that uses a sender.
#[derive(Debug, Object)]
#[oai(rename = "QueueSenderUser", rename_all = "camelCase")]
struct UserView {
    /// The batch.
    batch_id: String,
    /// Whether a user paused it.
    paused: bool,
    /// Recipients that nothing is decided about yet.
    left: i64,
    /// Since when it uses the sender, or waits for it.
    since: Time,
    /// Messages a minute at most; null: nothing limits it.
    rate_per_minute: Option<i64>,
    /// What limits it.
    limited_by: Option<HeldBy>,
    /// Its jobs that wait.
    waiting_jobs: i64,
    /// When the first of them looks again.
    next_at: Option<Time>,
}

/// A sender with those who use it.
#[derive(Debug, Object)]
#[oai(rename = "QueueSender", rename_all = "camelCase")]
pub(super) struct SenderUseView {
    /// The sender.
    #[oai(flatten)]
    sender: SenderView,
    /// How many messages of batches were decided in the last whole minute.
    used_per_minute: i64,
    /// For how long its slots are handed out already, in milliseconds: above zero, its limit is in full use.
    booked_ms: i64,
    /// The batches under way that leave from it, the oldest first; 100 at most.
    users: Vec<UserView>,
    /// Its single messages that wait.
    singles: SinglesView,
}

/// A single message that waits: a reply, for the most part.
#[derive(Debug, Object)]
#[oai(rename = "QueueSingle", rename_all = "camelCase")]
struct SingleView {
    /// Its job.
    job_id: String,
    /// To whom.
    contact_id: String,
    /// Since when it waits.
    since: Time,
    /// When it is looked at again.
    next_at: Time,
    /// What it waits for: `sender_stopped`, `sender_cap`, or what went wrong; null: its turn.
    why: Option<String>,
}

/// The single messages of a sender that wait.
#[derive(Debug, Object)]
#[oai(rename = "QueueSingles", rename_all = "camelCase")]
struct SinglesView {
    /// How many.
    waiting: i64,
    /// Whether there may be more.
    at_least: bool,
    /// Since when the one that waits the longest does.
    since: Option<Time>,
    /// The next to be looked at; 50 at most.
    first: Vec<SingleView>,
}

impl SinglesView {
    fn of(singles: queue::Singles) -> Self {
        let view = |single: queue::Single| SingleView {
            job_id: single.job.to_string(),
            contact_id: single.contact.to_string(),
            since: Time(single.since),
            next_at: Time(single.next_at),
            why: single.why,
        };
        Self {
            waiting: singles.waiting,
            at_least: singles.at_least,
            since: singles.since.map(Time),
            first: singles.first.into_iter().map(view).collect(),
        }
    }
}

impl SenderUseView {
    pub(super) fn of(found: SenderUse, now: Timestamp, configured: Option<i64>, network: Option<&str>) -> Self {
        let users = found.users.into_iter().map(|user| UserView {
            batch_id: user.batch.summary.id.to_string(),
            paused: user.batch.paused,
            left: user.left,
            since: Time(user.since),
            rate_per_minute: user.pace.rate_per_minute,
            limited_by: user.pace.limited_by.map(|by| match by {
                LimitedBy::Batch => HeldBy::Batch,
                LimitedBy::Sender => HeldBy::Sender,
                LimitedBy::Gateway => HeldBy::Gateway,
            }),
            waiting_jobs: user.waiting.jobs,
            next_at: user.waiting.next_at.map(Time),
        });
        Self {
            used_per_minute: found.in_use,
            booked_ms: i64::try_from(found.booked.as_millis()).unwrap_or(i64::MAX),
            users: users.collect(),
            singles: SinglesView::of(found.singles),
            sender: SenderView::of(found.sender, now, configured, network),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem_openapi::types::ToJSON;

    #[test]
    fn a_kind_has_the_same_name_here_and_in_the_ledger() {
        for kind in JobKind::ALL {
            assert_eq!(KindName::from(*kind).to_json(), Some(Value::from(kind.as_str())));
        }
        for unfit in Unfit::ALL {
            assert_eq!(UnfitCode::from(unfit).to_json(), Some(Value::from(unfit.code())));
        }
    }
}
