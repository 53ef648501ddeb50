//! A recipient and its message are one row: who has no message is in nobody's history, and none is written twice.

use super::in_flight::{accepted, claim, sent, settle, vanish};
use super::ledger::{Ledger, NOW, on_both};
use domain::batches::{self, ItemStatus};
use domain::contacts::stop_words::OptOut;
use domain::delivery::AttemptOutcome;
use domain::delivery::reports::{self, Report};
use domain::delivery::send::ItemResult;
use domain::messages::history::{self, Part};
use domain::messages::receipts::{About, Receipt, ReceiptKind};
use domain::model::MessageStatus;
use domain::{ContactId, db};
use std::time::Duration;
use uuid::Uuid;

/// The statuses of a contact's messages, as its history shows them.
async fn seen(ledger: &Ledger, contact: i64) -> Vec<MessageStatus> {
    let part = history::list(ledger.db.read(), ContactId(contact), Part::First, 10).await.expect("read");
    part.expect("there").0.into_iter().map(|message| message.status).collect()
}

async fn statuses(ledger: &Ledger, contact: i64) -> Vec<ItemStatus> {
    let items = batches::items_of_contact(ledger.db.read(), ContactId(contact), None, None, 10).await.expect("read");
    items.expect("there").0.into_iter().map(|one| one.item.status).collect()
}

async fn report(ledger: &Ledger, message: Uuid, kind: ReceiptKind) {
    let receipt = Report::Receipt(Receipt { about: About::Uuid(message), kind, at: NOW });
    let take = async |tx: &db::Tx| {
        reports::take(tx, NOW, &[receipt], &OptOut::default(), &mut rand::rng()).await.expect("taken")
    };
    ledger.step(take).await;
}

on_both!(who_has_no_message_is_in_no_history, unseen);

async fn unseen(ledger: Ledger) {
    let sent = sent(&ledger).await;
    let waits = ItemResult {
        outcome: AttemptOutcome::Throttled { retry_after: Duration::ZERO },
        ..sent.items[1].returned(NOW)
    };
    settle(&ledger, sent.held, &[accepted(&sent.items[0]), waits, accepted(&sent.items[2])]).await;
    // The fourth has opted out by now.
    ledger.run("UPDATE contacts SET suppressed_at = 1 WHERE id = 4").await;
    // What is told of the one that waits is kept for its message.
    report(&ledger, sent.items[1].message_id, ReceiptKind::Ack { level: 2, whatsapp_id: None }).await;
    assert_eq!(ledger.number("SELECT count(*) AS n FROM early_receipts").await, 1);
    vanish(&ledger).await;
    let (_, work, items) = claim(&ledger, sent.ring, 10).await;
    assert_eq!(items.iter().map(|item| item.seq).collect::<Vec<_>>(), [1, 4]);
    let rows = "SELECT count(*) AS n FROM messages";
    assert_eq!(ledger.number(rows).await, 4, "the fifth is in flight");
    for (contact, status) in [(2, ItemStatus::Sending), (4, ItemStatus::Skipped)] {
        assert_eq!(seen(&ledger, contact).await, []);
        assert_eq!(statuses(&ledger, contact).await, [status]);
    }
    assert_eq!(seen(&ledger, 1).await, [MessageStatus::Sent]);
    settle(&ledger, work.held, &items.iter().map(accepted).collect::<Vec<_>>()).await;
    assert_eq!(seen(&ledger, 2).await, [MessageStatus::Delivered], "as was told before");
    assert_eq!((seen(&ledger, 4).await, seen(&ledger, 5).await), (vec![], vec![MessageStatus::Sent]));
    assert_eq!(ledger.number(rows).await, 5);
    let told =
        "SELECT count(*) AS n FROM messages WHERE content = 'Hello' AND seq IN (0, 1, 2, 4) AND sent_at IS NOT NULL";
    assert_eq!(ledger.number(told).await, 4);
    ledger.audited().await;
}

on_both!(a_message_that_the_network_failed_parts_from_its_item, parted);

async fn parted(ledger: Ledger) {
    let sent = sent(&ledger).await;
    settle(&ledger, sent.held, &sent.items.iter().map(accepted).collect::<Vec<_>>()).await;
    let failed = ReceiptKind::Failed { code: "131026".into(), detail: "undeliverable".into() };
    report(&ledger, sent.items[0].message_id, failed).await;
    assert_eq!(
        (seen(&ledger, 1).await, statuses(&ledger, 1).await),
        (vec![MessageStatus::Failed], vec![ItemStatus::Failed])
    );
    ledger.run("UPDATE batch_chunks SET retry = TRUE").await;
    vanish(&ledger).await;
    let (_, work, items) = claim(&ledger, sent.ring, 1).await;
    assert_eq!((items[0].seq, items[0].message_id == sent.items[0].message_id), (0, false));
    assert_eq!(
        (seen(&ledger, 1).await, statuses(&ledger, 1).await),
        (vec![MessageStatus::Failed], vec![ItemStatus::Sending])
    );
    settle(&ledger, work.held, &[accepted(&items[0])]).await;
    assert_eq!(seen(&ledger, 1).await, [MessageStatus::Failed, MessageStatus::Sent]);
    assert_eq!(statuses(&ledger, 1).await, [ItemStatus::Succeeded]);
    // What comes late of the first one says nothing of the item.
    report(&ledger, sent.items[0].message_id, ReceiptKind::Ack { level: 2, whatsapp_id: None }).await;
    assert_eq!(seen(&ledger, 1).await, [MessageStatus::Delivered, MessageStatus::Sent]);
    assert_eq!(ledger.batch(sent.batch).await.summary.succeeded, 3);
    ledger.audited().await;
}
