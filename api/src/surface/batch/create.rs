//! From a request to an accepted batch.

use super::envelope::{Answer, Failure};
use super::wire::BatchOperation;
use crate::App;
use crate::foundation::body::JsonText;
use crate::foundation::fields::Fields;
use crate::foundation::idempotency::{Hold, Once};
use crate::foundation::refusal::{Kind, Refusal};
use domain::batches::{
    Audience, Batch, CreateError, NewSend, NewTag, OnUnknown, Recipients, SCHEDULE_SLACK, TagOperation,
};
use domain::db::Tx;
use domain::messages::template::{MAX_CHARS, Template};
use domain::{Step, Timestamp, db};
use faults::Commit;
use poem_openapi::ApiResponse;
use poem_openapi::types::ToJSON;

/// The most contacts of one request.
pub(super) const MAX_ITEMS: usize = 1_000_000;

/// Accepted: the operation is durable, and none of its work is done.
#[derive(ApiResponse)]
pub(super) enum Accepted {
    /// The operation.
    #[oai(status = 202)]
    Accepted(
        JsonText<Answer<BatchOperation>>,
        /// `true` when an Idempotency-Key's first answer is repeated.
        #[oai(header = "Idempotency-Replayed")]
        Option<String>,
    ),
}

impl Accepted {
    pub(super) fn replay(body: String) -> Self {
        Self::Accepted(JsonText::new(body), Some("true".into()))
    }
}

/// Commits an accepted batch together with what its idempotency key remembers, then rings.
pub(super) async fn accept(app: &App, tx: Tx, hold: Hold, step: Step<Batch>) -> Result<Accepted, Refusal> {
    let now = app.clock.now();
    let answer = Answer::new(BatchOperation::of(&step.value, now, app.settings.sender_rate_per_minute));
    let body = answer.to_json_string();
    if let Err(refusal) = hold.complete(&tx, 202, &body, None).await {
        tx.rollback().await?;
        hold.free().await;
        return Err(refusal);
    }
    if let Err(error) = db::commit(tx, Commit::Create).await {
        hold.free().await;
        return Err(error.into());
    }
    hold.keep();
    app.after(step);
    Ok(Accepted::Accepted(JsonText::new(body), None))
}

/// What the database knows to be wrong with a request.
pub(super) fn refuse(error: CreateError) -> Refusal {
    match error {
        CreateError::NoTemplate => Refusal::field("templateId", "no such template"),
        CreateError::Template(error) => Refusal::field("templateId", error.to_string()),
        CreateError::EmptyAudience => Refusal::field("audience", "matches no contact"),
        CreateError::Database(error) => error.into(),
    }
}

/// Does a creation once. `read` reads the request, only now: what was accepted once is repeated even if it would be
/// refused today. `work` writes in a transaction of its own.
pub(super) async fn once<T, R, W>(app: &App, once: Once, read: R, work: W) -> Result<Accepted, Failure>
where
    T: Send + 'static,
    R: FnOnce() -> Result<T, Refusal> + Send + 'static,
    W: AsyncFnOnce(&Tx, Timestamp, T) -> Result<Step<Batch>, Refusal>,
{
    let hold = match once {
        Once::Replay(body) => return Ok(Accepted::replay(body)),
        Once::Do(hold) => hold,
    };
    let done = async {
        let new = blocking(read).await?;
        let tx = app.db.begin().await?;
        let step = work(&tx, app.clock.now(), new).await?;
        Ok::<_, Refusal>((tx, step))
    };
    match done.await {
        Ok((tx, step)) => Ok(accept(app, tx, hold, step).await?),
        Err(refusal) => {
            hold.free().await;
            Err(Failure::from(refusal))
        }
    }
}

/// Reads a send.
pub(super) fn read_send(body: &[u8], now: Timestamp) -> Result<NewSend, Refusal> {
    let mut f = Fields::parse(body)?;
    let template = f.text("templateId", 1..=32);
    let template_id = template.as_ref().and_then(|id| id.parse().ok());
    if template.is_some() && template_id.is_none() {
        f.bad("templateId", "no such template");
    }
    let mut content = None;
    if template.is_none() {
        if f.raw("content").is_none() {
            f.bad("content", "is required unless templateId is given");
        }
        content = f.text("content", 1..=MAX_CHARS);
        if let Some(Err(error)) = content.as_deref().map(Template::parse) {
            f.bad("content", error.to_string());
        }
    }
    let rate_per_minute = f.integer("ratePerMinute", 1..=600_000);
    let jitter_ms = f.integer("jitterMs", 0..=600_000).unwrap_or(0);
    let schedule_at = f.time("scheduleAt");
    if schedule_at.is_some_and(|at| at < now.minus(SCHEDULE_SLACK)) {
        f.bad("scheduleAt", "lies in the past");
    }
    let on_unknown = f.one_of("onUnknown", OnUnknown::ALL, OnUnknown::as_str).unwrap_or(OnUnknown::Resend);
    let recipients = match (f.raw("contactIds").is_some(), f.raw("audience").is_some()) {
        (true, true) => {
            f.bad("audience", "cannot be given together with contactIds");
            None
        }
        (false, false) => {
            f.bad("contactIds", "is required unless an audience is given");
            None
        }
        (true, false) => f.contact_ids("contactIds", MAX_ITEMS).map(Recipients::Contacts),
        (false, true) => read_audience(&mut f).map(Recipients::Audience),
    };
    f.finish()?;
    let recipients = recipients.ok_or_else(Refusal::internal)?;
    Ok(NewSend {
        content,
        template: template_id,
        recipients,
        rate_per_minute,
        jitter_ms,
        schedule_at,
        on_unknown,
        chunk_items: None,
    })
}

fn read_audience(f: &mut Fields<'_>) -> Option<Audience> {
    let raw = f.raw("audience")?;
    let mut inner = match Fields::parse(raw.get().as_bytes()) {
        Ok(inner) => inner,
        Err(_) => {
            f.bad("audience", "must be an object");
            return None;
        }
    };
    let tags = |inner: &mut Fields<'_>, name| inner.texts(name, 0..=50, 1..=64).unwrap_or_default();
    let audience = Audience {
        all: inner.boolean("all").unwrap_or(false),
        tags_any: tags(&mut inner, "tagsAny"),
        tags_all: tags(&mut inner, "tagsAll"),
        tags_none: tags(&mut inner, "tagsNone"),
    };
    if let Err(refusal) = inner.finish() {
        for detail in refusal.details {
            f.bad(format!("audience.{}", detail.field), detail.message);
        }
        return None;
    }
    if audience.is_empty() {
        f.bad("audience", "names no condition; {\"all\": true} is everyone");
        return None;
    }
    Some(audience)
}

/// Reads a change of tags.
pub(super) fn read_tag(body: &[u8]) -> Result<NewTag, Refusal> {
    let mut f = Fields::parse(body)?;
    let contacts = required_ids(&mut f);
    if f.raw("tags").is_none() {
        f.bad("tags", "is required");
    }
    let tags = f.texts("tags", 1..=50, 1..=64).unwrap_or_default();
    if f.raw("operation").is_none() {
        f.bad("operation", "is required: add, remove or set");
    }
    let operation = f.one_of("operation", TagOperation::ALL, TagOperation::as_str);
    f.finish()?;
    match (contacts, operation) {
        (Some(contacts), Some(operation)) => Ok(NewTag { contacts, tags, operation }),
        _ => Err(Refusal::internal()),
    }
}

/// Reads a deletion.
pub(super) fn read_delete(body: &[u8]) -> Result<domain::batches::ContactRefs, Refusal> {
    let mut f = Fields::parse(body)?;
    let contacts = required_ids(&mut f);
    f.finish()?;
    contacts.ok_or_else(Refusal::internal)
}

fn required_ids(f: &mut Fields<'_>) -> Option<domain::batches::ContactRefs> {
    if f.raw("contactIds").is_none() {
        f.bad("contactIds", "is required");
        return None;
    }
    f.contact_ids("contactIds", MAX_ITEMS)
}

/// Reads long bodies off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|_| Err(Refusal::new(Kind::Internal, "the body could not be read")))
}
