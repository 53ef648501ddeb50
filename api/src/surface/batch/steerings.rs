//! `/batch/acts`: acts on all the batches that match.

use super::dry_run;
use super::envelope::{Answer, Cursor, Failure, Paged};
use super::queue::operation_views::StatusName;
use super::routes::{Token, caller};
use super::wire::{Approval, BatchStatus, BatchType};
use crate::App;
use crate::foundation::body::{JsonText, SmallBody};
use crate::foundation::fields::Fields;
use crate::foundation::guard;
use crate::foundation::idempotency::{KeyHold, KeyText, KeyedRequest, Once};
use crate::foundation::origin;
use crate::foundation::param::{Lenient, Params, PathId};
use crate::foundation::refusal::{Kind, Refusal};
use crate::foundation::time::Time;
use crate::foundation::to_its_end;
use domain::audit_log::{self, Action};
use domain::batches::{self, Filter};
use domain::model::SteeringAct;
use domain::queue::operations::{Halt, HaltError};
use domain::queue::steerings::{self, Steering, SteeringForecast, SteeringItem};
use domain::{SteeringId, UserId, db};
use faults::Commit;
use poem::Request;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use std::sync::Arc;

/// The longest text that is looked for, in characters.
const MAX_TEXT: usize = 200;

/// What is done to the batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
enum BatchAct {
    /// They are paused.
    Pause,
    /// Paused ones go on.
    Resume,
    /// They are cancelled.
    Cancel,
}

impl From<SteeringAct> for BatchAct {
    fn from(act: SteeringAct) -> Self {
        match act {
            SteeringAct::Pause => Self::Pause,
            SteeringAct::Resume => Self::Resume,
            SteeringAct::Cancel => Self::Cancel,
        }
    }
}

/// Which batches: all that is given must hold.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct BatchFilter {
    /// Only of this type.
    #[oai(rename = "type")]
    batch_type: Option<BatchType>,
    /// Only in this status.
    status: Option<BatchStatus>,
    /// Only those accepted from this time on.
    created_after: Option<Time>,
    /// Only those accepted before this time.
    created_before: Option<Time>,
    /// Only those that this user asked for: the user's number.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    created_by: Option<String>,
    /// Only those whose approval stands so.
    approval: Option<Approval>,
    /// Only sends whose text has this in it.
    #[oai(validator(min_length = 1, max_length = 200))]
    text: Option<String>,
}

impl From<Filter> for BatchFilter {
    fn from(filter: Filter) -> Self {
        let Filter { batch_type, status, created_after, created_before, created_by, approval, text } = filter;
        Self {
            batch_type: batch_type.map(Into::into),
            status: status.map(Into::into),
            created_after: created_after.map(Time),
            created_before: created_before.map(Time),
            created_by: created_by.map(|user| user.to_string()),
            approval: approval.map(Into::into),
            text,
        }
    }
}

/// An act on all the batches that match.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct BatchActRequest {
    /// What is done.
    act: BatchAct,
    /// To which batches. An empty filter means nothing and is refused.
    filter: BatchFilter,
    /// How many batches the client was told of: if others match by now, it is refused.
    #[oai(validator(minimum(value = "0"), maximum(value = "4294967295")))]
    expected: Option<i64>,
    /// Writes nothing, and answers 200 with what it would do; the query may say it as well.
    dry_run: Option<bool>,
}

/// What an act would do.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct BatchActForecast {
    /// How many batches match and can be steered so.
    #[oai(validator(minimum(value = "0")))]
    matched: i64,
    /// Whether there may be more: 50,000 were counted, and not all.
    at_least: bool,
    /// Some of them, the newest first.
    samples: Vec<String>,
}

impl From<SteeringForecast> for BatchActForecast {
    fn from(forecast: SteeringForecast) -> Self {
        let samples = forecast.samples.iter().map(ToString::to_string).collect();
        Self { matched: forecast.matched, at_least: forecast.at_least, samples }
    }
}

/// An act on all the batches that matched when it was asked for.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct BatchActView {
    /// Its number.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    id: String,
    /// What it does.
    act: BatchAct,
    /// Where it stands.
    status: StatusName,
    /// To which batches.
    filter: BatchFilter,
    /// The newest batch that it means: what came later is not touched.
    upto: String,
    /// How many batches matched when it was made; of many, at least so many.
    matched: i64,
    /// To how many it was done.
    done: i64,
    /// How many had changed.
    skipped: i64,
    /// Who asked for it.
    created_by: String,
    /// When.
    created_at: Time,
    /// When it begins, and can no longer be undone.
    starts_at: Time,
    /// When it ended.
    ended_at: Option<Time>,
}

impl From<Steering> for BatchActView {
    fn from(steering: Steering) -> Self {
        Self {
            id: steering.id.to_string(),
            act: steering.act.into(),
            status: steering.status.into(),
            filter: steering.filter.into(),
            upto: steering.upto.to_string(),
            matched: steering.matched,
            done: steering.done,
            skipped: steering.skipped,
            created_by: steering.created_by.to_string(),
            created_at: Time(steering.created_at),
            starts_at: Time(steering.starts_at),
            ended_at: steering.ended_at.map(Time),
        }
    }
}

/// What an act did with a batch.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct BatchActItem {
    /// The batch.
    batch_id: String,
    /// `done`, or `changed`: it was no longer as the filter says.
    result: String,
    /// When.
    at: Time,
}

impl From<SteeringItem> for BatchActItem {
    fn from(item: SteeringItem) -> Self {
        Self { batch_id: item.batch.to_string(), result: item.result, at: Time(item.at) }
    }
}

/// What became of the request.
#[derive(ApiResponse)]
enum Made {
    /// A dry run: what it would do. Nothing was written.
    #[oai(status = 200)]
    DryRun(Json<Answer<BatchActForecast>>),
    /// Accepted: it begins in 10 seconds, and can be undone until then.
    #[oai(status = 202)]
    Accepted(
        JsonText<Answer<BatchActView>>,
        /// `true` when an Idempotency-Key's first answer is repeated.
        #[oai(header = "Idempotency-Replayed")]
        Option<String>,
    ),
}

/// What a request says.
struct Wanted {
    act: SteeringAct,
    filter: Filter,
    expected: Option<u32>,
}

fn read_filter(f: &mut Fields<'_>) -> Filter {
    let created_by = f.text("createdBy", 1..=19).and_then(|text| {
        let user = text.parse().ok();
        if user.is_none() {
            f.bad("createdBy", "must be a user's number");
        }
        user
    });
    Filter {
        batch_type: f.one_of("type", batches::BatchType::ALL, batches::BatchType::as_str),
        status: f.one_of("status", batches::BatchStatus::ALL, batches::BatchStatus::as_str),
        created_after: f.time("createdAfter"),
        created_before: f.time("createdBefore"),
        created_by,
        approval: f.one_of("approval", batches::Approval::ALL, batches::Approval::as_str),
        text: f.text("text", 1..=MAX_TEXT),
    }
}

fn read(body: &[u8]) -> Result<Wanted, Refusal> {
    let mut f = Fields::parse(body)?;
    f.knows(dry_run::DRY_RUN);
    if f.raw("act").is_none() {
        f.bad("act", "is required");
    }
    let act = f.one_of("act", SteeringAct::ALL, SteeringAct::as_str);
    let filter = f.object("filter", read_filter);
    let expected = f.integer("expected", 0..=u32::MAX);
    if filter.as_ref().is_none_or(Filter::is_empty) {
        f.bad("filter", "must say which batches: an empty one never means all of them");
    }
    f.finish()?;
    match (act, filter) {
        (Some(act), Some(filter)) => Ok(Wanted { act, filter, expected }),
        _ => Err(Refusal::internal()),
    }
}

fn id(text: &str) -> Result<SteeringId, Refusal> {
    text.parse().map_err(|_| Refusal::not_found("act"))
}

/// Makes an act, and remembers the answer with it.
async fn create(app: &App, wanted: &Wanted, user: UserId, hold: &KeyHold) -> Result<String, Refusal> {
    let forecast = steerings::forecast(app.db.read(), wanted.act, &wanted.filter).await?;
    if let Some(expected) = wanted.expected
        && i64::from(expected) != forecast.matched
    {
        let message = format!("{} batches match by now, not {expected}: look again", forecast.matched);
        return Err(Refusal::new(Kind::Conflict, message));
    }
    let tx = app.db.begin().await?;
    let now = app.clock.now();
    let step = steerings::create(&tx, now, (wanted.act, &wanted.filter), forecast.matched, user).await?;
    audit_log::record(&tx, now, hold.origin(), Action::SteeringCreate, Some(step.value.id)).await?;
    let body = Answer::new(BatchActView::from(step.value.clone())).to_json_string();
    hold.complete(&tx, 202, &body, None).await?;
    db::commit(tx, Commit::Steer).await?;
    let steering = app.after(step);
    tracing::info!(steering = steering.id.0, matched = steering.matched, "an act on batches was asked for");
    Ok(body)
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

pub(crate) struct SteeringRoutes {
    pub(super) app: Arc<App>,
}

impl SteeringRoutes {
    async fn halt(&self, request: &Request, text: &str, how: Halt) -> Result<Json<Answer<BatchActView>>, Failure> {
        let by = origin::of_user(request, caller(request)?.0.user_id);
        let (id, now) = (id(text)?, self.app.clock.now());
        let tx = self.app.db.begin().await?;
        let halted = steerings::halt(&tx, now, id, how).await.map_err(|error| match error {
            HaltError::NotFound => Refusal::not_found("act"),
            HaltError::Conflict(message) => Refusal::new(Kind::Conflict, message),
            HaltError::Database(error) => error.into(),
        })?;
        audit_log::record(&tx, now, &by, Action::SteeringStop, Some(id)).await?;
        db::commit(tx, Commit::Steer).await?;
        Ok(Answer::new(halted.into()))
    }
}

/// Acts on all the batches that match.
#[OpenApi]
impl SteeringRoutes {
    /// Lists acts, the newest first.
    #[oai(path = "/batch/acts", method = "get")]
    async fn list(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// How many; 50 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<Lenient<i64>>>,
        /// The `nextCursor` of the page before.
        #[oai(validator(pattern = "^[0-9]{0,18}$"))]
        cursor: Query<Option<Lenient<String>>>,
    ) -> Result<Json<Paged<BatchActView>>, Failure> {
        let (limit, before) = page(limit.0, cursor.0)?;
        let mut found = steerings::steerings(self.app.db.read(), before.map(SteeringId), limit + 1).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found.last().filter(|_| more).map(|last| last.id.to_string());
        let data = found.into_iter().map(BatchActView::from).collect();
        Ok(Json(Paged { ok: true, data, meta: Cursor { next_cursor } }))
    }

    /// Pauses, resumes or cancels all the batches that match by now, in 10 seconds: until then it can be undone.
    #[oai(path = "/batch/acts", method = "post")]
    async fn create(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// Does the request once, however often it comes.
        #[oai(name = "Idempotency-Key")]
        _key: Header<Option<KeyText>>,
        /// Writes nothing, and answers 200 with what it would do; the body may say it as well.
        #[oai(name = "dryRun")]
        dry_run: Query<Option<Lenient<bool>>>,
        body: SmallBody<BatchActRequest>,
    ) -> Result<Made, Failure> {
        let user = caller(request)?.0.user_id;
        let (asked, app) = (KeyedRequest::of(request, user)?, self.app.clone());
        if dry_run::is_asked(dry_run.0, dry_run::said(&body.bytes).await?)? {
            let wanted = read(&body.bytes)?;
            let found = steerings::forecast(app.db.read(), wanted.act, &wanted.filter).await?;
            return Ok(Made::DryRun(Answer::new(found.into())));
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

    /// Reads an act: how far it has come.
    #[oai(path = "/batch/acts/:act_id", method = "get")]
    async fn get(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// The act.
        act_id: Path<PathId>,
    ) -> Result<Json<Answer<BatchActView>>, Failure> {
        let found = steerings::get(self.app.db.read(), id(&act_id)?).await?;
        Ok(Answer::new(found.ok_or_else(|| Refusal::not_found("act"))?.into()))
    }

    /// What an act did, batch by batch.
    #[oai(path = "/batch/acts/:act_id/items", method = "get")]
    async fn items(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// The act.
        act_id: Path<PathId>,
        /// How many; 50 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<Lenient<i64>>>,
        /// The `nextCursor` of the page before.
        #[oai(validator(pattern = "^[0-9]{0,18}$"))]
        cursor: Query<Option<Lenient<String>>>,
    ) -> Result<Json<Paged<BatchActItem>>, Failure> {
        let (limit, after) = page(limit.0, cursor.0)?;
        let (db, id) = (self.app.db.read(), id(&act_id)?);
        steerings::get(db, id).await?.ok_or_else(|| Refusal::not_found("act"))?;
        let mut found = steerings::steering_items(db, id, after.unwrap_or(0), limit + 1).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found.last().filter(|_| more).map(|last| last.batch.to_string());
        let data = found.into_iter().map(BatchActItem::from).collect();
        Ok(Json(Paged { ok: true, data, meta: Cursor { next_cursor } }))
    }

    /// Takes an act back before it begins. 409 once it has begun.
    #[oai(path = "/batch/acts/:act_id/undo", method = "post")]
    async fn undo(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// The act.
        act_id: Path<PathId>,
    ) -> Result<Json<Answer<BatchActView>>, Failure> {
        self.halt(request, &act_id, Halt::Undo).await
    }

    /// Stops an act: it goes no further, and what it did stays.
    #[oai(path = "/batch/acts/:act_id/stop", method = "post")]
    async fn stop(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// The act.
        act_id: Path<PathId>,
    ) -> Result<Json<Answer<BatchActView>>, Failure> {
        self.halt(request, &act_id, Halt::Stop).await
    }
}
