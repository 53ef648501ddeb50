//! The processes that claim jobs, each under the name that is in its jobs' `lease_owner`.
//!
//! A lease alone takes [`LEASE`] to tell that a worker is gone. A worker that shares its database with
//! others also says every [`BEAT`] that it is there; one that was silent for [`SILENCE`] is taken for dead, and its
//! leases end at once. That it may wake again changes nothing: its fences no longer stand.
//!
//! What people ask of a worker while it runs ([`Orders`]) is in its row: it reads them with its beat. They are of that
//! process, and end with it; one that starts works as it is configured (0060).

use super::LEASE;
use crate::db::{self, Dialect};
use crate::ring::Lane;
use crate::time::Timestamp;
use entities::JobId;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, QueryResult, Value};
use std::time::Duration;

/// How often a worker says that it is there.
pub const BEAT: Duration = Duration::from_secs(1);

/// How long a worker may say nothing before it is taken for dead.
pub const SILENCE: Duration = Duration::from_secs(5);

/// The release of this build: all its crates have one version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The most jobs that a lane of a worker may do at once.
pub const MAX_PLACES: u32 = 1_000;

/// How a worker takes jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Whether it takes no new jobs, and only finishes what it has.
    pub draining: bool,
    /// How many jobs each lane does at once, in the order of [`Lane::ALL`]; at least one.
    pub places: [u32; 3],
}

impl Orders {
    /// How many jobs a lane does at once.
    #[must_use]
    pub const fn of(&self, lane: Lane) -> u32 {
        match lane {
            Lane::Critical => self.places[0],
            Lane::Default => self.places[1],
            Lane::Bulk => self.places[2],
        }
    }

    fn values(&self) -> impl Iterator<Item = Value> {
        std::iter::once(self.draining.into()).chain(self.places.map(|places| i64::from(places).into()))
    }

    /// Reads those of a row; `None`: its worker is of a release that takes none.
    pub(crate) fn read(row: &QueryResult) -> Result<Option<Self>, DbErr> {
        let row = OrdersRow::from_query_result(row, "")?;
        Ok(Self::kept(row.draining, [row.critical_places, row.default_places, row.bulk_places]))
    }

    /// Those that a row keeps, its places in the order of [`Lane::ALL`]; `None`: its worker is of a release that takes none.
    pub(crate) fn kept(draining: bool, places: [Option<i64>; 3]) -> Option<Self> {
        let [Some(critical), Some(default), Some(bulk)] = places else { return None };
        let places = [critical, default, bulk].map(|count| u32::try_from(count).unwrap_or(MAX_PLACES));
        Some(Self { draining, places })
    }
}

/// A row's [`ORDERS`].
#[derive(FromQueryResult)]
struct OrdersRow {
    draining: bool,
    critical_places: Option<i64>,
    default_places: Option<i64>,
    bulk_places: Option<i64>,
}

/// The columns of the places, in the order of [`Lane::ALL`].
const PLACES: [&str; 3] = ["critical_places", "default_places", "bulk_places"];

/// The columns of orders.
pub(crate) const ORDERS: &str = "draining, critical_places, default_places, bulk_places";

/// Says that a worker is there and what it does by now; returns what it is to do. One whose row is gone, since it was taken
/// for dead, brings its orders along.
///
/// # Errors
/// The database's.
pub async fn beat(conn: &impl ConnectionTrait, now: Timestamp, owner: &str, does: &Orders) -> Result<Orders, DbErr> {
    let obeys = ["draining"].into_iter().chain(PLACES).map(|column| format!("workers.{column} = excluded.{column}"));
    let sql = format!(
        "INSERT INTO workers (owner, started_at, seen_at, version, obeyed_at, {ORDERS}) VALUES ($1, $2, $2, $3, $2, $4, $5, $6, $7)
         ON CONFLICT (owner) DO UPDATE SET seen_at = excluded.seen_at,
            obeyed_at = CASE WHEN workers.obeyed_at IS NULL AND {} THEN excluded.seen_at ELSE workers.obeyed_at END
         RETURNING {ORDERS}",
        obeys.collect::<Vec<_>>().join(" AND ")
    );
    let values = [owner.into(), now.0.into(), VERSION.into()].into_iter().chain(does.values());
    let row = db::one(conn, sql, values).await?.ok_or(DbErr::RecordNotUpdated)?;
    Ok(Orders::read(&row)?.unwrap_or(*does))
}

/// What a worker is to do; `None`: it has no row, or one without orders.
///
/// # Errors
/// The database's.
pub async fn orders(conn: &impl ConnectionTrait, owner: &str) -> Result<Option<Orders>, DbErr> {
    let row = db::one(conn, format!("SELECT {ORDERS} FROM workers WHERE owner = $1"), [owner.into()]).await?;
    row.as_ref().map_or(Ok(None), Orders::read)
}

/// What is asked of a worker; what is not said stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewOrders {
    /// Whether it takes no new jobs.
    pub draining: Option<bool>,
    /// How many jobs each lane does at once, in the order of [`Lane::ALL`]: 1 to [`MAX_PLACES`].
    pub places: [Option<u32>; 3],
}

/// Why a worker was asked nothing.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// There is no such worker.
    #[error("no such worker")]
    NotFound,
    /// It is of a release that takes no orders.
    #[error("the worker is of a release that takes no orders: stop it where it runs")]
    TooOld,
    /// The database's.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// Asks something of a worker, which it does from its next look on, within a second. The last statement of its transaction:
/// the worker's beat waits for it.
///
/// # Errors
/// See [`OrderError`].
pub async fn order(conn: &impl ConnectionTrait, owner: &str, new: &NewOrders) -> Result<Orders, OrderError> {
    let sets = ["CAST($2 AS BOOLEAN)", "CAST($3 AS BIGINT)", "CAST($4 AS BIGINT)", "CAST($5 AS BIGINT)"];
    let sets = ["draining"].into_iter().chain(PLACES).zip(sets);
    let sets: Vec<String> = sets.map(|(column, value)| format!("{column} = coalesce({value}, {column})")).collect();
    let sql = format!(
        "UPDATE workers SET obeyed_at = NULL, {} WHERE owner = $1 AND critical_places IS NOT NULL RETURNING {ORDERS}",
        sets.join(", ")
    );
    let mut values: Vec<Value> = vec![owner.into(), new.draining.into()];
    values.extend(new.places.map(|places| places.map(i64::from).into()));
    if let Some(row) = db::one(conn, sql, values).await? {
        return Orders::read(&row)?.ok_or(OrderError::TooOld);
    }
    let known = db::one(conn, "SELECT 1 AS one FROM workers WHERE owner = $1", [owner.into()]).await?;
    Err(if known.is_some() { OrderError::TooOld } else { OrderError::NotFound })
}

/// A worker stops. One that holds nothing any more is forgotten; the leases of one that does end now, and it is kept for as
/// long as it takes to tell its silence: its jobs are taken back as those of a worker that is there, since that it stopped
/// is no fault of theirs. Returns how many leases ended.
///
/// # Errors
/// The database's.
pub async fn leave(conn: &impl ConnectionTrait, now: Timestamp, owner: &str) -> Result<u64, DbErr> {
    let ended = end_leases(conn, now, owner).await?;
    if ended == 0 {
        let sql = "DELETE FROM workers WHERE owner = $1
                   AND NOT EXISTS (SELECT 1 FROM jobs WHERE state = 'running' AND lease_owner = $1)";
        db::execute(conn, sql, [owner.into()]).await?;
    }
    Ok(ended)
}

/// Ends the leases of every worker but those that beat since `heard_since`, and forgets them; returns how many workers
/// these were. Commit it by itself: a worker that beats waits for it. For a process that was itself in touch with the database all the time: after an outage every worker has
/// been silent.
///
/// # Errors
/// The database's.
pub async fn bury_silent(conn: &impl ConnectionTrait, now: Timestamp, heard_since: Timestamp) -> Result<usize, DbErr> {
    let sql = "DELETE FROM workers WHERE seen_at < $1 RETURNING owner";
    let silent: Vec<String> = db::values(conn, sql, [heard_since.0.into()]).await?;
    for owner in &silent {
        end_leases(conn, now, owner).await?;
    }
    Ok(silent.len())
}

/// Ends the leases that a worker holds without knowing: the answer to a claim was lost. `held` are those that it knows of;
/// leases that were taken or renewed after `before` may be on their way to it.
///
/// # Errors
/// The database's.
pub async fn disown(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    owner: &str,
    held: &[(JobId, i64)],
    before: Timestamp,
) -> Result<u64, DbErr> {
    let ids: Vec<i64> = held.iter().map(|(id, _)| id.0).collect();
    let known = Dialect::of(conn).one_of(4, "bigint");
    let sql = end(conn, &format!("AND lease_until < $3 AND NOT (id {known})"));
    let values =
        [owner.into(), (now.0 - 1).into(), before.plus(LEASE).0.into(), serde_json::json!(ids).to_string().into()];
    db::execute(conn, sql, values).await
}

/// Ends all leases and forgets all workers: at the start of the only process that can be there.
///
/// # Errors
/// The database's.
pub async fn bury_all(conn: &impl ConnectionTrait, now: Timestamp) -> Result<u64, DbErr> {
    db::execute(conn, "DELETE FROM workers", []).await?;
    let sql = "UPDATE jobs SET lease_until = $1 WHERE state = 'running'";
    db::execute(conn, sql, [(now.0 - 1).into()]).await
}

async fn end_leases(conn: &impl ConnectionTrait, now: Timestamp, owner: &str) -> Result<u64, DbErr> {
    db::execute(conn, end(conn, ""), [owner.into(), (now.0 - 1).into()]).await
}

/// The statement that ends the leases of the owner `$1` at `$2`, with another condition. A job that a transaction holds is
/// in somebody's hands: it is passed over, and its lease ends by itself.
fn end(conn: &impl ConnectionTrait, and: &str) -> String {
    let skip = Dialect::of(conn).for_update_skip_locked();
    format!(
        "UPDATE jobs SET lease_until = $2 WHERE id IN (
            SELECT id FROM jobs WHERE state = 'running' AND lease_owner = $1 AND lease_until > $2 {and}{skip})"
    )
}
