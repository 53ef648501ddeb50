//! Messages: taken, claimed, settled.

use super::events::adopt;
use super::ledger::{Answer, Db, Sql, json};
use super::reports::write_reports;
use super::senders::{Sender, midnight_after, sender, settle_senders};
use super::{Accepted, AttemptResult, Claimed, Claims, NewMessage};
use crate::server::rules::{self, MessageState, Next, SenderNext, Slots, TrackedMessage};
use crate::transport::Settles;
use crate::{Outgoing, Report};
use rand::Rng;
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// How far ahead slots are taken: a claimed message waits for its slot in its place, so not far.
pub(super) const HORIZON_US: i64 = 20_000;

/// How long a backend is asked to wait for a sender that a person has to see to.
pub(super) const STOPPED_WAIT: Duration = Duration::from_secs(30);

pub(super) async fn accept(conn: &mut Db, now: i64, new: &[&NewMessage]) -> Sql<Vec<Accepted>> {
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = new.iter().map(|message| message.id.as_str()).collect();
    let known =
        sqlx::query_scalar::<_, String>("SELECT id FROM messages WHERE id IN (SELECT value FROM json_each(?1))")
            .bind(json(&ids)?)
            .fetch_all(&mut *conn)
            .await?;
    let mut known: HashSet<String> = known.into_iter().collect();
    let mut senders: HashMap<&str, (Sender, i64)> = HashMap::new();
    let mut rows = Vec::new();
    let mut answers = Vec::with_capacity(new.len());
    for message in new {
        if known.contains(&message.id) {
            answers.push(Accepted::Known);
            continue;
        }
        let name = message.sender.as_str();
        if !senders.contains_key(name) {
            let mut row = sender(conn, name).await?;
            let mut left = row.left_today(now);
            if row.daily_cap > 0 {
                // What waits will be sent first.
                let sql = "SELECT count(*) FROM messages WHERE sender = ?1 AND due_at IS NOT NULL";
                left -= sqlx::query_scalar::<_, i64>(sql).bind(name).fetch_one(&mut *conn).await?;
            }
            senders.insert(name, (row, left));
        }
        let Some((row, left)) = senders.get_mut(name) else { continue };
        if let Some(code) = &row.stopped_code {
            answers.push(Accepted::Stopped { retry_after: STOPPED_WAIT, code: code.clone() });
        } else if *left <= 0 {
            let until = midnight_after(now) - now;
            answers.push(Accepted::Capped { retry_after: Duration::from_millis(until.unsigned_abs()) });
        } else {
            *left -= 1;
            known.insert(message.id.clone());
            rows.push((&message.id, i64::from(message.numeric), &message.sender, &message.recipient, &message.body));
            answers.push(Accepted::Fresh);
        }
    }
    if !rows.is_empty() {
        sqlx::query(
            "INSERT INTO messages (id, numeric, sender, recipient, body, state, due_at, accepted_at)
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, 0, ?2, ?2 FROM json_each(?1)",
        )
        .bind(json(&rows)?)
        .bind(now)
        .execute(conn)
        .await?;
    }
    Ok(answers)
}

/// A message `m` that nothing to the same recipient is before: what is said in order leaves in order. One whose outcome
/// nobody knows holds up nobody.
pub(super) const FIRST: &str =
    "NOT EXISTS (SELECT 1 FROM messages b WHERE b.recipient = m.recipient AND b.seq < m.seq AND b.state < 2
                                 AND b.sender = m.sender)";

pub(super) async fn claim(conn: &mut Db, now: i64, name: &str, most: i64, settles: Settles) -> Sql<Claims> {
    if let Settles::ByEvent { .. } = settles {
        give_up(conn, now, name).await?;
    }
    let mut row = sender(conn, name).await?;
    let waits = u32::try_from(row.waits).unwrap_or(u32::MAX);
    let nothing = |next_at_ms| Ok(Claims { messages: Vec::new(), next_at_ms, waits });
    if row.stopped_code.is_some() {
        return nothing(None);
    }
    if row.wait_until > now {
        return nothing(Some(row.wait_until));
    }
    let left = row.left_today(now);
    if left == 0 {
        return nothing(Some(midnight_after(now)));
    }
    let now_us = now * 1_000;
    let Slots { first, interval, count } =
        rules::slots(now_us, now_us + HORIZON_US, row.next_slot_us, row.rate_per_minute);
    if count == 0 {
        return nothing(Some((row.next_slot_us - HORIZON_US) / 1_000 + 1));
    }
    let by_event = i64::from(matches!(settles, Settles::ByEvent { .. }));
    let sql = format!(
        "UPDATE messages SET state = 1, due_at = NULL, doubt = max(doubt, state = 2)
         WHERE seq IN (SELECT seq FROM messages m WHERE sender = ?1 AND due_at <= ?2 AND NOT (?4 AND state = 2) AND {FIRST}
                       ORDER BY due_at, seq LIMIT ?3)
         RETURNING seq, id, numeric, recipient, body, attempts, doubt"
    );
    let found = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(name)
        .bind(now)
        .bind(most.min(left).min(count))
        .bind(by_event)
        .fetch_all(&mut *conn)
        .await?;
    let mut messages = Vec::with_capacity(found.len());
    for one in &found {
        messages.push(Claimed {
            seq: one.try_get("seq")?,
            id: one.try_get("id")?,
            numeric: one.try_get("numeric")?,
            sender: name.to_owned(),
            recipient: one.try_get("recipient")?,
            body: one.try_get("body")?,
            attempts: one.try_get("attempts")?,
            doubt: one.try_get("doubt")?,
            slot_us: 0,
        });
    }
    messages.sort_by_key(|message| message.seq);
    let mut slot = first;
    for message in &mut messages {
        message.slot_us = slot;
        slot += interval;
    }
    let taken = i64::try_from(messages.len()).unwrap_or(i64::MAX);
    if taken > 0 && (row.rate_per_minute > 0 || row.daily_cap > 0) {
        // One that is tried again is counted again, unless its refusal gave its count back: never under.
        sqlx::query("UPDATE senders SET next_slot_us = ?2, day = ?3, used = ?4 WHERE name = ?1")
            .bind(name)
            .bind(slot)
            .bind(row.day)
            .bind(row.used + taken)
            .execute(&mut *conn)
            .await?;
    }
    let next_at_ms = match taken < most {
        true if taken == count => Some((slot - HORIZON_US) / 1_000 + 1),
        true => {
            let sql =
                format!("SELECT min(due_at) FROM messages m WHERE sender = ?1 AND due_at IS NOT NULL AND {FIRST}");
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(name).fetch_one(conn).await?
        }
        false => Some(now),
    };
    Ok(Claims { messages, next_at_ms, waits })
}

/// Reports those as unknown of which the network has not told in time.
pub(super) async fn give_up(conn: &mut Db, now: i64, name: &str) -> Sql<()> {
    let sql = "SELECT * FROM messages WHERE sender = ?1 AND due_at <= ?2 AND state = 2 ORDER BY due_at, seq LIMIT 500";
    let rows = sqlx::query(sql).bind(name).bind(now).fetch_all(&mut *conn).await?;
    let mut given_up = rows.iter().map(read_known).collect::<Sql<Vec<_>>>()?;
    let mut reports = Vec::new();
    for message in &mut given_up {
        let code = rules::OUTCOME_UNKNOWN.to_owned();
        let detail = message.detail.clone().unwrap_or_default();
        message.state = MessageState::Failed;
        message.code = Some(code.clone());
        let report = Report::Failed { message_id: message.message_id.clone(), code, detail };
        reports.push((message.seq, Outgoing { report, numeric: message.numeric }));
    }
    write_known(conn, now, &given_up).await?;
    write_reports(conn, now, &reports).await
}

pub(super) async fn unclaim(conn: &mut Db, now: i64, except: &[i64]) -> Sql<Answer> {
    sqlx::query(
        "UPDATE messages SET state = CASE WHEN doubt THEN 2 ELSE 0 END, due_at = ?1
         WHERE state = 1 AND seq NOT IN (SELECT value FROM json_each(?2))",
    )
    .bind(now)
    .bind(json(&except)?)
    .execute(conn)
    .await?;
    Ok(Answer::Done)
}

pub(super) async fn recover(conn: &mut Db, now: i64, settles: Settles) -> Sql<Answer> {
    let due = match settles {
        Settles::BySubmittingAgain => now,
        Settles::ByEvent { within } => now.saturating_add(i64::try_from(within.as_millis()).unwrap_or(i64::MAX)),
    };
    let sql =
        "UPDATE messages SET state = 2, doubt = 1, due_at = ?1, detail = 'the gateway ended while it was handed over'
               WHERE state = 1";
    let recovered = sqlx::query(sql).bind(due).execute(conn).await?.rows_affected();
    if recovered > 0 {
        tracing::warn!(
            messages = recovered,
            "handed over when the last process ended; whether they were taken is found out"
        );
    }
    Ok(Answer::Done)
}

/// A message's row after an attempt.
#[derive(Serialize)]
pub(super) struct Settled<'a>(
    i64,
    i64,
    Option<i64>,
    u32,
    bool,
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
    bool,
);

pub(super) async fn settle(conn: &mut Db, now: i64, outcomes: &[AttemptResult]) -> Sql<Answer> {
    let judged: Vec<(Next, SenderNext)> =
        outcomes.iter().map(|outcome| rules::judge(&outcome.handed, outcome.standing, rand::rng().random())).collect();
    let after = |wait: Duration| now.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
    let rows: Vec<Settled<'_>> = outcomes
        .iter()
        .zip(&judged)
        .map(|(outcome, (next, _))| {
            let (seq, tried) = (outcome.seq, outcome.standing.attempts);
            match next {
                Next::Sent { network_id, .. } => {
                    Settled(seq, 3, None, tried, false, Some(network_id), None, None, true)
                }
                Next::Failed { code, detail } => {
                    Settled(seq, 4, None, tried + 1, false, None, Some(code), Some(detail), true)
                }
                Next::Again { after: wait, attempts, code, detail } => {
                    Settled(seq, 0, Some(after(*wait)), *attempts, false, None, Some(code), Some(detail), false)
                }
                Next::Unknown { after: wait, attempts, code, detail } => {
                    Settled(seq, 2, Some(after(*wait)), *attempts, true, None, Some(code), Some(detail), false)
                }
            }
        })
        .collect();
    let settled: HashSet<i64> = sqlx::query_scalar::<_, i64>(
        "UPDATE messages SET state = v.value ->> 1, due_at = v.value ->> 2, attempts = v.value ->> 3,
                doubt = v.value ->> 4, network_id = coalesce(network_id, v.value ->> 5), code = v.value ->> 6,
                detail = v.value ->> 7,
                body = CASE WHEN v.value ->> 8 THEN '' ELSE body END,
                recipient = CASE WHEN v.value ->> 1 = 4 THEN '' ELSE recipient END,
                ended_at = CASE WHEN v.value ->> 8 THEN ?2 END,
                sent_at = CASE WHEN v.value ->> 1 = 3 THEN ?2 END
         FROM json_each(?1) AS v
         WHERE messages.seq = v.value ->> 0 AND messages.state = 1
         RETURNING seq",
    )
    .bind(json(&rows)?)
    .bind(now)
    .fetch_all(&mut *conn)
    .await?
    .into_iter()
    .collect();
    let mut reports = Vec::with_capacity(outcomes.len());
    let mut mapped = Vec::new();
    for (outcome, (next, _)) in outcomes.iter().zip(&judged).filter(|(outcome, _)| settled.contains(&outcome.seq)) {
        let message_id = outcome.id.clone();
        let report = match next {
            Next::Sent { network_id, wa_id } => {
                mapped.push(network_id.as_str());
                Report::Mapped { message_id, whatsapp_id: network_id.clone(), wa_id: wa_id.clone() }
            }
            Next::Failed { code, detail } => Report::Failed { message_id, code: code.clone(), detail: detail.clone() },
            Next::Again { .. } | Next::Unknown { .. } => continue,
        };
        reports.push((outcome.seq, Outgoing { report, numeric: outcome.numeric }));
    }
    write_reports(conn, now, &reports).await?;
    adopt(conn, now, &mapped).await?;
    settle_senders(conn, now, outcomes, &judged, &settled).await?;
    for (next, _) in &judged {
        let outcome = match next {
            Next::Sent { .. } => "sent",
            Next::Failed { .. } => "failed",
            Next::Again { .. } => "again",
            Next::Unknown { .. } => "unknown",
        };
        metrics::counter!("paceline_gateway_outcomes_total", "outcome" => outcome).increment(1);
    }
    Ok(Answer::Done)
}

pub(super) fn read_known(row: &SqliteRow) -> Sql<TrackedMessage> {
    Ok(TrackedMessage {
        seq: row.try_get("seq")?,
        message_id: row.try_get("id")?,
        numeric: row.try_get("numeric")?,
        recipient: row.try_get("recipient")?,
        state: MessageState::of(row.try_get("state")?),
        network_id: row.try_get("network_id")?,
        level: row.try_get("level")?,
        sent_at_ms: row.try_get("sent_at")?,
        code: row.try_get("code")?,
        detail: row.try_get("detail")?,
    })
}

#[derive(Serialize)]
pub(super) struct KnownRow<'a>(i64, i64, &'a Option<String>, u8, Option<i64>, &'a Option<String>, &'a Option<String>);

/// Writes what is known of messages that the network told of, or that were given up. The text goes with the end; the
/// number goes once it is of no use: nothing is told of one that failed, and of one that was read only its id.
pub(super) async fn write_known(conn: &mut Db, now: i64, known: &[TrackedMessage]) -> Sql<()> {
    if known.is_empty() {
        return Ok(());
    }
    let row = |m: &'_ TrackedMessage| (m.seq, m.state as i64, m.level, m.sent_at_ms);
    let rows: Vec<KnownRow<'_>> = known
        .iter()
        .map(|m| {
            let (seq, state, level, sent_at) = row(m);
            KnownRow(seq, state, &m.network_id, level, sent_at, &m.code, &m.detail)
        })
        .collect();
    sqlx::query(
        "UPDATE messages SET state = v.value ->> 1, network_id = v.value ->> 2, level = v.value ->> 3,
                sent_at = v.value ->> 4, code = v.value ->> 5, detail = v.value ->> 6,
                due_at = CASE WHEN v.value ->> 1 >= 3 THEN NULL ELSE due_at END,
                body = CASE WHEN v.value ->> 1 >= 3 THEN '' ELSE body END,
                recipient = CASE WHEN v.value ->> 1 = 4 OR v.value ->> 3 >= 3 THEN '' ELSE recipient END,
                ended_at = CASE WHEN v.value ->> 1 >= 3 THEN ?2 END
         FROM json_each(?1) AS v WHERE messages.seq = v.value ->> 0",
    )
    .bind(json(&rows)?)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}
