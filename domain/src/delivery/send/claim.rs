//! Taking hold of items, before anything leaves.
//!
//! A claim is four steps: what there is (`load`), who of it could be written to (`choose`), how many of them may leave and
//! when (`reserve`), and writing that down (`write`). The second and the third are pure.

use super::reserve::{Candidate, Limits, Reservation, Slotted, reserve};
use super::rows::{self, ClaimedRow};
use super::sender::{self, Sender};
use super::{Outgoing, Work};
use crate::batches::in_flight::{self, ClaimId};
use crate::batches::lookup::{Fate, NO_NUMBER, Recipient, SUPPRESSED, TWICE, recipient, resolve};
use crate::batches::recipients::ContactRef;
use crate::batches::row::{self, Batch, Counts, RunState};
use crate::circuit::{CircuitPermit, RECHECK};
use crate::db::{self, Dialect};
use crate::gateways::{self, ELSEWHERE};
use crate::jobs;
use crate::model::{ItemStatus, named};
use crate::pacing::{self, Pace};
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::{ContactId, GatewayId};
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// What a claim of items gave.
#[derive(Debug)]
pub struct ClaimedItems {
    /// To be sent, each at its time.
    pub items: Vec<Outgoing>,
    /// Whether its one message is to try out a gateway that did not work.
    pub probe: bool,
    /// Whether to go on.
    pub run_state: RunState,
    /// The batch belongs to another gateway: nothing of it is claimed.
    pub elsewhere: bool,
    /// When there may be more: `None` when the chunk has nothing left that is not in flight.
    pub more_at: Option<Timestamp>,
}

/// What whoever claims asks for.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRequest {
    /// How many items at most.
    pub wanted: usize,
    /// The gateway of whoever claims, where that is known: a batch of another one gives nothing.
    pub gateway: Option<GatewayId>,
    /// The configured limit a minute of a sender whose row has none.
    pub sender_rate: Option<i64>,
}

/// Claims items of the chunk: those whose retry or slot is due first, then recipients that have no row yet. Each gets a slot of
/// the batch's and the sender's pace. Recipients who do not exist are failed here and now, and those who have opted out are
/// skipped.
///
/// `None`: the claim of the job no longer stands.
///
/// # Errors
/// The database's.
pub async fn claim_items(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    work: &mut Work,
    asked: ClaimRequest,
    rng: &mut impl Rng,
) -> Result<Option<Step<ClaimedItems>>, DbErr> {
    let (held, id) = (work.held, work.held.batch);
    if !jobs::renew(conn, now, held.job, held.fence).await? {
        return Ok(None);
    }
    let Some(mut batch) = row::read(conn, id).await? else { return Ok(None) };
    if batch.rate_per_minute.is_some() {
        // Its slots are handed out one claim at a time; without a pace of its own the chunks need not wait for one another.
        let Some(locked) = row::lock(conn, id).await? else { return Ok(None) };
        batch = locked;
    }
    take(conn, now, work, batch, asked, rng).await.map(Some)
}

/// Claims, in a transaction that has checked the job's claim and read the batch.
pub(super) async fn take(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    work: &mut Work,
    batch: Batch,
    asked: ClaimRequest,
    rng: &mut impl Rng,
) -> Result<Step<ClaimedItems>, DbErr> {
    let sender = sender::read(conn, batch.sender, asked.sender_rate).await?;
    if let Some(nothing) = standing(conn, now, &batch, sender, asked.gateway).await? {
        return Ok(Step::quiet(nothing));
    }
    let claim = work.chunk.claim.unwrap_or_else(|| ClaimId::new(now, rng));
    let loaded = load(conn, now, work, &batch, asked.wanted).await?;
    let first_seq = work.chunk.first_seq;
    let whole = loaded.due.is_none() && loaded.fresh_to >= work.chunk.end_seq();
    let Chosen { mut candidates, over, ended, fresh_to } = choose(now, loaded, |seq| claim.message(seq - first_seq));
    if !over.is_empty() || !ended.is_empty() {
        // Its counts will change. Locked before the sender and the items: a cancel locks them in this order too.
        row::lock(conn, batch.summary.id).await?;
    }
    over.write(conn, now, &batch).await?;
    let sender = sender::lock(conn, now, sender, asked.sender_rate).await?;
    let limits = Limits {
        permit: sender.map_or(CircuitPermit::All, |sender| sender.permit(now)),
        at_most: sender.map_or(usize::MAX, |sender| sender.allowance.left(now)),
        batch: Pace::per_minute(batch.rate_per_minute, batch.next_slot_us),
        sender: sender.map(|sender| sender.pace),
        jitter_us: batch.jitter_ms.saturating_mul(1000),
    };
    if limits.permit == CircuitPermit::One {
        // The gateway is tried out by the one that this cost the least so far.
        candidates.sort_by_key(|candidate| candidate.attempt);
    }
    let reserved = reserve(now, &limits, candidates, fresh_to, rng);
    let counts = write(conn, now, work, claim, &reserved, ended, &over).await?;
    write_paces(conn, now, work, sender, &reserved).await?;
    let Reservation { slotted, short, more_us, .. } = reserved;
    let all_leave = slotted.iter().all(Slotted::leaves);
    let items: Vec<Outgoing> = slotted.into_iter().filter_map(|one| one.outgoing(now, asked.gateway)).collect();
    let probe = limits.permit == CircuitPermit::One && !items.is_empty();
    if let (Some(sender), true) = (sender, probe) {
        sender::write_circuit(conn, sender.id, sender.circuit.probe(now), None).await?;
    }
    let changed = if counts.is_zero() { None } else { row::count(conn, batch.summary.id, counts).await? };
    let more_at = match (short, limits.permit) {
        (true, CircuitPermit::One | CircuitPermit::NoneUntil(_)) => Some(now.plus(RECHECK)),
        (true, CircuitPermit::All) => Some(Timestamp(more_us / 1000)),
        (false, _) if !work.all_written() => Some(now),
        // All of the chunk was taken at once, and leaves: nothing waits.
        (false, _) if whole && all_leave => None,
        (false, _) => next_wake(conn, work).await?,
    };
    Ok(Step {
        value: ClaimedItems { items, probe, run_state: RunState::Running, elsewhere: false, more_at },
        rings: Vec::new(),
        events: changed.map(Event::BatchChanged).into_iter().collect(),
    })
}

/// What is claimed where no message of the batch may leave from here now; `None`: they may.
async fn standing(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: &Batch,
    sender: Option<Sender>,
    gateway: Option<GatewayId>,
) -> Result<Option<ClaimedItems>, DbErr> {
    let run_state = RunState::of(batch);
    let nothing =
        |more_at, elsewhere| Ok(Some(ClaimedItems { items: Vec::new(), probe: false, run_state, elsewhere, more_at }));
    if run_state != RunState::Running {
        return nothing(None, false);
    }
    if let Some(ours) = gateway
        && !gateways::bind(conn, batch.summary.id, batch.gateway, ours).await?
    {
        return nothing(Some(now.plus(ELSEWHERE)), true);
    }
    match sender.map(|sender| sender.permit(now)) {
        Some(CircuitPermit::NoneUntil(at)) => nothing(Some(at), false),
        Some(CircuitPermit::All | CircuitPermit::One) | None => Ok(None),
    }
}

/// What a claim finds.
struct Loaded<'a> {
    /// Items that have a row and are due; `None`: nothing of the chunk was looked at before, so none has one.
    due: Option<Due>,
    /// Recipients that are looked up: their number, whether they have no row yet, and what the request called them.
    named: Vec<(i64, bool, &'a ContactRef)>,
    /// Those of them who are there.
    found: HashMap<ContactRef, Recipient>,
    twice: Twice,
    /// The number behind the last of those without a row.
    fresh_to: i64,
}

async fn load<'a>(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    work: &'a Work,
    batch: &Batch,
    wanted: usize,
) -> Result<Loaded<'a>, DbErr> {
    let due = match work.chunk.next_seq == work.chunk.first_seq {
        true => None,
        false => Some(due_items(conn, now, work, wanted).await?),
    };
    let taken = due.as_ref().map_or(0, |due| due.candidates.len() + due.unresolved.len());
    let room = wanted.saturating_sub(taken);
    let fresh_from = work.chunk.next_seq;
    let fresh_to = (fresh_from + i64::try_from(room).unwrap_or(i64::MAX)).min(work.chunk.end_seq());
    let unresolved = due.iter().flat_map(|due| &due.unresolved).map(|seq| (*seq, false));
    let named: Vec<(i64, bool, &ContactRef)> = unresolved
        .chain((fresh_from..fresh_to).map(|seq| (seq, true)))
        .filter_map(|(seq, fresh)| {
            let offset = usize::try_from(seq - work.chunk.first_seq).ok()?;
            work.refs.get(offset).map(|contact| (seq, fresh, contact))
        })
        .collect();
    let found = resolve(conn, named.iter().map(|(_, _, contact)| *contact)).await?;
    let twice = Twice::of(conn, batch, found.values()).await?;
    Ok(Loaded { due, named, found, twice, fresh_to })
}

/// Items with a row that are not sent any more, by the reason.
#[derive(Default)]
struct Over {
    /// Their contact was deleted.
    gone: Vec<i64>,
    /// Their contact is there and has no number.
    numberless: Vec<i64>,
    /// Their contact has opted out.
    suppressed: Vec<i64>,
}

impl Over {
    fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.numberless.is_empty() && self.suppressed.is_empty()
    }

    async fn write(&self, conn: &impl ConnectionTrait, now: Timestamp, batch: &Batch) -> Result<(), DbErr> {
        let deleted = ("contact_not_found", "the contact was deleted meanwhile");
        rows::end_items(conn, now, batch, &self.gone, ItemStatus::Failed, deleted).await?;
        rows::end_items(conn, now, batch, &self.numberless, ItemStatus::Failed, NO_NUMBER).await?;
        rows::end_items(conn, now, batch, &self.suppressed, ItemStatus::Skipped, SUPPRESSED).await
    }
}

/// Who could be written to, and who cannot.
struct Chosen {
    candidates: Vec<Candidate>,
    over: Over,
    /// The same of items without a row.
    ended: Vec<ClaimedRow>,
    /// See [`Loaded`].
    fresh_to: i64,
}

/// Decides of each that was found whether it could be written to; `message_id` is that of one who has no message yet. Pure.
fn choose(now: Timestamp, loaded: Loaded<'_>, message_id: impl Fn(i64) -> Uuid) -> Chosen {
    let Loaded { due, named, found, mut twice, fresh_to } = loaded;
    let Due { mut candidates, mut over, unresolved: _ } = due.unwrap_or_default();
    let mut ended = Vec::new();
    for (seq, fresh, contact) in named {
        let mut unsent = |contact, input, status, reason| {
            ended.push(ClaimedRow::unsent(now, seq, contact, input, status, reason));
        };
        let known = found.get(contact);
        match (Fate::of(known, false), known) {
            (Fate::Suppressed, Some(recipient)) if fresh => {
                unsent(Some(recipient.id), None, ItemStatus::Skipped, SUPPRESSED);
            }
            (Fate::Suppressed, _) => over.suppressed.push(seq),
            (Fate::NoNumber, Some(recipient)) if fresh => {
                unsent(Some(recipient.id), None, ItemStatus::Failed, NO_NUMBER);
            }
            (Fate::NoNumber, _) => over.numberless.push(seq),
            (Fate::Write, Some(recipient)) if fresh && twice.is_so(recipient.id) => {
                unsent(Some(recipient.id), None, ItemStatus::Skipped, TWICE);
            }
            (Fate::Write, Some(recipient)) => candidates.push(Candidate {
                seq,
                message_id: message_id(seq),
                recipient: recipient.clone(),
                attempt: 1,
                slot_us: None,
                waits_as: (!fresh).then_some(ItemStatus::Pending),
            }),
            (Fate::NoContact | Fate::Write, _) if fresh => {
                let reason = ("contact_not_found", "contact not found");
                unsent(None, Some(contact.to_string()), ItemStatus::Failed, reason);
            }
            (Fate::NoContact | Fate::Write, _) => over.gone.push(seq),
        }
    }
    Chosen { candidates, over, ended, fresh_to }
}

/// Writes the items that a claim takes, and those that end with it: how the batch's counts change by that. Those that leave for
/// the first time get no row: that they are claimed is said by the chunk's, under which their numbers are looked at now.
async fn write(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    work: &mut Work,
    claim: ClaimId,
    reserved: &Reservation,
    mut ended: Vec<ClaimedRow>,
    over: &Over,
) -> Result<Counts, DbErr> {
    let Reservation { slotted, next_seq, .. } = reserved;
    // An unknown recipient behind the last slot comes again with the next claim.
    ended.retain(|row| row.seq < *next_seq);
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let skipped = ended.iter().filter(|row| row.status == ItemStatus::Skipped).count();
    let counts = Counts {
        failed: count(over.gone.len() + over.numberless.len() + ended.len() - skipped),
        skipped: count(over.suppressed.len() + skipped),
        ..Counts::default()
    };
    let waiting = slotted.iter().filter(|one| one.is_fresh() && !one.leaves());
    let written: Vec<ClaimedRow> = waiting.map(|one| one.row(now)).chain(ended).collect();
    let updated: Vec<ClaimedRow> = slotted.iter().filter(|one| !one.is_fresh()).map(|one| one.row(now)).collect();
    rows::note_typed(conn, work.held, &written).await?;
    rows::insert_items(conn, now, work.held, &written).await?;
    rows::update_items(conn, now, work.held, &updated).await?;
    if *next_seq != work.chunk.next_seq {
        let in_flight = slotted.iter().any(|one| one.is_fresh() && one.leaves());
        let claim = work.chunk.claim.or_else(|| in_flight.then_some(claim));
        let sql = format!(
            "UPDATE batch_chunks SET next_seq = $3, claim_id = {} WHERE batch_id = $1 AND no = $2",
            Dialect::of(conn).uuid(4)
        );
        let claim_id = claim.map(|claim| claim.to_string());
        db::execute(conn, sql, [work.held.batch.into(), work.held.chunk.into(), (*next_seq).into(), claim_id.into()])
            .await?;
        work.chunk.next_seq = *next_seq;
        work.chunk.claim = claim;
    }
    Ok(counts)
}

/// Writes the next slots of the batch and of its sender, and how many messages of that one leave.
async fn write_paces(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    work: &Work,
    sender: Option<Sender>,
    reserved: &Reservation,
) -> Result<(), DbErr> {
    if let Some(next) = reserved.paces.as_ref().and_then(|paces| paces.batch_next_us) {
        let sql = "UPDATE batches SET next_slot_us = $2 WHERE id = $1";
        db::execute(conn, sql, [work.held.batch.into(), next.into()]).await?;
    }
    let Some(sender) = sender else { return Ok(()) };
    let next = reserved.paces.as_ref().and_then(|paces| paces.sender_next_us);
    sender::take(conn, now, &sender, next, reserved.leaving()).await
}

/// Recipients who were two contacts when the batch was made and are one now: they get its message once.
#[derive(Default)]
struct Twice {
    merged: HashSet<ContactId>,
    served: HashSet<ContactId>,
}

impl Twice {
    async fn of<'a>(
        conn: &impl ConnectionTrait,
        batch: &Batch,
        found: impl Iterator<Item = &'a Recipient>,
    ) -> Result<Self, DbErr> {
        let ids: Vec<i64> = found.map(|recipient| recipient.id.0).collect();
        if ids.is_empty() {
            return Ok(Self::default());
        }
        let dialect = Dialect::of(conn);
        let read = |rows: Vec<QueryResult>| {
            rows.iter().map(|row| Ok(ContactId(row.try_get("", "id")?))).collect::<Result<HashSet<_>, DbErr>>()
        };
        let (these, numbers) = dialect.one_of_numbers(1, &ids);
        let sql = format!("SELECT into_id AS id FROM contact_merges WHERE into_id {these}");
        let merged = read(db::all(conn, sql, [numbers]).await?)?;
        if merged.is_empty() {
            return Ok(Self::default());
        }
        let sql = format!(
            "SELECT contact_id AS id FROM messages WHERE batch_id = $2 AND seq IS NOT NULL AND contact_id {}",
            dialect.one_of(1, "bigint")
        );
        let mut served = read(db::all(conn, sql, [json!(merged).to_string().into(), batch.summary.id.into()]).await?)?;
        served.extend(in_flight::contacts(conn, batch.summary.id).await?);
        Ok(Self { merged, served })
    }

    /// Whether the batch has an item of this one; if not, it has now.
    fn is_so(&mut self, contact: ContactId) -> bool {
        self.merged.contains(&contact) && !self.served.insert(contact)
    }
}

/// Items of the chunk that have a row and are due.
#[derive(Default)]
struct Due {
    candidates: Vec<Candidate>,
    over: Over,
    /// They failed before they had a contact, and are tried again.
    unresolved: Vec<i64>,
}

async fn due_items(conn: &impl ConnectionTrait, now: Timestamp, work: &Work, wanted: usize) -> Result<Due, DbErr> {
    let rows = db::all(
        conn,
        format!(
            "SELECT i.seq AS seq, i.item_status AS status, CAST(i.uuid AS TEXT) AS message_id, i.attempts AS attempts, i.slot_us AS slot_us,
                    i.input AS input, c.id AS id, c.phone AS phone, c.name AS name, c.attributes AS attributes,
                    c.suppressed_at AS suppressed_at
             FROM messages i LEFT JOIN contacts c ON c.id = i.contact_id AND c.deleted_at IS NULL
             WHERE i.batch_id = $1 AND i.seq >= $2 AND i.seq < $3 AND i.item_status IN ('pending', 'unknown')
               AND i.finished_at IS NULL AND (i.next_attempt_at IS NULL OR i.next_attempt_at <= $4)
             ORDER BY i.next_attempt_at, i.seq LIMIT {wanted}"
        ),
        [
            work.held.batch.into(),
            work.chunk.first_seq.into(),
            work.chunk.next_seq.into(),
            (now.0 + pacing::HORIZON_US / 1000).into(),
        ],
    )
    .await?;
    let mut due = Due { candidates: Vec::with_capacity(rows.len()), over: Over::default(), unresolved: Vec::new() };
    for row in rows {
        let seq = row.try_get("", "seq")?;
        let message: Option<String> = row.try_get("", "message_id")?;
        let Some(message) = message else {
            due.unresolved.push(seq);
            continue;
        };
        let status: ItemStatus = named(&row, "status")?;
        let there = row.try_get::<Option<i64>>("", "id")?.is_some();
        let known = there.then(|| recipient(&row)).transpose()?;
        match (Fate::of(known.as_ref(), status == ItemStatus::Unknown), known) {
            (Fate::Suppressed, _) => due.over.suppressed.push(seq),
            (Fate::NoNumber, _) => due.over.numberless.push(seq),
            (Fate::Write, Some(recipient)) => due.candidates.push(Candidate {
                seq,
                message_id: Uuid::try_parse(&message).map_err(|e| DbErr::Type(format!("message_id: {e}")))?,
                recipient,
                attempt: row.try_get::<i64>("", "attempts")? + 1,
                slot_us: row.try_get("", "slot_us")?,
                waits_as: Some(status),
            }),
            (Fate::NoContact | Fate::Write, _) => due.over.gone.push(seq),
        }
    }
    Ok(due)
}

/// When the earliest item that waits is due; `None` when none waits.
async fn next_wake(conn: &impl ConnectionTrait, work: &Work) -> Result<Option<Timestamp>, DbErr> {
    let row = db::one(
        conn,
        "SELECT min(coalesce(next_attempt_at, 0)) AS at FROM messages
         WHERE batch_id = $1 AND seq >= $2 AND seq < $3 AND item_status IN ('pending', 'unknown') AND finished_at IS NULL",
        [work.held.batch.into(), work.chunk.first_seq.into(), work.chunk.end_seq().into()],
    )
    .await?;
    Ok(row.map(|row| row.try_get::<Option<i64>>("", "at")).transpose()?.flatten().map(Timestamp))
}
