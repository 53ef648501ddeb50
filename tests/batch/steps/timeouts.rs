//! What the database ends for the time it takes: done with less, or failed with its reason.

use super::ledger::{Ledger, NOW};
use crate::setup::{Runs, Setup};
use domain::db::{self, Trouble};
use domain::jobs::{self, Ending, Finished, MAX_TIMEOUTS};
use domain::kinds::Kinds;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_takes_too_long_says_so() {
    let ledger = Ledger::postgres().await;
    let tx = ledger.db.begin().await.expect("a transaction");
    db::execute(&tx, "SET LOCAL statement_timeout = '20ms'", []).await.expect("set");
    let error = db::one(&tx, "SELECT 1 AS n FROM pg_sleep(60)", []).await.expect_err("it was ended");
    assert_eq!(Trouble::of(&error), Trouble::TooLong, "{error}");
    assert!(Trouble::TooLong.passes());
}

/// Each contact that is deleted takes its time: 600 at once take longer than a statement may, 100 do not.
const SLOW: &str = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
                        $$ BEGIN PERFORM pg_sleep(0.004); RETURN NEW; END $$;
                    CREATE TRIGGER slow BEFORE UPDATE OF deleted_at ON contacts FOR EACH ROW EXECUTE FUNCTION slow()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_takes_too_long_is_done_by_halves() {
    let s = Setup::split(&[("PACELINE_DATABASE_STATEMENT_TIMEOUT_SECS", "1")]).await;
    let ids = s.contacts(600).await;
    let Runs::Split(cluster) = &s.runs else { panic!("it is split") };
    cluster.database.execute(SLOW).await;
    let id = crate::setup::accepted(s.admin.post("/batch/delete", &json!({ "contactIds": ids })).await.expect(202));
    let done = s.ended(&id).await;
    assert_eq!((&done["successCount"], &done["status"]), (&json!(600), &json!("COMPLETED")), "{done}");
    assert!(cluster.workers.iter().any(|worker| worker.log().contains("a step took too long")), "it was hit");
    let claims = format!("SELECT max(attempts) FROM jobs WHERE batch_id = {id}");
    assert_eq!(cluster.database.number(claims).await, 1, "within one claim");
    s.audited().await;
}

super::ledger::on_both!(nothing_is_tried_without_end, without_end);

async fn without_end(ledger: Ledger) {
    ledger.contacts(3).await;
    let (batch, rings) = ledger.delete(&[1, 2, 3]).await;
    let mut now = NOW;
    for turn in 1..=MAX_TIMEOUTS {
        let claim = jobs::claim(ledger.db.write(), now, rings[0].job.id, "me").await.expect("asked");
        let jobs::Claim::Taken(job) = claim else { panic!("{claim:?}") };
        let ending = Ending::TimedOut { error: "canceling statement due to statement timeout".into() };
        let fail =
            async |tx: &db::Tx| jobs::fail(tx, now, &job, &ending, &Kinds, &mut rand::rng()).await.expect("written");
        match ledger.step(fail).await.0 {
            Finished::ReadyAt(at) if turn < MAX_TIMEOUTS => now = at,
            Finished::Dead if turn == MAX_TIMEOUTS => {}
            other => panic!("turn {turn}: {other:?}"),
        }
    }
    let after = ledger.batch(batch.summary.id).await;
    assert_eq!((after.summary.failed, after.summary.status.as_str()), (3, "FAILED"));
    let said = "SELECT count(*) AS n FROM batch_items WHERE error_code = 'job_dead'
                AND error_message LIKE '%statement timeout%'";
    assert_eq!(ledger.number(said).await, 3, "with its reason");
    ledger.audited().await;
}
