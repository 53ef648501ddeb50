//! Accepting a batch: its rows, its chunks and its first jobs in one transaction.

use super::approvals;
use super::chunks::{self, NewChunk, WINDOW, chunk_size};
use super::in_flight;
use super::recipients::{Audience, ContactRefs};
use super::remainder;
use super::row::{self, Batch};
use super::staging::{GivenUp, StageError, Staged};
use crate::contacts::phone::Country;
use crate::contacts::tags;
use crate::db::{self, Dialect};
use crate::jobs::{self, NewJob};
use crate::messages::template::{Template, TemplateError};
use crate::model::{Approval, BatchType, OnUnknown, TagOperation};
use crate::ring::JobKind;
use crate::senders;
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::{BatchId, SenderId, TemplateId, UserId};
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::{Value, json};

/// Whom a send is for.
#[derive(Debug)]
pub enum Recipients {
    /// These contacts.
    Contacts(ContactRefs),
    /// The contacts that match now.
    Audience(Audience),
}

/// A send to be accepted. The surface has checked ranges; what only the database knows is checked here.
#[derive(Debug)]
pub struct NewSend {
    /// The message, unless a template is given.
    pub content: Option<String>,
    /// The template whose content is sent, as it is now.
    pub template: Option<TemplateId>,
    /// Whom it is for.
    pub recipients: Recipients,
    /// The name of the sender that it leaves from; `None`: [`senders::DEFAULT`].
    pub sender: Option<String>,
    /// Its own pace; `None`: the sender's.
    pub rate_per_minute: Option<u32>,
    /// The random extra delay of each message is uniform in `[0, jitter_ms]`.
    pub jitter_ms: u32,
    /// When it is to start; `None`: now.
    pub schedule_at: Option<Timestamp>,
    /// What becomes of a send whose outcome is not known.
    pub on_unknown: OnUnknown,
    /// The cancelled batch whose [`Remainder`](super::Remainder) the recipients are: one batch is made of it, and no other.
    pub remainder_of: Option<BatchId>,
    /// Above how many recipients it waits for a second person ([`approve`](super::approve)); `None`: however many they are.
    pub approval_above: Option<u32>,
    /// How many recipients a chunk has; `None`: [`chunk_size`]. Another number is for simulations, which want many jobs of
    /// few messages.
    pub chunk_items: Option<usize>,
}

impl NewSend {
    /// A message to these, now, as fast as its sender may.
    #[must_use]
    pub fn new(content: impl Into<String>, recipients: Recipients) -> Self {
        Self {
            content: Some(content.into()),
            template: None,
            recipients,
            sender: None,
            rate_per_minute: None,
            jitter_ms: 0,
            schedule_at: None,
            on_unknown: OnUnknown::Resend,
            remainder_of: None,
            approval_above: None,
            chunk_items: None,
        }
    }
}

/// A change of tags to be accepted.
#[derive(Debug)]
pub struct NewTag {
    /// Whose tags.
    pub contacts: ContactRefs,
    /// Which tags.
    pub tags: Vec<String>,
    /// What to do with them.
    pub operation: TagOperation,
}

/// An import to be accepted; its rows follow through an [`ImportWriter`](super::ImportWriter).
#[derive(Clone, Debug)]
pub struct NewImport {
    /// Skip contacts that exist instead of merging into them.
    pub skip_duplicates: bool,
    /// Tags for every imported contact.
    pub tags: Vec<String>,
    /// Where the contacts come from, where a row does not say.
    pub source: Option<String>,
    /// Where numbers without a country's code are at home.
    pub default_country: Option<Country>,
}

/// Why a batch was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is no such template.
    #[error("no such template")]
    NoTemplate,
    /// There is no such sender.
    #[error("no such sender")]
    NoSender,
    /// The message does not parse.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The audience matches nobody.
    #[error("the audience matches no contact")]
    EmptyAudience,
    /// Another batch was made of what the cancelled one never sent.
    #[error("batch {0} was made of what the batch never sent")]
    RemainderTaken(BatchId),
    /// What had come of it was given up meanwhile.
    #[error(transparent)]
    GivenUp(GivenUp),
    /// The database's.
    #[error(transparent)]
    Database(#[from] DbErr),
}

impl From<StageError> for CreateError {
    fn from(error: StageError) -> Self {
        match error {
            StageError::GivenUp(error) => Self::GivenUp(error),
            StageError::Database(error) => Self::Database(error),
        }
    }
}

pub(super) struct NewBatch<'a> {
    batch_type: BatchType,
    by: UserId,
    config: Value,
    content: Option<&'a str>,
    /// `None`: it sends nothing.
    sender: Option<SenderId>,
    rate_per_minute: Option<u32>,
    jitter_ms: u32,
    on_unknown: OnUnknown,
    schedule_at: Option<Timestamp>,
    remainder_of: Option<BatchId>,
    approval: Option<Approval>,
    pub(super) total: i64,
    expanded: bool,
    staged: Staged,
}

impl<'a> NewBatch<'a> {
    pub(super) fn new(batch_type: BatchType, by: UserId, config: Value, staged: Staged) -> Self {
        Self {
            batch_type,
            by,
            config,
            content: None,
            sender: None,
            rate_per_minute: None,
            jitter_ms: 0,
            on_unknown: OnUnknown::Resend,
            schedule_at: None,
            remainder_of: None,
            approval: None,
            total: 0,
            expanded: true,
            staged,
        }
    }

    /// How many of its first `chunks` chunks are open from the start: none where it starts later, or where they wait already,
    /// in the parts that were written before.
    fn opened(&self, now: Timestamp, chunks: i64) -> i64 {
        let waits = self.schedule_at.is_some_and(|at| at > now) || self.staged.no > 0;
        if waits { 0 } else { chunks.min(WINDOW) }
    }

    /// Writes the batch's row, under the number that was reserved for it if one was. Of its `chunks` chunks the first
    /// `opened` are open.
    async fn insert(
        &self,
        conn: &impl ConnectionTrait,
        now: Timestamp,
        chunks: i64,
        opened: i64,
    ) -> Result<Batch, CreateError> {
        self.staged.take(conn).await?;
        let (column, overriding, value) = match (self.staged.id, Dialect::of(conn)) {
            (None, _) => ("", "", String::new()),
            (Some(id), Dialect::Postgres) => ("id, ", "OVERRIDING SYSTEM VALUE", format!("{id}, ")),
            (Some(id), Dialect::Sqlite) => ("id, ", "", format!("{id}, ")),
        };
        let row = db::one(
            conn,
            format!(
                "INSERT INTO batches ({column}type, status, created_by, config, content, rate_per_minute, jitter_ms,
                                      on_unknown, schedule_at, total, expanded, created_at, remainder_of, sender_id,
                                      chunk_count, chunks_left, next_chunk, paused, approval)
                        {overriding}
                 VALUES ({value}$1, 'PENDING', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14, $15, $16, $17)
                 RETURNING {}",
                row::COLUMNS
            ),
            [
                self.batch_type.as_str().into(),
                self.by.into(),
                self.config.to_string().into(),
                self.content.into(),
                self.rate_per_minute.map(i64::from).into(),
                i64::from(self.jitter_ms).into(),
                self.on_unknown.as_str().into(),
                self.schedule_at.map(|t| t.0).into(),
                self.total.into(),
                self.expanded.into(),
                now.0.into(),
                self.remainder_of.map(|id| id.0).into(),
                self.sender.map(|id| id.0).into(),
                chunks.into(),
                opened.into(),
                self.approval.is_some().into(),
                self.approval.map(Approval::as_str).into(),
            ],
        )
        .await?
        .ok_or(DbErr::RecordNotInserted)?;
        Ok(row::batch(&row)?)
    }

    /// Writes the batch with the `left` chunks that are not written yet, and opens it: at once, or by a job at its time.
    pub(super) async fn make(
        self,
        conn: &impl ConnectionTrait,
        now: Timestamp,
        left: usize,
        chunks: impl Iterator<Item = Result<NewChunk, DbErr>>,
    ) -> Result<Step<Batch>, CreateError> {
        let count = self.staged.no + i64::try_from(left).unwrap_or(i64::MAX);
        let opened = self.opened(now, count);
        let batch = self.insert(conn, now, count, opened).await?;
        let id = batch.summary.id;
        let mut writer = ChunkWriter { opened, ..ChunkWriter::resume(id, self.staged.no, self.staged.seq) };
        for chunk in chunks {
            writer.push(conn, chunk?).await?;
        }
        writer.finish(conn).await?;
        if opened == 0 {
            return Ok(open(conn, now, id).await?);
        }
        let rings = chunks::enqueue(conn, now, id, self.batch_type, 0..opened).await?;
        Ok(Step { events: vec![Event::BatchChanged(batch.summary.clone())], value: batch, rings })
    }
}

/// Accepts a send.
///
/// # Errors
/// See [`CreateError`]; nothing is written then, once the caller rolls back.
pub async fn create_send(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    by: UserId,
    new: NewSend,
    staged: Staged,
) -> Result<Step<Batch>, CreateError> {
    let content = match new.template {
        Some(id) => crate::messages::templates::content(conn, id).await?.ok_or(CreateError::NoTemplate)?,
        None => new.content.clone().unwrap_or_default(),
    };
    Template::parse(&content)?;
    let name = new.sender.as_deref().unwrap_or(senders::DEFAULT);
    let sender = senders::find(conn, name).await?.ok_or(CreateError::NoSender)?;
    if let Some(of) = new.remainder_of
        && let Some(other) = remainder::made_of(conn, of).await?
    {
        return Err(CreateError::RemainderTaken(other));
    }
    let mut config = json!({
        "templateId": new.template.map(|id| id.to_string()), "content": content, "jitterMs": new.jitter_ms,
        "ratePerMinute": new.rate_per_minute, "scheduleAt": new.schedule_at.map(Timestamp::to_rfc3339),
        "onUnknown": new.on_unknown, "sender": name,
    });
    if let Some(of) = new.remainder_of {
        config["remainderOf"] = json!(of.to_string());
    }
    let total = match &new.recipients {
        Recipients::Contacts(refs) => i64::try_from(refs.len()).unwrap_or(i64::MAX),
        Recipients::Audience(audience) => {
            config["audience"] = json!(audience);
            let count = match staged.count {
                Some(count) => count,
                None => audience.count(conn).await?,
            };
            if count == 0 {
                return Err(CreateError::EmptyAudience);
            }
            count
        }
    };
    let expanded = matches!(new.recipients, Recipients::Contacts(_));
    let batch = NewBatch {
        content: Some(&content),
        sender: Some(sender),
        rate_per_minute: new.rate_per_minute,
        jitter_ms: new.jitter_ms,
        on_unknown: new.on_unknown,
        schedule_at: new.schedule_at,
        remainder_of: new.remainder_of,
        approval: approvals::asked(total, new.approval_above),
        total,
        expanded,
        ..NewBatch::new(BatchType::Send, by, config, staged)
    };
    match new.recipients {
        Recipients::Contacts(refs) => {
            let size = new.chunk_items.unwrap_or(chunk_size(BatchType::Send)).min(in_flight::MOST_ITEMS);
            make_over(conn, now, batch, &refs, size).await
        }
        Recipients::Audience(audience) => {
            let batch = batch.insert(conn, now, 0, 0).await?;
            let payload = json!({ "audience": audience });
            let expand = NewJob { batch: Some(batch.summary.id), payload, ..NewJob::of(JobKind::Expand, now) };
            let rings = jobs::enqueue(conn, now, &[expand]).await?;
            Ok(Step { events: vec![Event::BatchChanged(batch.summary.clone())], value: batch, rings })
        }
    }
}

/// Accepts a change of tags.
///
/// # Errors
/// The database's.
pub async fn create_tag(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    by: UserId,
    new: NewTag,
    staged: Staged,
) -> Result<Step<Batch>, CreateError> {
    let config = json!({ "tags": tags::normalise_all(&new.tags), "operation": new.operation });
    create_over(conn, now, NewBatch::new(BatchType::Tag, by, config, staged), &new.contacts).await
}

/// Accepts a deletion.
///
/// # Errors
/// See [`CreateError`].
pub async fn create_delete(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    by: UserId,
    contacts: ContactRefs,
    staged: Staged,
) -> Result<Step<Batch>, CreateError> {
    create_delete_at(conn, now, by, contacts, None, staged).await
}

/// Accepts a deletion that is to start at a time: until then it can be cancelled with nothing done.
///
/// # Errors
/// See [`CreateError`].
pub async fn create_delete_at(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    by: UserId,
    contacts: ContactRefs,
    schedule_at: Option<Timestamp>,
    staged: Staged,
) -> Result<Step<Batch>, CreateError> {
    let batch = NewBatch { schedule_at, ..NewBatch::new(BatchType::Delete, by, json!({}), staged) };
    create_over(conn, now, batch, &contacts).await
}

async fn create_over(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: NewBatch<'_>,
    refs: &ContactRefs,
) -> Result<Step<Batch>, CreateError> {
    let size = chunk_size(batch.batch_type);
    let total = i64::try_from(refs.len()).unwrap_or(i64::MAX);
    make_over(conn, now, NewBatch { total, ..batch }, refs, size).await
}

/// Makes a batch over a list of contacts, in chunks of `size`; some of these may be written already.
async fn make_over(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: NewBatch<'_>,
    refs: &ContactRefs,
    size: usize,
) -> Result<Step<Batch>, CreateError> {
    let mut seq = batch.staged.seq;
    let left = refs.as_slice().get(usize::try_from(seq).unwrap_or(usize::MAX)..).unwrap_or(&[]);
    let parts = left.chunks(size.max(1));
    let count = parts.len();
    let chunks = parts.map(move |part| {
        let chunk = NewChunk::of(seq, part)?;
        seq += chunk.item_count;
        Ok(chunk)
    });
    batch.make(conn, now, count, chunks).await
}

/// Writes chunks one after the other, a few statements' worth at a time.
pub(super) struct ChunkWriter {
    id: BatchId,
    /// The number of the next chunk that is written.
    pub(super) no: i64,
    /// The number of the item behind the last one.
    pub(super) seq: i64,
    /// The number of the first chunk that waits; those before it are open.
    opened: i64,
    pending: Vec<NewChunk>,
    pending_bytes: usize,
}

/// How much chunk data is collected before it is written.
const WRITE_BYTES: usize = 256 * 1024;

impl ChunkWriter {
    pub(super) fn resume(id: BatchId, no: i64, seq: i64) -> Self {
        Self { id, no, seq, opened: 0, pending: Vec::new(), pending_bytes: 0 }
    }

    pub(super) async fn push(&mut self, conn: &impl ConnectionTrait, chunk: NewChunk) -> Result<(), DbErr> {
        self.pending_bytes += chunk.data.len();
        self.seq += chunk.item_count;
        self.pending.push(chunk);
        if self.pending_bytes >= WRITE_BYTES { self.finish(conn).await } else { Ok(()) }
    }

    pub(super) async fn finish(&mut self, conn: &impl ConnectionTrait) -> Result<(), DbErr> {
        chunks::insert(conn, self.id, self.no, self.opened, &self.pending).await?;
        self.no += i64::try_from(self.pending.len()).unwrap_or(i64::MAX);
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(())
    }
}

/// Opens a batch whose chunks are all written and wait: at once, or by a job at its time.
pub(super) async fn open(conn: &impl ConnectionTrait, now: Timestamp, id: BatchId) -> Result<Step<Batch>, DbErr> {
    let Some(batch) = row::lock(conn, id).await? else { return Err(DbErr::RecordNotFound(format!("batch {id}"))) };
    let (mut rings, mut ended) = (Vec::new(), None);
    if batch.chunk_count == 0 {
        ended = chunks::end(conn, now, &batch.summary).await?;
    } else if let Some(run_at) = batch.schedule_at.filter(|at| *at > now) {
        let start = NewJob { batch: Some(id), ..NewJob::of(JobKind::Start, run_at) };
        rings = jobs::enqueue(conn, now, &[start]).await?;
    } else {
        rings = chunks::open_next(conn, now, id, batch.summary.batch_type, WINDOW).await?;
    }
    let Some(value) = row::lock(conn, id).await? else { return Err(DbErr::RecordNotFound(format!("batch {id}"))) };
    let changed = ended.unwrap_or_else(|| value.summary.clone());
    Ok(Step { value, rings, events: vec![Event::BatchChanged(changed)] })
}
