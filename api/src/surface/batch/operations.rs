//! What the paths of operations share, whichever target they are for: `/queue/operations` and `/batch/acts`.

use super::envelope::{Cursor, Envelope, Paged};
use super::routes::caller;
use crate::App;
use crate::foundation::idempotency::KeyHold;
use crate::foundation::origin;
use crate::foundation::param::{Lenient, Params};
use crate::foundation::refusal::{Kind, Refusal};
use domain::audit_log::{self, Action};
use domain::model::OperationTarget;
use domain::queue::operations::{self, Halt, HaltError, NewOperation, Operation, OperationItem};
use domain::{OperationId, UserId, db};
use faults::Commit;
use poem::Request;
use poem_openapi::payload::Json;
use poem_openapi::types::{ParseFromJSON, ToJSON, Type};

/// Operations on one target, as a surface's paths are for.
#[derive(Clone, Copy)]
pub(super) struct OperationsOn {
    pub(super) target: OperationTarget,
    /// What one is called in a refusal.
    pub(super) called: &'static str,
    /// What it is done to, in the plural.
    pub(super) those: &'static str,
}

/// An operation as paths for one target show it.
pub(super) trait View: Type + ParseFromJSON + ToJSON {
    /// `None`: it is on another target.
    fn of(operation: Operation) -> Option<Self>;
}

/// How many rows a page has, and behind which number it begins.
type Place = (Option<Lenient<i64>>, Option<Lenient<String>>);

fn page((limit, cursor): Place) -> Result<(usize, Option<i64>), Refusal> {
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

impl OperationsOn {
    fn id(self, text: &str) -> Result<OperationId, Refusal> {
        text.parse().map_err(|_| Refusal::not_found(self.called))
    }

    /// Refuses what others match by now than the client was told of.
    pub(super) fn expect(self, expected: Option<u32>, matched: i64) -> Result<(), Refusal> {
        match expected {
            Some(expected) if i64::from(expected) != matched => {
                let message = format!("{matched} {} match by now, not {expected}: look again", self.those);
                Err(Refusal::new(Kind::Conflict, message))
            }
            _ => Ok(()),
        }
    }

    /// Makes one, and remembers the answer with it.
    pub(super) async fn create<V: View>(
        self,
        app: &App,
        new: &NewOperation,
        user: UserId,
        hold: &KeyHold,
    ) -> Result<String, Refusal> {
        let now = app.clock.now();
        let tx = app.db.begin().await?;
        let step = operations::create(&tx, now, new, user).await?;
        audit_log::record(&tx, now, hold.origin(), Action::OperationCreate, Some(step.value.id)).await?;
        let view = V::of(step.value.clone()).ok_or_else(Refusal::internal)?;
        let body = Envelope::new(view).to_json_string();
        hold.complete(&tx, 202, &body, None).await?;
        db::commit(tx, Commit::Steer).await?;
        let operation = app.after(step);
        let (target, matched) = (self.target.as_str(), operation.matched);
        tracing::info!(operation = operation.id.0, target, matched, "an operation was asked for");
        Ok(body)
    }

    /// Takes one back, or stops it.
    pub(super) async fn halt<V: View>(
        self,
        app: &App,
        request: &Request,
        text: &str,
        how: Halt,
    ) -> Result<Json<Envelope<V>>, Refusal> {
        let by = origin::of_user(request, caller(request)?.0.user_id);
        let (id, now) = (self.id(text)?, app.clock.now());
        let tx = app.db.begin().await?;
        let halted = operations::halt(&tx, now, self.target, id, how).await.map_err(|error| match error {
            HaltError::NotFound => Refusal::not_found(self.called),
            HaltError::Conflict(message) => Refusal::new(Kind::Conflict, message),
            HaltError::Database(error) => error.into(),
        })?;
        audit_log::record(&tx, now, &by, Action::OperationStop, Some(id)).await?;
        db::commit(tx, Commit::Steer).await?;
        V::of(halted).map(Envelope::new).ok_or_else(Refusal::internal)
    }

    /// One by its number.
    pub(super) async fn get<V: View>(self, app: &App, text: &str) -> Result<Json<Envelope<V>>, Refusal> {
        let found = self.find(app, text).await?;
        V::of(found).map(Envelope::new).ok_or_else(|| Refusal::not_found(self.called))
    }

    async fn find(self, app: &App, text: &str) -> Result<Operation, Refusal> {
        let found = operations::get(app.db.read(), self.target, self.id(text)?).await?;
        found.ok_or_else(|| Refusal::not_found(self.called))
    }

    /// A page of them, the newest first.
    pub(super) async fn list<V: View>(self, app: &App, place: Place) -> Result<Json<Paged<V>>, Refusal> {
        let (limit, before) = page(place)?;
        let before = before.map(OperationId);
        let mut found = operations::operations(app.db.read(), &[self.target], before, limit + 1).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found.last().filter(|_| more).map(|last| last.id.to_string());
        let data = found.into_iter().filter_map(V::of).collect();
        Ok(Json(Paged { ok: true, data, meta: Cursor { next_cursor } }))
    }

    /// A page of what one did.
    pub(super) async fn items<V: From<OperationItem> + Type + ParseFromJSON + ToJSON>(
        self,
        app: &App,
        text: &str,
        place: Place,
    ) -> Result<Json<Paged<V>>, Refusal> {
        let (limit, after) = page(place)?;
        let id = self.find(app, text).await?.id;
        let mut found = operations::operation_items(app.db.read(), id, after.unwrap_or(0), limit + 1).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found.last().filter(|_| more).map(|last| last.target.to_string());
        let data = found.into_iter().map(V::from).collect();
        Ok(Json(Paged { ok: true, data, meta: Cursor { next_cursor } }))
    }
}
