//! What makes work: import, send, tags, delete, and retry. Each is done once under an `Idempotency-Key`, and to its end
//! even if its client does not wait for it.

use super::create;
use super::dry_run::{self, Changed, Sent};
use super::envelope::{Envelope, Rejection};
use super::import::{self, ImportBody, Imported};
use super::routes::{Token, caller, id, unsteered};
use super::wire::{BatchOperation, DeleteRequest, SendRequest, TagRequest, TestRequest};
use crate::App;
use crate::foundation::body::{JsonBody, JsonText, SmallBody};
use crate::foundation::country::CountryCode;
use crate::foundation::guard;
use crate::foundation::idempotency::{KeyHold, KeyText, KeyedRequest};
use crate::foundation::param::{Lenient, Params, PathId};
use crate::foundation::refusal::Refusal;
use crate::foundation::to_its_end;
use domain::audit_log::{self, Action};
use domain::users::Permission;
use domain::{BatchId, batches, db};
use faults::Commit;
use poem::Request;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, OpenApi};
use std::sync::Arc;

/// `dryRun` in the query; [`dry_run`] reads it with what the body says.
type DryRun = Query<Option<Lenient<bool>>>;

/// For the document; [`KeyedRequest`] reads the header.
type Key = Header<Option<KeyText>>;

/// The operation, under way again.
#[derive(ApiResponse)]
enum Retried {
    /// The operation.
    #[oai(status = 200)]
    Retried(
        JsonText<Envelope<BatchOperation>>,
        /// `true` when an Idempotency-Key's first answer is repeated.
        #[oai(header = "Idempotency-Replayed")]
        Option<String>,
    ),
}

/// The longest code that is asked for, in characters.
const MAX_CODE: usize = 100;

pub(crate) struct MakingRoutes {
    pub(super) app: Arc<App>,
}

/// Whether the caller is shown whole numbers in a dry run.
fn sees(request: &Request) -> Result<bool, Refusal> {
    Ok(caller(request)?.0.permits(Permission::ContactsRead))
}

/// Opens a batch again, and remembers the answer with it.
async fn retry(app: &App, id: BatchId, code: Option<&str>, hold: &KeyHold) -> Result<String, Refusal> {
    let tx = app.db.begin().await?;
    let now = app.clock.now();
    let step = match code {
        Some(code) => batches::retry_cause(&tx, now, id, code).await,
        None => batches::retry(&tx, now, id).await,
    };
    let step = step.map_err(unsteered)?;
    let senders = batches::sender_paces(&tx, app.settings.sender_rate_per_minute).await?;
    audit_log::record(&tx, now, hold.origin(), Action::BatchRetry, Some(id)).await?;
    let view = BatchOperation::of(&step.value, now, &senders);
    let body = Envelope::new(view).to_json_string();
    hold.complete(&tx, 200, &body, None).await?;
    db::commit(tx, Commit::Retry).await?;
    let batch = app.after(step);
    tracing::info!(batch = batch.summary.id.0, failed = batch.summary.failed, "a batch's failed items are tried again");
    Ok(body)
}

/// Operations over many contacts.
#[OpenApi]
impl MakingRoutes {
    /// Sends a message to many contacts, now or at `scheduleAt`. A batch that was cancelled is gone on with by another, of
    /// its `remainderOf`: nobody is written to twice.
    #[oai(path = "/batch/send", method = "post")]
    async fn send(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// Does the request once, however often it comes.
        #[oai(name = "Idempotency-Key")]
        _key: Key,
        /// Writes nothing, and answers 200 with what it would do; the body may say it as well.
        #[oai(name = "dryRun")]
        dry_run: DryRun,
        body: JsonBody<SendRequest>,
    ) -> Result<Sent, Rejection> {
        let by = caller(request)?.0.user_id;
        let (asked, app) = (KeyedRequest::of(request, by)?, self.app.clone());
        if dry_run::is_asked(dry_run.0, dry_run::said(&body.bytes).await?)? {
            let now = app.clock.now();
            return dry_run::send(&app, move || create::read_send(&body.bytes, now), sees(request)?).await;
        }
        to_its_end(async move {
            let once = asked.begin(&app, &body.bytes).await?;
            let now = app.clock.now();
            let reader = app.clone();
            let read = async move {
                create::blocking(move || create::read_send(&body.bytes, now)).await?.settled(&reader).await
            };
            let accepted = create::once(&app, once, read, async move |tx, now, new, staged| {
                batches::create_send(tx, now, by, new, staged).await.map_err(create::refuse)
            });
            Ok(accepted.await?.into())
        })
        .await
    }

    /// Sends a text or a template at once to the numbers that the caller keeps for tests, as a batch of its own. 409 where none is
    /// kept.
    #[oai(path = "/batch/test", method = "post")]
    async fn test(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// Does the request once, however often it comes.
        #[oai(name = "Idempotency-Key")]
        _key: Key,
        body: SmallBody<TestRequest>,
    ) -> Result<create::Accepted, Rejection> {
        let by = caller(request)?.0.user_id;
        let (asked, app) = (KeyedRequest::of(request, by)?, self.app.clone());
        to_its_end(async move {
            let once = asked.begin(&app, &body.bytes).await?;
            let reader = app.clone();
            let read = async move { create::read_test(&body.bytes)?.settled(&reader, by).await };
            let accepted = create::once(&app, once, read, async move |tx, now, new, staged| {
                batches::create_send(tx, now, by, new, staged).await.map_err(create::refuse)
            });
            accepted.await
        })
        .await
    }

    /// Adds, removes or sets tags on many contacts.
    #[oai(path = "/batch/tags", method = "post")]
    async fn tags(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONTACTS_WRITE")] _token: Token,
        /// Does the request once, however often it comes.
        #[oai(name = "Idempotency-Key")]
        _key: Key,
        /// Writes nothing, and answers 200 with what it would do; the body may say it as well.
        #[oai(name = "dryRun")]
        dry_run: DryRun,
        body: JsonBody<TagRequest>,
    ) -> Result<Changed, Rejection> {
        let by = caller(request)?.0.user_id;
        let (asked, app) = (KeyedRequest::of(request, by)?, self.app.clone());
        if dry_run::is_asked(dry_run.0, dry_run::said(&body.bytes).await?)? {
            return dry_run::tags(&app, move || create::read_tag(&body.bytes), sees(request)?).await;
        }
        to_its_end(async move {
            let once = asked.begin(&app, &body.bytes).await?;
            let read = create::blocking(move || create::read_tag(&body.bytes));
            let accepted = create::once(&app, once, read, async move |tx, now, new, staged| {
                batches::create_tag(tx, now, by, new, staged).await.map_err(create::refuse)
            });
            Ok(accepted.await?.into())
        })
        .await
    }

    /// Deletes contacts: their personal data goes, their messages' statistics stay.
    #[oai(path = "/batch/delete", method = "post")]
    async fn delete(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONTACTS_DELETE")] _token: Token,
        /// Does the request once, however often it comes.
        #[oai(name = "Idempotency-Key")]
        _key: Key,
        /// Writes nothing, and answers 200 with what it would do; the body may say it as well.
        #[oai(name = "dryRun")]
        dry_run: DryRun,
        body: JsonBody<DeleteRequest>,
    ) -> Result<Changed, Rejection> {
        let by = caller(request)?.0.user_id;
        let (asked, app) = (KeyedRequest::of(request, by)?, self.app.clone());
        if dry_run::is_asked(dry_run.0, dry_run::said(&body.bytes).await?)? {
            return dry_run::delete(&app, move || create::read_delete(&body.bytes), sees(request)?).await;
        }
        to_its_end(async move {
            let once = asked.begin(&app, &body.bytes).await?;
            let read = create::blocking(move || create::read_delete(&body.bytes));
            let accepted = create::once(&app, once, read, async move |tx, now, contacts, staged| {
                batches::create_delete(tx, now, by, contacts, staged).await.map_err(create::refuse)
            });
            Ok(accepted.await?.into())
        })
        .await
    }

    /// Imports contacts: from a JSON list, or from a CSV or XLSX file as the body or in a form (`file`, with `mapping`,
    /// `tags`, `source`, `defaultCountry`, `encoding`, `sheet` and `skipDuplicates`).
    #[oai(path = "/batch/import", method = "post")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the contract")]
    async fn import(
        &self,
        request: &Request,
        #[oai(scope = "guard::CONTACTS_WRITE")] _token: Token,
        /// Does the request once, however often it comes.
        #[oai(name = "Idempotency-Key")]
        _key: Key,
        /// Writes nothing, and answers 200 with what each row would become; a body or a form may say it as well.
        #[oai(name = "dryRun")]
        dry_run: DryRun,
        /// For a file: whether contacts that exist are skipped.
        #[oai(name = "skipDuplicates")]
        skip_duplicates: Query<Option<Lenient<bool>>>,
        /// For a file: tags for all contacts, separated by commas.
        tags: Query<Option<String>>,
        /// For a file: where the contacts come from.
        source: Query<Option<String>>,
        /// For a file: a JSON object of column names, or places from 0, and fields.
        mapping: Query<Option<String>>,
        /// Where numbers without a country's code are at home, by two letters of ISO 3166-1; what the body says counts more.
        #[oai(name = "defaultCountry")]
        default_country: Query<Option<Lenient<CountryCode>>>,
        /// For a CSV file: its encoding, as `windows-1252`; without it, it is found out.
        encoding: Query<Option<String>>,
        /// For a workbook: the sheet, by its name or its place from 1.
        sheet: Query<Option<String>>,
        body: ImportBody,
    ) -> Result<Imported, Rejection> {
        let by = caller(request)?.0.user_id;
        let dry_run = dry_run::is_asked(dry_run.0, import::says_dry_run(&body).await?)?;
        let mut params = Params::default();
        let skip = params.read("skipDuplicates", skip_duplicates.0, "true or false");
        let default_country = params.read("defaultCountry", default_country.0, "a country's two letters, as MY");
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let options = import::Options {
            skip_duplicates: skip,
            tags: tags.0,
            source: source.0,
            mapping: mapping.0,
            default_country: default_country.map(|country| country.0),
            encoding: encoding.0,
            sheet: sheet.0,
        };
        let (asked, app) = (KeyedRequest::of(request, by)?, self.app.clone());
        if dry_run {
            // Nothing is written, so nothing is lost with a client that hangs up.
            return import::dry_run(&app, options, body).await;
        }
        to_its_end(async move { import::import(&app, by, asked, options, body).await }).await
    }

    /// Tries its failed items again, as the same operation; with `code`, those that failed for that cause alone. 409 where nothing of what failed can ever succeed, as with the
    /// invalid rows of an import, and for one that was cancelled: the message says how to go on.
    #[oai(path = "/batch/:batch_id/retry", method = "post")]
    async fn retry(
        &self,
        request: &Request,
        #[oai(scope = "guard::BATCHES_WRITE")] _token: Token,
        /// The batch.
        batch_id: Path<PathId>,
        /// Only what failed with this code; `GET /batch/{id}/causes` lists them.
        #[oai(validator(max_length = 100))]
        code: Query<Option<Lenient<String>>>,
        /// Does the request once, however often it comes.
        #[oai(name = "Idempotency-Key")]
        _key: Key,
    ) -> Result<Retried, Rejection> {
        let by = caller(request)?.0.user_id;
        let mut params = Params::default();
        let code = params.read("code", code.0, "a code").filter(|code| !code.is_empty());
        if code.as_ref().is_some_and(|code| code.chars().count() > MAX_CODE || code.contains('\0')) {
            params.bad("code", format!("must have at most {MAX_CODE} characters, and no NUL"));
        }
        if !params.errors.is_empty() {
            return Err(Refusal::invalid(params.errors).into());
        }
        let (asked, app, id) = (KeyedRequest::of(request, by)?, self.app.clone(), id(&batch_id)?);
        to_its_end(async move {
            let work = async |hold: &KeyHold| retry(&app, id, code.as_deref(), hold).await;
            let (body, replayed) = asked.once(&app, code.as_deref().unwrap_or_default().as_bytes(), work).await?;
            Ok(Retried::Retried(JsonText::new(body), replayed))
        })
        .await
    }
}
