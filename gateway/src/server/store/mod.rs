//! The gateway's own store: messages, reports, senders. Its writer is the only one that changes them.
//!
//! What is written together belongs together: a message's outcome and the report of it are one commit; so are a claim
//! and the slots it took. Each ask may be repeated: it finds what it did and does nothing more.

mod events;
mod identity;
mod kept;
mod ledger;
mod messages;
mod prune;
mod reports;
mod senders;
mod webhooks;

use self::ledger::{Answer, Ask, Ledger};
use super::rules::AttemptContext;
use crate::Outgoing;
use crate::sqlite::{GroupWriter, OpenError, StoreError, StoreFile, lock};
use crate::transport::{BodyEvents, Event, Settles, SubmissionOutcome};
use serde::Serialize;
use sqlx::sqlite::{SqliteRow, SqliteSynchronous};
use sqlx::{Row, SqlitePool};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

pub(crate) use self::identity::{identity, identity_in};
pub(crate) use self::kept::kept_in;
pub use self::kept::{StoredMessage, StoredPage, StoredState};
pub use self::senders::Sender;
pub(crate) use self::senders::{resume_in, senders_in};

/// The name of its file.
pub const FILE: &str = "gateway.db";

/// The schema, a step each.
const STEPS: [&str; 3] = [include_str!("schema.sql"), include_str!("complete.sql"), include_str!("identity.sql")];

/// Tells the time, in milliseconds since the epoch.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A message to be taken.
#[derive(Clone, Debug)]
pub(crate) struct NewMessage {
    pub(crate) id: String,
    /// The backend named it by a number, and is told of it by a number.
    pub(crate) numeric: bool,
    pub(crate) sender: String,
    pub(crate) recipient: String,
    pub(crate) body: String,
}

/// What became of a message that was to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// It is taken.
    Fresh,
    /// It was before.
    Known,
    /// The sender has sent enough for today.
    Capped { retry_after: Duration },
    /// The sender is stopped.
    Stopped { retry_after: Duration, code: String },
}

/// A message that was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(crate) seq: i64,
    pub(crate) id: String,
    pub(crate) numeric: bool,
    pub(crate) sender: String,
    pub(crate) recipient: String,
    pub(crate) body: String,
    pub(crate) attempts: u32,
    pub(crate) doubt: bool,
    /// When it may leave, in microseconds.
    pub(crate) slot_us: i64,
}

/// What a claim found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) messages: Vec<Claimed>,
    /// When there will be something to claim, as far as is known now.
    pub(crate) next_at_ms: Option<i64>,
    /// The sender was told to wait so often in a row.
    pub(crate) waits: u32,
}

/// What came of a claimed message.
#[derive(Clone, Debug)]
pub(crate) struct AttemptResult {
    pub(crate) seq: i64,
    pub(crate) id: String,
    pub(crate) numeric: bool,
    pub(crate) sender: String,
    pub(crate) handed: SubmissionOutcome,
    pub(crate) standing: AttemptContext,
}

/// What the backend made of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReportOutcome {
    /// It took it.
    Taken,
    /// It will never take it.
    Refused { status: u16, detail: String },
    /// It is told again.
    Again { due_at_ms: i64 },
}

/// A report that is due.
#[derive(Clone, Debug)]
pub(crate) struct DueReport {
    pub(crate) seq: i64,
    pub(crate) thread: i64,
    pub(crate) tries: u32,
    pub(crate) outgoing: Outgoing,
}

/// Who is told of what is written.
#[derive(Debug, Default)]
pub(crate) struct Bells {
    /// There may be something to send.
    pub(crate) sending: Notify,
    /// There may be something to report.
    pub(crate) reporting: Notify,
}

/// The store.
pub(crate) struct Store {
    writer: GroupWriter<Ledger>,
    readers: SqlitePool,
    pub(crate) bells: Arc<Bells>,
    pub(crate) now: Now,
    _lock: File,
}

/// Numbers of a store, for whoever watches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Depths {
    /// Messages that are not handed over yet.
    pub messages_waiting: i64,
    /// Reports that the backend has not taken yet.
    pub reports_waiting: i64,
    /// Reports that it will never take.
    pub reports_refused: i64,
    /// Requests of the network with parts that could not be read.
    pub webhooks_set_aside: i64,
}

impl Store {
    /// Opens the store in `dir`, for this process alone.
    pub(crate) async fn open(
        dir: &Path,
        synchronous: SqliteSynchronous,
        max_mib: u32,
        now: Now,
    ) -> Result<Self, OpenError> {
        crate::sqlite::make_dir(dir)?;
        let file = StoreFile { path: dir.join(FILE), synchronous, max_mib };
        let lock = lock(&file.path)?;
        file.migrate(&STEPS).await?;
        kept::begin(&file, now()).await?;
        let readers = file.readers().await?;
        let bells = Arc::new(Bells::default());
        let writer = GroupWriter::start(file, Ledger { now: now.clone(), bells: bells.clone() });
        Ok(Self { writer, readers, bells, now, _lock: lock })
    }

    pub(crate) async fn accept(&self, message: NewMessage) -> Result<Accepted, StoreError> {
        match self.writer.ask(Ask::Accept(message)).await? {
            Answer::Accepted(accepted) => Ok(accepted),
            Answer::Claims(_) | Answer::Done | Answer::Cursor(_) => Err(StoreError::Fault),
        }
    }

    pub(crate) async fn claim(&self, sender: &str, most: usize, settles: Settles) -> Result<Claims, StoreError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        match self.writer.ask(Ask::Claim { sender: sender.to_owned(), most, settles }).await? {
            Answer::Claims(claims) => Ok(claims),
            Answer::Accepted(_) | Answer::Done | Answer::Cursor(_) => Err(StoreError::Fault),
        }
    }

    pub(crate) async fn unclaim(&self, except: Vec<i64>) -> Result<(), StoreError> {
        self.writer.ask(Ask::Unclaim { except }).await.map(drop)
    }

    pub(crate) async fn recover(&self, settles: Settles) -> Result<(), StoreError> {
        self.writer.ask(Ask::Recover { settles }).await.map(drop)
    }

    pub(crate) async fn settle(&self, outcomes: Vec<AttemptResult>) -> Result<(), StoreError> {
        self.writer.ask(Ask::Settle(outcomes)).await.map(drop)
    }

    pub(crate) async fn heard(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.writer.ask(Ask::TakeEvents { events, from: None }).await.map(drop)
    }

    /// What the body that is kept at a place told.
    pub(crate) async fn heard_at(&self, seq: i64, heard: BodyEvents) -> Result<(), StoreError> {
        let BodyEvents { events, unread } = heard;
        self.writer.ask(Ask::TakeEvents { events, from: Some((seq, unread)) }).await.map(drop)
    }

    /// Keeps a request's body: its place.
    pub(crate) async fn keep(&self, body: Vec<u8>) -> Result<i64, StoreError> {
        self.cursor(Ask::Keep(body)).await?.ok_or(StoreError::Fault)
    }

    /// The place of the next body that is to be read again, up to a last one.
    pub(crate) async fn begin_rereading(&self, after: i64, last: i64) -> Result<Option<i64>, StoreError> {
        self.cursor(Ask::Reread { after, last }).await
    }

    /// Tells again some of what was refused, up to a last one: where to go on.
    pub(crate) async fn tell_refused_again(&self, after: i64, last: i64) -> Result<Option<i64>, StoreError> {
        self.cursor(Ask::TellAgain { after, last }).await
    }

    pub(crate) async fn told(&self, told: Vec<(DueReport, ReportOutcome)>) -> Result<(), StoreError> {
        self.writer.ask(Ask::SettleReports(told)).await.map(drop)
    }

    pub(crate) async fn prune(&self, before_ms: i64, after_seq: i64) -> Result<Option<i64>, StoreError> {
        self.cursor(Ask::Prune { before_ms, after_seq }).await
    }

    async fn cursor(&self, ask: Ask) -> Result<Option<i64>, StoreError> {
        match self.writer.ask(ask).await? {
            Answer::Cursor(cursor) => Ok(cursor),
            Answer::Accepted(_) | Answer::Claims(_) | Answer::Done => Err(StoreError::Fault),
        }
    }

    /// Makes a sender's row, or gives it the limits that are configured now.
    pub(crate) async fn limit(&self, file: &StoreFile, name: &str, rate: u32, cap: u32) -> Result<(), OpenError> {
        let failed = |error| OpenError::Sqlite(file.path.clone(), error);
        let mut conn = file.connect().await.map_err(failed)?;
        sqlx::query(
            "INSERT INTO senders (name, rate_per_minute, daily_cap) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET rate_per_minute = ?2, daily_cap = ?3",
        )
        .bind(name)
        .bind(i64::from(rate))
        .bind(i64::from(cap))
        .execute(&mut conn)
        .await
        .map_err(failed)?;
        sqlx::Connection::close(conn).await.map_err(failed)
    }

    /// The senders' rows.
    pub(crate) async fn senders(&self) -> Result<Vec<Sender>, sqlx::Error> {
        let rows = sqlx::query("SELECT * FROM senders ORDER BY name").fetch_all(&self.readers).await?;
        rows.iter().map(Sender::read).collect()
    }

    /// The first reports that are due, in order.
    pub(crate) async fn due_reports(&self, most: usize) -> Result<Vec<DueReport>, sqlx::Error> {
        let sql = "SELECT seq, thread, tries, report FROM reports WHERE due_at <= ?1 ORDER BY due_at, seq LIMIT ?2";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = sqlx::query(sql).bind((self.now)()).bind(most).fetch_all(&self.readers).await?;
        let read = |row: &SqliteRow| {
            Ok(DueReport {
                seq: row.try_get("seq")?,
                thread: row.try_get("thread")?,
                tries: row.try_get("tries")?,
                outgoing: serde_json::from_str(row.try_get("report")?)
                    .map_err(|error| sqlx::Error::Decode(error.into()))?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// When the next report is due.
    pub(crate) async fn next_report_at(&self) -> Result<Option<i64>, sqlx::Error> {
        sqlx::query_scalar("SELECT min(due_at) FROM reports WHERE due_at IS NOT NULL").fetch_one(&self.readers).await
    }

    /// Numbers for whoever watches.
    pub(crate) async fn depths(&self) -> Result<Depths, sqlx::Error> {
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM messages WHERE due_at IS NOT NULL) AS messages,
                    (SELECT count(*) FROM reports) AS reports,
                    (SELECT count(*) FROM refused) AS refused,
                    (SELECT count(*) FROM webhooks WHERE unread > 0) AS webhooks",
        )
        .fetch_one(&self.readers)
        .await?;
        Ok(Depths {
            messages_waiting: row.try_get("messages")?,
            reports_waiting: row.try_get("reports")?,
            reports_refused: row.try_get("refused")?,
            webhooks_set_aside: row.try_get("webhooks")?,
        })
    }

    /// Whether the store can be read.
    pub(crate) async fn is_there(&self) -> bool {
        sqlx::query("SELECT 1 FROM senders LIMIT 1").fetch_optional(&self.readers).await.is_ok()
    }
}

/// A store in a folder, for a look or a word from another process: there must be one.
fn beside(dir: &Path) -> Result<StoreFile, OpenError> {
    let file = StoreFile { path: dir.join(FILE), synchronous: SqliteSynchronous::Full, max_mib: 0 };
    match file.path.is_file() {
        true => Ok(file),
        false => Err(OpenError::Io(file.path, io::ErrorKind::NotFound.into())),
    }
}

#[cfg(test)]
mod tests;
