//! Set-based chunks: bounded by rows written, not by contacts named.

use super::ledger::{BY, Ledger, NOW, on_both};
use domain::batches::{self, ContactRefs, ImportLine, ImportWriter, NewImport, NewTag, Staged, TagOperation};
use domain::contacts::import_file::ImportRow;
use domain::db;

/// How many rows a step is told to write, and what it may write beside them: the job's, the chunk's and the batch's.
const ROWS: usize = 100;
const BESIDE: u64 = 20;

fn bounded(written: &[u64]) {
    assert!(written.iter().all(|rows| *rows <= ROWS as u64 + BESIDE), "{written:?}");
}

on_both!(a_deletion_writes_few_rows_at_a_time, deletion);

async fn deletion(ledger: Ledger) {
    ledger.contacts(60).await;
    // One with far more messages than a step writes, some with as many as only a few of them may have, most with none.
    ledger.messages(7, 950).await;
    for contact in 20..30 {
        ledger.messages(contact, 30).await;
    }
    ledger.messages(60, 5).await;
    ledger.run("INSERT INTO contact_activity (contact_id, last_message_at) SELECT id, 0 FROM contacts").await;
    let (batch, rings) = ledger.delete(&(1..60).collect::<Vec<_>>()).await;
    let written = ledger
        .work(rings[0], ROWS, async || {
            // Whoever is deleted has nothing left, at every commit.
            let half = "SELECT count(*) AS n FROM contacts c WHERE c.deleted_at IS NOT NULL AND EXISTS (
                            SELECT 1 FROM messages m WHERE m.contact_id = c.id AND m.content IS NOT NULL)";
            assert_eq!(ledger.number(half).await, 0);
            ledger.audited().await;
        })
        .await;
    bounded(&written);
    assert!(written.len() > 13, "{} messages, {ROWS} at a time: {written:?}", 950 + 300);
    let after = ledger.batch(batch.summary.id).await;
    assert_eq!((after.summary.succeeded, after.summary.status.as_str()), (59, "COMPLETED"));
    assert_eq!(ledger.number("SELECT count(*) AS n FROM contacts WHERE deleted_at IS NULL").await, 1);
    assert_eq!(ledger.number("SELECT count(*) AS n FROM messages WHERE content IS NOT NULL").await, 5);
    assert_eq!(ledger.number("SELECT count(*) AS n FROM contact_activity").await, 1);
}

on_both!(what_is_kept_of_a_contact_elsewhere_is_forgotten_few_rows_at_a_time, forgotten);

/// What imports, remembered answers, suppressions and early reports keep of a number is forgotten in bounded steps, and that of
/// another stays.
async fn forgotten(ledger: Ledger) {
    ledger.contacts(2).await;
    let new = NewImport { skip_duplicates: false, tags: Vec::new(), source: None, default_country: None };
    let mut writer = ImportWriter::default();
    for line in 0..400_u32 {
        let row = ImportRow {
            line: line + 1,
            phone: if line % 2 == 0 { "+60 12-300 0001" } else { "+60123000002" }.to_owned(),
            name: Some("somebody of the file".into()),
            // Too long: the row fails, and is kept to be mended.
            tags: vec!["x".repeat(65)],
            ..ImportRow::default()
        };
        assert!(!writer.push(ImportLine::Row(row)).expect("taken"));
    }
    let finish = async |tx: &db::Tx| writer.finish(tx, NOW, BY, &new).await.expect("accepted");
    let (import, rings, _) = ledger.step(finish).await;
    bounded(&ledger.work(rings[0], ROWS, async || {}).await);
    assert_eq!(ledger.batch(import.summary.id).await.summary.failed, 400);
    for contact in [1, 2] {
        ledger
            .run(format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 130)
                 INSERT INTO idempotency_keys (user_id, key, request_hash, owner, locked_until, status_code, response_body,
                                               created_at, contact_id)
                 SELECT {contact}, 'key ' || i, '', '', 0, 200, 'an answer', 0, {contact} FROM n"
            ))
            .await;
        ledger
            .run(format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 130)
                 INSERT INTO suppressions (phone, contact_id, reason, created_at, ended_at, ended_reason)
                 SELECT '6012300000{contact}', {contact}, 'word', i, i, 'word' FROM n"
            ))
            .await;
    }
    let (_, rings) = ledger.delete(&[1]).await;
    let written = ledger.work(rings[0], ROWS, async || ledger.audited().await).await;
    bounded(&written);
    assert!(written.len() >= 7, "200 rows of an import and their traces, 130 answers, 130 wishes: {written:?}");
    let left = async |sql: &str| ledger.number(sql).await;
    assert_eq!(left("SELECT count(*) AS n FROM contact_traces").await, 200, "those of the other");
    assert_eq!(left("SELECT count(*) AS n FROM batch_items WHERE input IS NOT NULL").await, 200);
    assert_eq!(left("SELECT count(*) AS n FROM batch_chunks WHERE data LIKE '%300 0001%'").await, 0);
    assert_eq!(left("SELECT count(*) AS n FROM batch_chunks WHERE data LIKE '%60123000002%'").await, 1);
    assert_eq!(left("SELECT count(*) AS n FROM idempotency_keys WHERE response_body IS NOT NULL").await, 130);
    assert_eq!(left("SELECT count(*) AS n FROM suppressions").await, 130);
}

on_both!(one_row_at_a_time_still_comes_to_an_end, one_row);

async fn one_row(ledger: Ledger) {
    ledger.contacts(3).await;
    ledger.messages(2, 4).await;
    ledger.run("INSERT INTO contact_activity (contact_id, last_message_at) SELECT id, 0 FROM contacts").await;
    let (batch, rings) = ledger.delete(&[1, 2, 3]).await;
    let written = ledger.work(rings[0], 1, async || {}).await;
    assert!(written.iter().all(|rows| *rows <= 1 + BESIDE), "{written:?}");
    assert_eq!(ledger.batch(batch.summary.id).await.summary.succeeded, 3);
    assert_eq!(ledger.number("SELECT count(*) AS n FROM messages WHERE content IS NOT NULL").await, 0);
}

on_both!(a_contact_named_twice_is_done_once_over_all_steps, twice);

async fn twice(ledger: Ledger) {
    ledger.contacts(40).await;
    let mut contacts = ContactRefs::default();
    (1..=40).for_each(|id| contacts.push(&id.to_string()));
    contacts.push("00000000-0000-4000-8000-000000000001");
    contacts.push("00000000-0000-4000-8000-000000000040");
    contacts.push("00000000-0000-4000-8000-000000000041");
    let create =
        async |tx: &db::Tx| batches::create_delete(tx, NOW, BY, contacts, Staged::default()).await.expect("accepted");
    let (batch, rings, _) = ledger.step(create).await;
    bounded(&ledger.work(rings[0], 30, async || {}).await);
    let s = ledger.batch(batch.summary.id).await.summary;
    assert_eq!((s.succeeded, s.skipped, s.failed), (40, 2, 1));
}

on_both!(tags_are_changed_few_rows_at_a_time, tags);

async fn tags(ledger: Ledger) {
    ledger.contacts(50).await;
    ledger
        .run(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 730)
             INSERT INTO tags (name, created_at) SELECT 'old ' || i, 0 FROM n",
        )
        .await;
    ledger.run("INSERT INTO contact_tags (contact_id, tag_id) SELECT 5, id FROM tags").await;
    let mut contacts = ContactRefs::default();
    // The last is nobody yet.
    (1..=51).for_each(|id| contacts.push(&id.to_string()));
    let new =
        NewTag { contacts, tags: vec!["a".into(), "b".into(), "c".into(), "d".into()], operation: TagOperation::Set };
    let create = async |tx: &db::Tx| batches::create_tag(tx, NOW, BY, new, Staged::default()).await.expect("accepted");
    let (batch, rings, _) = ledger.step(create).await;
    let written = ledger.work(rings[0], ROWS, async || ledger.audited().await).await;
    // Tags that do not exist are made, and the new ones come after the last of the old.
    assert!(written.iter().all(|rows| *rows <= 2 * ROWS as u64 + BESIDE), "{written:?}");
    let id = batch.summary.id;
    let s = ledger.batch(id).await.summary;
    assert_eq!((s.succeeded, s.failed), (50, 1));
    assert_eq!(ledger.number("SELECT count(*) AS n FROM contact_tags WHERE contact_id = 5").await, 4);
    assert_eq!(ledger.number("SELECT count(*) AS n FROM contact_tags").await, 200);

    // The failed one alone is tried again. That somebody is not there would never pass; that a job died may.
    ledger.contacts_from(51, 51).await;
    ledger.run("UPDATE batch_items SET error_code = 'job_dead' WHERE seq = 50").await;
    let again = async |tx: &db::Tx| batches::retry(tx, NOW, id).await.expect("opened again");
    let (_, rings, _) = ledger.step(again).await;
    let written = ledger.work(rings[0], ROWS, async || ledger.audited().await).await;
    assert_eq!(written.len(), 3, "one step opens it again, one does it, one finds that no other waits");
    let s = ledger.batch(id).await.summary;
    assert_eq!((s.succeeded, s.failed, s.status.as_str()), (51, 0, "COMPLETED"));
    assert_eq!(ledger.number("SELECT count(*) AS n FROM contact_tags").await, 204);
    assert_eq!(ledger.number("SELECT attempts AS n FROM batch_items WHERE seq = 50").await, 2);
}

on_both!(an_import_writes_few_rows_at_a_time, import);

async fn import(ledger: Ledger) {
    let new = NewImport { skip_duplicates: false, tags: vec!["all".into()], source: None, default_country: None };
    let mut writer = ImportWriter::default();
    for line in 0..300_u32 {
        // The last ten have the numbers of the first ten, and say more of them.
        let row = ImportRow {
            line: line + 1,
            phone: format!("+6012{:07}", 3_000_000 + line % 290),
            name: (line >= 290).then(|| "later".to_owned()),
            tags: vec![format!("tag {}", line % 3)],
            ..ImportRow::default()
        };
        assert!(!writer.push(ImportLine::Row(row)).expect("taken"));
    }
    let finish = async |tx: &db::Tx| writer.finish(tx, NOW, BY, &new).await.expect("accepted");
    let (batch, rings, _) = ledger.step(finish).await;
    let written = ledger.work(rings[0], ROWS, async || ledger.audited().await).await;
    bounded(&written);
    assert!(written.len() >= 12, "{written:?}");
    assert_eq!(ledger.batch(batch.summary.id).await.summary.succeeded, 300);
    assert_eq!(ledger.number("SELECT count(*) AS n FROM contacts").await, 290);
    assert_eq!(ledger.number("SELECT count(*) AS n FROM contacts WHERE name = 'later'").await, 10);
}

on_both!(pause_and_cancel_are_obeyed_between_two_steps, between);

async fn between(ledger: Ledger) {
    ledger.contacts(60).await;
    let (batch, rings) = ledger.delete(&(1..=60).collect::<Vec<_>>()).await;
    let id = batch.summary.id;
    let job = ledger.claim(rings[0].job.id).await;
    let raw = batches::SetChunk::read(ledger.db.read(), &job).await.expect("read").expect("a set");
    let mut set = raw.parse().expect("parsed").with_step_rows(30);
    let mut run = async |job: &domain::jobs::Claimed| {
        let run = async |tx: &db::Tx| batches::run_set(tx, NOW, job, &mut set, &mut rand::rng()).await.expect("done");
        ledger.step(run).await.0
    };
    assert_eq!(run(&job).await, batches::Ran::More);
    ledger.step(async |tx: &db::Tx| batches::pause(tx, id).await.expect("paused")).await;
    assert_eq!(run(&job).await, batches::Ran::Paused);
    let (_, rings, _) = ledger.step(async |tx: &db::Tx| batches::resume(tx, NOW, id).await.expect("goes on")).await;
    let job = ledger.claim(rings[0].job.id).await;
    assert_eq!(run(&job).await, batches::Ran::More);
    ledger.step(async |tx: &db::Tx| batches::cancel(tx, NOW, id).await.expect("cancelled")).await;
    assert_eq!(run(&job).await, batches::Ran::Ended);
    assert_eq!(ledger.batch(id).await.summary.succeeded, 20);
    assert_eq!(ledger.number("SELECT count(*) AS n FROM contacts WHERE deleted_at IS NULL").await, 40);
    ledger.audited().await;
}

on_both!(a_contact_that_is_half_erased_is_not_left_so, half);

async fn half(ledger: Ledger) {
    ledger.contacts(2).await;
    ledger.messages(1, 90).await;
    let (batch, rings) = ledger.delete(&[1, 2]).await;
    let id = batch.summary.id;
    let job = ledger.claim(rings[0].job.id).await;
    let raw = batches::SetChunk::read(ledger.db.read(), &job).await.expect("read").expect("a set");
    let mut set = raw.parse().expect("parsed").with_step_rows(30);
    while !set.is_half_done() {
        let run = async |tx: &db::Tx| batches::run_set(tx, NOW, &job, &mut set, &mut rand::rng()).await.expect("done");
        assert_eq!(ledger.step(run).await.0, batches::Ran::More);
    }
    ledger.step(async |tx: &db::Tx| batches::cancel(tx, NOW, id).await.expect("cancelled")).await;
    let mut last = batches::Ran::More;
    while last == batches::Ran::More {
        let run = async |tx: &db::Tx| batches::run_set(tx, NOW, &job, &mut set, &mut rand::rng()).await.expect("done");
        last = ledger.step(run).await.0;
    }
    assert_eq!(last, batches::Ran::Ended);
    // What was in flight ended and is counted; what had not begun is not.
    assert_eq!(ledger.batch(id).await.summary.succeeded, 1);
    assert_eq!(ledger.number("SELECT count(*) AS n FROM contacts WHERE deleted_at IS NULL").await, 1);
    assert_eq!(ledger.number("SELECT count(*) AS n FROM messages WHERE content IS NOT NULL").await, 0);
    ledger.audited().await;
}
