//! Paceline's one executable: arguments, configuration, wiring. What it does is in the crates beside it.

#[macro_use]
mod out;

mod access;
mod cli;
mod commands;
mod config;
mod demo;
mod doctor;
mod gateway;
mod metrics_help;
mod roles;
mod system;
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
        Err(commands::CommandError::Misconfigured(errors)) => fail(MISCONFIGURED, &errors.join("\n")),
        // Whoever read the answer has had enough of it.
        Err(commands::CommandError::Failed(error)) if error.chain().any(|cause| cause.is::<out::Closed>()) => {
            ExitCode::SUCCESS
        }
        Err(commands::CommandError::Failed(error)) => fail(FAILED, &format!("{error:#}")),
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    for line in message.lines() {
        out::complain(format_args!("paceline: {line}"));
    }
    ExitCode::from(code)
}
