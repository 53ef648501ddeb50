//! Which gateway takes what. A batch belongs to the gateway that was asked first for one of its messages: another one does
//! not know its ids, and would send again what the first one took, or take for nobody what was meant for people.

use crate::db;
use crate::time::Timestamp;
use entities::{BatchId, GatewayId, batches, gateways};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, DerivePartialModel, EntityTrait, FromQueryResult, QueryFilter, QueryOrder,
    QuerySelect,
};
use std::time::Duration;

/// The name of gateways that tell none, all of them as one.
pub const UNNAMED: &str = "unnamed";

/// The name of the simulators in workers' memory, and the transport of all that send nothing to anybody.
pub const SIMULATOR: &str = "simulator";

/// How long what belongs to another gateway is left to its workers, at a time.
pub const ELSEWHERE: Duration = Duration::from_secs(5);

/// A gateway that is known here.
#[derive(Clone, Debug, PartialEq, Eq, DerivePartialModel)]
#[sea_orm(entity = "gateways::Entity")]
pub struct Gateway {
    /// Its number.
    pub id: GatewayId,
    /// Its own name.
    pub name: String,
    /// The network that it sends through, where it tells that.
    pub transport: Option<String>,
}

impl std::fmt::Display for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.transport {
            Some(transport) if *transport != self.name => write!(f, "{} ({transport})", self.name),
            _ => f.write_str(&self.name),
        }
    }
}

/// A gateway `g`, as it is read beside something else.
const COLUMNS: &str = "g.id AS gateway_id, g.name AS gateway_name, g.transport AS gateway_transport";

/// Notes that a gateway is there: its number.
///
/// # Errors
/// The database's.
pub async fn know(
    conn: &impl ConnectionTrait,
    now: Timestamp,
    name: &str,
    transport: Option<&str>,
) -> Result<GatewayId, DbErr> {
    let sql = "INSERT INTO gateways (name, transport, first_seen_at, seen_at) VALUES ($1, $2, $3, $3)
               ON CONFLICT (name) DO UPDATE SET transport = coalesce(excluded.transport, gateways.transport),
                  seen_at = excluded.seen_at
               RETURNING id";
    db::value(conn, sql, [name.into(), transport.into(), now.0.into()]).await?.ok_or(DbErr::RecordNotInserted)
}

/// The gateway with a name, if one was ever asked here.
///
/// # Errors
/// The database's.
pub async fn find(conn: &impl ConnectionTrait, name: &str) -> Result<Option<Gateway>, DbErr> {
    gateways::Entity::find().filter(gateways::Column::Name.eq(name)).into_partial_model().one(conn).await
}

/// The network of the gateway that was asked last; `None`: none was, or it does not tell.
///
/// # Errors
/// The database's.
pub async fn latest_transport(conn: &impl ConnectionTrait) -> Result<Option<String>, DbErr> {
    let latest = gateways::Entity::find()
        .order_by_desc(gateways::Column::SeenAt)
        .order_by_desc(gateways::Column::Id)
        .one(conn)
        .await?;
    Ok(latest.and_then(|gateway| gateway.transport))
}

/// Whether what belongs to one gateway may leave through ours: it is the same, or one that told no name before and has one
/// now. A worker's simulator is never that one.
pub(crate) async fn is_ours(conn: &impl ConnectionTrait, theirs: GatewayId, ours: GatewayId) -> Result<bool, DbErr> {
    if theirs == ours {
        return Ok(true);
    }
    let sql = "SELECT 1 AS one FROM gateways t, gateways o
               WHERE t.id = $1 AND t.name = $3 AND o.id = $2 AND o.name <> $4";
    let found = db::one(conn, sql, [theirs.into(), ours.into(), UNNAMED.into(), SIMULATOR.into()]).await?;
    Ok(found.is_some())
}

/// Makes a batch ours, if it is nobody's yet; whether it is ours then.
pub(crate) async fn bind(
    conn: &impl ConnectionTrait,
    batch: BatchId,
    theirs: Option<GatewayId>,
    ours: GatewayId,
) -> Result<bool, DbErr> {
    match theirs {
        Some(theirs) if theirs == ours => return Ok(true),
        Some(theirs) if !is_ours(conn, theirs, ours).await? => return Ok(false),
        _ => {}
    }
    // Whoever comes second finds that the first has decided.
    let sql = "UPDATE batches SET gateway_id = $2 WHERE id = $1 AND coalesce(gateway_id, 0) = $3";
    let nobodys = theirs.map_or(0, |theirs| theirs.0);
    if db::execute(conn, sql, [batch.into(), ours.into(), nobodys.into()]).await? > 0 {
        return Ok(true);
    }
    let decided: Option<Option<GatewayId>> = batches::Entity::find_by_id(batch)
        .select_only()
        .column(batches::Column::GatewayId)
        .into_tuple()
        .one(conn)
        .await?;
    Ok(decided.flatten() == Some(ours))
}

/// Something that waits for another gateway than ours.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Waiting {
    /// The batch; `None`: single messages.
    pub batch: Option<BatchId>,
    /// How many of its messages, or how many single messages.
    pub messages: i64,
    /// The gateway that it belongs to.
    #[sea_orm(nested(prefix = "gateway_"))]
    pub gateway: Gateway,
}

/// What waits for another gateway than ours: batches under way, and single messages that another one may have taken. `None`:
/// ours has not been asked here yet.
///
/// # Errors
/// The database's.
pub async fn waiting(conn: &impl ConnectionTrait, ours: Option<GatewayId>) -> Result<Vec<Waiting>, DbErr> {
    let sql = format!(
        "SELECT b.id AS batch, b.total - b.succeeded - b.failed - b.skipped AS messages, {COLUMNS}
         FROM batches b JOIN gateways g ON g.id = b.gateway_id
         WHERE b.gateway_id <> $1 AND b.status IN ('PENDING', 'PROCESSING') ORDER BY b.id"
    );
    let ours = ours.map_or(0, |ours| ours.0);
    let mut waiting: Vec<Waiting> = db::all_as(conn, sql, [ours.into()]).await?;
    let sql = format!(
        "SELECT CAST(NULL AS BIGINT) AS batch, m.n AS messages, {COLUMNS}
               FROM (SELECT gateway_id, count(*) AS n FROM messages
                     WHERE direction = 'outbound' AND batch_id IS NULL AND status IN ('queued', 'unknown')
                       AND gateway_id <> $1 GROUP BY gateway_id) m
               JOIN gateways g ON g.id = m.gateway_id ORDER BY g.id"
    );
    waiting.extend(db::all_as::<Waiting>(conn, sql, [ours.into()]).await?);
    Ok(waiting)
}

/// How many messages other gateways than ours took, by what the ledger says, without simulators.
///
/// # Errors
/// The database's.
pub async fn others(conn: &impl ConnectionTrait, ours: Option<GatewayId>) -> Result<Vec<(Gateway, i64)>, DbErr> {
    let sql = format!(
        "SELECT CAST(NULL AS BIGINT) AS batch, m.n AS messages, {COLUMNS}
         FROM (SELECT gateway_id, count(*) AS n FROM messages
               WHERE direction = 'outbound' AND sent_at IS NOT NULL AND gateway_id <> $1 GROUP BY gateway_id) m
         JOIN gateways g ON g.id = m.gateway_id AND coalesce(g.transport, '') <> '{SIMULATOR}' ORDER BY g.id"
    );
    let others = db::all_as::<Waiting>(conn, sql, [ours.map_or(0, |ours| ours.0).into()]).await?;
    Ok(others.into_iter().map(|other| (other.gateway, other.messages)).collect())
}
