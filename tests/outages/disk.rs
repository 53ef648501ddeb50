//! Disks that are full, and a file that must survive whoever writes it.

use crate::setup::{Embedded, PATIENCE, Split, figure, refused, sound};
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use std::path::Path;
use support::{Disk, PostgresOptions, eventually};

fn disk(mib: u32) -> Disk {
    Disk::start(mib).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Asks for an import that no full disk has room for.
async fn import_is_refused<P>(w: &crate::setup::World<P>) {
    let name = "x".repeat(200);
    let many: Vec<_> =
        (0..20_000).map(|i| json!({ "phoneE164": format!("+6011{:08}", 10_000_000 + i), "name": name })).collect();
    refused(
        &w.admin.post("/batch/import", &json!({ "contacts": many })).await,
        "the disk is full; nothing was written",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_sqlite() {
    let disk = disk(32);
    let data = disk.path().join("data");
    let w = Embedded::start(|program| program.inside(&disk).env("PACELINE_DATA_DIR", data.display().to_string())).await;
    let ids = w.contacts(800).await;
    let batch = w.send(&ids, 6_000).await;
    for sent in [100, 300] {
        w.gateway.wait_for(sent).await;
        disk.fill().expect("filled");
        import_is_refused(&w).await;
        // What is there can be read, and nothing is half written.
        assert_eq!(w.admin.get("/batch?type=IMPORT").await.expect(200)["meta"]["count"], 1);
        let log = w.runs.log();
        eventually("the worker to meet it", PATIENCE, async || {
            if log.contains("database or disk is full") { Ok(()) } else { Err(log.tail(5)) }
        })
        .await;
        disk.free().expect("freed");
    }
    w.whole(&[batch], 800).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_postgres() {
    let disk = disk(96);
    let w = Split::start(|cluster| {
        cluster.postgres_with(PostgresOptions { disk: Some(disk.clone()), ..PostgresOptions::default() })
    })
    .await;
    let ids = w.contacts(800).await;
    let batch = w.send(&ids, 6_000).await;
    for sent in [100, 300] {
        w.gateway.wait_for(sent).await;
        disk.fill().expect("filled");
        import_is_refused(&w).await;
        assert_eq!(w.admin.get("/batch?type=IMPORT").await.expect(200)["meta"]["count"], 1);
        disk.free().expect("freed");
    }
    w.whole(&[batch], 800).await;
}

/// The file is what SQLite calls whole. Nobody else has it open.
async fn intact(file: &Path) {
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await.expect("opened");
    let said: String =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.expect("an answer");
    assert_eq!(said, "ok");
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: a dozen kills, and the leases of those who were killed"]
async fn sqlite_survives_a_dozen_kills() {
    let mut w = Embedded::start(|program| program).await;
    let file = w.program.dir().join("paceline-data/paceline.db");
    let ids = w.contacts(150).await;
    let mut batches = Vec::new();
    for kill in 0..12 {
        let sent = w.gateway.sent_count();
        batches.push(w.send(&ids, 60_000).await);
        // At another moment of its work each time.
        w.gateway.wait_for(sent + 1 + kill * 12).await;
        w.runs.kill9().await;
        sound(&w.runs);
        intact(&file).await;
        w.runs.restart().await;
        w.admin = w.runs.client().with_token(w.program.token_for("admin").await);
    }
    figure("kills", batches.len());
    w.whole(&batches, 150).await;
}
