//! Is what the gateway has what the ledger says? Id by id, also while both are at work.
//!
//! What the ledger says was taken is read before the gateway is asked, so each of these has to be there. The other way
//! round the two are read one after the other and each may have moved on: what does not agree is looked at again when
//! everything that was on its way has come.

use anyhow::{Context, Result, anyhow};
use domain::batches::{self, ItemStatus};
use domain::messages::compare::{self, TakenMessage};
use domain::{Clock, Db, GatewayId, Timestamp};
use gateway::HttpGateway;
use gateway::server::{self, StoredMessage, StoredPage, StoredState};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

/// How many messages are asked for at once.
const PAGE: usize = 1_000;

/// How many findings are shown of each kind.
const SHOWN: usize = 5;

/// By how much the clocks of two machines may differ where it is told whether a message is older than what the ledger keeps.
const SKEW: Duration = Duration::from_secs(300);

/// After how long what does not agree is looked at again: a report that came before its message's row waits 5 s.
const SETTLING: Duration = Duration::from_secs(6);

/// How many are looked at again one by one: of more, something is wrong in any case.
const AGAIN: usize = 500;

/// Who says what the gateway has.
pub(super) enum Source<'a> {
    /// A gateway over HTTP.
    Http(&'a HttpGateway),
    /// The store of the one inside `serve`.
    Dir(&'a Path),
}

impl Source<'_> {
    /// What is behind a place; `None`: it does not say.
    async fn page(&self, after: i64, limit: usize) -> Result<Option<StoredPage>> {
        let limit = i64::try_from(limit)?;
        match self {
            Self::Http(gateway) => gateway.kept(after, limit).await.map_err(|error| anyhow!(error)),
            Self::Dir(dir) => Ok(Some(server::kept(dir, after, limit).await?)),
        }
    }

    /// The same, of one that said before.
    async fn next(&self, after: i64, limit: usize) -> Result<StoredPage> {
        self.page(after, limit).await?.context("it no longer says what it has")
    }
}

/// How a message differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    /// The ledger knows nothing of it.
    Unknown,
    /// It was sent, and failed by what the ledger says.
    Sent,
    /// It failed, and was sent by what the ledger says.
    Failed,
}

/// Findings of one kind.
#[derive(Debug, Default)]
struct Kind {
    count: usize,
    first: Vec<String>,
}

impl Kind {
    fn add(&mut self, id: impl ToString) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(id.to_string());
        }
    }

    fn finding(&self, what: &str, todo: &str) -> Option<String> {
        let more = if self.count > self.first.len() { ", …" } else { "" };
        (self.count > 0).then(|| format!("{} messages {what}: {}{more}; {todo}", self.count, self.first.join(", ")))
    }
}

/// What a comparison found.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// How many messages the gateway has.
    pub(super) messages: usize,
    /// From when on it has all, by the ledger's clock.
    pub(super) since: Timestamp,
    /// Requests of the network with parts that the gateway could not read.
    pub(super) webhooks_set_aside: i64,
    /// Reports that its backend refused.
    pub(super) reports_refused: i64,
    /// All that the ledger says it took, and that it does not have.
    pub(super) gone: Vec<Uuid>,
    unknown: Kind,
    sent: Kind,
    failed: Kind,
    lost: Kind,
}

impl Compared {
    /// What must never be, for people.
    pub(super) fn findings(&self) -> Vec<String> {
        let findings = [
            self.unknown.finding(
                "are at the gateway, and the ledger knows nothing of them",
                "another backend sends through it, or the database is an older copy: restore the newest",
            ),
            self.sent.finding(
                "were sent, and failed by what the ledger says",
                "do not retry their batches; the gateway's reports were lost or refused: restart it, its log says why",
            ),
            self.failed.finding(
                "failed at the gateway, and were sent by what the ledger says",
                "they reached nobody: the gateway's log has the reasons; send them in a new batch",
            ),
            self.lost.finding(
                "were taken by what the ledger says, and the gateway does not have them",
                "`paceline doctor --resend` sends those that it surely never had; of others its store is an older copy, and \
                 they may have been sent",
            ),
        ];
        findings.into_iter().flatten().collect()
    }

    fn add(&mut self, difference: Difference, kept: &StoredMessage) {
        match difference {
            Difference::Unknown => self.unknown.add(&kept.backend_message_id),
            Difference::Sent => self.sent.add(&kept.backend_message_id),
            Difference::Failed => self.failed.add(&kept.backend_message_id),
        }
    }
}

/// How a message differs from its status in the ledger, if it does. Only what was told already is held against the ledger.
fn differs(kept: &StoredMessage, status: Option<&str>) -> Option<Difference> {
    match (kept.state, status) {
        (_, None) => Some(Difference::Unknown),
        _ if !kept.is_told => None,
        (StoredState::Sent, Some("failed" | "skipped" | "cancelled")) => Some(Difference::Sent),
        (StoredState::Failed, Some("sent" | "delivered" | "read" | "succeeded")) => Some(Difference::Failed),
        _ => None,
    }
}

fn id(kept: &StoredMessage) -> Option<Uuid> {
    Uuid::try_parse(&kept.backend_message_id).ok()
}

/// Those of the messages that differ from what the ledger says now.
async fn differing(db: &Db, messages: Vec<StoredMessage>) -> Result<Vec<(StoredMessage, Difference)>> {
    let ids: Vec<Uuid> = messages.iter().filter_map(id).collect();
    let mut statuses = HashMap::new();
    for some in ids.chunks(PAGE) {
        statuses.extend(compare::statuses(db.read(), some).await?);
    }
    // On their way, or given up: their chunks or their items know them. Read once for all of them, items last: what was on its
    // way has a row by then, or still has none.
    let rowless: Vec<Uuid> = ids.into_iter().filter(|id| !statuses.contains_key(id)).collect();
    let in_flight = batches::messages_in_flight(db.read(), &rowless).await?;
    statuses.extend(in_flight.into_iter().map(|id| (id, ItemStatus::Sending.as_str().to_owned())));
    statuses.extend(compare::item_statuses(db.read(), &rowless).await?);
    let judged = messages.into_iter().filter_map(|kept| {
        let status = id(&kept).and_then(|id| statuses.get(&id)).map(String::as_str);
        differs(&kept, status).map(|difference| (kept, difference))
    });
    Ok(judged.collect())
}

/// Compares all that the gateway still has with a ledger that throws away what is older than `keeps_since`. `ours` is the
/// gateway's number there, if it has one: what another one took is not looked for here. `None`: the gateway does not say
/// what it has. `tell` is told how many messages were compared by now.
pub(super) async fn compare(
    db: &Db,
    source: &Source<'_>,
    keeps_since: Timestamp,
    ours: Option<GatewayId>,
    tell: &(dyn Fn(i64) + Send + Sync),
) -> Result<Option<Compared>> {
    let clock = Clock::machine();
    clock.correct(db.now().await?);
    let Some(begin) = source.page(0, 1).await? else { return Ok(None) };
    // Too little by as long as the answer took, so what follows from it is too late by that, and never too early.
    let ahead = begin.now_ms - clock.now().0;
    let since = Timestamp(begin.complete_since_ms - ahead + 1);
    let keeps_since = keeps_since.plus(SKEW).0.saturating_add(ahead);
    let mut compared = Compared {
        since,
        webhooks_set_aside: begin.webhooks_set_aside,
        reports_refused: begin.reports_refused,
        ..Compared::default()
    };
    let mut taken = taken(db, since, ours).await?;
    // All of these came before. What comes later is left to the next comparison, or this one might never end.
    let until = source.next(0, 1).await?.now_ms;

    let mut suspects = Vec::new();
    let mut next = Some(0);
    while let Some(after) = next {
        let mut page = source.next(after, PAGE).await?;
        page.messages.retain(|kept| kept.accepted_at_ms <= until);
        next = page.next_cursor.filter(|_| !page.messages.is_empty());
        compared.messages += page.messages.len();
        tell(i64::try_from(compared.messages).unwrap_or(i64::MAX));
        let ids: Vec<Uuid> = page.messages.iter().filter_map(id).collect();
        let statuses = compare::statuses(db.read(), &ids).await?;
        for kept in page.messages {
            let id = id(&kept);
            let status = id.and_then(|id| statuses.get(&id)).map(String::as_str);
            if let Some(id) = id {
                taken.remove(&id);
            }
            if differs(&kept, status).is_some() {
                suspects.push(kept);
            }
        }
    }
    let mut differing = differing(db, suspects).await?;
    // Thrown away together with its batch, unless a message came of it.
    differing.retain(|(kept, difference)| *difference != Difference::Unknown || kept.accepted_at_ms >= keeps_since);
    if !differing.is_empty() {
        tokio::time::sleep(SETTLING).await;
        differing = again(db, source, differing).await?;
    }
    for (kept, difference) in &differing {
        compared.add(*difference, kept);
    }
    // Some may have been thrown away meanwhile.
    let since = Timestamp(source.next(0, 1).await?.complete_since_ms - ahead + 1);
    let mut lost: Vec<Uuid> = taken.into_iter().filter(|(_, named_at)| *named_at >= since).map(|(id, _)| id).collect();
    lost.sort_unstable();
    lost.iter().for_each(|id| compared.lost.add(id));
    compared.gone = lost;
    Ok(Some(compared))
}

/// Looks again at what differed, on both sides.
async fn again(
    db: &Db,
    source: &Source<'_>,
    mut differed: Vec<(StoredMessage, Difference)>,
) -> Result<Vec<(StoredMessage, Difference)>> {
    let rest = differed.split_off(differed.len().min(AGAIN));
    let mut now = Vec::with_capacity(differed.len());
    for (kept, _) in &differed {
        let page = source.next(kept.seq - 1, 1).await?;
        now.extend(page.messages.into_iter().filter(|now| now.seq == kept.seq));
    }
    let mut still = differing(db, now).await?;
    still.extend(rest);
    Ok(still)
}

/// Everything that the gateway took since then, by what the ledger says.
async fn taken(db: &Db, since: Timestamp, ours: Option<GatewayId>) -> Result<HashMap<Uuid, Timestamp>> {
    let mut all = HashMap::new();
    let mut after = 0;
    loop {
        let page = compare::taken(db.read(), since, after, 10 * PAGE as u64).await?;
        let Some(last) = page.last() else { return Ok(all) };
        after = last.id;
        let here =
            |taken: &&TakenMessage| taken.named_at >= since && (taken.gateway.is_none() || taken.gateway == ours);
        all.extend(page.iter().filter(here).map(|taken| (taken.uuid, taken.named_at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_told_is_held_against_the_ledger() {
        for (state, status, difference) in [
            (StoredState::Sent, "failed", Some(Difference::Sent)),
            (StoredState::Sent, "cancelled", Some(Difference::Sent)),
            (StoredState::Sent, "read", None),
            (StoredState::Sent, "unknown", None),
            (StoredState::Failed, "succeeded", Some(Difference::Failed)),
            (StoredState::Failed, "failed", None),
            (StoredState::Waiting, "sent", None),
            (StoredState::Unknown, "failed", None),
        ] {
            let mut kept = StoredMessage {
                seq: 1,
                backend_message_id: Uuid::nil().to_string(),
                whatsapp_id: None,
                state,
                accepted_at_ms: 0,
                is_told: true,
            };
            assert_eq!(differs(&kept, Some(status)), difference, "{state:?} {status}");
            assert_eq!(differs(&kept, None), Some(Difference::Unknown));
            kept.is_told = false;
            assert_eq!(differs(&kept, Some(status)), None, "{state:?} {status}");
        }
    }

    #[test]
    fn of_many_only_the_first_are_named() {
        let mut lost = Kind::default();
        (0..7).for_each(|n| lost.add(n));
        let found = lost.finding("are lost", "look for them");
        assert_eq!(found.as_deref(), Some("7 messages are lost: 0, 1, 2, 3, 4, …; look for them"));
    }
}
