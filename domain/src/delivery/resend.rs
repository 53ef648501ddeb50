//! Sending again what surely nobody has: messages that a simulator took, which sends nothing to anybody, and those that the
//! ledger says were taken while no gateway knows of them.

use crate::batches::{self, ItemFate};
use crate::db::{self, Dialect};
use crate::gateways::SIMULATOR;
use crate::jobs::{self, NewJob};
use crate::ring::JobKind;
use crate::time::Timestamp;
use crate::{Event, Step};
use entities::{BatchId, GatewayId, MessageId, RowUuid};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use serde_json::json;
use std::collections::BTreeSet;
use uuid::Uuid;

/// The code of an item whose message nobody has.
const NEVER_SENT: &str = "never_sent";

const REASON: &str = "no gateway has the message: it is sent again";

/// A message that nobody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// The message: the cursor.
    pub message: MessageId,
    /// Its id at gateways.
    pub uuid: Uuid,
    /// Its batch and item there.
    pub item: Option<(BatchId, i64)>,
}

const COLUMNS: &str = "m.id AS id, m.uuid AS uuid, m.batch_id AS batch_id, m.seq AS seq";

/// Of whom something can be sent again: the recipient is there, and wants it; a batch has ended, and was not cancelled, and
/// the message is the last of its item.
const SENDABLE: &str = "m.direction = 'outbound' AND m.sent_at IS NOT NULL
    AND EXISTS (SELECT 1 FROM contacts c WHERE c.id = m.contact_id AND c.deleted_at IS NULL AND c.phone IS NOT NULL
                AND (m.batch_id IS NULL OR c.suppressed_at IS NULL))
    AND (m.batch_id IS NULL OR m.seq IS NOT NULL
         AND EXISTS (SELECT 1 FROM batches b WHERE b.id = m.batch_id AND b.status IN ('COMPLETED', 'FAILED')))";

/// A message's [`COLUMNS`].
#[derive(FromQueryResult)]
struct Row {
    id: MessageId,
    uuid: RowUuid,
    batch_id: Option<BatchId>,
    seq: Option<i64>,
}

impl From<Row> for Unsent {
    fn from(row: Row) -> Self {
        Self { message: row.id, uuid: row.uuid.0, item: row.batch_id.zip(row.seq) }
    }
}

/// The messages behind a place that a simulator other than our gateway took, in order.
///
/// # Errors
/// The database's.
pub async fn taken_by_simulators(
    conn: &impl ConnectionTrait,
    ours: GatewayId,
    after: MessageId,
    limit: u64,
) -> Result<Vec<Unsent>, DbErr> {
    let sql = format!(
        "SELECT {COLUMNS} FROM messages m JOIN gateways g ON g.id = m.gateway_id
         WHERE m.id > $1 AND m.gateway_id <> $2 AND g.transport = $3 AND m.status IN ('sent', 'delivered', 'read') AND {SENDABLE}
         ORDER BY m.id LIMIT {limit}"
    );
    let rows = db::all_as::<Row>(conn, sql, [after.into(), ours.into(), SIMULATOR.into()]).await?;
    Ok(rows.into_iter().map(Unsent::from).collect())
}

/// How many messages [`taken_by_simulators`] are there.
///
/// # Errors
/// The database's.
pub async fn count_taken_by_simulators(conn: &impl ConnectionTrait, ours: Option<GatewayId>) -> Result<i64, DbErr> {
    let sql = format!(
        "SELECT count(*) FROM messages m JOIN gateways g ON g.id = m.gateway_id
         WHERE m.gateway_id <> $1 AND g.transport = $2 AND m.status IN ('sent', 'delivered', 'read') AND {SENDABLE}"
    );
    let values = [ours.map_or(0, |ours| ours.0).into(), SIMULATOR.into()];
    Ok(db::value(conn, sql, values).await?.unwrap_or(0))
}

/// Of these messages, which our gateway does not have although it has all of their time, those that it surely never had: the
/// ledger does not know which gateway took them, and no network has told anything of them. One of which our own gateway said
/// that it took it is none of these: its store may be an older copy.
///
/// # Errors
/// The database's.
pub async fn surely_unsent(conn: &impl ConnectionTrait, ids: &[Uuid]) -> Result<Vec<Unsent>, DbErr> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM messages m
         WHERE m.uuid {} AND m.gateway_id IS NULL AND m.status = 'sent' AND m.ack <= 1 AND m.whatsapp_id IS NULL AND {SENDABLE}
         ORDER BY m.id",
        Dialect::of(conn).one_of(1, "uuid")
    );
    let rows = db::all_as::<Row>(conn, sql, [json!(ids).to_string().into()]).await?;
    Ok(rows.into_iter().map(Unsent::from).collect())
}

/// What was made to be sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resent {
    /// Items that failed by that, and wait for [`go_on`].
    pub items: usize,
    /// Single messages that are on their way.
    pub singles: usize,
    /// The batches of the items.
    pub batches: BTreeSet<BatchId>,
}

/// Takes back that these messages were sent. Single ones are delivered again, under their ids; items of batches have failed
/// by that. One that was taken back before is left alone.
///
/// # Errors
/// The database's; then nothing was taken back.
pub async fn take_back(conn: &impl ConnectionTrait, now: Timestamp, unsent: &[Unsent]) -> Result<Step<Resent>, DbErr> {
    let mut step = Step::quiet(Resent::default());
    let ids: Vec<MessageId> = unsent.iter().filter(|one| one.item.is_some()).map(|one| one.message).collect();
    let sql = format!(
        "UPDATE messages SET status = 'failed', error_code = $2, error_message = $3
         WHERE id {} AND status IN ('sent', 'delivered', 'read') RETURNING id",
        Dialect::of(conn).one_of(1, "bigint")
    );
    let failed = db::values(conn, sql, [json!(ids).to_string().into(), NEVER_SENT.into(), REASON.into()]).await?;
    let failed: BTreeSet<i64> = failed.into_iter().collect();
    let fate = ItemFate::Failed { code: NEVER_SENT.into(), detail: REASON.into() };
    for one in unsent {
        match one.item {
            Some((batch, seq)) if failed.contains(&one.message.0) => {
                let told = batches::settle_item(conn, now, batch, seq, one.uuid, &fate).await?;
                step.value.items += usize::from(told.is_some());
                step.events.extend(told.map(Event::BatchChanged));
                step.value.batches.insert(batch);
            }
            Some(_) => {}
            None => {
                let sql =
                    "UPDATE messages SET status = 'queued', ack = 0, attempts = 0, sent_at = NULL, delivered_at = NULL,
                                  read_at = NULL, seen_delay_ms = NULL, whatsapp_id = NULL, gateway_id = NULL
                           WHERE id = $1 AND status IN ('sent', 'delivered', 'read')";
                if db::execute(conn, sql, [one.message.into()]).await? == 0 {
                    continue;
                }
                let job = NewJob { payload: json!({ "message": one.message }), ..NewJob::of(JobKind::Deliver, now) };
                step.rings.extend(jobs::enqueue(conn, now, &[job]).await?);
                step.value.singles += 1;
            }
        }
    }
    Ok(step)
}

/// Lets a batch go on through our gateway, with all of its failed items. `false`: there was nothing to go on with.
///
/// # Errors
/// The database's, or that somebody changes the batch at this moment.
pub async fn go_on(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    batch: BatchId,
    ours: GatewayId,
) -> Result<Step<bool>, batches::ControlError> {
    let sql = "UPDATE batches SET gateway_id = $2 WHERE id = $1";
    db::execute(conn, sql, [batch.into(), ours.into()]).await?;
    match batches::retry(conn, now, batch).await {
        Ok(step) => Ok(step.map(|_| true)),
        Err(batches::ControlError::Conflict(_) | batches::ControlError::OwnBatch) => Ok(Step::quiet(false)),
        Err(error) => Err(error),
    }
}

/// Gives batches that are under way to our gateway, where a simulator has them: what they have not sent yet goes out for good.
/// Returns which.
///
/// # Errors
/// The database's.
pub async fn adopt(conn: &impl ConnectionTrait, ours: GatewayId) -> Result<Vec<BatchId>, DbErr> {
    let sql = "UPDATE batches SET gateway_id = $1
               WHERE status IN ('PENDING', 'PROCESSING') AND gateway_id <> $1
                 AND gateway_id IN (SELECT id FROM gateways WHERE transport = $2)
               RETURNING id";
    db::values(conn, sql, [ours.into(), SIMULATOR.into()]).await
}
