//! From a request to an accepted batch.

use super::dry_run::DRY_RUN;
use super::envelope::{Envelope, Rejection};
use super::wire::BatchOperation;
use crate::App;
use crate::foundation::body::JsonText;
use crate::foundation::fields::Fields;
use crate::foundation::idempotency::{KeyHold, Once};
use crate::foundation::refusal::{Kind, Refusal};
use domain::audit_log::{self, Action};
use domain::batches::{
    self, Audience, Batch, BatchType, ContactRefs, CreateError, GivenUp, ItemStatus, NewSend, NewTag, OnUnknown,
    Recipients, RemainderError, SCHEDULE_SLACK, StageError, Staged, TagOperation,
};
use domain::contacts::tags;
use domain::db::Tx;
use domain::kept::numbers;
use domain::messages::template::{MAX_CHARS, Template};
use domain::{BatchId, Step, TemplateId, Timestamp, UserId, db, senders};
use faults::Commit;
use poem_openapi::ApiResponse;
use poem_openapi::types::ToJSON;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// The most contacts of one request.
pub(super) const MAX_ITEMS: usize = 1_000_000;

/// Accepted: the operation is durable, and none of its work is done.
#[derive(ApiResponse)]
pub(super) enum Accepted {
    /// The operation.
    #[oai(status = 202)]
    Accepted(
        JsonText<Envelope<BatchOperation>>,
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

/// The answer to an accepted request, which its idempotency key remembers.
async fn answered(app: &App, tx: &Tx, hold: &KeyHold, batch: &Batch) -> Result<String, Refusal> {
    let now = app.clock.now();
    audit_log::record(tx, now, hold.origin(), Action::BatchCreate, Some(batch.summary.id)).await?;
    let senders = batches::sender_paces(tx, app.settings.sender_rate_per_minute).await?;
    let body = Envelope::new(BatchOperation::of(batch, now, &senders)).to_json_string();
    hold.complete(tx, 202, &body, None).await?;
    Ok(body)
}

/// Commits an accepted batch together with what its idempotency key remembers, then rings.
pub(super) async fn accept(app: &App, tx: Tx, hold: KeyHold, step: Step<Batch>) -> Result<Accepted, Refusal> {
    let body = match answered(app, &tx, &hold, &step.value).await {
        Ok(body) => body,
        Err(refusal) => {
            tx.rollback().await?;
            hold.free().await;
            return Err(refusal);
        }
    };
    if let Err(error) = db::commit(tx, Commit::Create).await {
        hold.free().await;
        return Err(error.into());
    }
    hold.keep();
    let batch = app.after(step);
    let (kind, user) = (batch.summary.batch_type, batch.created_by.0);
    tracing::info!(batch = batch.summary.id.0, %kind, user, total = batch.summary.total, "a batch was accepted");
    Ok(Accepted::Accepted(JsonText::new(body), None))
}

/// What the database knows to be wrong with a request.
pub(super) fn refuse(error: CreateError) -> Refusal {
    match error {
        CreateError::NoSender => Refusal::field("sender", "no such sender; GET /senders lists them"),
        CreateError::NoTemplate => Refusal::field("templateId", "no such template"),
        CreateError::Template(error) => Refusal::field("templateId", error.to_string()),
        CreateError::RemainderTaken(other) => {
            Refusal::new(Kind::Conflict, format!("batch {other} was made of what that batch never sent"))
        }
        CreateError::EmptyAudience => Refusal::field("audience", "matches no contact"),
        CreateError::GivenUp(error) => error.into(),
        CreateError::Database(error) => error.into(),
    }
}

impl From<GivenUp> for Refusal {
    fn from(error: GivenUp) -> Self {
        Self::new(Kind::Conflict, error.to_string())
    }
}

impl From<StageError> for Refusal {
    fn from(error: StageError) -> Self {
        match error {
            StageError::GivenUp(error) => error.into(),
            StageError::Database(error) => error.into(),
        }
    }
}

/// A batch over a list of contacts, or over an audience.
pub(super) trait OverContacts: Send + 'static {
    /// What it does with them.
    const TYPE: BatchType;

    /// The list; `None`: an audience.
    fn contacts(&self) -> Option<&ContactRefs>;

    /// The same, to take out who is named twice.
    fn contacts_mut(&mut self) -> Option<&mut ContactRefs>;

    /// Counts the audience before the transaction.
    async fn count(&self, _app: &App, _staged: &mut Staged) -> Result<(), Refusal> {
        Ok(())
    }
}

impl OverContacts for NewSend {
    const TYPE: BatchType = BatchType::Send;

    fn contacts(&self) -> Option<&ContactRefs> {
        match &self.recipients {
            Recipients::Contacts(contacts) => Some(contacts),
            Recipients::Audience(_) => None,
        }
    }

    fn contacts_mut(&mut self) -> Option<&mut ContactRefs> {
        match &mut self.recipients {
            Recipients::Contacts(contacts) => Some(contacts),
            Recipients::Audience(_) => None,
        }
    }

    async fn count(&self, app: &App, staged: &mut Staged) -> Result<(), Refusal> {
        Ok(staged.count(app.db.read(), self).await?)
    }
}

impl OverContacts for NewTag {
    const TYPE: BatchType = BatchType::Tag;

    fn contacts(&self) -> Option<&ContactRefs> {
        Some(&self.contacts)
    }

    fn contacts_mut(&mut self) -> Option<&mut ContactRefs> {
        Some(&mut self.contacts)
    }
}

impl OverContacts for ContactRefs {
    const TYPE: BatchType = BatchType::Delete;

    fn contacts(&self) -> Option<&ContactRefs> {
        Some(self)
    }

    fn contacts_mut(&mut self) -> Option<&mut ContactRefs> {
        Some(self)
    }
}

/// A request whose contacts are each in it once, however they are named.
pub(super) async fn each_once<T: OverContacts>(app: &App, mut new: T) -> Result<T, Refusal> {
    if let Some(contacts) = new.contacts_mut() {
        contacts.each_once(app.db.read()).await?;
    }
    Ok(new)
}

/// Does what the batch's own transaction would take too long for: of a long list all but the last part is written.
async fn stage<T: OverContacts>(app: &App, new: &T, staged: &mut Staged) -> Result<(), Refusal> {
    new.count(app, staged).await?;
    let Some(contacts) = new.contacts() else { return Ok(()) };
    while let Some(part) = staged.next_part(contacts, T::TYPE)? {
        let tx = app.db.begin().await?;
        staged.write(&tx, app.clock.now(), &part).await?;
        db::commit(tx, Commit::Create).await?;
    }
    Ok(())
}

/// Throws away what was written of a batch that does not come to be. What cannot be now, as on a full disk, is pruned.
pub(super) async fn unstage(app: &App, staged: &Staged) {
    let step = async || {
        let tx = app.db.begin().await?;
        let more = batches::unstage(&tx, staged, app.db.dialect().step_rows() as u64).await?;
        db::commit(tx, Commit::Prune).await.map(|()| more)
    };
    loop {
        match step().await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(%error, "what was written of a refused batch is still there; it will be pruned");
                return;
            }
        }
    }
}

/// Does a creation once. `read` reads the request, only when it is awaited: what was accepted once is repeated even if it would be
/// refused today. `work` writes in a transaction of its own.
pub(super) async fn once<T, R, W>(app: &App, once: Once, read: R, work: W) -> Result<Accepted, Rejection>
where
    T: OverContacts,
    R: Future<Output = Result<T, Refusal>>,
    W: AsyncFnOnce(&Tx, Timestamp, T, Staged) -> Result<Step<Batch>, Refusal>,
{
    let hold = match once {
        Once::Replay(body) => return Ok(Accepted::replay(body)),
        Once::Do(hold) => hold,
    };
    let mut staged = Staged::default();
    let done = async {
        let new = each_once(app, read.await?).await?;
        stage(app, &new, &mut staged).await?;
        let tx = app.db.begin().await?;
        let step = work(&tx, app.clock.now(), new, staged.clone()).await?;
        Ok::<_, Refusal>((tx, step))
    };
    let refusal = match done.await {
        Ok((tx, step)) => match accept(app, tx, hold, step).await {
            Ok(accepted) => return Ok(accepted),
            Err(refusal) => refusal,
        },
        Err(refusal) => {
            hold.free().await;
            refusal
        }
    };
    unstage(app, &staged).await;
    Err(Rejection::from(refusal))
}

/// A send as it was asked for.
pub(super) struct AskedSend {
    content: Option<String>,
    template: Option<TemplateId>,
    recipients: AskedRecipients,
    sender: Option<String>,
    rate_per_minute: Option<u32>,
    jitter_ms: Option<u32>,
    schedule_at: Option<Timestamp>,
    on_unknown: Option<OnUnknown>,
}

enum AskedRecipients {
    These(Recipients),
    RemainderOf(BatchId),
    /// Those of a batch whose items ended so.
    Of(BatchId, ItemStatus),
}

impl AskedSend {
    /// The send itself: what a cancelled batch decides of it is read.
    pub(super) async fn settled(self, app: &App) -> Result<NewSend, Refusal> {
        let (recipients, cancelled) = match self.recipients {
            AskedRecipients::These(recipients) => (recipients, None),
            AskedRecipients::Of(of, outcome) => {
                let found = batches::contacts_of(app.db.read(), of, outcome, MAX_ITEMS).await?;
                let found = found.ok_or_else(|| Refusal::field("recipientsOf.batchId", "no such batch"))?;
                if found.is_empty() {
                    return Err(Refusal::field("recipientsOf", "nobody of that batch ended so"));
                }
                (Recipients::Contacts(found), None)
            }
            AskedRecipients::RemainderOf(of) => {
                let left = batches::remainder(app.db.read(), of).await.map_err(no_remainder)?;
                let own = (left.content, left.sender, left.rate_per_minute, left.jitter_ms, left.on_unknown);
                (left.recipients, Some((of, own)))
            }
        };
        let mut new = NewSend {
            content: self.content,
            template: self.template,
            recipients,
            sender: self.sender,
            rate_per_minute: self.rate_per_minute,
            jitter_ms: self.jitter_ms.unwrap_or(0),
            schedule_at: self.schedule_at,
            on_unknown: self.on_unknown.unwrap_or(OnUnknown::Resend),
            remainder_of: None,
            approval_above: app.settings.approval_above,
            chunk_items: None,
        };
        if let Some((of, (content, sender, rate_per_minute, jitter_ms, on_unknown))) = cancelled {
            new.remainder_of = Some(of);
            new.sender = new.sender.or(sender);
            if new.template.is_none() {
                new.content.get_or_insert(content);
            }
            new.rate_per_minute = new.rate_per_minute.or(rate_per_minute);
            new.jitter_ms = self.jitter_ms.unwrap_or(jitter_ms);
            new.on_unknown = self.on_unknown.unwrap_or(on_unknown);
        }
        Ok(new)
    }
}

fn no_remainder(error: RemainderError) -> Refusal {
    match error {
        RemainderError::NotFound => Refusal::field("remainderOf", "no such batch"),
        RemainderError::Conflict(why) => Refusal::new(Kind::Conflict, why),
        RemainderError::Database(error) => error.into(),
    }
}

/// Reads a test of a send: what is sent, and from where.
pub(super) fn read_test(body: &[u8]) -> Result<AskedTest, Refusal> {
    let mut f = Fields::parse(body)?;
    let (content, template) = read_text(&mut f, false);
    let sender = f.text("sender", 1..=senders::MAX_NAME);
    f.finish()?;
    Ok(AskedTest { content, template, sender })
}

/// A test of a send as it was asked for.
pub(super) struct AskedTest {
    content: Option<String>,
    template: Option<TemplateId>,
    sender: Option<String>,
}

impl AskedTest {
    /// The send itself: to the contacts that have the user's numbers, who are made where nobody has one.
    pub(super) async fn settled(self, app: &App, user: UserId) -> Result<NewSend, Refusal> {
        let rng = &mut StdRng::from_rng(&mut rand::rng());
        let tx = app.db.begin().await?;
        let found = numbers::contacts(&tx, app.clock.now(), user, rng).await?;
        db::commit(tx, Commit::Customer).await?;
        if found.is_empty() {
            return Err(Refusal::new(Kind::Conflict, "no number is kept for tests: PUT /test-numbers keeps some"));
        }
        let mut contacts = ContactRefs::default();
        found.iter().for_each(|id| contacts.push(&id.to_string()));
        Ok(NewSend {
            content: self.content,
            template: self.template,
            sender: self.sender,
            approval_above: app.settings.approval_above,
            ..NewSend::new("", Recipients::Contacts(contacts))
        })
    }
}

/// Reads the text or the template of a send; `else_known`: it may be known from elsewhere.
fn read_text(f: &mut Fields<'_>, else_known: bool) -> (Option<String>, Option<TemplateId>) {
    let template = f.text("templateId", 1..=32);
    let template_id = template.as_ref().and_then(|id| id.parse().ok());
    if template.is_some() && template_id.is_none() {
        f.bad("templateId", "no such template");
    }
    let mut content = None;
    // Beside a template it has no meaning, and clients send it all the same.
    f.knows("content");
    if template.is_none() {
        if f.raw("content").is_none() && !else_known {
            f.bad("content", "is required unless templateId is given");
        }
        content = f.text("content", 1..=MAX_CHARS);
        if let Some(Err(error)) = content.as_deref().map(Template::parse) {
            f.bad("content", error.to_string());
        }
    }
    (content, template_id)
}

/// Reads a send.
pub(super) fn read_send(body: &[u8], now: Timestamp) -> Result<AskedSend, Refusal> {
    let mut f = Fields::parse(body)?;
    f.boolean(DRY_RUN);
    let else_known = f.raw("remainderOf").is_some();
    let (content, template) = read_text(&mut f, else_known);
    let sender = f.text("sender", 1..=senders::MAX_NAME);
    let rate_per_minute = f.integer("ratePerMinute", 1..=600_000);
    let jitter_ms = f.integer("jitterMs", 0..=600_000);
    let schedule_at = f.time("scheduleAt");
    if schedule_at.is_some_and(|at| at < now.minus(SCHEDULE_SLACK)) {
        f.bad("scheduleAt", "lies in the past");
    }
    let on_unknown = f.one_of("onUnknown", OnUnknown::ALL, OnUnknown::as_str);
    let recipients = read_recipients(&mut f);
    f.finish()?;
    let recipients = recipients.ok_or_else(Refusal::internal)?;
    Ok(AskedSend { content, template, recipients, sender, rate_per_minute, jitter_ms, schedule_at, on_unknown })
}

/// Whom a send is for: exactly one of the three ways to say it.
fn read_recipients(f: &mut Fields<'_>) -> Option<AskedRecipients> {
    if f.raw("recipientsOf").is_some() {
        for other in ["contactIds", "audience", "remainderOf"] {
            if f.raw(other).is_some() {
                f.bad("recipientsOf", format!("cannot be given together with {other}"));
            }
        }
        return f.object("recipientsOf", read_former).flatten();
    }
    let given = ["contactIds", "audience", "remainderOf"].map(|name| f.raw(name).is_some());
    match given {
        [true, true, _] => {
            f.bad("audience", "cannot be given together with contactIds");
            None
        }
        [true, _, true] | [_, true, true] => {
            f.bad("remainderOf", "cannot be given together with contactIds or an audience");
            None
        }
        [false, false, false] => {
            f.bad("contactIds", "is required unless an audience is given");
            None
        }
        [true, false, false] => {
            f.contact_ids("contactIds", MAX_ITEMS).map(|ids| AskedRecipients::These(Recipients::Contacts(ids)))
        }
        [false, true, false] => read_audience(f).map(|audience| AskedRecipients::These(Recipients::Audience(audience))),
        [false, false, true] => {
            let text = f.text("remainderOf", 1..=32)?;
            let id = text.parse().ok().map(AskedRecipients::RemainderOf);
            if id.is_none() {
                f.bad("remainderOf", "no such batch");
            }
            id
        }
    }
}

/// The recipients of a former batch that ended so.
fn read_former(f: &mut Fields<'_>) -> Option<AskedRecipients> {
    let id = f.required_text("batchId", 1..=32).parse().ok();
    if id.is_none() && f.raw("batchId").is_some() {
        f.bad("batchId", "no such batch");
    }
    if f.raw("status").is_none() {
        f.bad("status", "is required");
    }
    let outcomes: Vec<ItemStatus> = batches::OUTCOMES.to_vec();
    let outcome = f.one_of("status", &outcomes, ItemStatus::as_str);
    Some(AskedRecipients::Of(id?, outcome?))
}

fn read_audience(f: &mut Fields<'_>) -> Option<Audience> {
    let audience = f.object("audience", |inner| Audience {
        all: inner.boolean("all").unwrap_or(false),
        tags_any: read_tags(inner, "tagsAny", 0),
        tags_all: read_tags(inner, "tagsAll", 0),
        tags_none: read_tags(inner, "tagsNone", 0),
    })?;
    if audience.is_empty() {
        f.bad("audience", "names no condition; {\"all\": true} is everyone");
        return None;
    }
    Some(audience)
}

/// A list of at least so many tags.
pub(super) fn read_tags(f: &mut Fields<'_>, name: &str, least: usize) -> Vec<String> {
    let list = f.texts(name, least..=50, 1..=tags::MAX_TAG).unwrap_or_default();
    for (at, tag) in list.iter().enumerate() {
        // One that is empty is named already.
        if !tag.is_empty() && !tags::is_fine(&tags::normalise(tag)) {
            f.bad(format!("{name}[{at}]"), "must have 1 to 64 characters that can be seen");
        }
    }
    list
}

/// Reads a change of tags.
pub(super) fn read_tag(body: &[u8]) -> Result<NewTag, Refusal> {
    let mut f = Fields::parse(body)?;
    f.boolean(DRY_RUN);
    let contacts = required_ids(&mut f);
    if f.raw("tags").is_none() {
        f.bad("tags", "is required");
    }
    let tags = read_tags(&mut f, "tags", 1);
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
    f.boolean(DRY_RUN);
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
