//! Items in flight for the first time: they have no row, and nobody sees a difference.

use super::ledger::{BY, Ledger, NOW, on_both};
use domain::batches::{self, ContactRefs, Item, ItemStatus, NewSend, Recipients, Staged};
use domain::db;
use domain::delivery::AttemptOutcome;
use domain::delivery::send::{self, ChunkStart, ClaimRequest, Held, ItemResult, Outgoing, Settled, Work};
use domain::jobs::{self, Claimed, Ending};
use domain::kinds::Kinds;
use domain::{BatchId, ContactId, Ring};
use migration::{Migrator, MigratorTrait};

/// A send to contacts 1 to 5, of whom a worker has claimed three.
pub(super) struct Sent {
    pub(super) batch: BatchId,
    pub(super) ring: Ring,
    pub(super) job: Claimed,
    pub(super) work: Work,
    pub(super) held: Held,
    pub(super) items: Vec<Outgoing>,
}

fn asked(wanted: usize) -> ClaimRequest {
    ClaimRequest { wanted, gateway: None, sender_rate: None }
}

pub(super) async fn claim(ledger: &Ledger, ring: Ring, wanted: usize) -> (Claimed, Work, Vec<Outgoing>) {
    let job = ledger.claim(ring.job.id).await;
    let (held, asked) = (Held::of(&job).expect("a chunk"), asked(wanted));
    let begin = async |tx: &db::Tx| send::begin(tx, NOW, held, asked, &mut rand::rng()).await.expect("begun");
    let ChunkStart::Go(work, claimed) = ledger.step(begin).await.0 else { panic!("there is work") };
    (job, *work, claimed.items)
}

pub(super) async fn sent(ledger: &Ledger) -> Sent {
    ledger.contacts(5).await;
    let mut contacts = ContactRefs::default();
    // Two by their numbers and the others by their identifiers.
    (1..=2).for_each(|id| contacts.push(&id.to_string()));
    (3..=5).for_each(|id| contacts.push(&format!("00000000-0000-4000-8000-{id:012}")));
    let new = NewSend::new("Hello", Recipients::Contacts(contacts));
    let create = async |tx: &db::Tx| batches::create_send(tx, NOW, BY, new, Staged::default()).await.expect("accepted");
    let (batch, rings, _) = ledger.step(create).await;
    let (job, work, items) = claim(ledger, rings[0], 3).await;
    assert_eq!(
        items.iter().map(|item| (item.seq, item.has_row)).collect::<Vec<_>>(),
        [(0, false), (1, false), (2, false)]
    );
    assert_eq!(ledger.number("SELECT count(*) AS n FROM messages").await, 0, "a claim writes no items");
    Sent { batch: batch.summary.id, ring: rings[0], job, held: work.held, work, items }
}

/// The worker is gone, and its job is somebody else's to take.
pub(super) async fn vanish(ledger: &Ledger) {
    ledger.run("UPDATE jobs SET state = 'ready', lease_owner = NULL, lease_until = NULL").await;
}

async fn listed(ledger: &Ledger, batch: BatchId, status: Option<ItemStatus>, limit: usize) -> Vec<Item> {
    batches::items(ledger.db.read(), batch, status, None, limit).await.expect("read").expect("there").rows
}

pub(super) async fn settle(ledger: &Ledger, held: Held, results: &[ItemResult]) {
    let settle = async |tx: &db::Tx| send::settle(tx, NOW, held, results, &mut rand::rng()).await.expect("settled");
    assert!(matches!(ledger.step(settle).await.0, Settled::Written { .. }));
}

pub(super) fn accepted(item: &Outgoing) -> ItemResult {
    ItemResult { outcome: AttemptOutcome::Accepted, text: Some("Hello".into()), ..item.returned(NOW) }
}

on_both!(readers_see_it_and_an_outcome_counts_once, readers);

async fn readers(ledger: Ledger) {
    let sent = sent(&ledger).await;
    let all = listed(&ledger, sent.batch, None, 10).await;
    let told: Vec<_> = all.iter().map(|item| (item.seq, item.status.as_str(), item.attempts)).collect();
    assert_eq!(told, [(0, "sending", 1), (1, "sending", 1), (2, "sending", 1), (3, "pending", 0), (4, "pending", 0)]);
    for (item, claimed) in all.iter().zip(&sent.items) {
        assert_eq!(item.message_id.as_deref(), Some(claimed.message_id.to_string().as_str()));
        assert_eq!((item.contact, item.phone.as_deref()), (Some(claimed.contact), Some(claimed.phone.as_str())));
        assert_eq!(item.started_at, Some(NOW));
    }
    assert_eq!(
        listed(&ledger, sent.batch, Some(ItemStatus::Sending), 2).await,
        all[..2],
        "a page ends where it is full"
    );
    let ids: Vec<_> = sent.items.iter().map(|item| item.message_id).collect();
    assert_eq!(batches::messages_in_flight(ledger.db.read(), &ids).await.expect("read"), ids);
    let of = async |contact: i64, status| {
        let items = batches::items_of_contact(ledger.db.read(), ContactId(contact), status, None, 10).await;
        items.expect("read").expect("there").0.into_iter().map(|one| one.item).collect::<Vec<_>>()
    };
    assert_eq!(of(2, None).await, all[1..2]);
    assert_eq!(of(3, Some(ItemStatus::Sending)).await, all[2..3]);
    assert_eq!(of(3, Some(ItemStatus::Succeeded)).await, []);
    // The answer to the commit is lost, and the group is written again.
    let results = [accepted(&sent.items[1])];
    settle(&ledger, sent.held, &results).await;
    settle(&ledger, sent.held, &results).await;
    assert_eq!(ledger.batch(sent.batch).await.summary.succeeded, 1);
    assert_eq!(ledger.number("SELECT count(*) AS n FROM messages").await, 1);
    let told: Vec<_> = listed(&ledger, sent.batch, None, 10).await.iter().map(|item| item.status.as_str()).collect();
    assert_eq!(told, ["sending", "succeeded", "sending", "pending", "pending"]);
    assert_eq!(of(2, None).await[0].status, ItemStatus::Succeeded);
    ledger.audited().await;
}

on_both!(who_takes_over_asks_again_under_the_same_ids, taken_over);

async fn taken_over(ledger: Ledger) {
    let sent = sent(&ledger).await;
    settle(&ledger, sent.held, &[accepted(&sent.items[0])]).await;
    vanish(&ledger).await;
    let (_, work, items) = claim(&ledger, sent.ring, 10).await;
    let again: Vec<_> = items.iter().map(|item| (item.seq, item.doubtful, item.has_row)).collect();
    assert_eq!(again, [(1, true, true), (2, true, true), (3, false, false), (4, false, false)]);
    for (item, before) in items.iter().zip(&sent.items[1..]) {
        assert_eq!((item.message_id, item.contact, item.attempt), (before.message_id, before.contact, 2));
    }
    let new: Vec<_> = items[2..].iter().map(|item| item.message_id).collect();
    assert!(sent.items.iter().all(|item| !new.contains(&item.message_id)), "another claim has other ids");
    settle(&ledger, work.held, &items.iter().map(accepted).collect::<Vec<_>>()).await;
    assert_eq!(ledger.batch(sent.batch).await.summary.succeeded, 5);
    ledger.audited().await;
}

on_both!(a_cancel_leaves_it_in_doubt_when_nobody_has_it, cancelled);

async fn cancelled(ledger: Ledger) {
    let sent = sent(&ledger).await;
    settle(&ledger, sent.held, &[accepted(&sent.items[0])]).await;
    vanish(&ledger).await;
    ledger.step(async |tx: &db::Tx| batches::cancel(tx, NOW, sent.batch).await.expect("cancelled")).await;
    let after = listed(&ledger, sent.batch, None, 10).await;
    let told: Vec<_> = after.iter().map(|item| item.status.as_str()).collect();
    assert_eq!(told, ["succeeded", "unknown", "unknown", "cancelled", "cancelled"]);
    assert_eq!(after[2].message_id, Some(sent.items[2].message_id.to_string()));
    assert_eq!(ledger.batch(sent.batch).await.summary.failed, 2);
    ledger.audited().await;
}

on_both!(a_job_that_dies_leaves_it_in_doubt, dead);

async fn dead(ledger: Ledger) {
    let sent = sent(&ledger).await;
    let ending = Ending::Dead { error: "for a test".into() };
    let fail =
        async |tx: &db::Tx| jobs::fail(tx, NOW, &sent.job, &ending, &Kinds, &mut rand::rng()).await.expect("written");
    ledger.step(fail).await;
    let after = listed(&ledger, sent.batch, None, 10).await;
    let told: Vec<_> = after.iter().map(|item| item.status.as_str()).collect();
    assert_eq!(told, ["unknown", "unknown", "unknown", "failed", "failed"]);
    assert_eq!(after[1].contact, Some(sent.items[1].contact));
    assert_eq!(ledger.batch(sent.batch).await.summary.status.as_str(), "FAILED");
    ledger.audited().await;
}

on_both!(the_release_before_finds_rows_and_this_one_goes_on_from_them, down_and_up);

/// The step of the schema since which items in flight have no row.
const CLAIMS: &str = "m0013_claims";

async fn down_and_up(ledger: Ledger) {
    let sent = sent(&ledger).await;
    settle(&ledger, sent.held, &[accepted(&sent.items[0])]).await;
    vanish(&ledger).await;
    let steps = Migrator::migrations();
    let since = steps.iter().position(|step| step.name() == CLAIMS).expect("the step");
    let since = (steps.len() - since).to_string();
    ledger.program.run(&["migrate", "down", "--yes", "--steps", &since], "").await;
    let rows =
        "SELECT count(*) AS n FROM batch_items WHERE status = 'sending' AND contact_id = seq + 1 AND seq IN (1, 2)";
    assert_eq!(ledger.number(rows).await, 2);
    assert_eq!(ledger.number("SELECT max(payload_version) AS n FROM jobs").await, 1, "a job that it reads");
    ledger.program.run(&["migrate", "up"], "").await;
    let (_, _, items) = claim(&ledger, sent.ring, 10).await;
    let ids: Vec<_> = items[..2].iter().map(|item| (item.seq, item.message_id, item.doubtful)).collect();
    let before: Vec<_> = sent.items[1..].iter().map(|item| (item.seq, item.message_id, true)).collect();
    assert_eq!(ids, before);
    ledger.audited().await;
}

on_both!(two_contacts_that_are_one_meanwhile_get_it_once, merged);

async fn merged(ledger: Ledger) {
    let mut sent = sent(&ledger).await;
    // The fifth was another contact when the batch was made; it is the first, who is being written to.
    ledger.run("UPDATE contacts SET phone = NULL, deleted_at = 1 WHERE id = 5").await;
    ledger
        .run("INSERT INTO contact_merges (from_id, into_id, reason, moved, merged_at) VALUES (5, 1, 'wa_id', '{}', 1)")
        .await;
    let claim = async |tx: &db::Tx| {
        send::claim_items(tx, NOW, &mut sent.work, asked(10), &mut rand::rng()).await.expect("claimed").expect("stands")
    };
    let (claimed, ..) = ledger.step(claim).await;
    assert_eq!(claimed.items.iter().map(|item| item.seq).collect::<Vec<_>>(), [3]);
    let after = listed(&ledger, sent.batch, None, 10).await;
    assert_eq!((after[4].status, after[4].error_code.as_deref()), (ItemStatus::Skipped, Some("duplicate")));
    assert_eq!(after[3].status, ItemStatus::Sending);
    ledger.audited().await;
}
