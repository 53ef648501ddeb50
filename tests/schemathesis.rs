//! Schemathesis against the served OpenAPI documents: no 5xx, and no answer that its document does not describe.

use std::path::PathBuf;
use std::process::Stdio;
use support::{Paceline, Program};

/// What an answer must be.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,negative_data_rejection,unsupported_method";

/// Runs it over one document; panics with its report when it finds something.
async fn run(paceline: &Paceline, document: &str, token: &str, more: &[&str]) {
    let tool = std::env::var_os("PACELINE_TEST_SCHEMATHESIS").map(PathBuf::from);
    let tool = tool.expect("PACELINE_TEST_SCHEMATHESIS is set by `cargo xtask test`");
    let output = tokio::process::Command::new(tool)
        .args(["run", &format!("{}{document}", paceline.url()), "--url", paceline.url()])
        .args(["--header", &format!("Authorization: Bearer {token}"), "--checks", CHECKS])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "30", "--generation-deterministic"])
        .args(["--suppress-health-check", "all", "--continue-on-failure", "--no-color"])
        .args(more)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .current_dir(paceline.program().dir())
        .output()
        .await
        .expect("schemathesis runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    // A run whose token did not stand would find nothing wrong with hundreds of 401s.
    assert!(!said.contains("Authentication failed"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: schemathesis"]
async fn the_documents_and_the_answers_agree() {
    let program = Program::new(env!("CARGO_BIN_EXE_paceline"))
        .env("PACELINE_LIMIT_BATCH_PER_MIN", "0")
        .env("PACELINE_LIMIT_GENERAL_PER_MIN", "0")
        .env("PACELINE_LIMIT_LOGIN_PER_MIN", "0");
    let paceline = program.start(&["serve"]).await;
    let token = program.token_for("admin").await;
    run(&paceline, "/openapi/batch.json", &token, &[]).await;
    // Whoever signs out has no session for the rest of the run.
    let signing_out = ["--exclude-path", "/api/v1/auth/logout"];
    run(&paceline, "/openapi/support-desk.json", &token, &signing_out).await;
    assert!(!paceline.log().contains("panic"), "a request panicked");
}
