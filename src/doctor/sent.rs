//! Is what the gateway has what the ledger says? Id by id, also while both are at work: only what the gateway has told the
//! ledger already is compared, and what the ledger says is read before the gateway is asked.

use anyhow::{Result, anyhow};
use domain::messages::compare::{self, Taken};
use domain::{Db, Timestamp};
use gateway::HttpGateway;
use gateway::server::{self, Kept, KeptState};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

/// How many messages are asked for at once.
const PAGE: u16 = 1_000;

/// How many findings are shown of each kind.
const SHOWN: usize = 5;

/// By how much the clocks of two machines may differ where it is told whether a message is older than what a gateway keeps.
const SKEW: Duration = Duration::from_secs(300);

/// Who says what the gateway has.
pub(super) enum Source<'a> {
    /// A gateway over HTTP.
    Http(&'a HttpGateway),
    /// The store of the one inside `serve`.
    Dir(&'a Path),
}

impl Source<'_> {
    /// A page; `None`: it does not say.
    async fn page(&self, after: i64) -> Result<Option<Vec<Kept>>> {
        match self {
            Self::Http(gateway) => gateway.kept(after, i64::from(PAGE)).await.map_err(|error| anyhow!(error)),
            Self::Dir(dir) => Ok(Some(server::kept(dir, after, i64::from(PAGE)).await?)),
        }
    }
}

/// Findings of one kind.
#[derive(Debug, Default)]
struct Kind {
    count: usize,
    first: Vec<Uuid>,
}

impl Kind {
    fn add(&mut self, id: Uuid) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(id);
        }
    }

    fn finding(&self, what: impl fmt::Display) -> Option<String> {
        let more = if self.count > self.first.len() { ", …" } else { "" };
        let ids: Vec<String> = self.first.iter().map(Uuid::to_string).collect();
        (self.count > 0).then(|| format!("{} messages {what}: {}{more}", self.count, ids.join(", ")))
    }
}

/// What a comparison found.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// How many messages the gateway has.
    pub(super) messages: usize,
    unknown: Kind,
    sent: Kind,
    failed: Kind,
    lost: Kind,
}

impl Compared {
    /// What must never be, for people.
    pub(super) fn findings(&self) -> Vec<String> {
        let findings = [
            self.unknown.finding("are at the gateway, and the ledger knows nothing of them"),
            self.sent.finding("were sent, and failed by what the ledger says"),
            self.failed.finding("failed at the gateway, and were sent by what the ledger says"),
            self.lost.finding("were taken by what the ledger says, and the gateway does not have them"),
        ];
        findings.into_iter().flatten().collect()
    }

    /// Compares one message with its status in the ledger.
    fn compare(&mut self, kept: &Kept, id: Uuid, status: &str) {
        match (kept.state, status) {
            _ if !kept.is_told => {}
            (KeptState::Sent, "failed" | "skipped" | "cancelled") => self.sent.add(id),
            (KeptState::Failed, "sent" | "delivered" | "read" | "succeeded") => self.failed.add(id),
            _ => {}
        }
    }
}

/// Compares all that the gateway still has; `None`: it does not say what it has.
pub(super) async fn compare(db: &Db, source: &Source<'_>, keeps_since: Timestamp) -> Result<Option<Compared>> {
    let Some(mut page) = source.page(0).await? else { return Ok(None) };
    let mut taken = taken(db).await?;
    let mut compared = Compared::default();
    let mut rowless: HashMap<Uuid, Kept> = HashMap::new();
    let oldest = page.first().map(|first| (first.seq, Timestamp(first.accepted_at_ms)));
    while let Some(last) = page.last().map(|last| last.seq) {
        compared.messages += page.len();
        let named: Vec<(Uuid, &Kept)> =
            page.iter().filter_map(|kept| Some((Uuid::try_parse(&kept.backend_message_id).ok()?, kept))).collect();
        let ids: Vec<Uuid> = named.iter().map(|(id, _)| *id).collect();
        let statuses = compare::statuses(db.read(), &ids).await?;
        for (id, kept) in named {
            taken.remove(&id);
            match statuses.get(&id) {
                Some(status) => compared.compare(kept, id, status),
                None => drop(rowless.insert(id, kept.clone())),
            }
        }
        page = source.page(last).await?.unwrap_or_default();
    }
    // On their way, or given up: their items know them. Few at a time, whatever there is.
    let ids: Vec<Uuid> = rowless.keys().copied().collect();
    for some in ids.chunks(usize::from(PAGE) * 100) {
        let mut statuses = compare::item_statuses(db.read(), some).await?;
        // Their rows may have been written since they were looked for.
        statuses.extend(compare::statuses(db.read(), some).await?);
        for id in some {
            match (rowless.get(id), statuses.get(id)) {
                (Some(kept), Some(status)) => compared.compare(kept, *id, status),
                _ => compared.unknown.add(*id),
            }
        }
    }
    if let Some((seq, at)) = oldest {
        // A gateway that has its first message has all since; another has thrown away what is old.
        let since = if seq == 1 { at } else { at.max(keeps_since).plus(SKEW) };
        let mut lost: Vec<_> = taken.into_iter().filter(|(_, sent_at)| *sent_at >= since).collect();
        lost.sort_by_key(|(_, sent_at)| *sent_at);
        lost.iter().for_each(|(id, _)| compared.lost.add(*id));
    }
    Ok(Some(compared))
}

/// Everything that the gateway took, by what the ledger says.
async fn taken(db: &Db) -> Result<HashMap<Uuid, Timestamp>> {
    let mut all = HashMap::new();
    let mut after = 0;
    loop {
        let page = compare::taken(db.read(), after, u64::from(PAGE) * 10).await?;
        let Some(last) = page.last() else { return Ok(all) };
        after = last.id;
        all.extend(page.iter().map(|Taken { uuid, sent_at, .. }| (*uuid, *sent_at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(state: KeptState, is_told: bool) -> Kept {
        let backend_message_id = Uuid::nil().to_string();
        Kept { seq: 1, backend_message_id, whatsapp_id: None, state, accepted_at_ms: 0, is_told }
    }

    #[test]
    fn only_what_was_told_is_held_against_the_ledger() {
        for (state, status, bad) in [
            (KeptState::Sent, "failed", true),
            (KeptState::Sent, "cancelled", true),
            (KeptState::Sent, "read", false),
            (KeptState::Sent, "unknown", false),
            (KeptState::Failed, "succeeded", true),
            (KeptState::Failed, "failed", false),
            (KeptState::Waiting, "sent", false),
            (KeptState::Unknown, "failed", false),
        ] {
            for is_told in [true, false] {
                let mut compared = Compared::default();
                compared.compare(&kept(state, is_told), Uuid::nil(), status);
                assert_eq!(compared.findings().len(), usize::from(bad && is_told), "{state:?} {status} {is_told}");
            }
        }
    }

    #[test]
    fn of_many_only_the_first_are_named() {
        let mut lost = Kind::default();
        (0..7).for_each(|n| lost.add(Uuid::from_u128(n)));
        let said = lost.finding("are lost").expect("a finding");
        assert!(said.starts_with("7 messages are lost: 00000000") && said.ends_with("0004, …"), "{said}");
    }
}
