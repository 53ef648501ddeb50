//! The approval of large sends: by somebody who did not ask for them.

use super::envelope::{Envelope, Rejection};
use super::routes::{Token, caller, id, unsteered};
use super::wire::{Approval, ApproveRequest, BatchOperation, RefuseRequest};
use crate::App;
use crate::foundation::body::SmallBody;
use crate::foundation::fields::Fields;
use crate::foundation::guard;
use crate::foundation::origin;
use crate::foundation::param::PathId;
use crate::foundation::refusal::{Kind, Refusal};
use crate::foundation::time::Time;
use domain::audit_log::{self, Action, MAX_REASON};
use domain::batches::{self, Batch};
use domain::db;
use faults::Commit;
use poem::Request;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// Where the approval of a send stands, and who decided.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct ApprovalView {
    /// Where it stands.
    state: Approval,
    /// How many recipients it names.
    #[oai(validator(minimum(value = "0")))]
    recipients: i64,
    /// Who asked for it: the user's number.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    asked_by: String,
    /// When.
    asked_at: Time,
    /// Who decided: the user's number; null while nobody has.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    decided_by: Option<String>,
    /// When; null while nobody has.
    decided_at: Option<Time>,
    /// Why, as they said; null where they said nothing.
    reason: Option<String>,
}

pub(crate) struct ApprovalRoutes {
    pub(super) app: Arc<App>,
}

/// What is decided.
enum Verdict {
    Approve(Option<String>),
    Refuse(String),
}

impl ApprovalRoutes {
    async fn decide(&self, request: &Request, batch_id: &str, verdict: Verdict) -> Result<BatchOperation, Refusal> {
        let (app, id, user) = (&self.app, id(batch_id)?, caller(request)?.0.user_id);
        let by = origin::of_user(request, user);
        let tx = app.db.begin().await?;
        let now = app.clock.now();
        let (step, action, reason) = match verdict {
            Verdict::Approve(reason) => {
                let step = batches::approve(&tx, now, id, user, reason.as_deref()).await;
                (step, Action::BatchApprove, reason)
            }
            Verdict::Refuse(reason) => {
                let step = batches::refuse(&tx, now, id, user, &reason).await;
                (step, Action::BatchRefuse, Some(reason))
            }
        };
        let step = step.map_err(unsteered)?;
        let senders = batches::sender_paces(&tx, app.settings.sender_rate_per_minute).await?;
        audit_log::record_for(&tx, now, &by, action, Some(id), reason.as_deref()).await?;
        db::commit(tx, Commit::Steer).await?;
        let batch: Batch = app.after(step);
        tracing::info!(batch = id.0, user = user.0, action = action.as_str(), "a send was decided on");
        Ok(BatchOperation::of(&batch, now, &senders))
    }
}

/// Operations over many contacts.
#[OpenApi]
impl ApprovalRoutes {
    /// Where its approval stands, and who decided. 404 where nobody was asked.
    #[oai(path = "/batch/:batch_id/approval", method = "get")]
    async fn approval(
        &self,
        #[oai(scope = "guard::BATCHES_READ")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
    ) -> Result<Json<Envelope<ApprovalView>>, Rejection> {
        let (db, id) = (self.app.db.read(), id(&batch_id)?);
        let batch = batches::get(db, id).await?.ok_or_else(|| Refusal::not_found("batch"))?;
        let missing = || Refusal::new(Kind::NotFound, "nobody has to approve this batch");
        let state = batch.approval.ok_or_else(missing)?.into();
        let (decided_by, decided_at, reason) = match batches::decision(db, id).await? {
            Some(decision) => (Some(decision.by.to_string()), Some(Time(decision.at)), decision.reason),
            None => (None, None, None),
        };
        Ok(Envelope::new(ApprovalView {
            state,
            recipients: batch.summary.total,
            asked_by: batch.created_by.to_string(),
            asked_at: batch.summary.created_at.into(),
            decided_by,
            decided_at,
            reason,
        }))
    }

    /// Lets a send go that waits for a second person: it starts now, or at its `scheduleAt`. 403 for who asked for it.
    #[oai(path = "/batch/:batch_id/approve", method = "post")]
    async fn approve(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_APPROVE")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
        body: SmallBody<ApproveRequest>,
    ) -> Result<Json<Envelope<BatchOperation>>, Rejection> {
        let mut f = Fields::parse(&body.bytes)?;
        let reason = f.text("reason", 1..=MAX_REASON);
        f.finish()?;
        Ok(Envelope::new(self.decide(request, &batch_id, Verdict::Approve(reason)).await?))
    }

    /// Refuses a send that waits for a second person: it is cancelled. 403 for who asked for it.
    #[oai(path = "/batch/:batch_id/refuse", method = "post")]
    async fn refuse(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_APPROVE")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
        body: SmallBody<RefuseRequest>,
    ) -> Result<Json<Envelope<BatchOperation>>, Rejection> {
        let mut f = Fields::parse(&body.bytes)?;
        let reason = f.required_text("reason", 1..=MAX_REASON);
        f.finish()?;
        Ok(Envelope::new(self.decide(request, &batch_id, Verdict::Refuse(reason)).await?))
    }
}
