//! What makes work: import, send, tags, delete, and retry. Each is done once under an `Idempotency-Key`, and to its end
//! even if its client does not wait for it.

use super::create::{self, Accepted};
use super::envelope::{Answer, Failure};
use super::import::{self, ImportBody, Imported};
use super::routes::{Token, caller, id, unsteered};
use super::wire::{BatchOperation, DeleteRequest, SendRequest, TagRequest};
use crate::App;
use crate::foundation::body::{JsonBody, JsonText};
use crate::foundation::idempotency::{Asked, Hold, KeyText, Once};
use crate::foundation::param::{Lenient, Params, PathId};
use crate::foundation::refusal::Refusal;
use crate::foundation::to_its_end;
use domain::users::Permission;
use domain::{BatchId, UserId, batches, db};
use faults::Commit;
use poem::Request;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, OpenApi};
use std::sync::Arc;

/// For the document; [`Asked`] reads the header.
type Key = Header<Option<KeyText>>;

/// The operation, under way again.
#[derive(ApiResponse)]
enum Retried {
    /// The operation.
    #[oai(status = 200)]
    Retried(
        JsonText<Answer<BatchOperation>>,
        /// `true` when an Idempotency-Key's first answer is repeated.
        #[oai(header = "Idempotency-Replayed")]
        Option<String>,
    ),
}

pub(crate) struct MakingRoutes {
    pub(super) app: Arc<App>,
}

/// The caller, if they may.
fn may(request: &Request, permission: Permission) -> Result<UserId, Refusal> {
    let caller = caller(request)?;
    caller.needs(permission)?;
    Ok(caller.0.user_id)
}

/// Opens a batch again, and remembers the answer with it.
async fn retry(app: &App, id: BatchId, hold: &Hold) -> Result<String, Refusal> {
    let tx = app.db.begin().await?;
    let now = app.clock.now();
    let step = batches::retry(&tx, now, id).await.map_err(unsteered)?;
    let view = BatchOperation::of(&step.value, now, app.settings.sender_rate_per_minute);
    let body = Answer::new(view).to_json_string();
    hold.complete(&tx, 200, &body, None).await?;
    db::commit(tx, Commit::Retry).await?;
    app.after(step);
    Ok(body)
}

/// Operations over many contacts.
#[OpenApi]
impl MakingRoutes {
    /// Sends a message to many contacts, now or at `scheduleAt`.
    #[oai(path = "/batch/send", method = "post")]
    async fn send(
        &self,
        request: &Request,
        _token: Token,
        /// Does the request once, however often it comes.
        #[oai(name = "Idempotency-Key")]
        _key: Key,
        body: JsonBody<SendRequest>,
    ) -> Result<Accepted, Failure> {
        let by = may(request, Permission::BatchesWrite)?;
        let (asked, app) = (Asked::of(request, by)?, self.app.clone());
        to_its_end(async move {
            let once = asked.begin(&app, &body.bytes).await?;
            let now = app.clock.now();
            let read = move || create::read_send(&body.bytes, now);
            create::once(&app, once, read, async move |tx, now, new| {
                batches::create_send(tx, now, by, new).await.map_err(create::refuse)
            })
            .await
        })
        .await
    }

    /// Adds, removes or sets tags on many contacts.
    #[oai(path = "/batch/tags", method = "post")]
    async fn tags(
        &self,
        request: &Request,
        _token: Token,
        /// Does the request once, however often it comes.
        #[oai(name = "Idempotency-Key")]
        _key: Key,
        body: JsonBody<TagRequest>,
    ) -> Result<Accepted, Failure> {
        let by = may(request, Permission::ContactsWrite)?;
        let (asked, app) = (Asked::of(request, by)?, self.app.clone());
        to_its_end(async move {
            let once = asked.begin(&app, &body.bytes).await?;
            let read = move || create::read_tag(&body.bytes);
            create::once(&app, once, read, async move |tx, now, new| {
                batches::create_tag(tx, now, by, new).await.map_err(create::refuse)
            })
            .await
        })
        .await
    }

    /// Deletes contacts: their personal data goes, their messages' statistics stay.
    #[oai(path = "/batch/delete", method = "post")]
    async fn delete(
        &self,
        request: &Request,
        _token: Token,
        /// Does the request once, however often it comes.
        #[oai(name = "Idempotency-Key")]
        _key: Key,
        body: JsonBody<DeleteRequest>,
    ) -> Result<Accepted, Failure> {
        let by = may(request, Permission::ContactsDelete)?;
        let (asked, app) = (Asked::of(request, by)?, self.app.clone());
        to_its_end(async move {
            let once = asked.begin(&app, &body.bytes).await?;
            let read = move || create::read_delete(&body.bytes);
            create::once(&app, once, read, async move |tx, now, contacts| {
                batches::create_delete(tx, now, by, contacts).await.map_err(create::refuse)
            })
            .await
        })
        .await
    }

    /// Imports contacts: from a JSON list, or from a CSV or XLSX file as the body or in a form (`file`, with `mapping`,
    /// `tags`, `source` and `skipDuplicates`).
    #[oai(path = "/batch/import", method = "post")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the contract")]
    async fn import(
        &self,
        request: &Request,
        _token: Token,
        /// Does the request once, however often it comes.
        #[oai(name = "Idempotency-Key")]
        _key: Key,
        /// Writes nothing, and answers 200 with what each row would become.
        #[oai(name = "dryRun")]
        dry_run: Query<Option<Lenient<bool>>>,
        /// For a file: whether contacts that exist are skipped.
        #[oai(name = "skipDuplicates")]
        skip_duplicates: Query<Option<Lenient<bool>>>,
        /// For a file: tags for all contacts, separated by commas.
        tags: Query<Option<String>>,
        /// For a file: where the contacts come from.
        source: Query<Option<String>>,
        /// For a file: a JSON object of column names, or places from 0, and fields.
        mapping: Query<Option<String>>,
        body: ImportBody,
    ) -> Result<Imported, Failure> {
        let by = may(request, Permission::ContactsWrite)?;
        let mut params = Params::default();
        let dry_run = params.read("dryRun", dry_run.0, "true or false").unwrap_or(false);
        let skip = params.read("skipDuplicates", skip_duplicates.0, "true or false");
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let options = import::Options { skip_duplicates: skip, tags: tags.0, source: source.0, mapping: mapping.0 };
        let (asked, app) = (Asked::of(request, by)?, self.app.clone());
        if dry_run {
            // Nothing is written, so nothing is lost with a client that hangs up.
            return import::dry_run(&app, options, body).await;
        }
        to_its_end(async move { import::import(&app, by, asked, options, body).await }).await
    }

    /// Tries its failed items again, as the same operation.
    #[oai(path = "/batch/:batch_id/retry", method = "post")]
    async fn retry(
        &self,
        request: &Request,
        _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
        /// Does the request once, however often it comes.
        #[oai(name = "Idempotency-Key")]
        _key: Key,
    ) -> Result<Retried, Failure> {
        let by = may(request, Permission::BatchesWrite)?;
        let (asked, app, id) = (Asked::of(request, by)?, self.app.clone(), id(&batch_id)?);
        to_its_end(async move {
            let hold = match asked.begin(&app, &[]).await? {
                Once::Replay(body) => return Ok(Retried::Retried(JsonText::new(body), Some("true".into()))),
                Once::Do(hold) => hold,
            };
            match retry(&app, id, &hold).await {
                Ok(body) => {
                    hold.keep();
                    Ok(Retried::Retried(JsonText::new(body), None))
                }
                Err(refusal) => {
                    hold.free().await;
                    Err(refusal.into())
                }
            }
        })
        .await
    }
}
