//! Delivering a single message: the steps of a `deliver` job.
//!
//! The job's claim is the message's: it is committed before the message leaves, and its fence goes with the outcome. The
//! message keeps its id over all attempts, so that a gateway which took it takes it once.
//!
//! A single message does not wait behind a batch. It leaves at once, and the sender's next slot, which batches wait for,
//! moves up by one: the average stays what the sender may do. Single messages among themselves keep the sender's rate by
//! a number of their own (`urgent_slot_us`), so at their worst a sender is over its rate by them for as long as slots are
//! handed out ahead ([`crate::pacing::HORIZON_US`]), and below it right after.

use super::attempt::{AttemptOutcome, Verdict, Wait, judge};
use crate::Step;
use crate::ack::ACK_SENT;
use crate::contacts::merge;
use crate::db::{self, Dialect};
use crate::gateways::{self, ELSEWHERE};
use crate::jobs::{self, Claimed, Ending, Finished};
use crate::messages::tally::{self, Tally};
use crate::model::MessageStatus;
use crate::outbox::{self, DomainEvent, NewEvent};
use crate::pacing::{self, Pace};
use crate::retry::Backoff;
use crate::senders::{self, Allowance, Hold};
use crate::time::Timestamp;
use entities::{ContactId, GatewayId, MessageId, RowUuid, SenderId};
use rand::Rng;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use serde::Deserialize;
use std::time::Duration;
use uuid::Uuid;

/// What a `deliver` job needs to know.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Payload {
    message: MessageId,
}

/// The message of a job.
///
/// # Errors
/// When its payload is none of a `deliver` job.
fn message_of(payload: &serde_json::Value) -> Result<MessageId, DbErr> {
    let payload = Payload::deserialize(payload).map_err(|e| DbErr::Json(format!("a deliver job's payload: {e}")))?;
    Ok(payload.message)
}

/// A message that is to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The message.
    pub message: MessageId,
    /// Who sends it.
    pub sender: SenderId,
    /// The same by name.
    pub sender_name: String,
    /// To whom.
    pub contact: ContactId,
    /// Its id at the gateway: the idempotency key, the same over all attempts.
    pub uuid: Uuid,
    /// The recipient's number: digits without `+`.
    pub phone: String,
    /// The text.
    pub text: String,
    /// Which attempt this is, the first being 1; attempts that the gateway never saw are not counted.
    pub attempt: i64,
    /// Whether an earlier attempt may have reached the gateway.
    pub doubtful: bool,
    /// When it may leave.
    pub send_at: Timestamp,
}

/// What [`begin`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageStart {
    /// To be sent.
    Go(Delivery),
    /// Another gateway than ours may have it: it is asked for there alone.
    Elsewhere {
        /// When to look again.
        until: Timestamp,
    },
    /// The sender has to wait until then, or the message for one to the same contact that was written before it.
    NotBefore(Timestamp),
    /// Nothing leaves from the sender.
    Held {
        /// When to look again; what ends it rings.
        until: Timestamp,
        /// What holds it.
        by: Hold,
    },
    /// The message cannot be sent any more, for this reason.
    Void {
        /// A stable word.
        code: &'static str,
        /// For people.
        detail: &'static str,
    },
    /// It is sent, or given up, already.
    Over,
}

/// Reads the message of a claimed job and takes a slot for it. `sender_rate` is the configured limit of a sender whose
/// row has none; `gateway` is the one that it would leave through, where that is known: it is written down before the
/// message leaves. A slot that is not used is lost.
///
/// # Errors
/// The database's, or a payload that cannot be read.
pub async fn begin(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    sender_rate: Option<i64>,
    gateway: Option<GatewayId>,
) -> Result<MessageStart, DbErr> {
    let message = message_of(&job.payload)?;
    let Some(row) = read(conn, message).await? else { return Ok(MessageStart::Over) };
    if !matches!(row.status, MessageStatus::Queued | MessageStatus::Unknown) {
        return Ok(MessageStart::Over);
    }
    let (Some(text), Some(phone)) = (row.content, row.phone) else {
        // Who is not there has no text either: it was erased with them.
        return Ok(match row.there {
            Some(_) => MessageStart::Void { code: "contact_has_no_number", detail: "the customer has no phone number" },
            None => MessageStart::Void { code: "contact_not_found", detail: "the customer was deleted meanwhile" },
        });
    };
    if let Some(written) = waits_behind(conn, row.contact_id, message).await? {
        // The longer it waits, the seldomer it is worth a look.
        let age = now.since(written);
        return Ok(MessageStart::NotBefore(now.plus((age / 4).clamp(BEHIND_MIN, BEHIND_MAX))));
    }
    let held = |by: Hold| MessageStart::Held { until: by.look_again(now), by };
    if let Some(by) = row.allowance.hold(now) {
        return Ok(held(by));
    }
    let waits_until = Timestamp(row.next_us / 1000);
    if waits_until > now.plus(Duration::from_micros(pacing::HORIZON_US.unsigned_abs())) {
        return Ok(MessageStart::NotBefore(waits_until));
    }
    if let Some(ours) = gateway
        && !bind(conn, message, row.gateway_id, ours).await?
    {
        return Ok(MessageStart::Elsewhere { until: now.plus(ELSEWHERE) });
    }
    let pace = Pace::per_minute(row.rate_per_minute.or(sender_rate), row.next_us);
    let send_at = match (pace.map(|pace| pace.interval_us), row.allowance.daily_cap) {
        (None, None) => Some(waits_until.max(now)),
        (interval_us, _) => take_slot(conn, now, row.sender_id, interval_us.unwrap_or(0)).await?,
    };
    // Somebody stopped it, or took what was left of the day, since it was read.
    let Some(send_at) = send_at else { return Ok(held(Hold::Stopped)) };
    Ok(MessageStart::Go(Delivery {
        message,
        sender: row.sender_id,
        sender_name: row.sender_name,
        contact: row.contact_id,
        uuid: row.uuid.0,
        phone,
        text,
        attempt: row.attempts + 1,
        doubtful: row.status == MessageStatus::Unknown,
        send_at,
    }))
}

/// A message, its recipient, and the sender that it leaves from.
#[derive(FromQueryResult)]
struct Row {
    uuid: RowUuid,
    contact_id: ContactId,
    content: Option<String>,
    status: MessageStatus,
    attempts: i64,
    gateway_id: Option<GatewayId>,
    phone: Option<String>,
    /// The contact again, where it was not deleted.
    there: Option<ContactId>,
    sender_id: SenderId,
    sender_name: String,
    rate_per_minute: Option<i64>,
    /// The next slot that is free for single messages.
    next_us: i64,
    #[sea_orm(nested)]
    allowance: Allowance,
}

async fn read(conn: &impl ConnectionTrait, message: MessageId) -> Result<Option<Row>, DbErr> {
    let sql = "SELECT m.uuid AS uuid, m.contact_id AS contact_id, m.content AS content, m.status AS status,
                      m.attempts AS attempts, m.gateway_id AS gateway_id, c.phone AS phone, c.id AS there,
                      s.id AS sender_id, s.name AS sender_name, s.rate_per_minute AS rate_per_minute,
                      s.urgent_slot_us AS next_us, s.paused AS paused, s.daily_cap AS daily_cap, s.used_day AS used_day,
                      s.used AS used
               FROM messages m LEFT JOIN contacts c ON c.id = m.contact_id AND c.deleted_at IS NULL
               JOIN senders s ON s.id = coalesce(m.sender_id, (SELECT d.id FROM senders d WHERE d.name = $2))
               WHERE m.id = $1";
    db::one_as(conn, sql, [message.into(), senders::DEFAULT.into()]).await
}

/// Makes a message our gateway's, if no other may have it; whether it is ours then.
async fn bind(
    conn: &impl ConnectionTrait,
    message: MessageId,
    theirs: Option<GatewayId>,
    ours: GatewayId,
) -> Result<bool, DbErr> {
    match theirs {
        Some(theirs) if theirs == ours => return Ok(true),
        Some(theirs) if !gateways::is_ours(conn, theirs, ours).await? => return Ok(false),
        Some(_) | None => {}
    }
    let sql = "UPDATE messages SET gateway_id = $2 WHERE id = $1";
    db::execute(conn, sql, [message.into(), ours.into()]).await?;
    Ok(true)
}

/// How long a message waits at a time for the one before it.
const BEHIND_MIN: Duration = Duration::from_millis(20);
const BEHIND_MAX: Duration = Duration::from_secs(5);

/// How many of a contact's messages may stand between two that keep their order: a history is not read for each message.
const BEHIND_WITHIN: u32 = 100;

/// Whether an earlier message to the contact has not left yet, and when that was written: what people say one after the
/// other arrives so. One that may have left holds up nobody.
async fn waits_behind(
    conn: &impl ConnectionTrait,
    contact: ContactId,
    message: MessageId,
) -> Result<Option<Timestamp>, DbErr> {
    let sql = format!(
        "SELECT created_at FROM (SELECT id, created_at, direction, batch_id, status FROM messages
                                 WHERE contact_id = $1 AND direction IS NOT NULL
                                   AND (created_at, id) < (SELECT m.created_at, m.id FROM messages m WHERE m.id = $2)
                                 ORDER BY created_at DESC, id DESC LIMIT {BEHIND_WITHIN}) AS earlier
         WHERE direction = 'outbound' AND batch_id IS NULL AND status = 'queued'
         ORDER BY created_at DESC, id DESC LIMIT 1"
    );
    db::value(conn, sql, [contact.into(), message.into()]).await
}

/// Takes the next slot of single messages, and one of those that batches wait for, and counts the message. `None`: the
/// sender lets nothing leave.
async fn take_slot(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    sender: SenderId,
    interval_us: i64,
) -> Result<Option<Timestamp>, DbErr> {
    let taken: Option<i64> = db::value(
        conn,
        "UPDATE senders SET
            urgent_slot_us = CASE WHEN urgent_slot_us > $2 THEN urgent_slot_us ELSE $2 END + $3,
            next_slot_us = CASE WHEN next_slot_us > $2 THEN next_slot_us ELSE $2 END + $3,
            used = CASE WHEN used_day = $4 THEN used ELSE 0 END + 1, used_day = $4
         WHERE id = $1 AND NOT paused AND (daily_cap IS NULL OR used_day <> $4 OR used < daily_cap)
         RETURNING urgent_slot_us",
        [sender.into(), now.0.saturating_mul(1000).into(), interval_us.into(), senders::day(now).into()],
    )
    .await?;
    Ok(taken.map(|next| Timestamp((next - interval_us) / 1000)))
}

/// How long a gateway that is not there is left alone at most.
const AWAY_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq, Eq)]
struct Decision {
    status: MessageStatus,
    counted: bool,
    error: Option<(String, String)>,
    /// `None`: it is over.
    again_at: Option<Timestamp>,
}

fn decide(
    now: Timestamp,
    job: &Claimed,
    delivery: &Delivery,
    outcome: &AttemptOutcome,
    rng: &mut impl Rng,
) -> Decision {
    let over = |status, error| Decision { status, counted: true, error, again_at: None };
    match judge(outcome, delivery.attempt, delivery.doubtful) {
        Verdict::Sent => over(MessageStatus::Sent, None),
        Verdict::Failed(reason) => over(MessageStatus::Failed, Some(reason)),
        Verdict::Unknown(reason) => over(MessageStatus::Unknown, Some(reason)),
        Verdict::Again { counted, in_doubt, reason, wait } => {
            let retry = |attempts: i64| u32::try_from(attempts - 1).unwrap_or(u32::MAX);
            let away = Backoff { cap: AWAY_MAX, ..Backoff::MESSAGES };
            let wait = match wait {
                Wait::Backoff => Backoff::MESSAGES.delay(retry(delivery.attempt), rng),
                Wait::Away => away.delay(retry(job.attempts), rng),
                Wait::Asked(wait) => wait,
                Wait::Not => Duration::ZERO,
            };
            let status = if in_doubt { MessageStatus::Unknown } else { MessageStatus::Queued };
            Decision { status, counted, error: reason, again_at: Some(now.plus(wait)) }
        }
    }
}

/// Writes what became of an attempt: the message, and the end or the next time of its job. [`Finished::Stale`]: the claim
/// no longer stood, and nothing was written. What the gateway reported meanwhile is newer, and stays.
///
/// # Errors
/// The database's.
pub async fn settle(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    delivery: &Delivery,
    outcome: &AttemptOutcome,
    rng: &mut impl Rng,
) -> Result<Step<Finished>, DbErr> {
    let decision = decide(now, job, delivery, outcome, rng);
    let ending = match (decision.again_at, &decision.error) {
        (Some(until), error) => {
            Ending::Postponed { until, error: error.as_ref().map_or_else(String::new, |(code, _)| code.clone()) }
        }
        (None, _) => Ending::Done,
    };
    let finished = jobs::finish(conn, now, job.id, job.fence, &ending, rng).await?;
    if finished == Finished::Stale {
        return Ok(Step::quiet(finished));
    }
    let (code, detail) = decision.error.unzip();
    let sent = decision.status == MessageStatus::Sent;
    // What surely nobody has may leave through any gateway.
    let nobodys = decision.status == MessageStatus::Queued;
    let there = merge::is_there("messages.contact_id");
    let written = db::execute(
        conn,
        format!(
            "UPDATE messages SET status = $2, attempts = attempts + $3, error_code = $4,
                    error_message = CASE WHEN {there} THEN CAST($5 AS TEXT) END,
                    ack = CASE WHEN $6 AND ack < 1 THEN 1 ELSE ack END,
                    sent_at = CASE WHEN $6 THEN $7 ELSE sent_at END,
                    gateway_id = CASE WHEN $8 THEN NULL ELSE gateway_id END
             WHERE id = $1 AND status IN ('queued', 'unknown')"
        ),
        [
            delivery.message.into(),
            decision.status.as_str().into(),
            i64::from(decision.counted).into(),
            code.into(),
            detail.into(),
            sent.into(),
            now.0.into(),
            nobodys.into(),
        ],
    )
    .await?;
    if let AttemptOutcome::Throttled { retry_after: wait } = outcome {
        let until = now.plus(*wait).0;
        let sql = "UPDATE senders SET next_slot_us = CASE WHEN next_slot_us < $2 THEN $2 ELSE next_slot_us END,
                          urgent_slot_us = CASE WHEN urgent_slot_us < $2 THEN $2 ELSE urgent_slot_us END, throttled_until = $3
                   WHERE id = $1";
        db::execute(conn, sql, [delivery.sender.into(), until.saturating_mul(1000).into(), until.into()]).await?;
    }
    if !matches!(outcome, AttemptOutcome::Accepted | AttemptOutcome::Unknown { .. }) {
        senders::give_back(conn, now, delivery.sender, 1).await?;
    }
    if sent {
        tally::add(conn, now, Tally::Sent, 1, rng).await?;
    }
    // Told here or by the first report, whoever of the two comes first.
    let (message, over) = (delivery.message, decision.again_at.is_none());
    let event = match decision.status {
        MessageStatus::Sent => Some(DomainEvent::MessageAcked { message, level: ACK_SENT }),
        status => (over && status.is_troubled()).then_some(DomainEvent::ReplyFailed { message, status }),
    };
    let event = event.filter(|_| written > 0).map(|event| NewEvent::of(delivery.contact, event));
    Ok(outbox::append(conn, now, event.as_slice()).await?.map(|()| finished))
}

/// Ends a job whose message is not sent, and says why in the message.
///
/// # Errors
/// The database's.
pub async fn give_up(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    job: &Claimed,
    reason: Option<(&str, &str)>,
    rng: &mut impl Rng,
) -> Result<Step<Finished>, DbErr> {
    let finished = jobs::finish(conn, now, job.id, job.fence, &Ending::Done, rng).await?;
    let (Some((code, detail)), Finished::Done) = (reason, finished) else { return Ok(Step::quiet(finished)) };
    let message = message_of(&job.payload)?;
    Ok(void(conn, now, message, MessageStatus::Failed, code, detail).await?.map(|()| finished))
}

/// The message of a job that is dead: nobody knows how far it came. A payload that cannot be read names no message that
/// could be found.
pub(crate) async fn bury(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    payload: &serde_json::Value,
    reason: &str,
) -> Result<Step<()>, DbErr> {
    match message_of(payload) {
        Ok(message) => void(conn, now, message, MessageStatus::Unknown, "job_dead", reason).await,
        Err(_) => Ok(Step::quiet(())),
    }
}

/// The messages of jobs that a person took away, and tells of them: they have failed, unless nobody knows how far they came.
pub(crate) async fn cancel(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    payloads: &[&serde_json::Value],
) -> Result<Step<()>, DbErr> {
    let messages: Vec<i64> = payloads.iter().filter_map(|payload| message_of(payload).ok()).map(|id| id.0).collect();
    if messages.is_empty() {
        return Ok(Step::quiet(()));
    }
    let (among, messages) = Dialect::of(conn).one_of_numbers(1, &messages);
    let sql = format!(
        "UPDATE messages SET status = CASE WHEN status = 'queued' THEN 'failed' ELSE status END,
                error_code = 'job_cancelled', error_message = 'its job was cancelled'
         WHERE id {among} AND status IN ('queued', 'unknown') RETURNING id, contact_id, status"
    );
    let failed: Vec<(MessageId, ContactId, MessageStatus)> = db::values(conn, sql, [messages]).await?;
    let events: Vec<NewEvent> = failed
        .into_iter()
        .map(|(message, contact, status)| NewEvent::of(contact, DomainEvent::ReplyFailed { message, status }))
        .collect();
    outbox::append(conn, now, &events).await
}

/// Marks a message that will not be tried any more, and tells of it. Doubt stays doubt.
async fn void(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    message: MessageId,
    status: MessageStatus,
    code: &str,
    detail: &str,
) -> Result<Step<()>, DbErr> {
    let sql = "UPDATE messages SET status = CASE WHEN status = 'queued' THEN $2 ELSE status END, error_code = $3,
                      error_message = $4
               WHERE id = $1 AND status IN ('queued', 'unknown') RETURNING contact_id, status";
    let values = [message.into(), status.as_str().into(), code.into(), detail.into()];
    let Some((contact, status)) = db::value(conn, sql, values).await? else { return Ok(Step::quiet(())) };
    let failed = DomainEvent::ReplyFailed { message, status };
    outbox::append(conn, now, &[NewEvent::of(contact, failed)]).await
}
