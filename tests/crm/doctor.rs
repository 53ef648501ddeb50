//! `paceline doctor` compares the ledger with what the real gateway has, id by id.

use crate::chain::Chain;
use crate::reports::history;
use crate::setup::{PATIENCE, Runs, Setup};
use serde_json::json;
use support::eventually;

/// Recipients who get everything and read nothing: once it is delivered, nothing more is told.
const SILENT: [(&str, &str); 2] = [("PACELINE_SIMULATOR_READ_RATE", "0"), ("PACELINE_SIMULATOR_REPLY_RATE", "0")];

/// Writes past the program.
async fn damage(s: &Setup, sql: &'static str) {
    match &s.runs {
        Runs::Embedded(_) => drop(s.program.execute(sql).await),
        Runs::Split(cluster) => cluster.database.execute(sql).await,
    }
}

/// The doctor's lines about messages.
async fn messages(s: &Setup) -> Vec<String> {
    let said = s.program.output(&["doctor"], "").await;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    said.lines().filter(|line| line.contains(" messages ")).map(str::to_owned).collect()
}

async fn compares(chain: Chain) {
    let s = &chain.s;
    let ids = s.contacts(5).await;
    let batch = s.send(&ids, json!({})).await;
    assert_eq!(s.ended(&batch).await["successCount"], json!(5));
    eventually("all of it to be delivered", PATIENCE, async || {
        let mut on_their_way = Vec::new();
        for id in &ids {
            let found = history(s, id.parse().expect("a number")).await;
            on_their_way.extend(found.into_iter().filter(|m| m["status"] != "delivered"));
        }
        if on_their_way.is_empty() { Ok(()) } else { Err(format!("{on_their_way:?}")) }
    })
    .await;
    let said = messages(s).await;
    let fine = "ok    messages     the 5 that the gateway has are the ledger's, id by id, and it has all since ";
    assert!(said.len() == 1 && said[0].starts_with(fine), "{said:?}");
    for (sql, findings) in [
        (
            "UPDATE messages SET status = 'failed' WHERE id = (SELECT min(id) FROM messages WHERE direction = 'outbound')",
            vec!["1 messages were sent, and failed by what the ledger says: "],
        ),
        (
            "UPDATE messages SET uuid = '7fffffff-ffff-7000-8000-000000000001'
             WHERE id = (SELECT max(id) FROM messages WHERE direction = 'outbound')",
            vec![
                "1 messages are at the gateway, and the ledger knows nothing of them: ",
                "1 messages were sent, and failed by what the ledger says: ",
                "1 messages were taken by what the ledger says, and the gateway does not have them: \
                 7fffffff-ffff-7000-8000-000000000001",
            ],
        ),
    ] {
        damage(s, sql).await;
        // The last of what is told may be on its way, and is not held against the ledger until then.
        eventually("the doctor to find it", PATIENCE, async || {
            let said = messages(s).await;
            let agrees = said.len() == findings.len()
                && said.iter().zip(&findings).all(|(said, finding)| said.starts_with("FAIL") && said.contains(finding));
            if agrees { Ok(()) } else { Err(format!("{sql}: {said:#?}")) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_compares_with_the_gateway_inside() {
    compares(Chain::embedded(&SILENT).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_compares_with_a_gateway_of_its_own() {
    compares(Chain::split(&SILENT).await).await;
}
