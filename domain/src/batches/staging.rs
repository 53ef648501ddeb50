//! Writing a large batch before it is there.
//!
//! A batch of a million has hundreds of chunks. In one transaction they would keep SQLite's writer for seconds, while a file
//! is read even for minutes. So all that is more than a little is written in transactions of its own, under a number that
//! was reserved for the batch. Nobody sees such chunks: whatever reads chunks comes from a batch's row or a job, and
//! there is none. The last transaction makes the batch. What is given up, or left by a process that died, is thrown away
//! ([`prune_uploads`]).

use super::chunks::{NewChunk, chunk_size};
use super::create::{NewSend, Recipients};
use super::recipients::ContactRefs;
use super::{chunks, prune};
use crate::db;
use crate::model::{BatchStatus, BatchType};
use crate::time::Timestamp;
use entities::{BatchId, UserId, batches, uploads};
use sea_orm::{ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait};
use std::time::Duration;

/// How much chunk data one transaction writes.
pub(super) const STAGE_BYTES: usize = 512 * 1024;

/// How long an upload may bring nothing before it is taken for given up.
const GIVEN_UP: Duration = Duration::from_secs(3_600);

/// How many contacts of a list the batch's own transaction takes: with so many there is nothing to stage.
const LITTLE: usize = 10_000;

/// What was done for a batch before its transaction. By default nothing, as with most batches.
#[derive(Clone, Debug, Default)]
pub struct Staged {
    pub(super) id: Option<BatchId>,
    pub(super) no: i64,
    pub(super) seq: i64,
    /// How many contacts its audience matches.
    pub(super) count: Option<i64>,
}

/// Chunks that one transaction writes.
#[derive(Debug)]
pub struct Part(pub(super) Vec<NewChunk>);

impl Staged {
    /// Counts the contacts of a send's audience, if it has one: among a million that takes too long for a transaction.
    ///
    /// # Errors
    /// The database's.
    pub async fn count(&mut self, conn: &impl ConnectionTrait, new: &NewSend) -> Result<(), DbErr> {
        if let Recipients::Audience(audience) = &new.recipients {
            self.count = Some(audience.count(conn).await?);
        }
        Ok(())
    }

    /// The next part of a list of contacts that is to be written by itself; `None`: what is left is little.
    ///
    /// # Errors
    /// When a contact cannot be said in JSON.
    pub fn next_part(&self, contacts: &ContactRefs, batch_type: BatchType) -> Result<Option<Part>, DbErr> {
        let left = contacts.as_slice().get(usize::try_from(self.seq).unwrap_or(usize::MAX)..).unwrap_or(&[]);
        if left.len() <= LITTLE {
            return Ok(None);
        }
        let (mut seq, mut bytes, mut part) = (self.seq, 0, Vec::new());
        for refs in left.chunks_exact(chunk_size(batch_type)) {
            let chunk = NewChunk::of(seq, refs)?;
            bytes += chunk.data.len();
            seq += chunk.item_count;
            part.push(chunk);
            if bytes >= STAGE_BYTES {
                break;
            }
        }
        Ok(Some(Part(part)))
    }

    /// Writes a part, in a transaction of its own. Until that is committed `self` is ahead of the database: after an error
    /// all is given up.
    ///
    /// # Errors
    /// See [`StageError`].
    pub async fn write(&mut self, conn: &impl ConnectionTrait, now: Timestamp, part: &Part) -> Result<(), StageError> {
        let id = match self.id {
            Some(id) => {
                let sql = "UPDATE uploads SET seen_at = $2 WHERE batch_id = $1 AND seen_at >= 0";
                if db::execute(conn, sql, [id.into(), now.0.into()]).await? == 0 {
                    return Err(StageError::GivenUp(GivenUp));
                }
                id
            }
            None => reserve(conn, now).await?,
        };
        self.id = Some(id);
        chunks::insert(conn, id, self.no, 0, &part.0).await?;
        self.no += i64::try_from(part.0.len()).unwrap_or(i64::MAX);
        self.seq += part.0.iter().map(|chunk| chunk.item_count).sum::<i64>();
        Ok(())
    }

    /// The batch is made by this transaction: its chunks are no longer an upload's.
    pub(super) async fn take(&self, conn: &impl ConnectionTrait) -> Result<(), StageError> {
        let Some(id) = self.id else { return Ok(()) };
        match db::execute(conn, "DELETE FROM uploads WHERE batch_id = $1 AND seen_at >= 0", [id.into()]).await? {
            0 => Err(StageError::GivenUp(GivenUp)),
            _ => Ok(()),
        }
    }
}

/// An upload brought nothing for an hour, and what had come of it was thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing came for an hour, and the upload was given up; send it again")]
pub struct GivenUp;

/// Why a part, or the batch of the parts, was not written.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The upload was given up before.
    #[error(transparent)]
    GivenUp(GivenUp),
    /// The database's.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// A number that no batch has or will get: that of a batch which is gone before anybody sees it.
async fn reserve(conn: &impl ConnectionTrait, now: Timestamp) -> Result<BatchId, DbErr> {
    let nobodys = batches::ActiveModel {
        batch_type: Set(BatchType::Import),
        status: Set(BatchStatus::Cancelled),
        created_by: Set(UserId(0)),
        config: Set("{}".to_owned()),
        created_at: Set(now),
        ..Default::default()
    };
    let id = batches::Entity::insert(nobodys).exec(conn).await?.last_insert_id;
    batches::Entity::delete_by_id(id).exec(conn).await?;
    let upload = uploads::ActiveModel { batch_id: Set(id), seen_at: Set(now) };
    uploads::Entity::insert(upload).exec_without_returning(conn).await?;
    Ok(id)
}

/// A step of throwing away what was written of a batch that does not come to be: some `rows` rows. `false`: nothing is
/// left.
///
/// # Errors
/// The database's.
pub async fn unstage(conn: &impl ConnectionTrait, staged: &Staged, rows: u64) -> Result<bool, DbErr> {
    match staged.id {
        Some(id) => throw_away(conn, id.0, rows).await,
        None => Ok(false),
    }
}

/// The same for all that nobody brings anything for any more.
///
/// # Errors
/// The database's.
pub async fn prune_uploads(conn: &impl ConnectionTrait, now: Timestamp, rows: u64) -> Result<bool, DbErr> {
    let sql = "SELECT batch_id FROM uploads WHERE seen_at < $1 ORDER BY batch_id LIMIT 1";
    let Some(id) = db::value(conn, sql, [now.minus(GIVEN_UP).0.into()]).await? else { return Ok(false) };
    throw_away(conn, id, rows).await?;
    Ok(true)
}

async fn throw_away(conn: &impl ConnectionTrait, id: i64, rows: u64) -> Result<bool, DbErr> {
    // Its own no more from here on: an upload that goes on after all finds that it was given up.
    let marked = db::execute(conn, "UPDATE uploads SET seen_at = -1 WHERE batch_id = $1", [id.into()]).await?;
    if marked == 0 {
        // It became a batch, or is gone.
        return Ok(false);
    }
    let mut left = rows.max(1);
    let all = prune::chunks(conn, id, &mut left).await?;
    if all {
        db::execute(conn, "DELETE FROM uploads WHERE batch_id = $1", [id.into()]).await?;
    }
    Ok(!all)
}
