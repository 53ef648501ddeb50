//! Two minutes of `paceline soak`: one on each set-up.

use std::time::Duration;
use support::{Postgres, Program, Redis};

/// A minute of faults, then as long as it takes for all to end.
const PATIENCE: Duration = Duration::from_secs(480);

async fn soak(program: Program) {
    let output = program.output_within(&["soak", "--minutes", "1", "--seed", "20261121"], "", PATIENCE).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("ok: nothing is lost, nothing was sent twice"), "{said}");
}

#[tokio::test]
#[ignore = "slow: a minute of faults"]
async fn embedded() {
    soak(Program::new(env!("CARGO_BIN_EXE_paceline"))).await;
}

#[tokio::test]
#[ignore = "slow: a minute of faults"]
async fn split() {
    let (database, redis) = (Postgres::database().await, Redis::start().await);
    let program = Program::new(env!("CARGO_BIN_EXE_paceline"))
        .env("PACELINE_DATABASE_URL", database.url())
        .env("PACELINE_REDIS_URL", redis.url());
    soak(program).await;
}
