//! `paceline doctor --resend`: what surely no gateway has goes out through the configured one.

use anyhow::Result;
use domain::delivery::resend::{self, Unsent};
use domain::{BatchId, Clock, Db, GatewayId, MessageId, Step};
use std::collections::BTreeMap;
use uuid::Uuid;

/// How many messages are read, and how many one transaction takes back.
const PAGE: u64 = 5_000;
const GROUP: usize = 500;

/// How many messages a simulator took and could be sent again.
pub(super) async fn count(db: &Db, ours: Option<GatewayId>) -> Result<i64> {
    Ok(resend::count_taken_by_simulators(db.read(), ours).await?)
}

/// Everything that can be sent again: what simulators took, and what is `gone` and surely was never there.
async fn unsent(db: &Db, ours: GatewayId, gone: &[Uuid]) -> Result<Vec<Unsent>> {
    let mut all: Vec<Unsent> = Vec::new();
    loop {
        let after = all.last().map_or(MessageId(0), |last| last.message);
        let page = resend::taken_by_simulators(db.read(), ours, after, PAGE).await?;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    for some in gone.chunks(GROUP) {
        all.extend(resend::surely_unsent(db.read(), some).await?);
    }
    Ok(all)
}

/// Asks, and sends again. Jobs are rung by the sweep within its period, and whoever watches reads the rows.
pub(super) async fn run(db: &Db, clock: &Clock, ours: GatewayId, name: &str, gone: &[Uuid], yes: bool) -> Result<()> {
    let all = unsent(db, ours, gone).await?;
    let mut batches: BTreeMap<Option<BatchId>, Vec<Unsent>> = BTreeMap::new();
    for one in all {
        batches.entry(one.item.map(|(batch, _)| batch)).or_default().push(one);
    }
    let singles = batches.get(&None).map_or(0, Vec::len);
    let items: usize = batches.values().map(Vec::len).sum::<usize>() - singles;
    let ended = batches.keys().flatten().count();
    say!(
        "resend: {items} messages of {ended} ended batches, with all that failed of these batches, and {singles} single \
         messages can be sent through the gateway {name}; batches under way that a simulator has go on through it"
    );
    if !yes && !crate::out::agreed()? {
        say!("resend: nothing was sent");
        return Ok(());
    }
    let tx = db.begin().await?;
    let adopted = resend::adopt(&tx, ours).await?;
    tx.commit().await?;
    for batch in adopted {
        tell!("resend: batch {batch} goes on; when it has ended, look again for what the simulator took of it");
    }
    for (batch, unsent) in batches {
        let mut groups = unsent.chunks(GROUP).peekable();
        let mut taken_back = 0;
        while let Some(group) = groups.next() {
            let tx = db.begin().await?;
            let Step { value, .. } = resend::take_back(&tx, clock.now(), group).await?;
            taken_back += value.items + value.singles;
            // With the last of them, so that a batch is never left with items that failed by this alone.
            if let (Some(batch), None) = (batch, groups.peek()) {
                let Step { value: goes_on, .. } = resend::go_on(&tx, clock.now(), batch, ours).await?;
                if !goes_on {
                    tell!("resend: batch {batch} was changed by somebody meanwhile; look again");
                }
            }
            tx.commit().await?;
        }
        match batch {
            Some(batch) => tell!("resend: batch {batch}: {taken_back} are on their way"),
            None => tell!("resend: {taken_back} single messages are on their way"),
        }
    }
    Ok(())
}
