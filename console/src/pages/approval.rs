//! The approval of a large send, by somebody who did not ask for it: what they look at, and their two buttons.

use super::batch_of;
use crate::fault::Fault;
use crate::guard::{Context, redirect};
use domain::audit_log::{self, Action, MAX_REASON};
use domain::batches::{self, Batch, ControlError, Preview};
use domain::users::Permission;
use domain::{UserId, db};
use poem::Response;
use std::collections::HashMap;

/// How many recipients' messages a second person is shown.
const SHOWN: usize = 3;

/// Where an approval stands, as a batch's page shows it.
pub(super) struct Shown {
    /// Whether the reader is the second person who decides.
    pub(super) decides: bool,
    /// Whether the reader asked for it.
    pub(super) own: bool,
    /// What some of the recipients would read.
    pub(super) previews: Vec<Preview>,
    /// Who decided and what they said, once somebody has.
    pub(super) decided: Option<Decided>,
}

/// What was decided.
pub(super) struct Decided {
    /// The name of who decided; empty where only the number is known.
    pub(super) by: String,
    pub(super) decision: batches::Decision,
}

/// What there is to be said of a batch's approval; `None`: nobody was asked.
pub(super) async fn shown(context: &Context, batch: &Batch) -> Result<Option<Shown>, Fault> {
    if batch.approval.is_none() {
        return Ok(None);
    }
    let (db, viewer) = (context.app.db.read(), context.viewer()?);
    let own = batch.created_by == viewer.user.id;
    let decides = batch.awaits_approval() && !own && viewer.may(Permission::BatchesApprove);
    let previews = match decides {
        true => batches::preview(db, batch.summary.id, SHOWN).await?.unwrap_or_default(),
        false => Vec::new(),
    };
    let decided = match batches::decision(db, batch.summary.id).await? {
        Some(decision) => {
            let names: HashMap<UserId, String> = match viewer.may(Permission::UsersRead) {
                true => domain::users::names(db, &[decision.by]).await?,
                false => HashMap::new(),
            };
            Some(Decided { by: names.get(&decision.by).cloned().unwrap_or_default(), decision })
        }
        None => None,
    };
    Ok(Some(Shown { decides, own, previews, decided }))
}

/// `POST /console/batches/{id}/approve`.
pub(crate) async fn approve(context: Context) -> Result<Response, Fault> {
    decide(&context, true).await
}

/// `POST /console/batches/{id}/refuse`.
pub(crate) async fn refuse(context: Context) -> Result<Response, Fault> {
    decide(&context, false).await
}

async fn decide(context: &Context, approves: bool) -> Result<Response, Fault> {
    let id = batch_of(context).await?.summary.id;
    let reason = context.form("reason").map(str::trim).filter(|reason| !reason.is_empty());
    if reason.is_none_or(|reason| reason.chars().count() > MAX_REASON) && (reason.is_some() || !approves) {
        return Err(Fault::Bad("bad-reason", MAX_REASON.to_string()));
    }
    let (app, user, now) = (&context.app, context.viewer()?.user.id, context.app.clock.now());
    let tx = app.db.begin().await?;
    let (step, action) = match (approves, reason) {
        (true, reason) => (batches::approve(&tx, now, id, user, reason).await, Action::BatchApprove),
        (false, reason) => (batches::refuse(&tx, now, id, user, reason.unwrap_or_default()).await, Action::BatchRefuse),
    };
    let step = step.map_err(|error: ControlError| Fault::from(error))?;
    audit_log::record_for(&tx, now, &context.origin(), action, Some(id), reason).await?;
    db::commit(tx, faults::Commit::Steer).await?;
    app.after.commit(step);
    tracing::info!(batch = id.0, user = user.0, action = action.as_str(), "a send was decided on in the console");
    Ok(redirect(&format!("/console/batches/{id}?done={}", if approves { "approved" } else { "refused" })))
}
