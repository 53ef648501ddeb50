//! `cargo xtask screenshots`.

use crate::cargo::{cargo, exit_code, root};
use crate::tools::Tools;
use anyhow::{Context, Result};
use servers::{Postgres, tools::POSTGRES_URL_VAR};
use std::path::PathBuf;
use std::process::ExitCode;

/// Tells the test where pictures are kept.
const PICTURES_VAR: &str = "PACELINE_TEST_PICTURES";

/// Where to keep them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder; it is made where there is none
    #[arg(default_value = "target/screenshots")]
    dir: PathBuf,
}

/// Runs the test that looks at every page of the demo.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let dir = root()?.join(&args.dir);
    let tools = Tools::for_tests(false)?;
    // The suite's other tests find a server of theirs; this one needs none.
    let postgres = Postgres::start_from(&tools.postgres_bin)?;
    let mut command =
        cargo(&["test", "--package", "paceline", "--features", "paceline/failpoints", "--test", "console"])?;
    tools.export(&mut command);
    command.env(POSTGRES_URL_VAR, postgres.url("postgres")).env(PICTURES_VAR, &dir);
    let status = command.args(["--", "--ignored", "pictures::"]).status().context("cannot run cargo")?;
    drop(postgres);
    Ok(exit_code(status))
}
