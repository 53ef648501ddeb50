//! What is old goes.

use super::ledger::{Answer, Db, Sql};

/// How many rows one transaction deletes.
pub(super) const PRUNE: i64 = 500;

/// How long what a network told of nobody's message is kept for somebody whose it may turn out to be.
pub(super) const ORPHAN_MS: i64 = 24 * 3600 * 1000;

/// Deletes what is old: messages in the order in which they came, whose reports are all taken.
pub(super) async fn prune(conn: &mut Db, now: i64, before: i64, after_seq: i64) -> Sql<Answer> {
    if after_seq == 0 {
        sqlx::query("DELETE FROM orphans WHERE at < ?1").bind(now - ORPHAN_MS).execute(&mut *conn).await?;
        sqlx::query("DELETE FROM inbound WHERE at < ?1").bind(before).execute(&mut *conn).await?;
        sqlx::query("UPDATE complete SET since = max(since, ?1)").bind(before).execute(&mut *conn).await?;
        sqlx::query("DELETE FROM refused WHERE refused_at < ?1").bind(before).execute(&mut *conn).await?;
        sqlx::query("DELETE FROM webhooks WHERE kept_at < ?1").bind(before).execute(&mut *conn).await?;
    }
    let last: Option<i64> = sqlx::query_scalar(
        "SELECT max(seq) FROM (SELECT seq, accepted_at FROM messages WHERE seq > ?1 ORDER BY seq LIMIT ?2)
         WHERE accepted_at < ?3",
    )
    .bind(after_seq)
    .bind(PRUNE)
    .bind(before)
    .fetch_one(&mut *conn)
    .await?;
    let Some(last) = last else { return Ok(Answer::Cursor(None)) };
    sqlx::query(
        "DELETE FROM messages WHERE seq > ?1 AND seq <= ?2 AND state >= 3 AND ended_at < ?3
           AND NOT EXISTS (SELECT 1 FROM reports WHERE thread = messages.seq)",
    )
    .bind(after_seq)
    .bind(last)
    .bind(before)
    .execute(conn)
    .await?;
    Ok(Answer::Cursor(Some(last)))
}
