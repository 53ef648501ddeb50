//! `/queue/operations`: acts on all the jobs that match.

use super::batch_of;
use super::operation_views::{ForecastView, ItemView, OperationRequest, OperationView};
use crate::App;
use crate::foundation::body::{JsonText, SmallBody};
use crate::foundation::fields::Fields;
use crate::foundation::guard;
use crate::foundation::idempotency::{KeyHold, KeyText, KeyedRequest};
use crate::foundation::param::{Lenient, PathId};
use crate::foundation::refusal::Refusal;
use crate::foundation::to_its_end;
use crate::surface::batch::dry_run;
use crate::surface::batch::envelope::{Envelope, Paged, Rejection};
use crate::surface::batch::operations::OperationsOn;
use crate::surface::batch::routes::{Token, caller};
use domain::jobs::list::{self, Filter};
use domain::model::{JobAct, JobState as State, OperationTarget};
use domain::queue::operations::{self, Aim, Halt, NewOperation, of_jobs};
use domain::{JobId, JobKind, Lane, UserId};
use poem::Request;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, OpenApi};
use std::sync::Arc;

/// The operations that these paths are for.
const ON_JOBS: OperationsOn = OperationsOn { target: OperationTarget::Jobs, called: "operation", those: "jobs" };

/// What became of the request.
#[derive(ApiResponse)]
enum Made {
    /// A dry run: what it would do. Nothing was written.
    #[oai(status = 200)]
    DryRun(Json<Envelope<ForecastView>>),
    /// Accepted: it begins in 10 seconds, and can be undone until then.
    #[oai(status = 202)]
    Accepted(
        JsonText<Envelope<OperationView>>,
        /// `true` when an Idempotency-Key's first answer is repeated.
        #[oai(header = "Idempotency-Replayed")]
        Option<String>,
    ),
}

/// What a request says.
struct Wanted {
    act: JobAct,
    filter: Filter,
    rate_per_minute: Option<u32>,
    expected: Option<u32>,
}

fn read_filter(f: &mut Fields<'_>) -> Filter {
    let lane = f.one_of("lane", &Lane::ALL, Lane::as_str);
    let state = f.one_of("state", State::ALL, State::as_str);
    let kind = f.one_of("kind", JobKind::ALL, JobKind::as_str);
    let batch = f.text("batchId", 1..=19).and_then(|text| match batch_of(&text) {
        Ok(batch) => Some(batch),
        Err(message) => {
            f.bad("batchId", message);
            None
        }
    });
    let ids = f.texts("jobIds", 1..=list::MAX_CHOSEN, 1..=19).and_then(|texts| {
        let ids = texts.iter().map(|text| text.parse()).collect::<Result<Vec<JobId>, _>>();
        ids.map_err(|_| f.bad("jobIds", "must be jobs' ids")).ok()
    });
    Filter { lane, kind, state, batch, error: f.text("error", 1..=list::MAX_TEXT), ids }
}

fn read(body: &[u8]) -> Result<Wanted, Refusal> {
    let mut f = Fields::parse(body)?;
    f.knows(dry_run::DRY_RUN);
    let acts = JobAct::ALL;
    if f.raw("act").is_none() {
        f.bad("act", "is required");
    }
    let act = f.one_of("act", acts, JobAct::as_str);
    let filter = f.object("filter", read_filter);
    let asked = Wanted {
        act: act.unwrap_or(JobAct::Retry),
        filter: filter.clone().unwrap_or_default(),
        rate_per_minute: f.integer("ratePerMinute", 1..=operations::MAX_RATE),
        expected: f.integer("expected", 0..=u32::MAX),
    };
    if filter.is_none_or(|filter| filter.is_empty()) {
        f.bad("filter", "must say which jobs: an empty one never means all of them");
    }
    let filter = match of_jobs::filter_of(asked.act, &asked.filter) {
        Ok(filter) => filter,
        Err(of_jobs::WrongState) => {
            f.bad("filter.state", "must be dead for retry, ready for run, and dead or ready for cancel");
            Filter::default()
        }
    };
    f.finish()?;
    Ok(Wanted { filter, ..asked })
}

/// Makes an operation, and remembers the answer with it.
async fn create(app: &App, wanted: Wanted, user: UserId, hold: &KeyHold) -> Result<String, Refusal> {
    let forecast = of_jobs::forecast(app.db.read(), app.clock.now(), wanted.act, &wanted.filter).await?;
    ON_JOBS.expect(wanted.expected, forecast.matched)?;
    let aim = Aim::Jobs(wanted.act, wanted.filter);
    let new = NewOperation { aim, rate_per_minute: wanted.rate_per_minute, matched: forecast.matched };
    ON_JOBS.create::<OperationView>(app, &new, user, hold).await
}

pub(crate) struct OperationRoutes {
    pub(in crate::surface::batch) app: Arc<App>,
}

/// Acts on all the jobs that match.
#[OpenApi]
impl OperationRoutes {
    /// Lists operations, the newest first.
    #[oai(path = "/queue/operations", method = "get")]
    async fn list(
        &self,
        #[oai(scope = "guard::QUEUES_READ")] _token: Token,
        /// How many; 50 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<Lenient<i64>>>,
        /// The `nextCursor` of the page before.
        #[oai(validator(pattern = "^[0-9]{0,18}$"))]
        cursor: Query<Option<Lenient<String>>>,
    ) -> Result<Json<Paged<OperationView>>, Rejection> {
        Ok(ON_JOBS.list(&self.app, (limit.0, cursor.0)).await?)
    }

    /// Does something to all the jobs that match by now, in 10 seconds: until then it can be undone.
    #[oai(path = "/queue/operations", method = "post")]
    async fn create(
        &self,
        request: &Request,
        #[oai(scope = "guard::QUEUES_MANAGE")] _token: Token,
        /// Does the request once, however often it comes.
        #[oai(name = "Idempotency-Key")]
        _key: Header<Option<KeyText>>,
        /// Writes nothing, and answers 200 with what it would do; the body may say it as well.
        #[oai(name = "dryRun")]
        dry_run: Query<Option<Lenient<bool>>>,
        body: SmallBody<OperationRequest>,
    ) -> Result<Made, Rejection> {
        let user = caller(request)?.0.user_id;
        let (asked, app) = (KeyedRequest::of(request, user)?, self.app.clone());
        if dry_run::is_asked(dry_run.0, dry_run::said(&body.bytes).await?)? {
            let wanted = read(&body.bytes)?;
            let found = of_jobs::forecast(app.db.read(), app.clock.now(), wanted.act, &wanted.filter).await?;
            return Ok(Made::DryRun(Envelope::new(ForecastView::of(found))));
        }
        to_its_end(async move {
            let work = async |hold: &KeyHold| create(&app, read(&body.bytes)?, user, hold).await;
            let (body, replayed) = asked.once(&app, &body.bytes, work).await?;
            Ok(Made::Accepted(JsonText::new(body), replayed))
        })
        .await
    }

    /// Reads an operation: how far it has come.
    #[oai(path = "/queue/operations/:operation_id", method = "get")]
    async fn get(
        &self,
        #[oai(scope = "guard::QUEUES_READ")] _token: Token,
        /// The operation.
        operation_id: Path<PathId>,
    ) -> Result<Json<Envelope<OperationView>>, Rejection> {
        Ok(ON_JOBS.get(&self.app, &operation_id).await?)
    }

    /// What an operation did, job by job.
    #[oai(path = "/queue/operations/:operation_id/items", method = "get")]
    async fn items(
        &self,
        #[oai(scope = "guard::QUEUES_READ")] _token: Token,
        /// The operation.
        operation_id: Path<PathId>,
        /// How many; 50 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<Lenient<i64>>>,
        /// The `nextCursor` of the page before.
        #[oai(validator(pattern = "^[0-9]{0,18}$"))]
        cursor: Query<Option<Lenient<String>>>,
    ) -> Result<Json<Paged<ItemView>>, Rejection> {
        Ok(ON_JOBS.items(&self.app, &operation_id, (limit.0, cursor.0)).await?)
    }

    /// Takes an operation back before it begins. 409 once it has begun.
    #[oai(path = "/queue/operations/:operation_id/undo", method = "post")]
    async fn undo(
        &self,
        request: &Request,
        #[oai(scope = "guard::QUEUES_MANAGE")] _token: Token,
        /// The operation.
        operation_id: Path<PathId>,
    ) -> Result<Json<Envelope<OperationView>>, Rejection> {
        Ok(ON_JOBS.halt(&self.app, request, &operation_id, Halt::Undo).await?)
    }

    /// Stops an operation: it goes no further, and what it did stays.
    #[oai(path = "/queue/operations/:operation_id/stop", method = "post")]
    async fn stop(
        &self,
        request: &Request,
        #[oai(scope = "guard::QUEUES_MANAGE")] _token: Token,
        /// The operation.
        operation_id: Path<PathId>,
    ) -> Result<Json<Envelope<OperationView>>, Rejection> {
        Ok(ON_JOBS.halt(&self.app, request, &operation_id, Halt::Stop).await?)
    }
}
