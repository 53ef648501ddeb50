//! `cargo xtask test`.

use crate::cargo::{cargo, exit_code};
use crate::summary::Summary;
use crate::tools::Tools;
use anyhow::{Context, Result};
use servers::{Postgres, tools::POSTGRES_URL_VAR};
use std::io::{BufRead, BufReader, IsTerminal, Write, stdout};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Instant;

/// Which tests to run.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Leaves out the slow suites (schemathesis, soak) and what only they need.
    #[arg(long)]
    fast: bool,

    /// Only the tests of this package; may be repeated.
    #[arg(short, long = "package", value_name = "PACKAGE")]
    packages: Vec<String>,

    /// Only this integration test file; may be repeated.
    #[arg(long = "test", value_name = "NAME")]
    files: Vec<String>,

    /// Only tests whose names contain one of these.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

impl Args {
    /// All tests, or all but the slow ones.
    pub(crate) fn all(fast: bool) -> Self {
        Self { fast, ..Self::default() }
    }
}

/// One run of `cargo test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// All that is not marked slow, doc tests included.
    Quick,
    /// What is marked `#[ignore = "slow: …"]`, and nothing else. Not the doc tests: there, `ignore` means another thing.
    Slow,
}

/// Runs the tests, prints the summary, and returns cargo's code.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let start = Instant::now();
    let tools = Tools::for_tests(!args.fast)?;
    let postgres = Postgres::start_from(&tools.postgres_bin)?;
    let mut summary = Summary::default();
    let quick = pass(Pass::Quick, args, &tools, &postgres, &mut summary)?;
    let left_out = summary.ignored;
    let mut status = quick;
    // Nothing passed and nothing failed: it did not compile, and would not a second time.
    let compiled = quick.success() || summary.passed + summary.failed > 0;
    if !args.fast && compiled {
        let slow = pass(Pass::Slow, args, &tools, &postgres, &mut summary)?;
        status = if quick.success() { slow } else { quick };
    }
    drop(postgres);

    println!();
    if !status.success() && summary.failed == 0 {
        // A crate that does not compile or a harness that crashed says nothing of numbers, and is no success.
        println!("cargo test ended with {status} before all tests could say how they went");
        summary.failed = 1;
    }
    if !summary.failures.is_empty() {
        println!("failed:\n  {}", summary.failures.join("\n  "));
    }
    if args.fast {
        println!("--fast: {left_out} slow tests (schemathesis, soak) were left out");
    }
    println!("{:.1} s", start.elapsed().as_secs_f64());
    println!("{} passed, {} failed", summary.passed, summary.failed);
    Ok(exit_code(status))
}

fn pass(pass: Pass, args: &Args, tools: &Tools, postgres: &Postgres, summary: &mut Summary) -> Result<ExitStatus> {
    let mut command = cargo(&["test", "--no-fail-fast"])?;
    tools.export(&mut command);
    command.env(POSTGRES_URL_VAR, postgres.url("postgres"));
    if args.packages.is_empty() {
        command.arg("--workspace");
    }
    if args.packages.is_empty() || args.packages.iter().any(|package| package == "paceline") {
        // Inert until a test says otherwise, and one build for all of them.
        command.args(["--features", "paceline/failpoints"]);
    }
    for package in &args.packages {
        command.args(["--package", package]);
    }
    for file in &args.files {
        command.args(["--test", file]);
    }
    if pass == Pass::Slow && args.files.is_empty() {
        command.arg("--tests");
    }
    // The output goes through a pipe of ours, where neither cargo nor the harness would use colours.
    let colours = if stdout().is_terminal() { "always" } else { "auto" };
    command.args(["--color", colours, "--", "--color", colours]);
    if pass == Pass::Slow {
        command.arg("--ignored");
    }
    command.args(&args.filters);

    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let mut output = BufReader::new(child.stdout.take().context("cargo's output is piped")?);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).context("cannot read cargo's output")? > 0 {
        // Should nobody read ours any more, the tests still come to their end and their code.
        stdout().write_all(&line).ok();
        summary.line(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(child.wait()?)
}
