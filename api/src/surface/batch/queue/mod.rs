//! `/queue`: the queue as its operators see and steer it.

pub(super) mod operation_views;
pub(super) mod operations;
mod system_views;
mod wire;

use self::system_views::{ExaminationView, SystemView};
use self::wire::{
    JobDetail, JobPatch, JobState, JobView, KindName, LaneName, LaneView, SampleView, SenderUseView, SpanName,
    WorkerPatch, WorkerView,
};
use super::envelope::{Count, Envelope, Listed, Rejection};
use super::routes::{Token, caller};
use crate::App;
use crate::foundation::body::SmallBody;
use crate::foundation::fields::Fields;
use crate::foundation::guard;
use crate::foundation::origin;
use crate::foundation::param::{Lenient, Params, PathId};
use crate::foundation::refusal::{Kind, Refusal};
use domain::audit_log::{self, Action, Origin};
use domain::db::{self, Trouble};
use domain::jobs::list::{self, Filter, Job, ListCursor};
use domain::jobs::workers::{self, NewOrders, OrderError};
use domain::jobs::{self, history};
use domain::queue::samples::{self, Span};
use domain::queue::{self, Act, SteerError, examinations};
use domain::senders::{self, Patch, SenderError};
use domain::{BatchId, ExaminationId, JobId, JobKind, Lane, Step, Timestamp, gateways};
use faults::Commit;
use poem::Request;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// A page of jobs.
#[derive(Debug, Object)]
struct Jobs {
    /// True.
    ok: bool,
    /// The page.
    data: Vec<JobView>,
    /// Where to go on.
    meta: JobCursor,
}

/// Where a list of jobs goes on.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct JobCursor {
    /// The `cursor` of the next page; null after the last.
    #[oai(validator(pattern = "^[0-9]{1,18}-[0-9]{1,18}$"))]
    next_cursor: Option<String>,
    /// Whether the page has fewer than it may and there are more to be looked at: what no index finds is looked for among
    /// 5,000 jobs at a time.
    partial: bool,
}

/// How often an act is tried when others are in the way.
const TRIES: u32 = 3;

pub(crate) struct QueueRoutes {
    pub(super) app: Arc<App>,
}

fn job_id(text: &str) -> Result<JobId, Refusal> {
    text.parse().map_err(|_| Refusal::not_found("job"))
}

fn refuse(error: SteerError) -> Refusal {
    match error {
        SteerError::NotFound => Refusal::not_found("job"),
        SteerError::Unfit(job, unfit) => {
            let batch = job.batch.map_or_else(String::new, |batch| format!(" (batch {batch})"));
            Refusal::new(Kind::Conflict, format!("{}{batch}", unfit.message()))
        }
        SteerError::Database(error) => error.into(),
    }
}

const fn action(act: Act) -> Action {
    match act {
        Act::Retry => Action::JobRetry,
        Act::Cancel => Action::JobCancel,
        Act::RunNow => Action::JobRun,
        Act::Move(_) => Action::JobMove,
    }
}

impl QueueRoutes {
    async fn detail(&self, id: JobId) -> Result<Json<Envelope<JobDetail>>, Rejection> {
        let db = self.app.db.read();
        let (job, payload) = list::get(db, id).await?.ok_or_else(|| Refusal::not_found("job"))?;
        let events = history::of(db, id).await?;
        Ok(Envelope::new(JobDetail::of(self.app.clock.now(), job, payload, events)))
    }

    async fn steer(&self, request: &Request, id: &str, act: Act) -> Result<Json<Envelope<JobDetail>>, Rejection> {
        let user = caller(request)?.0.user_id;
        let (id, by) = (job_id(id)?, origin::of_user(request, user));
        let mut tries = 1;
        let done = loop {
            match self.try_steer(id, act, &by).await {
                Err(SteerError::Database(error)) if tries < TRIES && Trouble::of(&error) == Trouble::Conflict => {
                    tries += 1;
                }
                done => break done,
            }
        };
        let job = self.app.after(done.map_err(refuse)?);
        tracing::info!(job = job.id.0, user = user.0, act = action(act).as_str(), "a job was steered");
        self.detail(id).await
    }

    async fn try_steer(&self, id: JobId, act: Act, by: &Origin) -> Result<Step<Job>, SteerError> {
        let now = self.app.clock.now();
        let tx = self.app.db.begin().await?;
        let step = queue::steer(&tx, now, id, act, by.user()).await?;
        audit_log::record(&tx, now, by, action(act), Some(id)).await?;
        db::commit(tx, Commit::Steer).await?;
        Ok(step)
    }

    async fn order(
        &self,
        request: &Request,
        name: &str,
        new: NewOrders,
    ) -> Result<Json<Envelope<WorkerView>>, Rejection> {
        let by = origin::of_user(request, caller(request)?.0.user_id);
        let action = match new.draining {
            Some(true) => Action::WorkerDrain,
            Some(false) => Action::WorkerResume,
            None => Action::WorkerUpdate,
        };
        let tx = self.app.db.begin().await?;
        audit_log::record(&tx, self.app.clock.now(), &by, action, Some(name)).await?;
        workers::order(&tx, name, &new).await.map_err(|error| match error {
            OrderError::NotFound => Refusal::not_found("worker"),
            OrderError::TooOld => Refusal::new(Kind::Conflict, error.to_string()),
            OrderError::Database(error) => error.into(),
        })?;
        db::commit(tx, Commit::Steer).await?;
        let found = queue::workers(self.app.db.read()).await?.into_iter().find(|worker| worker.name == name);
        Ok(Envelope::new(WorkerView::of(found.ok_or_else(|| Refusal::not_found("worker"))?)))
    }

    async fn sender_use(&self, name: &str) -> Result<SenderUseView, Rejection> {
        let (db, now) = (self.app.db.read(), self.app.clock.now());
        let configured = self.app.settings.sender_rate_per_minute;
        let found = queue::sender_use(db, now, name, configured).await?;
        let found = found.ok_or_else(|| Refusal::not_found("sender"))?;
        let network = gateways::latest_transport(db).await?;
        Ok(SenderUseView::of(found, now, configured, network.as_deref()))
    }

    async fn pause(
        &self,
        request: &Request,
        name: &str,
        paused: bool,
    ) -> Result<Json<Envelope<SenderUseView>>, Rejection> {
        let by = origin::of_user(request, caller(request)?.0.user_id);
        let patch = Patch { paused: Some(paused), ..Patch::default() };
        let mut tries = 1;
        let done = loop {
            match self.try_patch(name, patch, &by).await {
                Err(SenderError::Database(error)) if tries < TRIES && Trouble::of(&error) == Trouble::Conflict => {
                    tries += 1;
                }
                done => break done,
            }
        };
        self.app.after(done.map_err(super::senders::refuse)?);
        Ok(Envelope::new(self.sender_use(name).await?))
    }

    async fn try_patch(&self, name: &str, patch: Patch, by: &Origin) -> Result<Step<()>, SenderError> {
        let (now, configured) = (self.app.clock.now(), self.app.settings.sender_rate_per_minute);
        let tx = self.app.db.begin().await?;
        let id = senders::find(&tx, name).await?.ok_or(SenderError::NotFound)?;
        let step = senders::patch(&tx, now, id, patch, configured).await?;
        audit_log::record(&tx, now, by, Action::SenderUpdate, Some(id)).await?;
        db::commit(tx, Commit::Steer).await?;
        Ok(step.map(drop))
    }
}

/// Reads a batch's number.
fn batch_of(text: &str) -> Result<BatchId, String> {
    text.parse().map_err(|_| "must be a batch's id".to_owned())
}

/// What a query says of the jobs that are wanted.
fn filter(
    params: &mut Params,
    lane: Option<Lenient<LaneName>>,
    kind: Option<Lenient<KindName>>,
    state: Option<Lenient<JobState>>,
    batch: Option<Lenient<String>>,
    error: Option<Lenient<String>>,
) -> Filter {
    let kinds = JobKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
    let kind = params.read("kind", kind, &format!("one of {kinds}")).map(JobKind::from);
    let batch = params.read("batchId", batch, "a batch's id").filter(|text| !text.is_empty());
    let batch = batch.and_then(|text| batch_of(&text).map_err(|message| params.bad("batchId", message)).ok());
    let error = params.read("error", error, "a text").filter(|text| !text.is_empty());
    if error.as_ref().is_some_and(|text| text.chars().count() > list::MAX_TEXT || text.contains('\0')) {
        params.bad("error", format!("must be a text of at most {} characters", list::MAX_TEXT));
    }
    let lane = params.read("lane", lane, "one of critical, default, bulk").map(Lane::from);
    let states = "one of ready, running, paused, parked, done, dead, cancelled";
    let state = params.read("state", state, states).map(Into::into);
    Filter { lane, kind, state, batch, error, ids: None }
}

fn lanes(depths: &[jobs::Depth]) -> Vec<LaneView> {
    let view = |lane: &Lane| {
        let of = |state: &'static str| depths.iter().filter(move |d| d.lane == lane.as_str() && d.state == state);
        let count = |state| of(state).map(|depth| depth.jobs).sum();
        let oldest = of("ready").map(|depth| depth.oldest).max().unwrap_or_default();
        LaneView {
            lane: (*lane).into(),
            waiting: count("ready"),
            oldest_ms: i64::try_from(oldest.as_millis()).unwrap_or(i64::MAX),
            running: count("running"),
            dead: count("dead"),
            parked: count("parked"),
        }
    };
    Lane::ALL.iter().map(view).collect()
}

/// The queue, for its operators.
#[OpenApi]
impl QueueRoutes {
    /// How far behind each lane is, the most urgent lane first.
    #[oai(path = "/queue/lanes", method = "get")]
    async fn lanes(
        &self,
        #[oai(scope = "guard::QUEUES_READ")] _token: Token,
    ) -> Result<Json<Envelope<Vec<LaneView>>>, Rejection> {
        let standing = samples::standing(self.app.db.read(), self.app.clock.now()).await?;
        Ok(Envelope::new(lanes(&standing.depths)))
    }

    /// How the queue was: every minute of the last hour, every quarter of an hour of the last day, or every hour of the
    /// last seven days. What no scheduler looked at is missing.
    #[oai(path = "/queue/samples", method = "get")]
    async fn samples(
        &self,
        #[oai(scope = "guard::QUEUES_READ")] _token: Token,
        /// How far back; an hour if it is not given.
        span: Query<Option<Lenient<SpanName>>>,
    ) -> Result<Json<Envelope<Vec<SampleView>>>, Rejection> {
        let mut params = Params::default();
        let span = params.read("span", span.0, "one of 1h, 24h, 7d").unwrap_or(SpanName::Hour);
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let span = Span::from(span);
        let found = samples::samples(self.app.db.read(), self.app.clock.now(), span).await?;
        Ok(Envelope::new(found.into_iter().map(|sample| SampleView::of(sample, span)).collect()))
    }

    /// Lists jobs: those that are ready in the order of their time, all others the newest first.
    #[oai(path = "/queue/jobs", method = "get")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter")]
    async fn jobs(
        &self,
        #[oai(scope = "guard::QUEUES_READ")] _token: Token,
        /// Only in this lane.
        lane: Query<Option<Lenient<LaneName>>>,
        /// Only of this kind.
        kind: Query<Option<Lenient<KindName>>>,
        /// Only in this state.
        state: Query<Option<Lenient<JobState>>>,
        /// Only of this batch.
        #[oai(name = "batchId", validator(pattern = "^([1-9][0-9]{0,18})?$"))]
        batch: Query<Option<Lenient<String>>>,
        /// Only those whose error has this text, in any case.
        #[oai(validator(max_length = 200))]
        error: Query<Option<Lenient<String>>>,
        /// How many; 50 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<Lenient<i64>>>,
        /// The `nextCursor` of the page before.
        #[oai(validator(pattern = "^([0-9]{1,18}-[0-9]{1,18})?$"))]
        cursor: Query<Option<Lenient<String>>>,
    ) -> Result<Json<Jobs>, Rejection> {
        let mut params = Params::default();
        let filter = filter(&mut params, lane.0, kind.0, state.0, batch.0, error.0);
        let limit = params.number("limit", limit.0, 1, 200, 50);
        let after = params.read("cursor", cursor.0, "a nextCursor").filter(|cursor| !cursor.is_empty());
        let after = after.map(|text| text.parse::<ListCursor>());
        if matches!(after, Some(Err(_))) {
            params.bad("cursor", "must be a nextCursor");
        }
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let rows = usize::try_from(limit).unwrap_or(1);
        let page = list::page(self.app.db.read(), &filter, after.and_then(Result::ok), rows).await?;
        let meta = JobCursor { next_cursor: page.next.map(|place| place.to_string()), partial: page.partial };
        Ok(Json(Jobs { ok: true, data: page.rows.into_iter().map(JobView::of).collect(), meta }))
    }

    /// Reads a job with its past, and what may be done to it.
    #[oai(path = "/queue/jobs/:job_id", method = "get")]
    async fn job(
        &self,
        #[oai(scope = "guard::QUEUES_READ")] _token: Token,
        /// The job.
        job_id: Path<PathId>,
    ) -> Result<Json<Envelope<JobDetail>>, Rejection> {
        self.detail(self::job_id(&job_id)?).await
    }

    /// Gives a job that waits another time.
    #[oai(path = "/queue/jobs/:job_id", method = "patch")]
    async fn patch(
        &self,
        request: &Request,
        #[oai(scope = "guard::QUEUES_MANAGE")] _token: Token,
        /// The job.
        job_id: Path<PathId>,
        body: SmallBody<JobPatch>,
    ) -> Result<Json<Envelope<JobDetail>>, Rejection> {
        let mut f = Fields::parse(&body.bytes)?;
        if f.raw("runAt").is_none() {
            f.bad("runAt", "is required");
        }
        let at: Option<Timestamp> = f.time("runAt");
        f.finish()?;
        let at = at.unwrap_or_default().max(self.app.clock.now());
        self.steer(request, &job_id, Act::Move(at)).await
    }

    /// Tries a dead job again, from the start. A batch's chunk is retried with its batch.
    #[oai(path = "/queue/jobs/:job_id/retry", method = "post")]
    async fn retry(
        &self,
        request: &Request,
        #[oai(scope = "guard::QUEUES_MANAGE")] _token: Token,
        /// The job.
        job_id: Path<PathId>,
    ) -> Result<Json<Envelope<JobDetail>>, Rejection> {
        self.steer(request, &job_id, Act::Retry).await
    }

    /// Takes a job away that waits, or marks a dead one as seen to. The message of a single one has failed then, unless
    /// nobody knows how far it came.
    #[oai(path = "/queue/jobs/:job_id/cancel", method = "post")]
    async fn cancel(
        &self,
        request: &Request,
        #[oai(scope = "guard::QUEUES_MANAGE")] _token: Token,
        /// The job.
        job_id: Path<PathId>,
    ) -> Result<Json<Envelope<JobDetail>>, Rejection> {
        self.steer(request, &job_id, Act::Cancel).await
    }

    /// Lets a job that waits for its time run at once.
    #[oai(path = "/queue/jobs/:job_id/run", method = "post")]
    async fn run(
        &self,
        request: &Request,
        #[oai(scope = "guard::QUEUES_MANAGE")] _token: Token,
        /// The job.
        job_id: Path<PathId>,
    ) -> Result<Json<Envelope<JobDetail>>, Rejection> {
        self.steer(request, &job_id, Act::RunNow).await
    }

    /// Lists the workers by name, with what each works on.
    #[oai(path = "/queue/workers", method = "get")]
    async fn workers(
        &self,
        #[oai(scope = "guard::QUEUES_READ")] _token: Token,
    ) -> Result<Json<Listed<WorkerView>>, Rejection> {
        let found = queue::workers(self.app.db.read()).await?;
        let count = i64::try_from(found.len()).unwrap_or(i64::MAX);
        let data = found.into_iter().map(WorkerView::of).collect();
        Ok(Json(Listed { ok: true, data, meta: Count { count } }))
    }

    /// Lets a worker take no new jobs; it finishes what it has. It does so within a second, and until it is told otherwise
    /// or ends: one that starts takes jobs.
    #[oai(path = "/queue/workers/:worker/drain", method = "post")]
    async fn drain_worker(
        &self,
        request: &Request,
        #[oai(scope = "guard::QUEUES_MANAGE")] _token: Token,
        /// The worker's name.
        worker: Path<String>,
    ) -> Result<Json<Envelope<WorkerView>>, Rejection> {
        self.order(request, &worker, NewOrders { draining: Some(true), ..NewOrders::default() }).await
    }

    /// Lets a worker take jobs again.
    #[oai(path = "/queue/workers/:worker/resume", method = "post")]
    async fn resume_worker(
        &self,
        request: &Request,
        #[oai(scope = "guard::QUEUES_MANAGE")] _token: Token,
        /// The worker's name.
        worker: Path<String>,
    ) -> Result<Json<Envelope<WorkerView>>, Rejection> {
        self.order(request, &worker, NewOrders { draining: Some(false), ..NewOrders::default() }).await
    }

    /// Lets a worker's lanes do another number of jobs at once, until it ends: one that starts does as it is configured.
    #[oai(path = "/queue/workers/:worker", method = "patch")]
    async fn patch_worker(
        &self,
        request: &Request,
        #[oai(scope = "guard::QUEUES_MANAGE")] _token: Token,
        /// The worker's name.
        worker: Path<String>,
        body: SmallBody<WorkerPatch>,
    ) -> Result<Json<Envelope<WorkerView>>, Rejection> {
        let mut f = Fields::parse(&body.bytes)?;
        let places = Lane::ALL.map(|lane| f.integer(lane.as_str(), 1..=workers::MAX_PLACES));
        f.finish()?;
        self.order(request, &worker, NewOrders { draining: None, places }).await
    }

    /// The installation: what `paceline doctor` checks and is cheap to check, the schema's steps, and the configuration of
    /// the process that answers, with where each value comes from. Secrets are masked.
    #[oai(path = "/queue/system", method = "get")]
    async fn system(
        &self,
        #[oai(scope = "guard::SETTINGS_READ")] _token: Token,
    ) -> Result<Json<Envelope<SystemView>>, Rejection> {
        Ok(Envelope::new(SystemView::of((self.app.observed.inspect)().await)))
    }

    /// Lists the examinations of the installation, the newest first; 50 are kept.
    #[oai(path = "/queue/examinations", method = "get")]
    async fn examinations(
        &self,
        #[oai(scope = "guard::SETTINGS_READ")] _token: Token,
    ) -> Result<Json<Listed<ExaminationView>>, Rejection> {
        let found = examinations::all(self.app.db.read()).await?;
        let count = i64::try_from(found.len()).unwrap_or(i64::MAX);
        let data = found.into_iter().map(ExaminationView::of).collect();
        Ok(Json(Listed { ok: true, data, meta: Count { count } }))
    }

    /// Lets a worker check all that `paceline doctor` checks: it reads the whole ledger, and compares it with the gateway's
    /// store, id by id. One goes on at a time: while it does, this answers with that one.
    #[oai(path = "/queue/examinations", method = "post")]
    async fn examine(
        &self,
        request: &Request,
        #[oai(scope = "guard::QUEUES_MANAGE")] _token: Token,
    ) -> Result<Json<Envelope<ExaminationView>>, Rejection> {
        let user = caller(request)?.0.user_id;
        let (by, now) = (origin::of_user(request, user), self.app.clock.now());
        let tx = self.app.db.begin().await?;
        let step = examinations::create(&tx, now, user).await?;
        audit_log::record(&tx, now, &by, Action::ExaminationCreate, Some(step.value.id)).await?;
        db::commit(tx, Commit::Steer).await?;
        Ok(Envelope::new(ExaminationView::of(self.app.after(step))))
    }

    /// Reads an examination.
    #[oai(path = "/queue/examinations/:examination_id", method = "get")]
    async fn examination(
        &self,
        #[oai(scope = "guard::SETTINGS_READ")] _token: Token,
        /// The examination.
        examination_id: Path<PathId>,
    ) -> Result<Json<Envelope<ExaminationView>>, Rejection> {
        let none = || Refusal::not_found("examination");
        let id: ExaminationId = examination_id.parse().map_err(|_| none())?;
        let found = examinations::get(self.app.db.read(), id).await?.ok_or_else(none)?;
        Ok(Envelope::new(ExaminationView::of(found)))
    }

    /// Reads a sender: its health, who uses its limit, who waits for it and since when.
    #[oai(path = "/queue/senders/:name", method = "get")]
    async fn sender(
        &self,
        #[oai(scope = "guard::QUEUES_READ")] _token: Token,
        /// The sender's name.
        name: Path<String>,
    ) -> Result<Json<Envelope<SenderUseView>>, Rejection> {
        Ok(Envelope::new(self.sender_use(&name).await?))
    }

    /// Stops a sender: nothing leaves from it any more.
    #[oai(path = "/queue/senders/:name/pause", method = "post")]
    async fn pause_sender(
        &self,
        request: &Request,
        #[oai(scope = "guard::QUEUES_MANAGE")] _token: Token,
        /// The sender's name.
        name: Path<String>,
    ) -> Result<Json<Envelope<SenderUseView>>, Rejection> {
        self.pause(request, &name, true).await
    }

    /// Lets a sender go on, at once.
    #[oai(path = "/queue/senders/:name/resume", method = "post")]
    async fn resume_sender(
        &self,
        request: &Request,
        #[oai(scope = "guard::QUEUES_MANAGE")] _token: Token,
        /// The sender's name.
        name: Path<String>,
    ) -> Result<Json<Envelope<SenderUseView>>, Rejection> {
        self.pause(request, &name, false).await
    }
}
