//! The support desk's contract against the real binary, on both set-ups: embedded (SQLite, one process) and split
//! (PostgreSQL, Redis, one process for each role).

mod labels;
#[expect(dead_code, reason = "the desk sends no batch")]
#[path = "../batch/setup.rs"]
mod setup;
mod users;

use serde_json::{Value, json};
use setup::{Runs, Setup};

/// The names of the fields that a refusal is about.
fn fields(refused: &Value) -> Vec<&str> {
    assert_eq!((&refused["success"], &refused["error"]["code"]), (&json!(false), &json!("VALIDATION_ERROR")));
    let details = refused["error"]["details"].as_array().expect("a list");
    details.iter().map(|detail| detail["field"].as_str().expect("a field")).collect()
}

/// Writes past the program.
async fn execute(s: &Setup, sql: &str) {
    match &s.runs {
        Runs::Embedded(_) => drop(s.program.execute(sql).await),
        Runs::Split(cluster) => cluster.database.execute(sql).await,
    }
}

/// A number in the ledger.
async fn number(s: &Setup, sql: &str) -> i64 {
    match &s.runs {
        Runs::Embedded(_) => s.program.number(sql).await,
        Runs::Split(cluster) => cluster.database.number(sql).await,
    }
}

/// A column of texts in the ledger.
async fn texts(s: &Setup, sql: &str) -> Vec<String> {
    match &s.runs {
        Runs::Embedded(_) => s.program.texts(sql).await,
        Runs::Split(cluster) => cluster.database.texts(sql).await,
    }
}
