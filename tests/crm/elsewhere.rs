//! A batch belongs to the gateway that was asked first for one of its messages. A worker of another one claims nothing of it,
//! doctor says what to do, and what only a simulator took can be sent for good.

use crate::setup::{PATIENCE, Runs, SECRET, Setup};
use serde_json::{Value, json};
use support::{Paceline, Program, eventually};

/// A gateway of Paceline's own, whose network remembers what it sent.
async fn gateway(s: &Setup) -> Paceline {
    let program = Program::new(env!("CARGO_BIN_EXE_paceline"))
        .env("PACELINE_BACKEND_URL", s.api().url())
        .env("PACELINE_GATEWAY_SECRET", SECRET)
        .env("PACELINE_SQLITE_SYNCHRONOUS", "normal")
        .env("PACELINE_GATEWAY_LISTEN", "127.0.0.1:0");
    program.start(&["gateway"]).await
}

async fn sent(gateway: &Paceline) -> Value {
    gateway.client().get("/sim/stats").await.expect(200)
}

/// What a doctor says, and whether all is well.
async fn doctor(program: &Program, args: &[&str], answer: &str) -> (bool, String) {
    let args: Vec<&str> = ["doctor"].iter().chain(args).copied().collect();
    let output = program.output(&args, answer).await;
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A batch that takes its time, some of which is done.
async fn begun(s: &Setup, ids: &[String]) -> String {
    let batch = s.send(ids, json!({ "ratePerMinute": 300 })).await;
    s.wait(&batch, "some of it to be sent", |batch| batch["successCount"].as_i64().is_some_and(|n| n >= 2)).await;
    batch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_simulator_took_is_found_and_sent_for_good() {
    let mut s = Setup::split(&[("PACELINE_GATEWAY_URL", "")]).await;
    let ids = s.contacts(20).await;
    let done = s.send(&ids[..5], json!({})).await;
    assert_eq!(s.ended(&done).await["successCount"], json!(5), "the simulator takes all");
    let batch = begun(&s, &ids).await;

    // The line that was forgotten is written: the worker has a real gateway now.
    let gateway = gateway(&s).await;
    let Runs::Split(cluster) = &mut s.runs else { panic!("it is split") };
    let worker = &mut cluster.workers[0];
    worker.set_env("PACELINE_GATEWAY_URL", Some(gateway.url()));
    worker.restart().await;
    eventually("the worker to say that the batch is not its own", PATIENCE, async || {
        let log = worker.log();
        if log.contains("a batch belongs to another gateway than this worker's") { Ok(()) } else { Err(log.tail(20)) }
    })
    .await;
    assert_eq!(sent(&gateway).await["sent"], json!(0), "nothing of it is claimed");

    let program = s.program.clone().env("PACELINE_GATEWAY_URL", gateway.url());
    let (well, said) = doctor(&program, &[], "").await;
    assert!(
        !well && said.contains(&format!("FAIL  elsewhere    batch {batch} belongs to the gateway simulator")),
        "{said}"
    );
    assert!(said.contains("FAIL  simulated    5 were taken by a simulator") && said.contains("--resend"), "{said}");
    let (_, said) = doctor(&program, &["--resend"], "no\n").await;
    assert!(said.contains("resend: nothing was sent"), "{said}");
    assert_eq!(s.get(&done).await["status"], json!("COMPLETED"));

    let (_, said) = doctor(&program, &["--resend"], "y\n").await;
    assert!(said.contains(&format!("resend: batch {batch} goes on")), "{said}");
    assert!(said.contains(&format!("resend: batch {done}: 5 are on their way")), "{said}");
    for id in [&done, &batch] {
        let ended = s.ended(id).await;
        assert_eq!((&ended["status"], &ended["failedCount"]), (&json!("COMPLETED"), &json!(0)), "{ended}");
    }
    // What the simulator took of the one that was under way is left.
    let (_, said) = doctor(&program, &["--resend", "--yes"], "").await;
    assert!(said.contains(&format!("resend: batch {batch}: ")), "{said}");
    assert_eq!(s.ended(&batch).await["successCount"], json!(20));
    eventually("everybody to have it for good", PATIENCE, async || {
        let stats = sent(&gateway).await;
        if (&stats["sent"], &stats["duplicates"]) == (&json!(25), &json!(0)) { Ok(()) } else { Err(stats.to_string()) }
    })
    .await;
    eventually("nothing to be left to say", PATIENCE, async || {
        let (_, said) = doctor(&program, &[], "").await;
        let fine = !said.contains("FAIL") && said.contains("id by id");
        if fine { Ok(()) } else { Err(said) }
    })
    .await;
    s.audited().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_with_another_store_is_another_gateway() {
    let mut s = Setup::embedded(&[("PACELINE_GATEWAY_URL", "")]).await;
    let ids = s.contacts(20).await;
    let batch = begun(&s, &ids).await;
    let Runs::Embedded(serve) = &mut s.runs else { panic!("it is one process") };
    serve.kill9().await;
    for file in std::fs::read_dir(s.program.dir().join("paceline-data")).expect("a folder") {
        let path = file.expect("a file").path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("gateway.db")) {
            std::fs::remove_file(path).expect("removed");
        }
    }
    serve.restart().await;
    eventually("it to say that the batch is another gateway's", PATIENCE, async || {
        let log = serve.log();
        if log.contains("a batch belongs to another gateway than this worker's") { Ok(()) } else { Err(log.tail(20)) }
    })
    .await;
    let token = s.program.token_for("admin").await;
    s.admin = s.api().client().with_token(token);
    let before = s.get(&batch).await["successCount"].clone();
    let (well, said) = doctor(&s.program, &[], "").await;
    assert!(!well && said.contains(&format!("FAIL  elsewhere    batch {batch} belongs to the gateway gw-")), "{said}");
    assert_eq!(s.get(&batch).await["successCount"], before, "nothing of it was claimed");
    let (_, said) = doctor(&s.program, &["--resend", "--yes"], "").await;
    assert!(said.contains(&format!("resend: batch {batch} goes on")), "{said}");
    assert_eq!(s.ended(&batch).await["successCount"], json!(20));
    s.audited().await;
}
