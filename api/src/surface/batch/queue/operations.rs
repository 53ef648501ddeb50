//! `/queue/operations`: acts on all the jobs that match.

use super::batch_of;
use super::operation_views::{ForecastView, ItemView, OperationRequest, OperationView};
use crate::App;
use crate::foundation::body::{JsonText, SmallBody};
use crate::foundation::fields::Fields;
use crate::foundation::guard;
use crate::foundation::idempotency::{KeyHold, KeyText, KeyedRequest, Once};
use crate::foundation::origin;
use crate::foundation::param::{Lenient, Params, PathId};
use crate::foundation::refusal::{Kind, Refusal};
use crate::foundation::to_its_end;
use crate::surface::batch::dry_run;
use crate::surface::batch::envelope::{Answer, Cursor, Failure, Paged};
use crate::surface::batch::routes::{Token, caller};
use domain::audit_log::{self, Action};
use domain::jobs::list::{self, Filter};
use domain::model::{JobState as State, OperationAct};
use domain::queue;
use domain::queue::operations::{self, Halt, HaltError, NewOperation};
use domain::{JobId, JobKind, Lane, OperationId, UserId, db};
use faults::Commit;
use poem::Request;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, OpenApi};
use std::sync::Arc;

/// What became of the request.
#[derive(ApiResponse)]
enum Made {
    /// A dry run: what it would do. Nothing was written.
    #[oai(status = 200)]
    DryRun(Json<Answer<ForecastView>>),
    /// Accepted: it begins in 10 seconds, and can be undone until then.
    #[oai(status = 202)]
    Accepted(
        JsonText<Answer<OperationView>>,
        /// `true` when an Idempotency-Key's first answer is repeated.
        #[oai(header = "Idempotency-Replayed")]
        Option<String>,
    ),
}

/// What a request says.
struct Wanted {
    act: OperationAct,
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
    let acts = OperationAct::ALL;
    if f.raw("act").is_none() {
        f.bad("act", "is required");
    }
    let act = f.one_of("act", acts, OperationAct::as_str);
    let filter = f.object("filter", read_filter);
    let asked = Wanted {
        act: act.unwrap_or(OperationAct::Retry),
        filter: filter.clone().unwrap_or_default(),
        rate_per_minute: f.integer("ratePerMinute", 1..=operations::MAX_RATE),
        expected: f.integer("expected", 0..=u32::MAX),
    };
    if filter.is_none_or(|filter| filter.is_empty()) {
        f.bad("filter", "must say which jobs: an empty one never means all of them");
    }
    let filter = match operations::filter_of(asked.act, &asked.filter) {
        Ok(filter) => filter,
        Err(operations::WrongState) => {
            f.bad("filter.state", "must be dead for retry, ready for run, and dead or ready for cancel");
            Filter::default()
        }
    };
    f.finish()?;
    Ok(Wanted { filter, ..asked })
}

fn id(text: &str) -> Result<OperationId, Refusal> {
    text.parse().map_err(|_| Refusal::not_found("operation"))
}

fn refuse(error: HaltError) -> Refusal {
    match error {
        HaltError::NotFound => Refusal::not_found("operation"),
        HaltError::Conflict(message) => Refusal::new(Kind::Conflict, message),
        HaltError::Database(error) => error.into(),
    }
}

/// Makes an operation, and remembers the answer with it.
async fn create(app: &App, wanted: &Wanted, user: UserId, hold: &KeyHold) -> Result<String, Refusal> {
    let now = app.clock.now();
    let forecast = queue::forecast(app.db.read(), now, wanted.act, &wanted.filter).await?;
    if let Some(expected) = wanted.expected
        && i64::from(expected) != forecast.matched
    {
        let message = format!("{} jobs match by now, not {expected}: look again", forecast.matched);
        return Err(Refusal::new(Kind::Conflict, message));
    }
    let new = NewOperation {
        act: wanted.act,
        filter: wanted.filter.clone(),
        rate_per_minute: wanted.rate_per_minute,
        matched: forecast.matched,
    };
    let tx = app.db.begin().await?;
    let step = operations::create(&tx, now, &new, user).await?;
    audit_log::record(&tx, now, hold.origin(), Action::OperationCreate, Some(step.value.id)).await?;
    let body = Answer::new(OperationView::of(step.value.clone())).to_json_string();
    hold.complete(&tx, 202, &body, None).await?;
    db::commit(tx, Commit::Steer).await?;
    let operation = app.after(step);
    tracing::info!(operation = operation.id.0, matched = operation.matched, "an operation was asked for");
    Ok(body)
}

pub(crate) struct OperationRoutes {
    pub(in crate::surface::batch) app: Arc<App>,
}

impl OperationRoutes {
    async fn halt(&self, request: &Request, text: &str, how: Halt) -> Result<Json<Answer<OperationView>>, Failure> {
        let by = origin::of_user(request, caller(request)?.0.user_id);
        let (id, now) = (id(text)?, self.app.clock.now());
        let tx = self.app.db.begin().await?;
        let operation = operations::halt(&tx, now, id, how).await.map_err(refuse)?;
        audit_log::record(&tx, now, &by, Action::OperationStop, Some(id)).await?;
        db::commit(tx, Commit::Steer).await?;
        Ok(Answer::new(OperationView::of(operation)))
    }
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
    ) -> Result<Json<Paged<OperationView>>, Failure> {
        let (limit, before) = page(limit.0, cursor.0)?;
        let mut found = operations::operations(self.app.db.read(), before.map(OperationId), limit + 1).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found.last().filter(|_| more).map(|last| last.id.to_string());
        let data = found.into_iter().map(OperationView::of).collect();
        Ok(Json(Paged { ok: true, data, meta: Cursor { next_cursor } }))
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
    ) -> Result<Made, Failure> {
        let user = caller(request)?.0.user_id;
        let (asked, app) = (KeyedRequest::of(request, user)?, self.app.clone());
        if dry_run::is_asked(dry_run.0, dry_run::said(&body.bytes).await?)? {
            let wanted = read(&body.bytes)?;
            let found = queue::forecast(app.db.read(), app.clock.now(), wanted.act, &wanted.filter).await?;
            return Ok(Made::DryRun(Answer::new(ForecastView::of(found))));
        }
        to_its_end(async move {
            let hold = match asked.begin(&app, &body.bytes).await? {
                Once::Replay(body) => return Ok(Made::Accepted(JsonText::new(body), Some("true".into()))),
                Once::Do(hold) => hold,
            };
            let made = match read(&body.bytes) {
                Ok(wanted) => create(&app, &wanted, user, &hold).await,
                Err(refusal) => Err(refusal),
            };
            match made {
                Ok(body) => {
                    hold.keep();
                    Ok(Made::Accepted(JsonText::new(body), None))
                }
                Err(refusal) => {
                    hold.free().await;
                    Err(refusal.into())
                }
            }
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
    ) -> Result<Json<Answer<OperationView>>, Failure> {
        let found = operations::get(self.app.db.read(), id(&operation_id)?).await?;
        let found = found.ok_or_else(|| Refusal::not_found("operation"))?;
        Ok(Answer::new(OperationView::of(found)))
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
    ) -> Result<Json<Paged<ItemView>>, Failure> {
        let (limit, after) = page(limit.0, cursor.0)?;
        let (db, id) = (self.app.db.read(), id(&operation_id)?);
        operations::get(db, id).await?.ok_or_else(|| Refusal::not_found("operation"))?;
        let mut found = queue::operation_items(db, id, after.unwrap_or(0), limit + 1).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found.last().filter(|_| more).map(|last| last.job.to_string());
        let data = found.into_iter().map(ItemView::of).collect();
        Ok(Json(Paged { ok: true, data, meta: Cursor { next_cursor } }))
    }

    /// Takes an operation back before it begins. 409 once it has begun.
    #[oai(path = "/queue/operations/:operation_id/undo", method = "post")]
    async fn undo(
        &self,
        request: &Request,
        #[oai(scope = "guard::QUEUES_MANAGE")] _token: Token,
        /// The operation.
        operation_id: Path<PathId>,
    ) -> Result<Json<Answer<OperationView>>, Failure> {
        self.halt(request, &operation_id, Halt::Undo).await
    }

    /// Stops an operation: it goes no further, and what it did stays.
    #[oai(path = "/queue/operations/:operation_id/stop", method = "post")]
    async fn stop(
        &self,
        request: &Request,
        #[oai(scope = "guard::QUEUES_MANAGE")] _token: Token,
        /// The operation.
        operation_id: Path<PathId>,
    ) -> Result<Json<Answer<OperationView>>, Failure> {
        self.halt(request, &operation_id, Halt::Stop).await
    }
}

/// How many rows a page has, and behind which number it begins.
fn page(limit: Option<Lenient<i64>>, cursor: Option<Lenient<String>>) -> Result<(usize, Option<i64>), Refusal> {
    let mut params = Params::default();
    let limit = params.number("limit", limit, 1, 200, 50);
    let cursor = params.read("cursor", cursor, "a nextCursor").filter(|cursor| !cursor.is_empty());
    let fine = |text: &String| text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    if cursor.as_ref().is_some_and(|text| !fine(text)) {
        params.bad("cursor", "must be a nextCursor");
    }
    if !params.errors.is_empty() {
        return Err(Refusal::invalid(params.errors));
    }
    Ok((usize::try_from(limit).unwrap_or(1), cursor.and_then(|text| text.parse().ok())))
}
