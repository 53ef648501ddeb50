//! Reports: those of one thread in order, each until the backend took it or never will.

use super::ledger::{Answer, Db, Sql, json};
use super::{DueReport, ReportOutcome};
use crate::Outgoing;
use std::collections::HashSet;

/// Writes reports behind those that their threads have already.
pub(super) async fn write_reports(conn: &mut Db, now: i64, reports: &[(i64, Outgoing)]) -> Sql<()> {
    if reports.is_empty() {
        return Ok(());
    }
    let mut begun = HashSet::new();
    let mut rows = Vec::with_capacity(reports.len());
    for (thread, outgoing) in reports {
        rows.push((*thread, json(outgoing)?, begun.insert(*thread)));
    }
    sqlx::query(
        "INSERT INTO reports (thread, report, due_at)
         SELECT v.value ->> 0, v.value ->> 1,
                CASE WHEN v.value ->> 2 AND NOT EXISTS (SELECT 1 FROM reports r WHERE r.thread = v.value ->> 0) THEN ?2 END
         FROM json_each(?1) AS v ORDER BY v.key",
    )
    .bind(json(&rows)?)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn tell(conn: &mut Db, now: i64, told: &[(DueReport, ReportOutcome)]) -> Sql<Answer> {
    let (mut gone, mut threads, mut again) = (Vec::new(), HashSet::new(), Vec::new());
    for (due, told) in told {
        match told {
            ReportOutcome::Taken => {
                gone.push(due.seq);
                threads.insert(due.thread);
            }
            ReportOutcome::Refused { status, detail } => {
                sqlx::query(
                    "INSERT INTO refused (seq, report, status, detail, refused_at)
                     SELECT seq, report, ?2, ?3, ?4 FROM reports WHERE seq = ?1 ON CONFLICT DO NOTHING",
                )
                .bind(due.seq)
                .bind(i64::from(*status))
                .bind(detail)
                .bind(now)
                .execute(&mut *conn)
                .await?;
                gone.push(due.seq);
                threads.insert(due.thread);
            }
            ReportOutcome::Again { due_at_ms } => again.push((due.seq, *due_at_ms, due.tries.saturating_add(1))),
        }
    }
    if !gone.is_empty() {
        let sql = "DELETE FROM reports WHERE seq IN (SELECT value FROM json_each(?1))";
        sqlx::query(sql).bind(json(&gone)?).execute(&mut *conn).await?;
        sqlx::query(
            "UPDATE reports SET due_at = ?2
             WHERE due_at IS NULL AND seq IN (SELECT (SELECT min(r.seq) FROM reports r WHERE r.thread = v.value)
                                              FROM json_each(?1) AS v)",
        )
        .bind(json(&threads)?)
        .bind(now)
        .execute(&mut *conn)
        .await?;
    }
    if !again.is_empty() {
        let sql = "UPDATE reports SET due_at = v.value ->> 1, tries = v.value ->> 2
                   FROM json_each(?1) AS v WHERE reports.seq = v.value ->> 0";
        sqlx::query(sql).bind(json(&again)?).execute(conn).await?;
    }
    Ok(Answer::Done)
}
