//! Taking hold of items, before anything leaves.

use super::{Held, Outgoing, Work, sender};
use crate::batches::lookup::{NO_NUMBER, Recipient, SUPPRESSED, TWICE, recipient, resolve};
use crate::batches::recipients::ContactRef;
use crate::batches::row::{self, Batch, Counts, Going};
use crate::batches::traces::{self, Trace};
use crate::circuit::{Leave, RECHECK};
use crate::db::{self, Dialect};
use crate::gateways::{self, ELSEWHERE};
use crate::jobs;
use crate::model::{ItemStatus, named};
use crate::pacing::{self, Pace};
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::ContactId;
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use serde::Serialize;
use serde_json::json;
use std::collections::HashSet;
use uuid::Uuid;

/// What a claim of items gave.
#[derive(Debug)]
pub struct ClaimedItems {
    /// To be sent, each at its time.
    pub items: Vec<Outgoing>,
    /// Whether its one message is to try out a gateway that did not work.
    pub probe: bool,
    /// Whether to go on.
    pub going: Going,
    /// The batch belongs to another gateway: nothing of it is claimed.
    pub elsewhere: bool,
    /// When there may be more: `None` when the chunk has nothing left that is not in flight.
    pub more_at: Option<Timestamp>,
}

struct Candidate {
    seq: i64,
    message_id: Uuid,
    recipient: Recipient,
    attempt: i64,
    slot_us: Option<i64>,
    /// Where it waits; `None`: it has no row yet.
    waits_as: Option<ItemStatus>,
}

/// How a claim leaves an item.
#[derive(Serialize)]
struct ClaimedRow {
    seq: i64,
    contact_id: Option<ContactId>,
    /// What the request called a contact that is not there.
    input: Option<String>,
    status: ItemStatus,
    attempts: i64,
    slot_us: Option<i64>,
    message_id: Option<Uuid>,
    error_code: Option<&'static str>,
    error_message: Option<&'static str>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    next_attempt_at: Option<i64>,
}

/// Claims up to `wanted` items of the chunk: those whose retry or slot is due first, then recipients that have no row
/// yet. Each gets a slot of the batch's and the sender's pace; `sender_rate` is the configured limit of a sender whose
/// row has none. Recipients who do not exist are failed here and now, and those who have opted out are skipped.
///
/// `None`: the claim of the job no longer stands.
///
/// # Errors
/// The database's.
pub async fn claim_items(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    work: &mut Work,
    wanted: usize,
    sender_rate: Option<i64>,
    rng: &mut impl Rng,
) -> Result<Option<Step<ClaimedItems>>, DbErr> {
    let Held { job, fence, batch: batch_id, chunk: no } = work.held;
    if !jobs::renew(conn, now, job, fence).await? {
        return Ok(None);
    }
    let Some(mut batch) = row::read(conn, batch_id).await? else { return Ok(None) };
    if batch.rate_per_minute.is_some() {
        // Its slots are handed out one claim at a time; without a pace of its own the chunks need not wait for one another.
        let Some(locked) = row::lock(conn, batch_id).await? else { return Ok(None) };
        batch = locked;
    }
    let going = Going::of(&batch);
    let nothing = |more_at, elsewhere| {
        Ok(Some(Step::quiet(ClaimedItems { items: Vec::new(), probe: false, going, elsewhere, more_at })))
    };
    if going != Going::On {
        return nothing(None, false);
    }
    if let Some(ours) = work.gateway
        && !gateways::bind(conn, batch_id, batch.gateway, ours).await?
    {
        return nothing(Some(now.plus(ELSEWHERE)), true);
    }
    if let Leave::NoneUntil(at) = sender::circuit_of(conn, batch.sender).await?.leave(now) {
        return nothing(Some(at), false);
    }

    let Due { mut candidates, mut gone, mut numberless, mut suppressed, unresolved } =
        due_items(conn, now, work, wanted).await?;
    let room = wanted.saturating_sub(candidates.len() + unresolved.len());
    let fresh_from = work.chunk.next_seq;
    let fresh_to = (fresh_from + i64::try_from(room).unwrap_or(i64::MAX)).min(work.chunk.end_seq());
    let named: Vec<(i64, bool, &ContactRef)> = unresolved
        .iter()
        .map(|seq| (*seq, false))
        .chain((fresh_from..fresh_to).map(|seq| (seq, true)))
        .filter_map(|(seq, fresh)| {
            let offset = usize::try_from(seq - work.chunk.first_seq).ok()?;
            work.refs.get(offset).map(|contact| (seq, fresh, contact))
        })
        .collect();
    let found = resolve(conn, named.iter().map(|(_, _, contact)| *contact)).await?;
    let mut twice = Twice::of(conn, &batch, found.values()).await?;
    let mut ended: Vec<ClaimedRow> = Vec::new();
    let unsent = |seq, contact_id, input, status, (code, message): (&'static str, &'static str)| ClaimedRow {
        seq,
        contact_id,
        input,
        status,
        attempts: 0,
        slot_us: None,
        message_id: None,
        error_code: Some(code),
        error_message: Some(message),
        started_at: None,
        finished_at: Some(now),
        next_attempt_at: None,
    };
    for (seq, fresh, contact) in named {
        match found.get(contact) {
            Some(recipient) if recipient.suppressed && fresh => {
                ended.push(unsent(seq, Some(recipient.id), None, ItemStatus::Skipped, SUPPRESSED));
            }
            Some(recipient) if recipient.suppressed => suppressed.push(seq),
            Some(recipient) if recipient.phone.is_empty() && fresh => {
                ended.push(unsent(seq, Some(recipient.id), None, ItemStatus::Failed, NO_NUMBER));
            }
            Some(recipient) if recipient.phone.is_empty() => numberless.push(seq),
            Some(recipient) if fresh && twice.is_so(recipient.id) => {
                ended.push(unsent(seq, Some(recipient.id), None, ItemStatus::Skipped, TWICE));
            }
            Some(recipient) => candidates.push(Candidate {
                seq,
                message_id: uuid::Builder::from_unix_timestamp_millis(u64::try_from(now.0).unwrap_or(0), &rng.random())
                    .into_uuid(),
                recipient: recipient.clone(),
                attempt: 1,
                slot_us: None,
                waits_as: (!fresh).then_some(ItemStatus::Pending),
            }),
            None if fresh => {
                let reason = ("contact_not_found", "contact not found");
                ended.push(unsent(seq, None, Some(contact.to_string()), ItemStatus::Failed, reason));
            }
            None => gone.push(seq),
        }
    }
    if !gone.is_empty() || !numberless.is_empty() || !suppressed.is_empty() || !ended.is_empty() {
        // Its counts will change. Locked before the sender and the items: a cancel locks them in this order too.
        row::lock(conn, batch_id).await?;
    }
    let reason = ("contact_not_found", "the contact was deleted meanwhile");
    end_items(conn, now, &batch, &gone, ItemStatus::Failed, reason).await?;
    end_items(conn, now, &batch, &numberless, ItemStatus::Failed, NO_NUMBER).await?;
    end_items(conn, now, &batch, &suppressed, ItemStatus::Skipped, SUPPRESSED).await?;

    let sender = sender::load(conn, now, batch.sender, sender_rate).await?;
    let leave = sender.map_or(Leave::All, |sender| sender.circuit.leave(now));
    let mut may_leave = match leave {
        Leave::All => usize::MAX,
        Leave::One => 1,
        Leave::NoneUntil(_) => 0,
    };
    let pace = Pace::per_minute(batch.rate_per_minute, batch.next_slot_us);
    let unslotted = candidates.iter().filter(|c| c.slot_us.is_none()).count().min(may_leave);
    let reserved = pacing::reserve(now, pace, sender.map(|sender| sender.pace), unslotted);
    let mut slots = reserved.slots_us.iter().copied();
    let now_us = now.0.saturating_mul(1000);
    let jitter_us = batch.jitter_ms.saturating_mul(1000);

    let mut outgoing = Vec::new();
    let mut written = Vec::new();
    let mut updated = Vec::new();
    let mut next_seq = fresh_to;
    let mut short = false;
    for candidate in candidates {
        let slot = match candidate.slot_us {
            _ if may_leave == 0 => None,
            Some(slot) => Some(slot),
            None => slots.next().map(|slot| slot + if jitter_us > 0 { rng.random_range(0..=jitter_us) } else { 0 }),
        };
        let Some(slot) = slot else {
            // No slot left: a recipient without a row stays without; one with a row stays as it is.
            short = true;
            if candidate.waits_as.is_none() {
                next_seq = next_seq.min(candidate.seq);
            }
            continue;
        };
        let now_is_its_time = slot <= now_us + pacing::HORIZON_US;
        let waiting = candidate.waits_as.unwrap_or(ItemStatus::Pending);
        let status = if now_is_its_time { ItemStatus::Sending } else { waiting };
        let row = ClaimedRow {
            seq: candidate.seq,
            contact_id: Some(candidate.recipient.id),
            input: None,
            status,
            attempts: candidate.attempt - i64::from(!now_is_its_time),
            slot_us: Some(slot),
            message_id: Some(candidate.message_id),
            error_code: None,
            error_message: None,
            started_at: now_is_its_time.then_some(now),
            finished_at: None,
            next_attempt_at: (!now_is_its_time).then_some(slot / 1000),
        };
        if candidate.waits_as.is_none() {
            written.push(row)
        } else {
            updated.push(row)
        }
        if now_is_its_time {
            may_leave -= 1;
            outgoing.push(Outgoing {
                seq: candidate.seq,
                message_id: candidate.message_id,
                contact: candidate.recipient.id,
                phone: candidate.recipient.phone,
                name: candidate.recipient.name,
                attributes: candidate.recipient.attributes,
                attempt: candidate.attempt,
                doubtful: candidate.waits_as == Some(ItemStatus::Unknown),
                send_at_us: slot,
                gateway: work.gateway,
            });
        }
    }
    // An unknown recipient behind the last slot comes again with the next claim.
    ended.retain(|row| row.seq < next_seq);
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let skipped = ended.iter().filter(|row| row.status == ItemStatus::Skipped).count();
    let counts = Counts {
        failed: count(gone.len() + numberless.len() + ended.len() - skipped),
        skipped: count(suppressed.len() + skipped),
        ..Counts::default()
    };
    written.extend(ended);

    let typed = |row: &ClaimedRow| row.input.as_deref().map(|typed| Trace::of(typed, None, row.seq));
    let typed: Vec<Trace> = written.iter().filter_map(typed).flatten().collect();
    traces::note(conn, batch_id, &typed).await?;
    insert_items(conn, work.held, &written).await?;
    update_items(conn, now, work.held, &updated).await?;
    if next_seq != work.chunk.next_seq {
        db::execute(
            conn,
            "UPDATE batch_chunks SET next_seq = $3 WHERE batch_id = $1 AND no = $2",
            [batch_id.into(), no.into(), next_seq.into()],
        )
        .await?;
        work.chunk.next_seq = next_seq;
    }
    if let (Some(next), true) = (reserved.batch_next_us, unslotted > 0) {
        db::execute(conn, "UPDATE batches SET next_slot_us = $2 WHERE id = $1", [batch_id.into(), next.into()]).await?;
    }
    if let (Some(sender), Some(next), true) = (sender, reserved.sender_next_us, unslotted > 0) {
        db::execute(conn, "UPDATE senders SET next_slot_us = $2 WHERE id = $1", [sender.id.into(), next.into()])
            .await?;
    }
    let probe = leave == Leave::One && !outgoing.is_empty();
    if let (Some(sender), true) = (sender, probe) {
        sender::write_circuit(conn, sender.id, sender.circuit.probe(now), None).await?;
    }
    let mut step = Step::quiet(());
    if !counts.is_zero()
        && let Some(changed) = row::count(conn, batch_id, counts).await?
    {
        step.events.push(Event::BatchChanged(changed));
    }
    let more_at = if let (true, Leave::One | Leave::NoneUntil(_)) = (short, leave) {
        Some(now.plus(RECHECK))
    } else if short {
        Some(Timestamp(reserved.next_us / 1000))
    } else if !work.all_written() {
        Some(now)
    } else {
        next_wake(conn, work).await?
    };
    Ok(Some(Step {
        value: ClaimedItems { items: outgoing, probe, going, elsewhere: false, more_at },
        rings: step.rings,
        events: step.events,
    }))
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
        let sql = format!("SELECT into_id AS id FROM contact_merges WHERE into_id {}", dialect.one_of(1, "bigint"));
        let merged = read(db::all(conn, sql, [json!(ids).to_string().into()]).await?)?;
        if merged.is_empty() {
            return Ok(Self::default());
        }
        let sql = format!(
            "SELECT contact_id AS id FROM batch_items WHERE batch_id = $2 AND contact_id {}",
            dialect.one_of(1, "bigint")
        );
        let served = read(db::all(conn, sql, [json!(merged).to_string().into(), batch.summary.id.into()]).await?)?;
        Ok(Self { merged, served })
    }

    /// Whether the batch has an item of this one; if not, it has now.
    fn is_so(&mut self, contact: ContactId) -> bool {
        self.merged.contains(&contact) && !self.served.insert(contact)
    }
}

/// Items of the chunk that have a row and are due.
struct Due {
    candidates: Vec<Candidate>,
    /// Their contact was deleted.
    gone: Vec<i64>,
    /// Their contact is there and has no number.
    numberless: Vec<i64>,
    /// Their contact has opted out.
    suppressed: Vec<i64>,
    /// They failed before they had a contact, and are tried again.
    unresolved: Vec<i64>,
}

async fn due_items(conn: &impl ConnectionTrait, now: Timestamp, work: &Work, wanted: usize) -> Result<Due, DbErr> {
    let rows = db::all(
        conn,
        format!(
            "SELECT i.seq AS seq, i.status AS status, CAST(i.message_id AS TEXT) AS message_id, i.attempts AS attempts, i.slot_us AS slot_us,
                    i.input AS input, c.id AS id, c.phone AS phone, c.name AS name, c.attributes AS attributes,
                    c.suppressed_at AS suppressed_at
             FROM batch_items i LEFT JOIN contacts c ON c.id = i.contact_id AND c.deleted_at IS NULL
             WHERE i.batch_id = $1 AND i.seq >= $2 AND i.seq < $3 AND i.status IN ('pending', 'unknown')
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
    let candidates = Vec::with_capacity(rows.len());
    let mut due =
        Due { candidates, gone: Vec::new(), numberless: Vec::new(), suppressed: Vec::new(), unresolved: Vec::new() };
    for row in rows {
        let seq = row.try_get("", "seq")?;
        let phone: Option<String> = row.try_get("", "phone")?;
        let message: Option<String> = row.try_get("", "message_id")?;
        let Some(message) = message else {
            due.unresolved.push(seq);
            continue;
        };
        if phone.is_none() {
            let there = row.try_get::<Option<i64>>("", "id")?.is_some();
            if there {
                due.numberless.push(seq)
            } else {
                due.gone.push(seq)
            }
            continue;
        }
        let status: ItemStatus = named(&row, "status")?;
        let recipient = recipient(&row)?;
        // One whose message may have left is asked for once more, under the same id: that tells.
        if recipient.suppressed && status == ItemStatus::Pending {
            due.suppressed.push(seq);
            continue;
        }
        due.candidates.push(Candidate {
            seq,
            message_id: Uuid::try_parse(&message).map_err(|e| DbErr::Type(format!("message_id: {e}")))?,
            recipient,
            attempt: row.try_get::<i64>("", "attempts")? + 1,
            slot_us: row.try_get("", "slot_us")?,
            waits_as: Some(status),
        });
    }
    Ok(due)
}

/// Items that have a row and are not sent any more. One that an earlier attempt may have reached stays unknown for ever.
async fn end_items(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: &Batch,
    items: &[i64],
    status: ItemStatus,
    (code, message): (&str, &str),
) -> Result<(), DbErr> {
    if items.is_empty() {
        return Ok(());
    }
    let source = Dialect::of(conn).one_of(2, "bigint");
    db::execute(
        conn,
        format!(
            "UPDATE batch_items SET status = CASE WHEN status = 'unknown' THEN status ELSE $4 END, slot_us = NULL,
                    error_code = $5, error_message = $6, finished_at = $3, next_attempt_at = NULL
             WHERE batch_id = $1 AND seq {source}"
        ),
        [
            batch.summary.id.into(),
            json!(items).to_string().into(),
            now.0.into(),
            status.as_str().into(),
            code.into(),
            message.into(),
        ],
    )
    .await?;
    Ok(())
}

async fn insert_items(conn: &impl ConnectionTrait, held: Held, rows: &[ClaimedRow]) -> Result<(), DbErr> {
    if rows.is_empty() {
        return Ok(());
    }
    let source = Dialect::of(conn).rows(
        3,
        &[
            ("seq", "bigint"),
            ("contact_id", "bigint"),
            ("input", "text"),
            ("status", "text"),
            ("attempts", "bigint"),
            ("slot_us", "bigint"),
            ("message_id", "uuid"),
            ("error_code", "text"),
            ("error_message", "text"),
            ("started_at", "bigint"),
            ("finished_at", "bigint"),
            ("next_attempt_at", "bigint"),
        ],
    );
    let columns =
        "seq, contact_id, input, status, attempts, slot_us, message_id, error_code, error_message, started_at,
        finished_at, next_attempt_at";
    db::execute(
        conn,
        format!("INSERT INTO batch_items (batch_id, fence, {columns}) SELECT $1, $2, {columns} FROM {source}"),
        [held.batch.into(), held.fence.into(), db::rows_json(rows)?],
    )
    .await?;
    Ok(())
}

async fn update_items(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    held: Held,
    rows: &[ClaimedRow],
) -> Result<(), DbErr> {
    if rows.is_empty() {
        return Ok(());
    }
    let dialect = Dialect::of(conn);
    let source = dialect.rows(
        3,
        &[
            ("seq", "bigint"),
            ("status", "text"),
            ("attempts", "bigint"),
            ("slot_us", "bigint"),
            ("next_attempt_at", "bigint"),
            ("contact_id", "bigint"),
            ("message_id", "uuid"),
        ],
    );
    let among = dialect.among("batch_items.seq", 3, "seq", "bigint");
    db::execute(
        conn,
        format!(
            "UPDATE batch_items SET contact_id = r.contact_id, message_id = r.message_id, status = r.status, attempts = r.attempts, slot_us = r.slot_us,
                    next_attempt_at = r.next_attempt_at, fence = $2,
                    started_at = CASE WHEN r.status = 'sending' THEN coalesce(started_at, $4) ELSE started_at END
             FROM {source} WHERE batch_items.batch_id = $1 AND batch_items.seq = r.seq{among}"
        ),
        [held.batch.into(), held.fence.into(), db::rows_json(rows)?, now.0.into()],
    )
    .await?;
    Ok(())
}

/// When the earliest item that waits is due; `None` when none waits.
async fn next_wake(conn: &impl ConnectionTrait, work: &Work) -> Result<Option<Timestamp>, DbErr> {
    let row = db::one(
        conn,
        "SELECT min(coalesce(next_attempt_at, 0)) AS at FROM batch_items
         WHERE batch_id = $1 AND seq >= $2 AND seq < $3 AND status IN ('pending', 'unknown') AND finished_at IS NULL",
        [work.held.batch.into(), work.chunk.first_seq.into(), work.chunk.end_seq().into()],
    )
    .await?;
    Ok(row.map(|row| row.try_get::<Option<i64>>("", "at")).transpose()?.flatten().map(Timestamp))
}
