//! Accepting large batches, and throwing old ones away.

use super::ledger::{BY, Ledger, NOW, on_both};
use crate::setup::{Setup, accepted};
use domain::batches::{self, BatchType, ContactRefs, ItemStatus, NewSend, Recipients, Staged};
use domain::{Timestamp, db};
use serde_json::json;

const MANY: i64 = 60_000;

/// Writes all parts but the last of a list of contacts; how many transactions it took.
async fn stage(ledger: &Ledger, contacts: &ContactRefs) -> (Staged, u32) {
    let mut staged = Staged::default();
    let mut parts = 0;
    while let Some(part) = staged.next_part(contacts, BatchType::Delete).expect("a part") {
        let tx = ledger.db.begin().await.expect("a transaction");
        staged.write(&tx, NOW, &part).await.expect("written");
        assert!(tx.rows_written() <= 300, "{}", tx.rows_written());
        tx.commit().await.expect("committed");
        parts += 1;
    }
    (staged, parts)
}

fn many() -> ContactRefs {
    let mut contacts = ContactRefs::default();
    // Long names: a few MiB of them.
    (1..=MANY).for_each(|id| contacts.push(&format!("nobody with a name of some length {id}")));
    contacts
}

on_both!(a_large_batch_is_written_before_it_is_there, large);

async fn large(ledger: Ledger) {
    let contacts = many();
    let (staged, parts) = stage(&ledger, &contacts).await;
    assert!(parts >= 2, "{parts}");
    assert_eq!(batches::list(ledger.db.read(), &batches::Filter::default(), 10, 0).await.expect("read").1, 0);
    ledger.audited().await;
    let create = async |tx: &db::Tx| batches::create_delete(tx, NOW, BY, contacts, staged).await.expect("accepted");
    let (batch, rings, rows) = ledger.step(create).await;
    assert!(rows <= 100, "{rows}");
    assert_eq!((batch.summary.total, batch.chunk_count, rings.len()), (MANY, 12, 4));
    let gaps = "SELECT count(*) AS n FROM batch_chunks c WHERE first_seq <> no * 5000";
    assert_eq!(ledger.number(gaps).await, 0);
    assert_eq!(ledger.number("SELECT count(*) AS n FROM uploads").await, 0);
    ledger.audited().await;
    // Another one gets another number.
    ledger.contacts(1).await;
    let (next, _) = ledger.delete(&[1]).await;
    assert!(next.summary.id > batch.summary.id);
    let items = batches::items(ledger.db.read(), batch.summary.id, Some(ItemStatus::Pending), None, 5).await;
    assert_eq!(items.expect("read").expect("it is there").rows.len(), 5);
}

on_both!(what_was_written_of_a_batch_that_never_came_is_thrown_away, never);

async fn never(ledger: Ledger) {
    let contacts = many();
    let (mut staged, _) = stage(&ledger, &contacts).await;
    let prune = async |now: Timestamp| {
        let mut steps = 0;
        loop {
            let tx = ledger.db.begin().await.expect("a transaction");
            let more = batches::prune_uploads(&tx, now, 500).await.expect("pruned");
            assert!(tx.rows_written() <= 20, "a chunk of a hundred KiB counts as many rows");
            tx.commit().await.expect("committed");
            steps += 1;
            if !more {
                return steps;
            }
        }
    };
    assert_eq!(prune(NOW).await, 1, "it is not given up yet");
    assert!(ledger.number("SELECT count(*) AS n FROM batch_chunks").await > 0);
    assert!(prune(Timestamp(NOW.0 + 2 * 3_600_000)).await > 2);
    assert_eq!(ledger.number("SELECT count(*) AS n FROM batch_chunks").await, 0);
    assert_eq!(ledger.number("SELECT count(*) AS n FROM uploads").await, 0);
    // Who comes back finds that it is gone, and writes nothing.
    let part = Staged::default().next_part(&contacts, BatchType::Delete).expect("a part").expect("the first");
    let tx = ledger.db.begin().await.expect("a transaction");
    staged.write(&tx, NOW, &part).await.expect_err("it was thrown away");
    tx.rollback().await.expect("rolled back");
    let tx = ledger.db.begin().await.expect("a transaction");
    batches::create_delete(&tx, NOW, BY, many(), staged).await.expect_err("it was thrown away");
}

on_both!(old_batches_go_in_steps_and_dead_jobs_stay, old);

async fn old(ledger: Ledger) {
    let mut contacts = ContactRefs::default();
    (1..=1_200).for_each(|id| contacts.push(&id.to_string()));
    let send = NewSend::new("hello", Recipients::Contacts(contacts));
    let create =
        async |tx: &db::Tx| batches::create_send(tx, NOW, BY, send, Staged::default()).await.expect("accepted");
    let (batch, ..) = ledger.step(create).await;
    let id = batch.summary.id;
    ledger
        .run(format!(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 1199)
             INSERT INTO messages (batch_id, seq, item_status, finished_at, direction, status, created_at)
             SELECT {id}, i, 'succeeded', 1, CASE WHEN i % 3 = 0 THEN 'outbound' END, 'sent', 1 FROM n"
        ))
        .await;
    // One of its jobs died, another batch is young, and jobs of no batch are as they are.
    ledger.run("UPDATE jobs SET state = 'done', finished_at = 1").await;
    ledger.run("UPDATE jobs SET state = 'dead', error = 'why' WHERE chunk_no = 1").await;
    ledger.run(format!("UPDATE batches SET status = 'COMPLETED', completed_at = 1 WHERE id = {id}")).await;
    ledger.contacts(1).await;
    let (young, _) = ledger.delete(&[1]).await;
    let mut steps = 0;
    loop {
        let tx = ledger.db.begin().await.expect("a transaction");
        let more = batches::prune(&tx, NOW, 200).await.expect("pruned");
        assert!(tx.rows_written() <= 230, "{}", tx.rows_written());
        tx.commit().await.expect("committed");
        steps += 1;
        if !more {
            break;
        }
    }
    assert!(steps >= 5, "{steps}");
    assert_eq!(domain::jobs::prune(ledger.db.write(), NOW, 200).await.expect("pruned"), 0);
    for (table, left) in [("messages", 400), ("batch_chunks", 0)] {
        assert_eq!(ledger.number(format!("SELECT count(*) AS n FROM {table} WHERE batch_id = {id}")).await, left);
    }
    assert_eq!(ledger.number("SELECT count(*) AS n FROM batches").await, 1);
    assert_eq!(
        ledger.number(format!("SELECT count(*) AS n FROM jobs WHERE batch_id = {id} AND state = 'dead'")).await,
        1
    );
    let left = format!("SELECT count(*) AS n FROM jobs WHERE batch_id = {id} OR batch_id = {}", young.summary.id);
    assert_eq!(ledger.number(left).await, 2);
    ledger.audited().await;
}

/// What Prometheus is told of how many rows a transaction of each step wrote at most.
fn most_rows(metrics: &str) -> Vec<(String, f64)> {
    let of = |line: &str| {
        let (labels, value) = line.strip_prefix("paceline_writer_rows_most{step=\"")?.split_once("\"} ")?;
        Some((labels.to_owned(), value.parse().ok()?))
    };
    metrics.lines().filter_map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlites_writer_is_held_for_few_rows_whatever_the_batch() {
    let s = Setup::embedded(&[]).await;
    let ids = s.contacts(12_000).await;
    let tags: Vec<String> = (0..10).map(|n| format!("tag {n}")).collect();
    let body = json!({ "contactIds": ids, "tags": tags, "operation": "set" });
    let tagged = s.ended(&accepted(s.admin.post("/batch/tags", &body).await.expect(202))).await;
    assert_eq!(tagged["successCount"], 12_000);
    let body = json!({ "contactIds": ids });
    let deleted = s.ended(&accepted(s.admin.post("/batch/delete", &body).await.expect(202))).await;
    assert_eq!(deleted["successCount"], 12_000);
    let metrics = s.admin.metrics().await;
    let most = most_rows(&metrics);
    for step in ["commit.create", "commit.set"] {
        assert!(most.iter().any(|(name, rows)| name == step && *rows > 1.0), "{most:?}");
    }
    assert!(most.iter().all(|(_, rows)| *rows <= 4_500.0), "{most:?}");
    assert!(metrics.contains("paceline_writer_hold_longest_seconds{step=\"commit.set\"}"), "{metrics}");
    s.audited().await;
}
