//! From a form to an accepted batch, once, whatever the browser repeats.

use crate::fault::Fault;
use crate::guard::{Context, redirect};
use backplane::Limit;
use domain::audit_log::{self, Action};
use domain::batches::{Batch, BatchType, ContactRefs, CreateError, Staged};
use domain::db::Tx;
use domain::idempotency::{self, KeyState};
use domain::{Step, Timestamp, UserId, db};
use faults::Commit;
use poem::Response;
use poem::http::StatusCode;
use sea_orm::DbErr;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long after the button what is to start now starts, so that whoever pressed too soon can take it back.
pub(super) const UNDO: Duration = Duration::from_secs(10);

/// What a form says, in short: the button of a forecast does what was checked, and nothing else.
pub(super) fn seal<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for text in parts {
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    hex::encode(hash.finalize())
}

/// A name for a form that is made now.
pub(super) fn fresh() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// Writes all of a long list but its last part: the batch's own transaction would take too long for that.
pub(super) async fn stage(
    context: &Context,
    contacts: &ContactRefs,
    batch_type: BatchType,
    staged: &mut Staged,
) -> Result<(), CreateError> {
    let app = &context.app;
    while let Some(part) = staged.next_part(contacts, batch_type)? {
        let tx = app.db.begin().await?;
        staged.write(&tx, app.clock.now(), &part).await?;
        db::commit(tx, Commit::Create).await?;
    }
    Ok(())
}

/// What became of a form.
pub(super) enum Made<E> {
    /// Its batch was accepted, now or before: the way there.
    Accepted(Response),
    /// The domain refused it.
    Refused(E),
}

/// Makes a batch once, and leads to it, as [`once_and`] does.
pub(super) async fn once<W, E>(context: &Context, name: &str, seal: &str, work: W) -> Result<Made<E>, Fault>
where
    W: AsyncFnOnce(Timestamp, UserId) -> Result<(Tx, Step<Batch>), E>,
    E: From<DbErr>,
{
    once_and(context, name, seal, "sent", work).await
}

/// Makes a batch once, and leads to it, where `told` is the word of the notice on top. `name` is the form's, `seal` what it says; `work` gives the transaction in which the
/// batch was made, and the batch.
pub(super) async fn once_and<W, E>(
    context: &Context,
    name: &str,
    seal: &str,
    told: &str,
    work: W,
) -> Result<Made<E>, Fault>
where
    W: AsyncFnOnce(Timestamp, UserId) -> Result<(Tx, Step<Batch>), E>,
    E: From<DbErr>,
{
    let (app, user) = (&context.app, context.viewer()?.user.id);
    let limit = Limit { per_minute: app.settings.batch_per_minute };
    let decision = app.backplane.limiter.check(&format!("batch:{user}"), limit).await;
    if !decision.allowed {
        return Err(Fault::Limited(decision.reset_after.as_secs().max(1)));
    }
    if name.len() != 32 {
        return Err(Fault::Bad("bad-form", String::new()));
    }
    let (now, key, owner) = (app.clock.now(), format!("console:{name}"), fresh());
    let held = match idempotency::begin(app.db.write(), now, user, &key, seal, &owner).await? {
        KeyState::Proceed(held) => held,
        KeyState::Replay { body, .. } => return Ok(Made::Accepted(redirect(&body))),
        KeyState::Forgotten | KeyState::Mismatch | KeyState::InProgress => {
            return Err(Fault::Conflict(context.ui.t("send-twice")));
        }
    };
    let done = async {
        let (tx, step) = work(now, user).await?;
        let to = format!("/console/batches/{}?done={told}", step.value.summary.id);
        audit_log::record(&tx, now, &context.origin(), Action::BatchCreate, Some(step.value.summary.id)).await?;
        if !idempotency::complete(&tx, &held, StatusCode::SEE_OTHER.as_u16(), &to, None).await? {
            // It took so long that another try of the same form took over.
            return Err(E::from(DbErr::RecordNotUpdated));
        }
        db::commit(tx, Commit::Create).await?;
        Ok::<_, E>((to, step))
    };
    match done.await {
        Ok((to, step)) => {
            let batch = app.after.commit(step);
            let (id, total) = (batch.summary.id.0, batch.summary.total);
            tracing::info!(batch = id, user = user.0, total, "a batch was accepted");
            Ok(Made::Accepted(redirect(&to)))
        }
        Err(error) => {
            idempotency::abandon(app.db.write(), &held).await?;
            Ok(Made::Refused(error))
        }
    }
}
