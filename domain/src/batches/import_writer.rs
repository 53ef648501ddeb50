//! An import on its way into the ledger: its rows as a stream, a part in each transaction, and last the batch itself.

use super::chunks::{NewChunk, chunk_size};
use super::create::{CreateError, NewBatch, NewImport};
use super::import::ImportLine;
use super::row::Batch;
use super::staging::{Part, STAGE_BYTES, StageError, Staged};
use crate::Step;
use crate::contacts::tags;
use crate::model::BatchType;
use crate::time::Timestamp;
use entities::UserId;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::json;

/// Writes an import row by row, in as many transactions as it takes, holding some chunks in memory. No transaction is
/// open while the rows are read. Only [`finish`](Self::finish) makes the batch.
#[derive(Debug, Default)]
pub struct ImportWriter {
    staged: Staged,
    rows: Vec<ImportLine>,
    chunks: Vec<NewChunk>,
    bytes: usize,
    len: i64,
    columns: Vec<String>,
}

impl ImportWriter {
    /// Adds a row. It is checked when its chunk is imported: a bad one becomes a failed item. `true`: there is enough for
    /// a [`write`](Self::write).
    ///
    /// # Errors
    /// When the row cannot be said in JSON.
    pub fn push(&mut self, row: ImportLine) -> Result<bool, DbErr> {
        self.rows.push(row);
        self.len += 1;
        if self.rows.len() >= chunk_size(BatchType::Import) {
            self.fill()?;
        }
        Ok(self.bytes >= STAGE_BYTES)
    }

    /// How many rows were added.
    #[must_use]
    pub fn len(&self) -> i64 {
        self.len
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was written by itself: for [`unstage`](super::unstage), when the rest does not follow.
    #[must_use]
    pub fn staged(&self) -> &Staged {
        &self.staged
    }

    /// Makes a chunk of the rows that are in hand.
    fn fill(&mut self) -> Result<(), DbErr> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let data = serde_json::to_string(&self.rows).map_err(|e| DbErr::Json(e.to_string()))?;
        let item_count = i64::try_from(self.rows.len()).unwrap_or(i64::MAX);
        self.bytes += data.len();
        // Nobody yet: no contact has the number 0.
        let between = Some((0, 0));
        self.chunks.push(NewChunk { first_seq: self.len - item_count, item_count, data, between });
        self.rows.clear();
        Ok(())
    }

    /// Tells the names of the rows' cells: under them failed rows are given back.
    pub fn set_columns(&mut self, columns: &[String]) {
        self.columns = columns.to_vec();
    }

    /// Writes the chunks that are in hand, in a transaction of its own. After an error all is given up.
    ///
    /// # Errors
    /// See [`StageError`].
    pub async fn write(&mut self, conn: &impl ConnectionTrait, now: Timestamp) -> Result<(), StageError> {
        self.bytes = 0;
        self.staged.write(conn, now, &Part(std::mem::take(&mut self.chunks))).await
    }

    /// Writes what is left, makes the batch and opens it.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub async fn finish(
        &mut self,
        conn: &impl ConnectionTrait,
        now: Timestamp,
        by: UserId,
        new: &NewImport,
    ) -> Result<Step<Batch>, CreateError> {
        self.fill()?;
        let config = json!({
            "skipDuplicates": new.skip_duplicates, "tags": tags::normalise_all(&new.tags), "source": new.source,
            "defaultCountry": new.default_country, "columns": self.columns,
        });
        let mut batch = NewBatch::new(BatchType::Import, by, config, self.staged.clone());
        batch.total = self.len;
        let chunks = std::mem::take(&mut self.chunks);
        batch.make(conn, now, chunks.len(), chunks.into_iter().map(Ok)).await
    }
}
