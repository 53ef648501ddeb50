//! What of a batch is looked at and steered in detail: why its items failed or wait, and a cancel that can be taken back.

use super::envelope::{Envelope, Rejection};
use super::routes::{Token, caller, filter, id, unsteered};
use super::wire::{BatchOperation, BatchStatus, BatchType, ItemView, SendPlanView};
use crate::App;
use crate::foundation::guard;
use crate::foundation::origin;
use crate::foundation::param::{Lenient, Params, PathId, Seq};
use crate::foundation::refusal::{Kind, Refusal};
use crate::foundation::time::Time;
use domain::audit_log::{self, Action};
use domain::batches::{self, Cause, Day, Hold, PaceSample};
use domain::db;
use domain::users::Permission;
use faults::Commit;
use poem::Request;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// Why items failed, or are in doubt.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct CauseView {
    /// The stable word of their last error: what `POST /batch/{id}/retry?code=` takes.
    code: String,
    /// One of their errors, for people.
    sample: String,
    /// How many they are.
    #[oai(validator(minimum(value = "1")))]
    count: i64,
    /// When the last of them failed; null while nothing of it is decided.
    last_at: Option<Time>,
}

impl From<Cause> for CauseView {
    fn from(cause: Cause) -> Self {
        let Cause { code, sample, count, last_at } = cause;
        Self { code, sample, count, last_at: last_at.map(Time) }
    }
}

/// Something that an item waits for.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct WaitView {
    /// A stable word.
    code: String,
    /// For people.
    message: String,
    /// When it ends by itself or, of `worker` and `no_worker`, since when it is so. Absent where nothing can be said.
    at: Option<Time>,
    /// The worker that has the item's part of the batch. Absent where none has.
    worker: Option<String>,
}

impl From<Hold> for WaitView {
    fn from(hold: Hold) -> Self {
        let (code, message, at) = (hold.code().into(), hold.message().into(), hold.at().map(Time));
        let worker = if let Hold::AtWork { worker, .. } = hold { Some(worker) } else { None };
        Self { code, message, at, worker }
    }
}

/// One recipient, row or contact of a batch, and what it waits for.
#[derive(Debug, Object)]
struct ItemDetail {
    /// The item.
    #[oai(flatten)]
    item: ItemView,
    /// What it waits for, what holds it longest first; empty for one that is decided.
    waits: Vec<WaitView>,
}

/// A cancel that can be taken back.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct Cancellation {
    /// When the batch is cancelled; null: it is not to be.
    cancel_at: Option<Time>,
}

/// How fast a batch went for a while.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct PaceView {
    /// When the while began.
    from: Time,
    /// When it ended.
    to: Time,
    /// How many items were decided from the batch's start to its end.
    #[oai(validator(minimum(value = "0")))]
    decided: i64,
    /// How many were decided a minute, in the while.
    #[oai(validator(minimum(value = "0")))]
    per_minute: i64,
    /// How many a minute it was allowed at its end; null where nothing of ours limited it.
    #[oai(validator(minimum(value = "0")))]
    may_per_minute: Option<i64>,
}

impl From<PaceSample> for PaceView {
    fn from(sample: PaceSample) -> Self {
        let PaceSample { from, to, decided, per_minute, may: may_per_minute } = sample;
        Self { from: Time(from), to: Time(to), decided, per_minute, may_per_minute }
    }
}

/// The operations that were accepted on one day of UTC, and what became of their items since.
#[derive(Debug, Object)]
struct DayView {
    /// The day.
    #[oai(validator(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    date: String,
    /// How many operations.
    #[oai(validator(minimum(value = "0")))]
    total: i64,
    /// Items that succeeded.
    #[oai(validator(minimum(value = "0")))]
    success: i64,
    /// Items that failed.
    #[oai(validator(minimum(value = "0")))]
    failed: i64,
    /// Items that were skipped.
    #[oai(validator(minimum(value = "0")))]
    skipped: i64,
}

impl From<Day> for DayView {
    fn from(day: Day) -> Self {
        let Day { batches: total, succeeded: success, failed, skipped, .. } = day;
        Self { date: day.date(), total, success, failed, skipped }
    }
}

pub(crate) struct DetailRoutes {
    pub(super) app: Arc<App>,
}

/// Operations over many contacts.
#[OpenApi]
impl DetailRoutes {
    /// Statistics by day, the oldest first, the days without an operation among them.
    #[oai(path = "/batch/stats/days", method = "get")]
    async fn days(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// Only of this type.
        #[oai(name = "type")]
        batch_type: Query<Option<Lenient<BatchType>>>,
        /// Only in this status.
        status: Query<Option<Lenient<BatchStatus>>>,
        /// How many days, up to today; 30 if it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "366")))]
        days: Query<Option<Lenient<i64>>>,
    ) -> Result<Json<Envelope<Vec<DayView>>>, Rejection> {
        let mut params = Params::default();
        let filter = filter(&mut params, batch_type.0, status.0);
        let days = params.number("days", days.0, 1, 366, 30);
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let days = u16::try_from(days).unwrap_or(1);
        let found = batches::days(self.app.db.read(), self.app.clock.now(), &filter, days).await?;
        Ok(Envelope::new(found.into_iter().map(DayView::from).collect()))
    }

    /// Why its items failed or are in doubt, the most frequent cause first; at most 100.
    #[oai(path = "/batch/:batch_id/causes", method = "get")]
    async fn causes(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
    ) -> Result<Json<Envelope<Vec<CauseView>>>, Rejection> {
        let (db, id) = (self.app.db.read(), id(&batch_id)?);
        batches::get(db, id).await?.ok_or_else(|| Refusal::not_found("batch"))?;
        let causes = batches::causes(db, id).await?;
        Ok(Envelope::new(causes.into_iter().map(CauseView::from).collect()))
    }

    /// How fast it went, from its start on, the oldest first; of at most 1,000 spans of time, which are the longer the older it
    /// is: 10 seconds in its first ten minutes, an hour after its first day.
    #[oai(path = "/batch/:batch_id/pace", method = "get")]
    async fn pace(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
    ) -> Result<Json<Envelope<Vec<PaceView>>>, Rejection> {
        let (db, now) = (self.app.db.read(), self.app.clock.now());
        let batch = batches::get(db, id(&batch_id)?).await?.ok_or_else(|| Refusal::not_found("batch"))?;
        let samples = batches::pace_samples(db, now, &batch, self.app.settings.sender_rate_per_minute).await?;
        Ok(Envelope::new(samples.into_iter().map(PaceView::from).collect()))
    }

    /// What is left of a send, and when it ends, as a dry run tells it of one that is not made; with `ratePerMinute`, when it
    /// would end at that pace. Who is left out is decided when their turn comes: `excluded` and `samples` are empty. 409 for
    /// what sends nothing.
    #[oai(path = "/batch/:batch_id/forecast", method = "get")]
    async fn forecast(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
        /// What if this were its pace?
        #[oai(name = "ratePerMinute", validator(minimum(value = "1"), maximum(value = "600000")))]
        rate_per_minute: Query<Option<Lenient<i64>>>,
    ) -> Result<Json<Envelope<SendPlanView>>, Rejection> {
        let mut params = Params::default();
        let rate = params.number_if_given("ratePerMinute", rate_per_minute.0, 1, 600_000);
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let rate = rate.and_then(|rate| u32::try_from(rate).ok());
        let (db, now) = (self.app.db.read(), self.app.clock.now());
        let batch = batches::get(db, id(&batch_id)?).await?.ok_or_else(|| Refusal::not_found("batch"))?;
        let plan = batches::forecast(db, now, &batch, rate, self.app.settings.sender_rate_per_minute).await?;
        let plan = plan.ok_or_else(|| Refusal::new(Kind::Conflict, "only a SEND batch has a forecast"))?;
        Ok(Envelope::new(SendPlanView::of(plan, false)))
    }

    /// One of its items, and why it is not done yet: by the rules that the claims of workers go by.
    #[oai(path = "/batch/:batch_id/items/:seq", method = "get")]
    async fn item(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
        /// Its place in the batch, from 0.
        seq: Path<Seq>,
    ) -> Result<Json<Envelope<ItemDetail>>, Rejection> {
        let (db, id, now) = (self.app.db.read(), id(&batch_id)?, self.app.clock.now());
        let batch = batches::get(db, id).await?.ok_or_else(|| Refusal::not_found("batch"))?;
        let missing = || Refusal::not_found("item of this batch");
        let seq = seq.parse::<i64>().map_err(|_| missing())?;
        let item = batches::item(db, id, seq).await?.ok_or_else(missing)?;
        let sender = batches::sender_paces(db, self.app.settings.sender_rate_per_minute).await?.of(&batch);
        let holds = batches::holds(db, now, &batch, &sender, &item).await?;
        let plain = caller(request)?.0.permits(Permission::ContactsRead);
        let waits = holds.into_iter().map(WaitView::from).collect();
        Ok(Envelope::new(ItemDetail { item: ItemView::of(item, plain), waits }))
    }

    /// When it is to be cancelled.
    #[oai(path = "/batch/:batch_id/cancellation", method = "get")]
    async fn cancellation(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
    ) -> Result<Json<Envelope<Cancellation>>, Rejection> {
        let (db, id) = (self.app.db.read(), id(&batch_id)?);
        batches::get(db, id).await?.ok_or_else(|| Refusal::not_found("batch"))?;
        let cancel_at = batches::cancel_at(db, id).await?.map(Time);
        Ok(Envelope::new(Cancellation { cancel_at }))
    }

    /// Cancels it in 10 seconds, unless that is taken back. Until then it goes on. One that is to start sooner is cancelled at
    /// once.
    #[oai(path = "/batch/:batch_id/cancellation", method = "put")]
    async fn cancel_later(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
    ) -> Result<Json<Envelope<Cancellation>>, Rejection> {
        let (app, id, user) = (&self.app, id(&batch_id)?, caller(request)?.0.user_id);
        let by = origin::of_user(request, user);
        let tx = app.db.begin().await?;
        let now = app.clock.now();
        let step = batches::cancel_later(&tx, now, id, user).await.map_err(unsteered)?;
        audit_log::record(&tx, now, &by, Action::BatchCancelAsk, Some(id)).await?;
        db::commit(tx, Commit::Steer).await?;
        let asked = app.after(step);
        app.after.ring_at(asked.job.kind.lane(), asked.job, asked.at);
        tracing::info!(batch = id.0, user = user.0, "a batch is to be cancelled");
        Ok(Envelope::new(Cancellation { cancel_at: Some(Time(asked.at)) }))
    }

    /// Takes it back that it is to be cancelled. 409 once it was.
    #[oai(path = "/batch/:batch_id/cancellation", method = "delete")]
    async fn keep(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
    ) -> Result<Json<Envelope<BatchOperation>>, Rejection> {
        let (app, id, user) = (&self.app, id(&batch_id)?, caller(request)?.0.user_id);
        let by = origin::of_user(request, user);
        let tx = app.db.begin().await?;
        let now = app.clock.now();
        let step = batches::keep(&tx, now, id).await.map_err(unsteered)?;
        let senders = batches::sender_paces(&tx, app.settings.sender_rate_per_minute).await?;
        audit_log::record(&tx, now, &by, Action::BatchKeep, Some(id)).await?;
        db::commit(tx, Commit::Steer).await?;
        let batch = app.after(step);
        tracing::info!(batch = id.0, user = user.0, "a batch is not to be cancelled after all");
        Ok(Envelope::new(BatchOperation::of(&batch, now, &senders)))
    }
}
