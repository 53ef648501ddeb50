//! `/batch/acts`: acts on all the batches that match.

use super::dry_run;
use super::envelope::{Envelope, Paged, Rejection};
use super::operations::{OperationsOn, View};
use super::queue::operation_views::StatusName;
use super::routes::{Token, caller};
use super::wire::{Approval, BatchStatus, BatchType};
use crate::App;
use crate::foundation::body::{JsonText, SmallBody};
use crate::foundation::fields::Fields;
use crate::foundation::guard;
use crate::foundation::idempotency::{KeyHold, KeyText, KeyedRequest};
use crate::foundation::param::{Lenient, PathId};
use crate::foundation::refusal::Refusal;
use crate::foundation::time::Time;
use crate::foundation::to_its_end;
use domain::UserId;
use domain::batches::{self, Filter};
use domain::model::{BatchAct as Act, OperationTarget};
use domain::queue::operations::of_batches::{self, Forecast};
use domain::queue::operations::{Aim, Halt, NewOperation, Operation, OperationItem};
use poem::Request;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use std::sync::Arc;

/// The operations that these paths are for.
const ON_BATCHES: OperationsOn = OperationsOn { target: OperationTarget::Batches, called: "act", those: "batches" };

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

impl From<Act> for BatchAct {
    fn from(act: Act) -> Self {
        match act {
            Act::Pause => Self::Pause,
            Act::Resume => Self::Resume,
            Act::Cancel => Self::Cancel,
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

impl From<Forecast> for BatchActForecast {
    fn from(forecast: Forecast) -> Self {
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

impl View for BatchActView {
    fn of(operation: Operation) -> Option<Self> {
        let Aim::Batches(act, filter) = operation.aim else { return None };
        Some(Self {
            id: operation.id.to_string(),
            act: act.into(),
            status: operation.status.into(),
            filter: filter.into(),
            upto: operation.upto.to_string(),
            matched: operation.matched,
            done: operation.done,
            skipped: operation.skipped,
            created_by: operation.created_by.to_string(),
            created_at: Time(operation.created_at),
            starts_at: Time(operation.starts_at),
            ended_at: operation.ended_at.map(Time),
        })
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

impl From<OperationItem> for BatchActItem {
    fn from(item: OperationItem) -> Self {
        Self { batch_id: item.target.to_string(), result: item.result, at: Time(item.at) }
    }
}

/// What became of the request.
#[derive(ApiResponse)]
enum Made {
    /// A dry run: what it would do. Nothing was written.
    #[oai(status = 200)]
    DryRun(Json<Envelope<BatchActForecast>>),
    /// Accepted: it begins in 10 seconds, and can be undone until then.
    #[oai(status = 202)]
    Accepted(
        JsonText<Envelope<BatchActView>>,
        /// `true` when an Idempotency-Key's first answer is repeated.
        #[oai(header = "Idempotency-Replayed")]
        Option<String>,
    ),
}

/// What a request says.
struct Wanted {
    act: Act,
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
    let act = f.one_of("act", Act::ALL, Act::as_str);
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

/// Makes an act, and remembers the answer with it.
async fn create(app: &App, wanted: Wanted, user: UserId, hold: &KeyHold) -> Result<String, Refusal> {
    let forecast = of_batches::forecast(app.db.read(), wanted.act, &wanted.filter).await?;
    ON_BATCHES.expect(wanted.expected, forecast.matched)?;
    let aim = Aim::Batches(wanted.act, wanted.filter);
    let new = NewOperation { aim, rate_per_minute: None, matched: forecast.matched };
    ON_BATCHES.create::<BatchActView>(app, &new, user, hold).await
}

pub(crate) struct BatchActRoutes {
    pub(super) app: Arc<App>,
}

/// Acts on all the batches that match.
#[OpenApi]
impl BatchActRoutes {
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
    ) -> Result<Json<Paged<BatchActView>>, Rejection> {
        Ok(ON_BATCHES.list(&self.app, (limit.0, cursor.0)).await?)
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
    ) -> Result<Made, Rejection> {
        let user = caller(request)?.0.user_id;
        let (asked, app) = (KeyedRequest::of(request, user)?, self.app.clone());
        if dry_run::is_asked(dry_run.0, dry_run::said(&body.bytes).await?)? {
            let wanted = read(&body.bytes)?;
            let found = of_batches::forecast(app.db.read(), wanted.act, &wanted.filter).await?;
            return Ok(Made::DryRun(Envelope::new(found.into())));
        }
        to_its_end(async move {
            let work = async |hold: &KeyHold| create(&app, read(&body.bytes)?, user, hold).await;
            let (body, replayed) = asked.once(&app, &body.bytes, work).await?;
            Ok(Made::Accepted(JsonText::new(body), replayed))
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
    ) -> Result<Json<Envelope<BatchActView>>, Rejection> {
        Ok(ON_BATCHES.get(&self.app, &act_id).await?)
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
    ) -> Result<Json<Paged<BatchActItem>>, Rejection> {
        Ok(ON_BATCHES.items(&self.app, &act_id, (limit.0, cursor.0)).await?)
    }

    /// Takes an act back before it begins. 409 once it has begun.
    #[oai(path = "/batch/acts/:act_id/undo", method = "post")]
    async fn undo(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// The act.
        act_id: Path<PathId>,
    ) -> Result<Json<Envelope<BatchActView>>, Rejection> {
        Ok(ON_BATCHES.halt(&self.app, request, &act_id, Halt::Undo).await?)
    }

    /// Stops an act: it goes no further, and what it did stays.
    #[oai(path = "/batch/acts/:act_id/stop", method = "post")]
    async fn stop(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// The act.
        act_id: Path<PathId>,
    ) -> Result<Json<Envelope<BatchActView>>, Rejection> {
        Ok(ON_BATCHES.halt(&self.app, request, &act_id, Halt::Stop).await?)
    }
}
