//! Project chores: `cargo xtask test`, `ci`, `bench` and `screenshots`.
//!
//! Each works on a fresh machine: it finds what it needs, installs what apt can install, and says plainly what is
//! missing otherwise. Nothing is skipped in silence. Servers are private to the run and end with it, however it ends:
//! on Ctrl-C this process just dies, and the reapers of the `servers` crate clear up.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks through them")]

mod bench;
mod cargo;
mod ci;
mod screenshots;
mod summary;
mod test;
mod tools;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Project chores.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Runs the tests on real servers.
    ///
    /// Makes PostgreSQL, Redis, Chromium and schemathesis available (by apt where it may, otherwise it says what is
    /// missing and ends with 1), starts one PostgreSQL server for the run, and runs `cargo test`: first everything that is
    /// not slow, then the slow suites, which are the tests marked `#[ignore = "slow: …"]`. Ends with cargo's code after a
    /// line `N passed, N failed`.
    Test(test::Args),
    /// Everything that must hold before a commit is good: format, clippy, docs, licences and advisories, tests.
    ///
    /// Stops at the first step that fails.
    Ci(ci::Args),
    /// Builds the release binary and runs `paceline bench` on a private PostgreSQL and Redis.
    Bench(bench::Args),
    /// Makes pictures of every page of the demo's console, light and dark, 1280 and 390 pixels wide.
    Screenshots(screenshots::Args),
}

fn main() -> ExitCode {
    let done = match Args::parse().chore {
        Chore::Test(args) => test::run(&args),
        Chore::Ci(args) => ci::run(&args),
        Chore::Bench(args) => bench::run(&args),
        Chore::Screenshots(args) => screenshots::run(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}
