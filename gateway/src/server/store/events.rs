//! What the network tells: of messages, and of those who write.

use super::ledger::{Answer, Db, Sql, json};
use super::messages::{read_known, write_known};
use super::reports::write_reports;
use super::senders::{sender, stop, write_sender};
use crate::server::rules;
use crate::transport::{Class, Event, Inbound, Status};
use crate::{Outgoing, Report};
use sqlx::Row;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The thread of what a writer writes: never that of a message.
pub(super) fn writers_thread(inbound: &Inbound) -> i64 {
    let mut hasher = DefaultHasher::new();
    (&inbound.from, inbound.from.is_empty().then_some(&inbound.identities)).hash(&mut hasher);
    -1 - i64::try_from(hasher.finish() >> 2).unwrap_or_default()
}

pub(super) async fn heard(conn: &mut Db, now: i64, events: &[Event]) -> Sql<Answer> {
    let mut reports = Vec::new();
    let statuses: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Status { message_id, network_id, wa_id, status, at_ms } => {
                Some((message_id.as_deref(), network_id.as_str(), wa_id.as_deref(), status, *at_ms))
            }
            Event::Inbound(_) => None,
        })
        .collect();
    let orphans = hear_all(conn, now, &statuses, &mut reports).await?;
    for (network_id, status, told_at) in orphans {
        sqlx::query("INSERT INTO orphans (network_id, status, told_at, at) VALUES (?1, ?2, ?3, ?4)")
            .bind(network_id)
            .bind(json(status)?)
            .bind(told_at)
            .bind(now)
            .execute(&mut *conn)
            .await?;
    }
    for event in events {
        let Event::Inbound(inbound) = event else { continue };
        let sql = "INSERT INTO inbound (network_id, at) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        let fresh = inbound.network_id.is_empty()
            || sqlx::query(sql).bind(&inbound.network_id).bind(now).execute(&mut *conn).await?.rows_affected() > 0;
        if fresh {
            let report = Report::Inbound(inbound.clone());
            reports.push((writers_thread(inbound), Outgoing { report, numeric: false }));
        }
    }
    write_reports(conn, now, &reports).await?;
    Ok(Answer::Done)
}

pub(super) type StatusOf<'a> = (Option<&'a str>, &'a str, Option<&'a str>, &'a Status, i64);

/// Takes what was told of messages; returns what is of nobody's whom we know yet.
pub(super) async fn hear_all<'a>(
    conn: &mut Db,
    now: i64,
    statuses: &[StatusOf<'a>],
    reports: &mut Vec<(i64, Outgoing)>,
) -> Sql<Vec<(&'a str, &'a Status, i64)>> {
    if statuses.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = statuses.iter().filter_map(|(id, ..)| *id).collect();
    let networks: Vec<&str> =
        statuses.iter().filter(|(id, ..)| id.is_none()).map(|(_, network, ..)| *network).collect();
    let rows = sqlx::query(
        "SELECT * FROM messages WHERE id IN (SELECT value FROM json_each(?1))
         UNION SELECT * FROM messages WHERE network_id IN (SELECT value FROM json_each(?2))",
    )
    .bind(json(&ids)?)
    .bind(json(&networks)?)
    .fetch_all(&mut *conn)
    .await?;
    let mut known = Vec::with_capacity(rows.len());
    let mut senders = HashMap::new();
    for row in &rows {
        let message = read_known(row)?;
        senders.insert(message.seq, row.try_get::<String, _>("sender")?);
        known.push(message);
    }
    let by_id: HashMap<String, usize> = known.iter().enumerate().map(|(at, m)| (m.message_id.clone(), at)).collect();
    let by_network: HashMap<String, usize> =
        known.iter().enumerate().filter_map(|(at, m)| Some((m.network_id.clone()?, at))).collect();
    let mut orphans = Vec::new();
    for (id, network_id, wa_id, status, at_ms) in statuses {
        let at = id.and_then(|id| by_id.get(id)).or_else(|| by_network.get(*network_id));
        let Some(message) = at.and_then(|at| known.get_mut(*at)) else {
            metrics::counter!("paceline_gateway_orphans_total").increment(1);
            if id.is_none() {
                orphans.push((*network_id, *status, *at_ms));
            }
            continue;
        };
        // The event may be here before the answer to the hand-over, which would have told it.
        let account = wa_id.filter(|wa_id| *wa_id != message.recipient.trim_start_matches('+'));
        let mut heard = rules::hear(message, network_id, status, *at_ms);
        for report in &mut heard {
            if let Report::Mapped { wa_id, .. } = report {
                *wa_id = account.map(str::to_owned);
            }
        }
        reports.extend(heard.into_iter().map(|report| (message.seq, Outgoing { report, numeric: message.numeric })));
        if let Status::Failed(refusal) = status
            && refusal.class == Class::StopSender
            && let Some(name) = senders.get(&message.seq)
        {
            let mut row = sender(conn, name).await?;
            stop(&mut row, &rules::short_code(&refusal.code), &rules::short_detail(&refusal.detail));
            write_sender(conn, &row).await?;
        }
    }
    write_known(conn, now, &known).await?;
    Ok(orphans)
}

/// Takes what the network had told of messages before it answered for them.
pub(super) async fn adopt(conn: &mut Db, now: i64, mapped: &[&str]) -> Sql<()> {
    if mapped.is_empty() {
        return Ok(());
    }
    let sql = "DELETE FROM orphans WHERE network_id IN (SELECT value FROM json_each(?1))
               RETURNING seq, network_id, status, told_at";
    let rows = sqlx::query(sql).bind(json(&mapped)?).fetch_all(&mut *conn).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let mut told = Vec::with_capacity(rows.len());
    for row in &rows {
        let status: Status =
            serde_json::from_str(row.try_get("status")?).map_err(|error| sqlx::Error::Decode(error.into()))?;
        told.push((
            row.try_get::<i64, _>("seq")?,
            row.try_get::<String, _>("network_id")?,
            status,
            row.try_get("told_at")?,
        ));
    }
    told.sort_by_key(|(seq, ..)| *seq);
    let statuses: Vec<StatusOf<'_>> =
        told.iter().map(|(_, network, status, at)| (None, network.as_str(), None, status, *at)).collect();
    let mut reports = Vec::new();
    hear_all(conn, now, &statuses, &mut reports).await?;
    write_reports(conn, now, &reports).await
}
