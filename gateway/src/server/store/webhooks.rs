//! What a network told at our address, kept as it came until it is read; and what the backend refused of what people wrote.

use super::Store;
use super::events::writers_thread;
use super::ledger::{Answer, Db, Sql};
use super::reports::write_reports;
use crate::{Outgoing, Report};
use sqlx::Row;

/// The release that reads.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// How often one release reads what it cannot read.
const TRIES: i64 = 3;

/// How many refused reports one transaction looks at.
const REFUSED: i64 = 200;

/// Keeps a request's body before it is read.
pub(super) async fn keep(conn: &mut Db, now: i64, body: &[u8]) -> Sql<Answer> {
    let sql = "INSERT INTO webhooks (body, kept_at) VALUES (?1, ?2) RETURNING seq";
    sqlx::query_scalar(sql).bind(body).bind(now).fetch_one(conn).await.map(|seq| Answer::Cursor(Some(seq)))
}

/// Says that a body is read: all of it, or all but so many parts.
pub(super) async fn read(conn: &mut Db, seq: i64, unread: u64) -> Sql<()> {
    if unread == 0 {
        return sqlx::query("DELETE FROM webhooks WHERE seq = ?1").bind(seq).execute(conn).await.map(drop);
    }
    let unread = i64::try_from(unread).unwrap_or(i64::MAX);
    let sql = "UPDATE webhooks SET unread = ?2, read_by = ?3 WHERE seq = ?1";
    sqlx::query(sql).bind(seq).bind(unread).bind(RELEASE).execute(conn).await.map(drop)
}

/// Begins to read the next body that is kept behind a place: says which. One that this release has begun to read often
/// enough is left for another: whatever its reading did to the process, it did each time.
pub(super) async fn begin(conn: &mut Db, after: i64, last: i64) -> Sql<Answer> {
    let given_up =
        "UPDATE webhooks SET unread = coalesce(unread, 1) WHERE read_by = ?1 AND tries >= ?2 AND unread IS NULL";
    sqlx::query(given_up).bind(RELEASE).bind(TRIES).execute(&mut *conn).await?;
    let next = "UPDATE webhooks SET tries = CASE WHEN read_by = ?3 THEN tries + 1 ELSE 1 END, read_by = ?3
                WHERE seq = (SELECT min(seq) FROM webhooks WHERE seq > ?1 AND seq <= ?2
                             AND NOT (coalesce(read_by, '') = ?3 AND tries >= ?4))
                RETURNING seq";
    let next = sqlx::query_scalar(next).bind(after).bind(last).bind(RELEASE).bind(TRIES);
    next.fetch_optional(conn).await.map(Answer::Cursor)
}

/// Tells the backend once more what it refused of what people wrote: another release of it may take that. Says where to go
/// on.
pub(super) async fn tell_again(conn: &mut Db, now: i64, after: i64, last: i64) -> Sql<Answer> {
    let sql = "SELECT seq, report FROM refused WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3";
    let rows = sqlx::query(sql).bind(after).bind(last).bind(REFUSED).fetch_all(&mut *conn).await?;
    let (mut again, mut next) = (Vec::new(), None);
    for row in &rows {
        let seq: i64 = row.try_get("seq")?;
        next = Some(seq);
        // What an earlier release wrote, and this one does not know, stays.
        let Ok(Outgoing { report: Report::Inbound(inbound), numeric }) = serde_json::from_str(row.try_get("report")?)
        else {
            continue;
        };
        again.push((writers_thread(&inbound), Outgoing { report: Report::Inbound(inbound), numeric }));
        sqlx::query("DELETE FROM refused WHERE seq = ?1").bind(seq).execute(&mut *conn).await?;
    }
    write_reports(conn, now, &again).await?;
    Ok(Answer::Cursor(next))
}

impl Store {
    /// The body that is kept at a place.
    pub(crate) async fn webhook(&self, seq: i64) -> Sql<Option<Vec<u8>>> {
        sqlx::query_scalar("SELECT body FROM webhooks WHERE seq = ?1").bind(seq).fetch_optional(&self.readers).await
    }

    /// The last places of the bodies that are kept, and of the reports that were refused.
    pub(crate) async fn last_set_aside(&self) -> Sql<(i64, i64)> {
        let sql = "SELECT coalesce((SELECT max(seq) FROM webhooks), 0) AS webhooks,
                          coalesce((SELECT max(seq) FROM refused), 0) AS refused";
        let row = sqlx::query(sql).fetch_one(&self.readers).await?;
        Ok((row.try_get("webhooks")?, row.try_get("refused")?))
    }
}
