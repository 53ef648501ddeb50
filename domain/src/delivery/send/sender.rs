//! A sender's row: its pace, and whether its gateway works.

use super::outcome::ItemResult;
use crate::circuit::{Circuit, CircuitPermit};
use crate::db::{self, Dialect};
use crate::delivery::attempt::AttemptOutcome;
use crate::pacing::Pace;
use crate::senders::{self, Allowance};
use crate::time::Timestamp;
use entities::SenderId;
use sea_orm::{ConnectionTrait, DbErr, QueryResult};

/// A sender as a claim finds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) id: SenderId,
    pub(super) pace: Pace,
    pub(super) circuit: Circuit,
    pub(super) allowance: Allowance,
}

impl Sender {
    /// What may leave now. How many a cap still lets is [`Allowance::left`].
    pub(super) fn permit(&self, now: Timestamp) -> CircuitPermit {
        senders::SenderState { allowance: self.allowance, circuit: self.circuit }.permit(now)
    }
}

const COLUMNS: &str = "rate_per_minute, next_slot_us, circuit_failures, circuit_opened, circuit_until, circuit_probing,
    paused, daily_cap, used_day, used";

async fn find(conn: &impl ConnectionTrait, id: SenderId, lock: &str) -> Result<Option<QueryResult>, DbErr> {
    let sql = format!("SELECT {COLUMNS} FROM senders WHERE id = $1{lock}");
    db::one(conn, sql, [id.into()]).await
}

fn sender(id: SenderId, row: &QueryResult, configured: Option<i64>) -> Result<Sender, DbErr> {
    let rate = row.try_get::<Option<i64>>("", "rate_per_minute")?.or(configured);
    let next = row.try_get("", "next_slot_us")?;
    // A sender without a limit still has a next slot: a 429 moves it.
    let now_only = Pace { interval_us: 0, next_slot_us: next };
    let pace = Pace::per_minute(rate, next).unwrap_or(now_only);
    Ok(Sender { id, pace, circuit: Circuit::read(row)?, allowance: Allowance::read(row)? })
}

/// The sender as it was last committed. `configured` is the limit of one whose row has none.
pub(super) async fn read(
    conn: &impl ConnectionTrait,
    id: Option<SenderId>,
    configured: Option<i64>,
) -> Result<Option<Sender>, DbErr> {
    let Some(id) = id else { return Ok(None) };
    find(conn, id, "").await?.map(|row| sender(id, &row, configured)).transpose()
}

/// The sender that was read, its row locked where a claim will change it: where it has a limit or a cap, or where a message is
/// to try its gateway out.
pub(super) async fn lock(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    known: Option<Sender>,
    configured: Option<i64>,
) -> Result<Option<Sender>, DbErr> {
    let Some(known) = known else { return Ok(None) };
    let (lock, permit) = (Dialect::of(conn).for_update(), known.permit(now));
    let counted = known.pace.interval_us > 0 || known.allowance.daily_cap.is_some();
    let changes = counted && permit == CircuitPermit::All || permit == CircuitPermit::One;
    if lock.is_empty() || !changes {
        return Ok(Some(known));
    }
    find(conn, known.id, lock).await?.map(|row| sender(known.id, &row, configured)).transpose()
}

/// Writes what a claim takes of the sender: its next slot, and how many messages leave, where that is counted.
pub(super) async fn take(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    sender: &Sender,
    next_slot_us: Option<i64>,
    leaving: usize,
) -> Result<(), DbErr> {
    if next_slot_us.is_none() && (sender.allowance.daily_cap.is_none() || leaving == 0) {
        return Ok(());
    }
    let used = sender.allowance.used_today(now).saturating_add(i64::try_from(leaving).unwrap_or(i64::MAX));
    let sql = "UPDATE senders SET next_slot_us = coalesce($2, next_slot_us), used_day = $3, used = $4 WHERE id = $1";
    let values = [sender.id.into(), next_slot_us.into(), senders::day(now).into(), used.into()];
    db::execute(conn, sql, values).await.map(drop)
}

/// Counts those back that were claimed and have surely not left.
pub(super) async fn give_back<'a>(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: Option<SenderId>,
    results: impl Iterator<Item = &'a ItemResult>,
) -> Result<(), DbErr> {
    let stayed =
        |result: &&ItemResult| !matches!(result.outcome, AttemptOutcome::Accepted | AttemptOutcome::Unknown { .. });
    match (id, i64::try_from(results.filter(stayed).count()).unwrap_or(i64::MAX)) {
        (None, _) | (_, 0) => Ok(()),
        (Some(id), stayed) => senders::give_back(conn, now, id, stayed).await,
    }
}

/// The circuit as it was last committed.
pub(super) async fn circuit_of(conn: &impl ConnectionTrait, id: Option<SenderId>) -> Result<Circuit, DbErr> {
    let Some(id) = id else { return Ok(Circuit::default()) };
    find(conn, id, "").await?.as_ref().map_or(Ok(Circuit::default()), Circuit::read)
}

/// Writes a circuit; `reason` says why it is open.
pub(super) async fn write_circuit(
    conn: &impl ConnectionTrait,
    id: SenderId,
    circuit: Circuit,
    reason: Option<&str>,
) -> Result<(), DbErr> {
    let sql = "UPDATE senders SET circuit_failures = $2, circuit_opened = $3, circuit_until = $4, circuit_probing = $5,
                      circuit_reason = CASE WHEN $3 = 0 THEN NULL ELSE coalesce($6, circuit_reason) END
               WHERE id = $1";
    let values = [
        id.into(),
        circuit.failures.into(),
        circuit.opened.into(),
        circuit.until.map(|at| at.0).into(),
        circuit.probing.into(),
        reason.into(),
    ];
    db::execute(conn, sql, values).await.map(|_| ())
}

/// What a group of outcomes says of the sender's gateway: that it is to wait, moves the next slot for every process; that
/// it does not work, moves its circuit. Returns the circuit as it is then.
pub(super) async fn learn(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    id: Option<SenderId>,
    known: Circuit,
    results: &[ItemResult],
) -> Result<Circuit, DbErr> {
    let Some(id) = id else { return Ok(known) };
    let wait = results.iter().filter_map(|r| match &r.outcome {
        AttemptOutcome::Throttled { retry_after } => Some(r.at.plus(*retry_after)),
        AttemptOutcome::Accepted
        | AttemptOutcome::Rejected { .. }
        | AttemptOutcome::Invalid { .. }
        | AttemptOutcome::Failed { .. }
        | AttemptOutcome::Unreachable { .. }
        | AttemptOutcome::Unknown { .. }
        | AttemptOutcome::Returned => None,
    });
    if let Some(until) = wait.max() {
        let sql = "UPDATE senders SET next_slot_us = CASE WHEN next_slot_us < $2 THEN $2 ELSE next_slot_us END,
                          urgent_slot_us = CASE WHEN urgent_slot_us < $2 THEN $2 ELSE urgent_slot_us END, throttled_until = $3
                   WHERE id = $1 AND (next_slot_us < $2 OR throttled_until IS NULL OR throttled_until < $3)";
        db::execute(conn, sql, [id.into(), until.0.saturating_mul(1000).into(), until.0.into()]).await?;
    }
    if after(known, now, results) == known {
        return Ok(known);
    }
    let Some(row) = find(conn, id, Dialect::of(conn).for_update()).await? else { return Ok(known) };
    let before = Circuit::read(&row)?;
    let after = after(before, now, results);
    if after != before {
        let reason = results.iter().rev().find_map(|r| r.outcome.trouble());
        write_circuit(conn, id, after, reason).await?;
    }
    Ok(after)
}

/// The circuit after a group of outcomes.
pub(super) fn after(circuit: Circuit, now: Timestamp, results: &[ItemResult]) -> Circuit {
    circuit.after(now, results.iter().map(ItemResult::signal))
}

/// A sender whose gateway does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCircuit {
    /// The sender's name.
    pub sender: String,
    /// When it is tried out next.
    pub until: Timestamp,
    /// What its gateway did, for people.
    pub reason: String,
}

/// The senders whose gateway does not work.
///
/// # Errors
/// The database's.
pub async fn open_circuits(conn: &impl ConnectionTrait) -> Result<Vec<OpenCircuit>, DbErr> {
    let sql = "SELECT name, circuit_until, circuit_reason FROM senders WHERE circuit_until IS NOT NULL ORDER BY id";
    let rows = db::all(conn, sql, []).await?;
    let one = |row: &QueryResult| {
        Ok(OpenCircuit {
            sender: row.try_get("", "name")?,
            until: Timestamp(row.try_get("", "circuit_until")?),
            reason: row.try_get::<Option<String>>("", "circuit_reason")?.unwrap_or_default(),
        })
    };
    rows.iter().map(one).collect()
}
