//! Paceline's one executable: arguments, configuration, wiring. What it does is in the crates beside it.

mod bench;
mod cli;
mod commands;
mod config;
mod demo;
mod doctor;
mod gateway;
mod rig;
mod roles;
mod soak;
mod store;
mod telemetry;

use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The command could not do what it was asked to.
const FAILED: u8 = 1;

/// The arguments or the configuration are wrong; nothing was begun.
const MISCONFIGURED: u8 = 2;

fn main() -> ExitCode {
    faults::init();
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(FAILED, &format!("no runtime: {error}")),
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(code) => code,
        Err(commands::Failure::Misconfigured(errors)) => fail(MISCONFIGURED, &errors.join("\n")),
        Err(commands::Failure::Failed(error)) => fail(FAILED, &format!("{error:#}")),
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a command that failed, logging or not")]
fn fail(code: u8, message: &str) -> ExitCode {
    for line in message.lines() {
        eprintln!("paceline: {line}");
    }
    ExitCode::from(code)
}
