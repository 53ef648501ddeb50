//! `cargo xtask ci`: the steps in the order of their cost.

use crate::cargo::cargo;
use crate::test;
use anyhow::{Context, Result, bail};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// The releases of cargo's companions that are installed when there are none.
const CARGO_DENY: &str = "cargo-deny@0.20.2";
const CARGO_MACHETE: &str = "cargo-machete@0.9.2";

/// How much to check.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leaves out the slow test suites.
    #[arg(long)]
    fast: bool,
}

/// Runs the steps up to the first that fails.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    step("format", || succeed(cargo(&["fmt", "--all", "--check"])?))?;
    step("clippy", || {
        succeed(cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])?)
    })?;
    step("docs", || {
        let mut doc = cargo(&["doc", "--locked", "--no-deps", "--workspace"])?;
        doc.env("RUSTDOCFLAGS", "-D warnings");
        succeed(doc)
    })?;
    step("dependencies", dependencies)?;
    println!("\n== tests");
    // Without a closing line of its own: the summary of the tests is the last word.
    test::run(&test::Args::all(args.fast))
}

fn step(name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("\n== {name}");
    let start = Instant::now();
    let result = run();
    let seconds = start.elapsed().as_secs_f64();
    result.with_context(|| format!("stopped at the step `{name}` after {seconds:.1} s"))?;
    println!("== {name}: ok, {seconds:.1} s");
    Ok(())
}

fn succeed(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}

/// Installs a companion of cargo's that is not there.
fn companion(name: &str, release: &str) -> Result<()> {
    let present = cargo(&[name, "--version"])?.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success();
    if !present {
        println!("installing {release}, which takes some minutes");
        succeed(cargo(&["install", "--locked", release])?)?;
    }
    Ok(())
}

/// No dependency that no line uses, by cargo-machete; licences, sources and bans by cargo-deny, and the advisories if their
/// database can be fetched.
fn dependencies() -> Result<()> {
    companion("machete", CARGO_MACHETE)?;
    succeed(cargo(&["machete"])?)?;
    companion("deny", CARGO_DENY)?;
    succeed(cargo(&["deny", "check", "bans", "licenses", "sources"])?)?;
    let advisories = cargo(&["deny", "--color", "never", "check", "advisories"])?.output()?;
    let said = String::from_utf8_lossy(&advisories.stderr);
    match advisory_outcome(advisories.status.success(), &said) {
        Advisories::Clean => println!("advisories ok"),
        Advisories::NotFetched => println!(
            "WARNING: advisories NOT CHECKED, because their database cannot be fetched from here:\n{}",
            said.trim_end()
        ),
        Advisories::Found => bail!("cargo deny check advisories failed:\n{}", said.trim_end()),
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Advisories {
    Clean,
    NotFetched,
    Found,
}

/// A machine without the network must still be able to check the rest; a finding must never pass for that.
fn advisory_outcome(success: bool, said: &str) -> Advisories {
    if success {
        Advisories::Clean
    } else if said.contains("failed to fetch advisory database") {
        Advisories::NotFetched
    } else {
        Advisories::Found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failed_fetch_is_excused() {
        assert_eq!(advisory_outcome(true, ""), Advisories::Clean);
        let offline = "[ERROR] failed to fetch advisory database https://example.com with cli: failed to clone";
        assert_eq!(advisory_outcome(false, offline), Advisories::NotFetched);
        assert_eq!(advisory_outcome(false, "error[vulnerability]: RUSTSEC-0000-0000"), Advisories::Found);
        assert_eq!(advisory_outcome(false, ""), Advisories::Found);
    }
}
