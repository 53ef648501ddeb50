//! Bad luck: what is full, locked, killed, late or doubled.

use crate::setup::{PATIENCE, Runs, Setup, text};
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use std::time::{Duration, SystemTime};
use support::{Cluster, Gateway, Program, Reply, Socket, eventually};

fn in_a_moment(from_now: Duration) -> (SystemTime, String) {
    let at = SystemTime::now() + from_now;
    let ms = at.duration_since(SystemTime::UNIX_EPOCH).expect("after it").as_millis();
    (at, domain::Timestamp(i64::try_from(ms).expect("small")).to_rfc3339())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_keeps_what_there_is() {
    let s = Setup::embedded(&[("PACELINE_SQLITE_MAX_MIB", "3")]).await;
    let ids = s.contacts(200).await;
    let name = "x".repeat(400);
    let many: Vec<_> =
        (0..20_000).map(|i| json!({ "phoneE164": format!("+6011{:08}", 10_000_000 + i), "name": name })).collect();
    let refused = s.admin.post("/batch/import", &json!({ "contacts": many })).await.expect(503);
    assert_eq!(refused["error"]["code"], "INTERNAL_ERROR");
    assert!(refused["error"]["message"].as_str().is_some_and(|m| m.contains("disk is full")), "{refused}");
    // Nothing half written, and everything that was there still answers and is sent.
    assert_eq!(s.admin.get("/batch?type=IMPORT").await.expect(200)["meta"]["count"], 1);
    let done = s.ended(&s.send(&ids[..20], json!({})).await).await;
    assert_eq!(done["successCount"], json!(20));
    s.audited().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_database_delays_writes_and_no_reads() {
    let s = Setup::embedded(&[]).await;
    let ids = s.contacts(3).await;
    let file = s.program.dir().join("paceline-data/paceline.db");
    let mut other = SqliteConnectOptions::new().filename(file).connect().await.expect("opened");
    let transaction = other.begin_with("BEGIN IMMEDIATE").await.expect("locked");
    let sending = s.send(&ids, json!({}));
    let reading = async {
        s.admin.get("/batch").await.expect(200);
        transaction.rollback().await.expect("unlocked");
    };
    let (batch, ()) = tokio::join!(sending, reading);
    assert_eq!(s.ended(&batch).await["successCount"], json!(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_postgres_loses_and_doubles_nothing() {
    let gateway = Gateway::start().await;
    let unlimited = ["PACELINE_LIMIT_BATCH_PER_MIN", "PACELINE_LIMIT_GENERAL_PER_MIN", "PACELINE_SENDER_RATE_PER_MIN"];
    let cluster = unlimited
        .iter()
        .fold(Cluster::of(env!("CARGO_BIN_EXE_paceline")).gateway(&gateway), |cluster, name| cluster.env(*name, "0"));
    let cluster = cluster.private_postgres().start().await;
    let admin = cluster.client("admin").await;
    let program = cluster.program.clone();
    let mut s = Setup { gateway, admin, program, runs: Runs::Split(Box::new(cluster)) };
    let ids = s.contacts(1_000).await;
    let batch = s.send(&ids, json!({ "ratePerMinute": 12_000 })).await;
    s.gateway.wait_for(200).await;
    let Runs::Split(cluster) = &mut s.runs else { unreachable!() };
    let postgres = cluster.postgres.as_mut().expect("of its own");
    postgres.kill9().await;
    let away = s.admin.get("/batch").await.expect(503);
    assert_eq!(away["error"]["code"], "INTERNAL_ERROR");
    postgres.restart().await;
    let done = eventually("the batch to end", PATIENCE * 2, async || {
        let answer = s.admin.get(&format!("/batch/{batch}")).await;
        let done = answer.status == 200 && answer.body["data"]["completedAt"].is_string();
        if done { Ok(answer.body["data"].clone()) } else { Err(answer.text) }
    })
    .await;
    assert_eq!((&done["status"], &done["successCount"]), (&json!("COMPLETED"), &json!(1_000)));
    let by_recipient = s.gateway.sent_by_recipient();
    assert_eq!(by_recipient.len(), 1_000);
    assert!(by_recipient.values().all(|times| *times == 1), "the ids are the same over all attempts");
    s.audited().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_was_missed_fires_at_the_start() {
    let mut s = Setup::embedded(&[]).await;
    let ids = s.contacts(5).await;
    let (at, schedule) = in_a_moment(Duration::from_millis(1_500));
    let batch = s.send(&ids, json!({ "scheduleAt": schedule })).await;
    let Runs::Embedded(serve) = &mut s.runs else { unreachable!() };
    serve.kill9().await;
    assert_eq!(s.gateway.attempts().len(), 0);
    eventually("the time to pass", PATIENCE, async || if SystemTime::now() > at { Ok(()) } else { Err("it has not") })
        .await;
    serve.restart().await;
    s.admin = serve.client().with_token(s.program.token_for("admin").await);
    assert_eq!(s.ended(&batch).await["successCount"], json!(5));
    assert_eq!(s.gateway.sent_count(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_of_each_role_do_everything_once() {
    let s = Setup::split(&[]).await;
    let Runs::Split(cluster) = &s.runs else { unreachable!() };
    let program = &cluster.program;
    let (w, s1, s2, api) = tokio::join!(
        async { program.elsewhere().start(&["worker"]).await },
        async { program.elsewhere().start(&["scheduler"]).await },
        async { program.elsewhere().start(&["scheduler"]).await },
        async { program.elsewhere().start(&["api"]).await },
    );
    let ids = s.contacts(1_500).await;
    let token = program.token_for("agent").await;
    // One API process takes the request, the other tells of it.
    let mut socket = Socket::open(&api.client().socket_url(&format!("/ws?token={token}"))).await;
    let (at, schedule) = in_a_moment(Duration::from_millis(1_200));
    let batch = s.send(&ids, json!({ "scheduleAt": schedule })).await;
    let last = socket
        .wait_for("the end", |frame| {
            let ours = frame["type"] == "batch_update" && frame["data"]["id"] == batch.as_str();
            (ours && frame["data"]["completedAt"].is_string()).then(|| frame["data"].clone())
        })
        .await;
    assert_eq!((&last["status"], &last["successCount"]), (&json!("COMPLETED"), &json!(1_500)));
    assert!(SystemTime::now() >= at, "not before its time");
    let by_recipient = s.gateway.sent_by_recipient();
    assert_eq!((by_recipient.len(), s.gateway.attempts().len()), (1_500, 1_500));
    let started = text(&last["startedAt"]);
    assert!(started >= schedule, "{started} is before {schedule}");
    s.audited().await;
    drop((w, s1, s2, api));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_away_at_the_start_is_waited_for() {
    let mut s = Setup::split(&[]).await;
    let Runs::Split(cluster) = &mut s.runs else { unreachable!() };
    cluster.redis.kill9().await;
    let api = cluster.program.elsewhere().launch(&["api"]).await;
    let not_ready = api.client().get("/readyz").await;
    assert_eq!((not_ready.status, &not_ready.body["queue"]), (503, &json!("away")));
    assert_eq!(api.client().get("/healthz").await.status, 200);
    cluster.redis.restart().await;
    api.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_have_no_secrets_and_metrics_have_everything() {
    let s = Setup::embedded(&[("PACELINE_LOG_LEVEL", "trace")]).await;
    let ids = s.contacts(3).await;
    s.gateway.script(|a| if a.number == 1 { Reply::status(500) } else { Reply::accept() });
    let batch = s.send(&ids, json!({ "content": "Top secret {{ name }}" })).await;
    s.ended(&batch).await;
    s.admin.post("/batch/send", &json!({ "contactIds": ["1"], "content": "{{ secret words" })).await.expect(400);
    let token = s.program.token_for("agent").await;
    drop(Socket::open(&s.api().client().socket_url(&format!("/ws?token={token}"))).await);
    for secret in ["Top secret", "secret words", "60123000000", "Contact 1", &token, "gateway-secret"] {
        assert!(!s.api().log().contains(secret), "{secret:?} is in the log");
    }
    let wanted = [
        "paceline_jobs_total{",
        "paceline_jobs_running{",
        "paceline_job_pickup_seconds_bucket{",
        "paceline_job_run_seconds_bucket{",
        "paceline_send_seconds_bucket{",
        "paceline_http_seconds_bucket{",
        "paceline_websocket_connections",
    ];
    eventually("the metrics", PATIENCE, async || {
        let text = s.api().client().metrics().await;
        let missing: Vec<_> = wanted
            .iter()
            .chain(&["paceline_rings{", "paceline_job_oldest_seconds{", "paceline_jobs{"])
            .filter(|name| !text.contains(**name))
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} of\n{text}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_shows_itself() {
    let program = Program::new(env!("CARGO_BIN_EXE_paceline")).env("PACELINE_LIMIT_GENERAL_PER_MIN", "0");
    let demo = program.start(&["demo"]).await;
    let login = json!({ "email": "demo@localhost", "password": "demo-password" });
    let data = demo.client().post("/api/v1/auth/login", &login).await.expect(200)["data"].clone();
    let client = demo.client().with_token(text(&data["token"]));
    let campaigns = client.get("/batch?type=SEND").await.expect(200);
    assert!(campaigns["meta"]["count"].as_i64() >= Some(3), "{campaigns}");
    let import = client.get("/batch?type=IMPORT").await.expect(200)["data"][0].clone();
    assert_eq!(import["totalCount"], json!(5_000));
    eventually("the sample contacts", PATIENCE, async || {
        let import = client.get(&format!("/batch/{}", text(&import["id"]))).await.expect(200);
        if import["data"]["successCount"] == 5_000 { Ok(()) } else { Err(import) }
    })
    .await;
    for page in ["/docs", "/redoc", "/docs/batch", "/redoc/batch", "/docs/support-desk", "/openapi/batch.json"] {
        assert_eq!(demo.client().get(page).await.status, 200, "{page}");
    }
}
