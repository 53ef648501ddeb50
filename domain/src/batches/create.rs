//! Accepting a batch: its rows, its chunks and its first jobs in one transaction.

use super::chunks::{self, NewChunk, WINDOW, chunk_size};
use super::import::ImportLine;
use super::model::{BatchType, OnUnknown, TagOperation};
use super::recipients::{self, Audience, ContactRefs};
use super::row::{self, Batch};
use crate::db::{self, Dialect};
use crate::jobs::{self, NewJob};
use crate::messages::template::{Template, TemplateError};
use crate::ring::{JobKind, Lane};
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::{BatchId, TemplateId, UserId};
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
    /// Its own pace; `None`: the sender's.
    pub rate_per_minute: Option<u32>,
    /// The random extra delay of each message is uniform in `[0, jitter_ms]`.
    pub jitter_ms: u32,
    /// When it is to start; `None`: now.
    pub schedule_at: Option<Timestamp>,
    /// What becomes of a send whose outcome is not known.
    pub on_unknown: OnUnknown,
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
            rate_per_minute: None,
            jitter_ms: 0,
            schedule_at: None,
            on_unknown: OnUnknown::Resend,
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

/// An import to be accepted; its rows follow through an [`ImportWriter`].
#[derive(Clone, Debug)]
pub struct NewImport {
    /// Skip contacts that exist instead of merging into them.
    pub skip_duplicates: bool,
    /// Tags for every imported contact.
    pub tags: Vec<String>,
    /// Where the contacts come from, where a row does not say.
    pub source: Option<String>,
}

/// Why a batch was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is no such template.
    #[error("no such template")]
    NoTemplate,
    /// The message does not parse.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The audience matches nobody.
    #[error("the audience matches no contact")]
    EmptyAudience,
    /// The database's.
    #[error(transparent)]
    Database(#[from] DbErr),
}

struct NewBatch<'a> {
    batch_type: BatchType,
    by: UserId,
    config: Value,
    content: Option<&'a str>,
    rate_per_minute: Option<u32>,
    jitter_ms: u32,
    on_unknown: OnUnknown,
    schedule_at: Option<Timestamp>,
    total: i64,
    expanded: bool,
}

impl<'a> NewBatch<'a> {
    fn new(batch_type: BatchType, by: UserId, config: Value) -> Self {
        Self {
            batch_type,
            by,
            config,
            content: None,
            rate_per_minute: None,
            jitter_ms: 0,
            on_unknown: OnUnknown::Resend,
            schedule_at: None,
            total: 0,
            expanded: true,
        }
    }

    async fn insert(self, conn: &impl ConnectionTrait, now: Timestamp) -> Result<BatchId, DbErr> {
        let row = db::one(
            conn,
            "INSERT INTO batches (type, status, created_by, config, content, rate_per_minute, jitter_ms, on_unknown,
                                  schedule_at, total, expanded, created_at, sender_id)
             VALUES ($1, 'PENDING', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
                     CASE WHEN $1 = 'SEND' THEN (SELECT min(id) FROM senders) END) RETURNING id",
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
            ],
        )
        .await?
        .ok_or_else(|| DbErr::RecordNotInserted)?;
        Ok(BatchId(row.try_get("", "id")?))
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
) -> Result<Step<Batch>, CreateError> {
    let content = match new.template {
        Some(id) => crate::messages::templates::content(conn, id).await?.ok_or(CreateError::NoTemplate)?,
        None => new.content.clone().unwrap_or_default(),
    };
    Template::parse(&content)?;
    let mut config = json!({
        "templateId": new.template.map(|id| id.to_string()), "content": content, "jitterMs": new.jitter_ms,
        "ratePerMinute": new.rate_per_minute, "scheduleAt": new.schedule_at.map(Timestamp::to_rfc3339),
        "onUnknown": new.on_unknown,
    });
    let total = match &new.recipients {
        Recipients::Contacts(refs) => i64::try_from(refs.len()).unwrap_or(i64::MAX),
        Recipients::Audience(audience) => {
            config["audience"] = json!(audience);
            let count = audience.count(conn).await?;
            if count == 0 {
                return Err(CreateError::EmptyAudience);
            }
            count
        }
    };
    let expanded = matches!(new.recipients, Recipients::Contacts(_));
    let batch = NewBatch {
        content: Some(&content),
        rate_per_minute: new.rate_per_minute,
        jitter_ms: new.jitter_ms,
        on_unknown: new.on_unknown,
        schedule_at: new.schedule_at,
        total,
        expanded,
        ..NewBatch::new(BatchType::Send, by, config)
    };
    let id = batch.insert(conn, now).await?;
    match new.recipients {
        Recipients::Contacts(refs) => {
            write_refs(conn, id, &refs, new.chunk_items.unwrap_or(chunk_size(BatchType::Send))).await?;
            Ok(open(conn, now, id).await?)
        }
        Recipients::Audience(audience) => {
            let expand = NewJob {
                kind: JobKind::Expand,
                lane: Lane::Default,
                batch: Some(id),
                chunk: None,
                payload: json!({ "audience": audience }),
                run_at: now,
            };
            let rings = jobs::enqueue(conn, now, &[expand]).await?;
            Ok(accepted(conn, id, rings).await?)
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
) -> Result<Step<Batch>, CreateError> {
    let config = json!({ "tags": new.tags, "operation": new.operation });
    Ok(create_over(conn, now, by, BatchType::Tag, config, &new.contacts).await?)
}

/// Accepts a deletion.
///
/// # Errors
/// The database's.
pub async fn create_delete(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    by: UserId,
    contacts: ContactRefs,
) -> Result<Step<Batch>, CreateError> {
    Ok(create_over(conn, now, by, BatchType::Delete, json!({}), &contacts).await?)
}

async fn create_over(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    by: UserId,
    batch_type: BatchType,
    config: Value,
    refs: &ContactRefs,
) -> Result<Step<Batch>, DbErr> {
    let total = i64::try_from(refs.len()).unwrap_or(i64::MAX);
    let id = NewBatch { total, ..NewBatch::new(batch_type, by, config) }.insert(conn, now).await?;
    write_refs(conn, id, refs, chunk_size(batch_type)).await?;
    open(conn, now, id).await
}

/// Writes all chunks of a list of contacts, and how many there are into the batch.
async fn write_refs(conn: &impl ConnectionTrait, id: BatchId, refs: &ContactRefs, size: usize) -> Result<(), DbErr> {
    let mut writer = ChunkWriter::new(id);
    for part in refs.as_slice().chunks(size.max(1)) {
        let data = serde_json::to_string(part).map_err(|e| DbErr::Json(e.to_string()))?;
        writer.push(conn, part.len(), data, recipients::between(part)).await?;
    }
    writer.finish(conn).await?;
    db::execute(
        conn,
        "UPDATE batches SET chunk_count = $2, chunks_left = $2 WHERE id = $1",
        [id.into(), writer.no.into()],
    )
    .await?;
    Ok(())
}

/// Writes chunks one after the other, a few statements' worth at a time.
pub(super) struct ChunkWriter {
    id: BatchId,
    pub(super) no: i64,
    pub(super) seq: i64,
    pending: Vec<NewChunk>,
    pending_bytes: usize,
}

/// How much chunk data is collected before it is written.
const WRITE_BYTES: usize = 256 * 1024;

impl ChunkWriter {
    pub(super) fn new(id: BatchId) -> Self {
        Self::resume(id, 0, 0)
    }

    pub(super) fn resume(id: BatchId, no: i64, seq: i64) -> Self {
        Self { id, no, seq, pending: Vec::new(), pending_bytes: 0 }
    }

    pub(super) async fn push(
        &mut self,
        conn: &impl ConnectionTrait,
        items: usize,
        data: String,
        between: Option<(i64, i64)>,
    ) -> Result<(), DbErr> {
        let item_count = i64::try_from(items).unwrap_or(i64::MAX);
        self.pending_bytes += data.len();
        self.pending.push(NewChunk { first_seq: self.seq, item_count, data, between });
        self.seq += item_count;
        if self.pending_bytes >= WRITE_BYTES { self.finish(conn).await } else { Ok(()) }
    }

    pub(super) async fn finish(&mut self, conn: &impl ConnectionTrait) -> Result<(), DbErr> {
        chunks::insert(conn, self.id, self.no, &self.pending).await?;
        self.no += i64::try_from(self.pending.len()).unwrap_or(i64::MAX);
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(())
    }
}

/// Opens a batch whose chunks are all written: at once, or by a job at its time.
pub(super) async fn open(conn: &impl ConnectionTrait, now: Timestamp, id: BatchId) -> Result<Step<Batch>, DbErr> {
    let Some(batch) = row::lock(conn, id).await? else { return Err(DbErr::RecordNotFound(format!("batch {id}"))) };
    if batch.chunk_count == 0 {
        let ended = chunks::end(conn, now, &batch.summary).await?;
        let mut step = accepted(conn, id, Vec::new()).await?;
        step.events = ended.map(Event::BatchChanged).into_iter().collect();
        return Ok(step);
    }
    let rings = match batch.schedule_at.filter(|at| *at > now) {
        Some(run_at) => {
            let start = NewJob {
                kind: JobKind::Start,
                lane: Lane::Default,
                batch: Some(id),
                chunk: None,
                payload: json!({}),
                run_at,
            };
            jobs::enqueue(conn, now, &[start]).await?
        }
        None => chunks::open_next(conn, now, id, batch.summary.batch_type, WINDOW).await?,
    };
    accepted(conn, id, rings).await
}

async fn accepted(conn: &impl ConnectionTrait, id: BatchId, rings: Vec<crate::Ring>) -> Result<Step<Batch>, DbErr> {
    let Some(value) = row::lock(conn, id).await? else { return Err(DbErr::RecordNotFound(format!("batch {id}"))) };
    let events = vec![Event::BatchChanged(value.summary.clone())];
    Ok(Step { value, rings, events })
}

/// Writes an import row by row, in the caller's transaction, holding one chunk in memory.
#[derive(Debug)]
pub struct ImportWriter {
    id: BatchId,
    no: i64,
    seq: i64,
    rows: Vec<ImportLine>,
}

impl ImportWriter {
    /// Begins an import.
    ///
    /// # Errors
    /// The database's.
    pub async fn begin(
        conn: &impl ConnectionTrait,
        now: Timestamp,
        by: UserId,
        new: &NewImport,
    ) -> Result<Self, DbErr> {
        // This transaction alone waits for somebody outside, who sends the file; what it locks nobody else looks for.
        if Dialect::of(conn) == Dialect::Postgres {
            db::execute(conn, "SET LOCAL idle_in_transaction_session_timeout = '60s'", []).await?;
        }
        let config = json!({ "skipDuplicates": new.skip_duplicates, "tags": new.tags, "source": new.source });
        let id = NewBatch::new(BatchType::Import, by, config).insert(conn, now).await?;
        Ok(Self { id, no: 0, seq: 0, rows: Vec::new() })
    }

    /// Adds a row. It is checked when its chunk is imported: a bad one becomes a failed item.
    ///
    /// # Errors
    /// The database's.
    pub async fn push(&mut self, conn: &impl ConnectionTrait, row: ImportLine) -> Result<(), DbErr> {
        self.rows.push(row);
        if self.rows.len() >= chunk_size(BatchType::Import) { self.flush(conn).await } else { Ok(()) }
    }

    /// How many rows were added.
    #[must_use]
    pub fn len(&self) -> i64 {
        self.seq + i64::try_from(self.rows.len()).unwrap_or(i64::MAX)
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    async fn flush(&mut self, conn: &impl ConnectionTrait) -> Result<(), DbErr> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let data = serde_json::to_string(&self.rows).map_err(|e| DbErr::Json(e.to_string()))?;
        let mut writer = ChunkWriter::resume(self.id, self.no, self.seq);
        // Nobody yet: no contact has the number 0.
        writer.push(conn, self.rows.len(), data, Some((0, 0))).await?;
        writer.finish(conn).await?;
        (self.no, self.seq) = (writer.no, writer.seq);
        self.rows.clear();
        Ok(())
    }

    /// Ends the list of rows and opens the batch.
    ///
    /// # Errors
    /// The database's.
    pub async fn finish(mut self, conn: &impl ConnectionTrait, now: Timestamp) -> Result<Step<Batch>, DbErr> {
        self.flush(conn).await?;
        db::execute(
            conn,
            "UPDATE batches SET total = $2, chunk_count = $3, chunks_left = $3 WHERE id = $1",
            [self.id.into(), self.seq.into(), self.no.into()],
        )
        .await?;
        open(conn, now, self.id).await
    }
}
