//! How long SQLite's one writer was held, by whom: everybody else who wants to write waited for it. And how many rows
//! were written meanwhile, which says the same on any machine.

use super::handle::acquire;
use super::pool::{Ask, query_error};
use parking_lot::Mutex;
use sea_orm::DbErr;
use sea_orm::sqlx::{SqliteConnection, SqlitePool};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// The longest holds of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct WriterHolds(Arc<Mutex<HashMap<&'static str, Most>>>);

#[derive(Clone, Copy, Debug, Default)]
struct Most {
    seconds: f64,
    rows: u64,
}

/// The writer, held. Its end is told when it is dropped.
#[derive(Debug)]
pub(super) struct WriterHold {
    holds: WriterHolds,
    since: Instant,
    name: &'static str,
    rows: u64,
}

impl WriterHolds {
    /// The writer is held from now on.
    pub(super) fn begin(&self) -> WriterHold {
        WriterHold { holds: self.clone(), since: Instant::now(), name: "rollback", rows: 0 }
    }

    /// Runs one statement that is a transaction of its own.
    pub(super) async fn single<A: Ask<SqliteConnection>>(
        &self,
        pool: &SqlitePool,
        ask: &A,
    ) -> Result<A::Answer, DbErr> {
        let mut writer = acquire(pool).await?;
        let mut hold = self.begin();
        hold.ends("statement", 0);
        let answer = ask.ask(&mut writer).await.map_err(query_error);
        drop(hold);
        answer
    }

    fn tell(&self, name: &'static str, seconds: f64, rows: u64) {
        metrics::histogram!("paceline_writer_hold_seconds", "step" => name).record(seconds);
        let mut all = self.0.lock();
        let most = all.entry(name).or_default();
        if seconds > most.seconds {
            most.seconds = seconds;
            metrics::gauge!("paceline_writer_hold_longest_seconds", "step" => name).set(seconds);
        }
        if rows > most.rows {
            most.rows = rows;
            metrics::gauge!("paceline_writer_rows_most", "step" => name).set(rows as f64);
        }
    }
}

impl WriterHold {
    /// It ends with a commit of this name, of so many rows.
    pub(super) fn ends(&mut self, name: &'static str, rows: u64) {
        (self.name, self.rows) = (name, rows);
    }
}

impl Drop for WriterHold {
    fn drop(&mut self) {
        self.holds.tell(self.name, self.since.elapsed().as_secs_f64(), self.rows);
    }
}
