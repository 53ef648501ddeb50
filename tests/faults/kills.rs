//! Processes that are killed in the middle of a batch, and a job that kills its process.

use crate::setup::{PATIENCE, Runs, Setup, text};
use serde_json::json;
use std::collections::HashSet;
use std::time::{Duration, Instant};
use support::{Method, Reply, Socket, eventually};

/// How long a lease stands.
const LEASE: Duration = Duration::from_secs(30);

/// Starts again what has died, as a supervisor does.
async fn supervise(s: &mut Setup) {
    let token = s.program.token_for("admin").await;
    let api = match &mut s.runs {
        Runs::Embedded(serve) => {
            serve.restart().await;
            serve.client()
        }
        Runs::Split(cluster) => {
            cluster.api.restart().await;
            for worker in &mut cluster.workers {
                worker.restart().await;
            }
            cluster.scheduler.restart().await;
            cluster.api.client()
        }
    };
    s.admin = api.with_token(token);
}

/// A worker is killed in the middle of three messages, and never hears of them; another takes over within `most`, and
/// not before `least`.
#[expect(clippy::print_stdout, reason = "the rescue time, beside the test's name")]
async fn taken_over(seems_alive: bool, least: Duration, most: Duration) {
    let s = Setup::split(&[]).await;
    let ids = s.contacts(3).await;
    s.gateway.next([Reply::hang().taking_effect(), Reply::hang().taking_effect(), Reply::hang().taking_effect()]);
    let batch = s.send(&ids, json!({})).await;
    s.gateway.wait_for_attempts(3).await;
    let Setup { runs: Runs::Split(mut cluster), gateway, admin, program } = s else { unreachable!() };
    let other = program.elsewhere().start(&["worker"]).await;
    cluster.workers[0].kill9().await;
    let killed = Instant::now();
    if seems_alive {
        // In the year 2100: its heartbeat tells nobody that it is gone.
        cluster.database.execute("UPDATE workers SET seen_at = 4102444800000").await;
    }
    let s = Setup { runs: Runs::Split(cluster), gateway, admin, program };
    let done = s.ended(&batch).await;
    let took = killed.elapsed();
    println!("taken over and ended {took:?} after the kill");
    assert!((least..most).contains(&took), "{took:?}");
    assert_eq!(done["successCount"], json!(3), "{done}");
    assert_eq!(s.gateway.sent_count(), 3, "asked again under the same ids, nothing goes out again");
    s.audited().await;
    drop(other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_worker_takes_over_once_one_is_silent() {
    taken_over(false, Duration::ZERO, Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: waits until the lease of a worker ends that is dead and seems alive"]
async fn another_worker_takes_over_once_a_lease_has_ended() {
    // Renewed every 5 s, so most of it was left.
    taken_over(true, LEASE / 2, LEASE + Duration::from_secs(15)).await;
}

#[expect(clippy::print_stdout, reason = "the repeats, beside the test's name")]
async fn everything_is_killed(mut s: Setup) {
    let ids = s.contacts(600).await;
    let batch = s.send(&ids, json!({ "ratePerMinute": 9_000 })).await;
    // What is claimed for the first time has no row.
    let in_flight = "SELECT (SELECT count(*) FROM messages WHERE item_status = 'sending')
                          + (SELECT CAST(coalesce(sum(k.next_seq - k.first_seq - (
                                SELECT count(*) FROM messages i WHERE i.batch_id = k.batch_id AND i.seq >= k.first_seq
                                   AND i.seq < k.next_seq)), 0) AS BIGINT)
                             FROM batch_chunks k WHERE k.claim_id IS NOT NULL)";
    let mut claimed = 0;
    for sent in [60, 200, 400] {
        s.gateway.wait_for(sent).await;
        match &mut s.runs {
            Runs::Embedded(serve) => serve.kill9().await,
            Runs::Split(cluster) => {
                let (worker, api, scheduler) = (&mut cluster.workers[0], &mut cluster.api, &mut cluster.scheduler);
                tokio::join!(worker.kill9(), api.kill9(), scheduler.kill9());
            }
        }
        claimed += match &s.runs {
            Runs::Embedded(_) => s.program.number(in_flight).await,
            Runs::Split(cluster) => cluster.database.number(in_flight).await,
        };
        supervise(&mut s).await;
    }
    let done = s.ended(&batch).await;
    assert_eq!((&done["status"], &done["successCount"]), (&json!("COMPLETED"), &json!(600)), "{done}");
    assert_eq!(s.gateway.sent().len(), 600);
    let ids: HashSet<_> = s.gateway.attempts().into_iter().map(|attempt| attempt.id).collect();
    assert_eq!(ids.len(), 600, "what is repeated is repeated under its id");
    let repeats = s.gateway.attempts().len() - 600;
    println!("{repeats} repeats under their ids; {claimed} were claimed and not settled at the kills");
    assert!(repeats <= usize::try_from(claimed).expect("a count"), "{repeats} repeats, {claimed} in flight");
    s.audited().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_killed_embedded() {
    everything_is_killed(Setup::embedded(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_killed_split() {
    everything_is_killed(Setup::split(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_kills_its_process_three_times_is_dead() {
    let mut s = Setup::embedded(&[]).await;
    let ids = s.contacts(5).await;
    let Runs::Embedded(serve) = &mut s.runs else { unreachable!() };
    // From now on each process dies at the first job that begins.
    serve.set_env("PACELINE_TEST_FAULTS", Some("commit.begin.after=kill"));
    serve.restart().await;
    s.admin = serve.client().with_token(s.program.token_for("admin").await);
    // Its job may begin, and end the process, before the answer is out; the batch is there in any case.
    let body = json!({ "contactIds": ids, "content": "Hello {{ name }}" });
    drop(s.admin.try_send(s.admin.request(Method::POST, "/batch/send").json(&body)).await);
    for _ in 0..3 {
        let Runs::Embedded(serve) = &mut s.runs else { unreachable!() };
        eventually(
            "the process to die",
            PATIENCE,
            async || if serve.is_running().await { Err("it runs") } else { Ok(()) },
        )
        .await;
        serve.relaunch().await;
    }
    // The fourth lives: nobody begins with that job any more.
    let Runs::Embedded(serve) = &mut s.runs else { unreachable!() };
    serve.ready().await;
    s.admin = serve.client().with_token(s.program.token_for("admin").await);
    let sends = s.admin.get("/batch?type=SEND").await.expect(200);
    assert_eq!(sends["meta"]["count"], 1, "{sends}");
    let batch = text(&sends["data"][0]["id"]);
    let done = s.ended(&batch).await;
    assert_eq!((&done["status"], &done["failedCount"]), (&json!("FAILED"), &json!(5)), "{done}");
    let items = s.items(&batch).await;
    assert!(items.iter().all(|item| item["errorCode"] == "job_dead"), "{items:?}");
    assert!(text(&items[0]["errorMessage"]).contains("its worker died while it ran, 3 times"), "{items:?}");
    let Runs::Embedded(serve) = &mut s.runs else { unreachable!() };
    serve.set_env("PACELINE_TEST_FAULTS", None);
    serve.restart().await;
    s.admin = serve.client().with_token(s.program.token_for("admin").await);
    // What nobody sent can be sent when the trouble is over.
    s.admin.post(&format!("/batch/{batch}/retry"), &json!({})).await.expect(200);
    assert_eq!(s.ended(&batch).await["successCount"], json!(5));
    s.audited().await;
}

/// A worker is killed between the commit that ends a batch and its publication: whoever watches is told all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_news_of_a_batch_is_told_though_its_worker_died_with_it() {
    let mut s = Setup::split(&[]).await;
    let ids = s.contacts(3).await;
    let token = s.program.token_for("agent").await;
    let mut socket = Socket::open(&s.api().client().socket_url(&format!("/ws?token={token}"))).await;
    let Runs::Split(cluster) = &mut s.runs else { unreachable!("it was started split") };
    cluster.workers[0].set_env("PACELINE_TEST_FAULTS", Some("commit.set.after=kill"));
    cluster.workers[0].restart().await;
    let body = json!({ "contactIds": ids, "tags": ["vip"], "operation": "add" });
    let batch = text(&s.admin.post("/batch/tags", &body).await.expect(202)["data"]["id"]);
    let Runs::Split(cluster) = &mut s.runs else { unreachable!("it was started split") };
    let last = socket
        .wait_for("the end", |frame| {
            let ended = frame["data"]["id"] == batch.as_str() && frame["data"]["completedAt"].is_string();
            ended.then(|| frame["data"].clone())
        })
        .await;
    assert_eq!((&last["status"], &last["successCount"]), (&json!("COMPLETED"), &json!(3)));
    assert!(!cluster.workers[0].is_running().await, "nobody is there who could have published it");
}
