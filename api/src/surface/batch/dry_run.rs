//! Dry runs: what a batch would do, told with a 200 and nothing written, wherever `dryRun` stands: in the query, in the
//! body or in a form.

use super::create::{Accepted, AskedSend, blocking, each_once, refuse};
use super::envelope::{Envelope, Rejection};
use super::wire::{BatchOperation, SendPlanView, SetPlanView};
use crate::App;
use crate::foundation::body::JsonText;
use crate::foundation::fields::Fields;
use crate::foundation::param::{Lenient, Params};
use crate::foundation::refusal::Refusal;
use bytes::Bytes;
use domain::batches::{self, ContactRefs, NewTag};
use poem_openapi::ApiResponse;
use poem_openapi::payload::Json;

/// The field, the parameter and the form's field.
pub(super) const DRY_RUN: &str = "dryRun";

/// What became of a send.
#[derive(ApiResponse)]
pub(super) enum Sent {
    /// A dry run: what it would do. Nothing was written.
    #[oai(status = 200)]
    DryRun(Json<Envelope<SendPlanView>>),
    /// Accepted: the operation is durable, and none of its work is done.
    #[oai(status = 202)]
    Accepted(
        JsonText<Envelope<BatchOperation>>,
        /// `true` when an Idempotency-Key's first answer is repeated.
        #[oai(header = "Idempotency-Replayed")]
        Option<String>,
    ),
}

/// What became of a change of tags or of a deletion.
#[derive(ApiResponse)]
pub(super) enum Changed {
    /// A dry run: what it would do. Nothing was written.
    #[oai(status = 200)]
    DryRun(Json<Envelope<SetPlanView>>),
    /// Accepted: the operation is durable, and none of its work is done.
    #[oai(status = 202)]
    Accepted(
        JsonText<Envelope<BatchOperation>>,
        /// `true` when an Idempotency-Key's first answer is repeated.
        #[oai(header = "Idempotency-Replayed")]
        Option<String>,
    ),
}

impl From<Accepted> for Sent {
    fn from(accepted: Accepted) -> Self {
        let Accepted::Accepted(body, replayed) = accepted;
        Self::Accepted(body, replayed)
    }
}

impl From<Accepted> for Changed {
    fn from(accepted: Accepted) -> Self {
        let Accepted::Accepted(body, replayed) = accepted;
        Self::Accepted(body, replayed)
    }
}

/// Whether a request is a dry run, known before anything else is: not even its `Idempotency-Key` is taken then. `said` is
/// what its body says.
pub(super) fn is_asked(query: Option<Lenient<bool>>, said: Option<bool>) -> Result<bool, Refusal> {
    let mut params = Params::default();
    let query = params.read(DRY_RUN, query, "true or false");
    match (query, said) {
        _ if !params.errors.is_empty() => Err(Refusal::invalid(params.errors)),
        (Some(query), Some(said)) if query != said => {
            Err(Refusal::field(DRY_RUN, format!("is {query} in the query and {said} in the body: which is meant?")))
        }
        (query, said) => Ok(query.or(said).unwrap_or(false)),
    }
}

/// What a JSON body says of it. A body that cannot be read says nothing: whoever reads it says why.
pub(super) async fn said(body: &Bytes) -> Result<Option<bool>, Refusal> {
    let body = body.clone();
    blocking(move || {
        let Ok(fields) = Fields::parse(&body) else { return Ok(None) };
        Ok(fields.raw(DRY_RUN).and_then(|raw| serde_json::from_str(raw.get()).ok()))
    })
    .await
}

/// Tells what a send would do.
pub(super) async fn send(
    app: &App,
    read: impl FnOnce() -> Result<AskedSend, Refusal> + Send + 'static,
    whole: bool,
) -> Result<Sent, Rejection> {
    let new = each_once(app, blocking(read).await?.settled(app).await?).await?;
    let plan = batches::plan_send(app.db.read(), app.clock.now(), &new, app.settings.sender_rate_per_minute).await;
    Ok(Sent::DryRun(Envelope::new(SendPlanView::of(plan.map_err(refuse)?, whole))))
}

/// Tells what a change of tags would do.
pub(super) async fn tags(
    app: &App,
    read: impl FnOnce() -> Result<NewTag, Refusal> + Send + 'static,
    whole: bool,
) -> Result<Changed, Rejection> {
    let new = each_once(app, blocking(read).await?).await?;
    let plan = batches::plan_tag(app.db.read(), &new).await?;
    Ok(Changed::DryRun(Envelope::new(SetPlanView::of(plan, whole))))
}

/// Tells what a deletion would do.
pub(super) async fn delete(
    app: &App,
    read: impl FnOnce() -> Result<ContactRefs, Refusal> + Send + 'static,
    whole: bool,
) -> Result<Changed, Rejection> {
    let contacts = each_once(app, blocking(read).await?).await?;
    let plan = batches::plan_delete(app.db.read(), &contacts).await?;
    Ok(Changed::DryRun(Envelope::new(SetPlanView::of(plan, whole))))
}
