//! Drives a spawned registry with wire-level scenarios and real clients.
//!
//! `scenarios/` holds what is checked over HTTP: one scenario for each group of the official conformance suite, and what
//! that suite does not test. `clients/` drives real tools, `faults/` kills the server and measures its memory. Every
//! scenario works in repositories of its own, so that order and repetition do not matter.

mod bench;
mod cli;
mod clients;
mod content;
mod deployment;
mod faults;
mod raw;
mod report;
mod runner;
mod scenarios;
mod server;
mod topology;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;
use cli::{Cli, Command, Environment};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment = Environment::read();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let result = match cli.command {
        None => runtime.block_on(runner::run(&cli.run, environment)),
        Some(Command::Run(args)) => runtime.block_on(runner::run(&args, environment)),
        Some(Command::Chaos(args)) => runtime.block_on(faults::chaos::run(&args, &environment)),
        Some(Command::Bench(args)) => runtime.block_on(bench::run(&args, &environment)),
        Some(Command::Authorized(args)) => runtime.block_on(bench::authorized::run(&args, &environment)),
        Some(Command::Gated(args)) => runtime.block_on(bench::gated::run(&args, &environment)),
        Some(Command::Topology(args)) => runtime.block_on(topology::run(&args, &environment)),
        Some(Command::Memory(args)) => runtime.block_on(faults::memory::measure(&args, &environment)),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("conformance: {error:#}");
    ExitCode::FAILURE
}
