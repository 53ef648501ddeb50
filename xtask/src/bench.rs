//! `cargo xtask bench`.

use crate::cargo::{cargo, exit_code, root, target_dir};
use crate::tools;
use anyhow::{Context, Result, bail};
use servers::{Postgres, Redis, RedisOptions};
use std::process::{Command, ExitCode};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Passed on to `paceline bench`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARG")]
    args: Vec<String>,
}

/// Builds, starts the servers, measures, and returns the code of `paceline bench`.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let (postgres_bin, redis_server) = tools::servers()?;
    let built = cargo(&["build", "--release", "--package", "paceline", "--bin", "paceline"])?.status()?;
    if !built.success() {
        bail!("the release build failed ({built})");
    }
    let postgres = Postgres::start_from(&postgres_bin)?;
    let redis = Redis::start_from(&redis_server, RedisOptions::default())?;
    let program = target_dir()?.join("release").join("paceline");
    let mut bench = Command::new(&program);
    bench.env("PACELINE_DATABASE_URL", postgres.url("postgres")).env("PACELINE_REDIS_URL", redis.url());
    let status =
        bench.current_dir(root()?).arg("bench").args(&args.args).status().context("cannot run the release binary")?;
    // The servers end here, whatever came of it.
    drop((postgres, redis));
    Ok(exit_code(status))
}
