//! How many messages were sent and received: totals that are read without counting millions of rows.
//!
//! A total is the sum of rows by day, kind and **slot**. Whoever counts picks a slot by chance, so that transactions that
//! count at the same time seldom wait for one another. The last statement of its transaction but for the outbox's.

use crate::db;
use crate::time::Timestamp;
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// Messages that the gateway took.
    Sent,
    /// Messages that customers wrote.
    Received,
}

impl Tally {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

/// Over how many rows a day's count is spread.
const SLOTS: i64 = 16;

const DAY_MS: i64 = 86_400_000;

/// Adds to a total.
pub(crate) async fn add(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    tally: Tally,
    by: i64,
    rng: &mut impl Rng,
) -> Result<(), DbErr> {
    if by == 0 {
        return Ok(());
    }
    let sql = "INSERT INTO message_tallies (day, kind, slot, n) VALUES ($1, $2, $3, $4)
               ON CONFLICT (day, kind, slot) DO UPDATE SET n = message_tallies.n + excluded.n";
    let slot = rng.random_range(0..SLOTS);
    db::execute(conn, sql, [(now.0 / DAY_MS).into(), tally.as_str().into(), slot.into(), by.into()]).await.map(|_| ())
}

/// A total since the beginning.
///
/// # Errors
/// The database's.
pub async fn total(conn: &impl ConnectionTrait, tally: Tally) -> Result<i64, DbErr> {
    let sql = "SELECT CAST(coalesce(sum(n), 0) AS BIGINT) FROM message_tallies WHERE kind = $1";
    Ok(db::value(conn, sql, [tally.as_str().into()]).await?.unwrap_or(0))
}
