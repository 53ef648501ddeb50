//! `/batch`.

use super::envelope::{Confirmation, Count, Cursor, Envelope, Listed, Paged, Rejection};
use super::export;
use super::wire::{
    Approval, BatchOperation, BatchStatus, BatchStatusView, BatchType, ItemStatus, ItemView, PatchRequest, PreviewView,
    StatsView,
};
use crate::App;
use crate::foundation::auth::Caller;
use crate::foundation::body::{CsvStream, JsonText, SmallBody};
use crate::foundation::coalesce::Coalesced;
use crate::foundation::fields::Fields;
use crate::foundation::guard;
use crate::foundation::origin;
use crate::foundation::param::{Lenient, Params, PathId};
use crate::foundation::refusal::{Kind, Refusal};
use crate::foundation::time::DateOrTime;
use domain::audit_log::{self, Action, Origin};
use domain::batches::{self, Batch, ControlError, Filter, Patch, SCHEDULE_SLACK};
use domain::db::Trouble;
use domain::users::Permission;
use domain::{BatchId, Step, UserId, db};
use faults::Commit;
use poem::Request;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, OpenApi, SecurityScheme};
use std::sync::Arc;

/// `Authorization: Bearer <JWT>`; checked before the route.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", bearer_format = "JWT")]
pub(super) struct Token(#[expect(dead_code, reason = "for the document")] poem_openapi::auth::Bearer);

/// The caller that was identified on the way.
pub(super) fn caller(request: &Request) -> Result<&Caller, Refusal> {
    request.extensions().get::<Caller>().ok_or_else(|| Refusal::new(Kind::AuthRequired, "a token is required"))
}

/// A CSV file, written as it is read.
#[derive(ApiResponse)]
pub(super) enum CsvFile {
    /// The items.
    #[oai(status = 200)]
    Ok(
        CsvStream,
        /// `attachment`, with a name for the file.
        #[oai(header = "Content-Disposition")]
        String,
    ),
}

/// The number in a path.
pub(super) fn id(text: &str) -> Result<BatchId, Refusal> {
    text.parse().map_err(|_| Refusal::not_found("batch"))
}

pub(crate) struct BatchRoutes {
    app: Arc<App>,
    pages: Coalesced<(Filter, u64, u64), Result<Arc<str>, Refusal>>,
}

/// A page of the list, as it goes out.
async fn page(app: Arc<App>, filter: Filter, limit: u64, offset: u64) -> Result<Arc<str>, Refusal> {
    let (found, count) = batches::list(app.db.read(), &filter, limit, offset).await?;
    let senders = batches::sender_paces(app.db.read(), app.settings.sender_rate_per_minute).await?;
    let now = app.clock.now();
    let data = found.iter().map(|batch| BatchOperation::of(batch, now, &senders)).collect();
    Ok(Listed { ok: true, data, meta: Count { count } }.to_json_string().into())
}

/// Why a batch cannot be steered.
pub(super) fn unsteered(error: ControlError) -> Refusal {
    match error {
        ControlError::NotFound => Refusal::not_found("batch"),
        ControlError::Conflict(refused) => Refusal::new(Kind::Conflict, refused.to_string()),
        ControlError::OwnBatch => Refusal::new(Kind::PermissionDenied, error.to_string()),
        ControlError::Database(error) => error.into(),
    }
}

impl BatchRoutes {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app, pages: Coalesced::default() }
    }

    async fn find(&self, text: &str) -> Result<Batch, Rejection> {
        let found = batches::get(self.app.db.read(), id(text)?).await?;
        Ok(found.ok_or_else(|| Refusal::not_found("batch"))?)
    }

    async fn view(&self, batch: &Batch) -> Result<BatchOperation, Refusal> {
        let senders = batches::sender_paces(self.app.db.read(), self.app.settings.sender_rate_per_minute).await?;
        Ok(BatchOperation::of(batch, self.app.clock.now(), &senders))
    }

    /// Steers a batch in a transaction of its own. A user does not have to know that others were in the way: it is tried
    /// again then.
    async fn steer(&self, request: &Request, id: &str, how: Steering) -> Result<Batch, Rejection> {
        let caller = caller(request)?;
        let (user, id) = (caller.0.user_id.0, self::id(id)?);
        let by = origin::of_user(request, caller.0.user_id);
        let mut tries = 1;
        loop {
            match self.try_steer(id, how, &by).await {
                Err(ControlError::Database(error))
                    if tries < STEER_TRIES && Trouble::of(&error) == Trouble::Conflict =>
                {
                    tries += 1;
                }
                done => {
                    let batch = self.app.after(done.map_err(unsteered)?);
                    tracing::info!(batch = batch.summary.id.0, user, "{}", how.done());
                    return Ok(batch);
                }
            }
        }
    }

    async fn try_steer(&self, id: BatchId, how: Steering, by: &Origin) -> Result<Step<Batch>, ControlError> {
        let tx = self.app.db.begin().await?;
        let now = self.app.clock.now();
        let step = match how {
            Steering::Cancel => batches::cancel(&tx, now, id).await?,
            Steering::Pause => batches::pause(&tx, id).await?,
            Steering::Resume => batches::resume(&tx, now, id).await?,
            Steering::Patch(patch) => batches::patch(&tx, now, id, patch).await?,
        };
        audit_log::record(&tx, now, by, how.action(), Some(id)).await?;
        db::commit(tx, Commit::Steer).await?;
        Ok(step)
    }
}

/// What a user does to a batch under way.
#[derive(Clone, Copy)]
enum Steering {
    Cancel,
    Pause,
    Resume,
    Patch(Patch),
}

impl Steering {
    /// For the audit log.
    const fn action(self) -> Action {
        match self {
            Self::Cancel => Action::BatchCancel,
            Self::Pause => Action::BatchPause,
            Self::Resume => Action::BatchResume,
            Self::Patch(_) => Action::BatchUpdate,
        }
    }

    /// For the log.
    const fn done(self) -> &'static str {
        match self {
            Self::Cancel => "a batch was cancelled",
            Self::Pause => "a batch was paused",
            Self::Resume => "a batch was resumed",
            Self::Patch(_) => "a batch was given another pace or time",
        }
    }
}

/// The longest text that is looked for, in characters.
const MAX_TEXT: usize = 200;

/// How often a batch is tried to be steered when others are in the way.
const STEER_TRIES: u32 = 3;

/// Operations over many contacts.
#[OpenApi]
impl BatchRoutes {
    /// Lists operations, the newest first.
    #[oai(path = "/batch", method = "get")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the contract")]
    async fn list(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// Only of this type.
        #[oai(name = "type")]
        batch_type: Query<Option<Lenient<BatchType>>>,
        /// Only in this status.
        status: Query<Option<Lenient<BatchStatus>>>,
        /// Only those accepted from this date (UTC midnight) or RFC 3339 time on.
        #[oai(name = "createdAfter")]
        created_after: Query<Option<Lenient<DateOrTime>>>,
        /// Only those accepted before this date (UTC midnight) or RFC 3339 time.
        #[oai(name = "createdBefore")]
        created_before: Query<Option<Lenient<DateOrTime>>>,
        /// Only those that this user asked for: the user's number.
        #[oai(name = "createdBy", validator(minimum(value = "1")))]
        created_by: Query<Option<Lenient<i64>>>,
        /// Only those whose approval stands so: `pending` are those that wait for a second person.
        approval: Query<Option<Lenient<Approval>>>,
        /// Only sends whose text has this in it.
        #[oai(validator(max_length = 200))]
        text: Query<Option<Lenient<String>>>,
        /// How many; 50 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<Lenient<i64>>>,
        /// How many to pass over.
        #[oai(validator(minimum(value = "0"), maximum(value = "2147483647")))]
        offset: Query<Option<Lenient<i64>>>,
    ) -> Result<JsonText<Listed<BatchOperation>>, Rejection> {
        let mut params = Params::default();
        let mut filter = filter(&mut params, batch_type.0, status.0);
        let when = "a date (2025-10-01) or an RFC 3339 time";
        filter.created_after = params.read("createdAfter", created_after.0, when).map(|at| at.0);
        filter.created_before = params.read("createdBefore", created_before.0, when).map(|at| at.0);
        filter.created_by = params.number_if_given("createdBy", created_by.0, 1, i64::MAX).map(UserId);
        let approvals = "one of pending, approved, refused";
        filter.approval = params.read("approval", approval.0, approvals).map(Into::into);
        filter.text = params.read("text", text.0, "a text").filter(|text| !text.is_empty());
        if filter.text.as_ref().is_some_and(|text| text.chars().count() > MAX_TEXT || text.contains('\0')) {
            params.bad("text", format!("must have at most {MAX_TEXT} characters, and no NUL"));
        }
        let limit = params.number("limit", limit.0, 1, 200, 50);
        let offset = params.number("offset", offset.0, 0, i64::from(i32::MAX), 0);
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let (limit, offset) = (limit.unsigned_abs(), offset.unsigned_abs());
        let app = self.app.clone();
        // Consoles ask for the same page, all at once, again and again.
        let page = self.pages.get((filter.clone(), limit, offset), move || page(app, filter, limit, offset));
        Ok(JsonText::new(page.await?.as_ref()))
    }

    /// Statistics over operations.
    #[oai(path = "/batch/stats", method = "get")]
    async fn stats(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// Only of this type.
        #[oai(name = "type")]
        batch_type: Query<Option<Lenient<BatchType>>>,
        /// Only in this status.
        status: Query<Option<Lenient<BatchStatus>>>,
        /// Only those accepted from this date (UTC midnight) or RFC 3339 time on.
        #[oai(name = "createdAfter")]
        created_after: Query<Option<Lenient<DateOrTime>>>,
    ) -> Result<Json<Envelope<StatsView>>, Rejection> {
        let mut params = Params::default();
        let mut filter = filter(&mut params, batch_type.0, status.0);
        let since = params.read("createdAfter", created_after.0, "a date (2025-10-01) or an RFC 3339 time");
        filter.created_after = since.map(|since| since.0);
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let stats = batches::stats(self.app.db.read(), &filter).await?;
        Ok(Envelope::new((&stats).into()))
    }

    /// The whole operation.
    #[oai(path = "/batch/:batch_id", method = "get")]
    async fn get(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
    ) -> Result<Json<Envelope<BatchOperation>>, Rejection> {
        let batch = self.find(&batch_id).await?;
        Ok(Envelope::new(self.view(&batch).await?))
    }

    /// The status alone.
    #[oai(path = "/batch/:batch_id/status", method = "get")]
    async fn status(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
    ) -> Result<Json<Envelope<BatchStatusView>>, Rejection> {
        let batch = self.find(&batch_id).await?;
        Ok(Envelope::new((&batch.summary).into()))
    }

    /// Cancels it: within a second no further item starts.
    #[oai(path = "/batch/:batch_id/cancel", method = "post")]
    async fn cancel(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
    ) -> Result<Json<Confirmation>, Rejection> {
        self.steer(request, &batch_id, Steering::Cancel).await?;
        Ok(Json(Confirmation { ok: true, message: "Batch operation cancelled successfully".into() }))
    }

    /// Pauses it.
    #[oai(path = "/batch/:batch_id/pause", method = "post")]
    async fn pause(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
    ) -> Result<Json<Envelope<BatchOperation>>, Rejection> {
        let batch = self.steer(request, &batch_id, Steering::Pause).await?;
        Ok(Envelope::new(self.view(&batch).await?))
    }

    /// Lets it go on.
    #[oai(path = "/batch/:batch_id/resume", method = "post")]
    async fn resume(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
    ) -> Result<Json<Envelope<BatchOperation>>, Rejection> {
        let batch = self.steer(request, &batch_id, Steering::Resume).await?;
        Ok(Envelope::new(self.view(&batch).await?))
    }

    /// Changes its pace, its jitter or its time; a changed rate holds within a second.
    #[oai(path = "/batch/:batch_id", method = "patch")]
    async fn patch(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
        body: SmallBody<PatchRequest>,
    ) -> Result<Json<Envelope<BatchOperation>>, Rejection> {
        let mut f = Fields::parse(&body.bytes)?;
        let patch = Patch {
            rate_per_minute: f.integer("ratePerMinute", 1..=600_000),
            jitter_ms: f.integer("jitterMs", 0..=600_000),
            schedule_at: f.time("scheduleAt"),
        };
        if patch.schedule_at.is_some_and(|at| at < self.app.clock.now().minus(SCHEDULE_SLACK)) {
            f.bad("scheduleAt", "lies in the past");
        }
        if f.raw("ratePerMinute").is_none() && f.raw("jitterMs").is_none() && f.raw("scheduleAt").is_none() {
            f.bad("body", "must have ratePerMinute, jitterMs or scheduleAt");
        }
        f.finish()?;
        let batch = self.steer(request, &batch_id, Steering::Patch(patch)).await?;
        Ok(Envelope::new(self.view(&batch).await?))
    }

    /// Its items in their order.
    #[oai(path = "/batch/:batch_id/items", method = "get")]
    async fn items(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
        /// Only in this status.
        status: Query<Option<Lenient<ItemStatus>>>,
        /// How many; 100 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<Lenient<i64>>>,
        /// The `nextCursor` of the page before.
        #[oai(validator(pattern = "^[0-9]{0,18}$"))]
        cursor: Query<Option<Lenient<String>>>,
    ) -> Result<Json<Paged<ItemView>>, Rejection> {
        let mut params = Params::default();
        let status = read_item_status(&mut params, status.0);
        let limit = params.number("limit", limit.0, 1, 1_000, 100);
        let after = params.read("cursor", cursor.0, "a nextCursor").filter(|cursor| !cursor.is_empty());
        let after = after.and_then(|cursor| {
            let digits = cursor.len() <= 18 && cursor.bytes().all(|b| b.is_ascii_digit());
            let after = cursor.parse::<i64>().ok().filter(|_| digits);
            if after.is_none() {
                params.bad("cursor", "must be a nextCursor");
            }
            after
        });
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let limit = usize::try_from(limit).unwrap_or(1);
        let page = batches::items(self.app.db.read(), id(&batch_id)?, status, after, limit)
            .await?
            .ok_or_else(|| Refusal::not_found("batch"))?;
        let plain = caller(request)?.0.permits(Permission::ContactsRead);
        let data = page.rows.into_iter().map(|item| ItemView::of(item, plain)).collect();
        Ok(Json(Paged { ok: true, data, meta: Cursor { next_cursor: page.next.map(|next| next.to_string()) } }))
    }

    /// Its items as a CSV file.
    #[oai(path = "/batch/:batch_id/items.csv", method = "get")]
    async fn items_csv(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
        /// Only in this status.
        status: Query<Option<Lenient<ItemStatus>>>,
    ) -> Result<CsvFile, Rejection> {
        let mut params = Params::default();
        let status = read_item_status(&mut params, status.0);
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let id = self.find(&batch_id).await?.summary.id;
        let plain = caller(request)?.0.permits(Permission::ContactsRead);
        let body = export::items(self.app.clone(), id, status, plain);
        Ok(CsvFile::Ok(CsvStream(body), format!("attachment; filename=\"batch-{id}.csv\"")))
    }

    /// The rows of an import that failed, as a CSV file: the columns of the file that came and one of reasons, to be mended
    /// and imported again. It tells what the file told of people, so it needs `contacts:read`.
    #[oai(path = "/batch/:batch_id/failed-rows.csv", method = "get")]
    async fn failed_rows_csv(
        &self,
        #[oai(scope = "guard::BATCHES_READ", scope = "guard::CONTACTS_READ")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
    ) -> Result<CsvFile, Rejection> {
        let batch = self.find(&batch_id).await?;
        if batch.summary.batch_type != batches::BatchType::Import {
            return Err(Refusal::new(Kind::NotFound, "only a batch of type IMPORT has rows").into());
        }
        let columns = batch.config["columns"].as_array().into_iter().flatten();
        let mut columns: Vec<String> = columns.filter_map(|name| name.as_str().map(str::to_owned)).collect();
        if columns.is_empty() {
            columns.push("phone".into());
        }
        let id = batch.summary.id;
        let body = export::failed_rows(self.app.clone(), id, columns);
        Ok(CsvFile::Ok(CsvStream(body), format!("attachment; filename=\"batch-{id}-failed-rows.csv\"")))
    }

    /// The rendered messages of its first `n` recipients.
    #[oai(path = "/batch/:batch_id/preview", method = "get")]
    async fn preview(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
        /// How many; 5 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        n: Query<Option<Lenient<i64>>>,
    ) -> Result<Json<Envelope<Vec<PreviewView>>>, Rejection> {
        let mut params = Params::default();
        let n = params.number("n", n.0, 1, 100, 5);
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let n = usize::try_from(n).unwrap_or(1);
        let previews = batches::preview(self.app.db.read(), id(&batch_id)?, n)
            .await?
            .ok_or_else(|| Refusal::not_found("batch"))?;
        Ok(Envelope::new(previews.into_iter().map(PreviewView::from).collect()))
    }
}

pub(super) fn filter(
    params: &mut Params,
    batch_type: Option<Lenient<BatchType>>,
    status: Option<Lenient<BatchStatus>>,
) -> Filter {
    let statuses = "one of PENDING, PROCESSING, COMPLETED, FAILED, CANCELLED";
    Filter {
        batch_type: params.read("type", batch_type, "one of SEND, IMPORT, TAG, DELETE").map(Into::into),
        status: params.read("status", status, statuses).map(Into::into),
        ..Filter::default()
    }
}

pub(super) fn read_item_status(
    params: &mut Params,
    status: Option<Lenient<ItemStatus>>,
) -> Option<batches::ItemStatus> {
    let all = batches::ItemStatus::ALL.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ");
    params.read("status", status, &format!("one of {all}")).map(Into::into)
}
