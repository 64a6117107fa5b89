//! `conformance bench`: registries side by side on one machine, in turn.
//!
//! A workload is made ready on every target and checked once; then each round gives every target its turn, so that what
//! the machine does meanwhile meets all of them. Only ratios within a round are compared. The client lives in this
//! process and shares the machine with the server, so it does as little as it can: requests are there as bytes, bodies
//! are not kept, and hashes are continued instead of computed.

pub(crate) mod args;
pub(crate) mod authorized;
mod client;
mod cold;
mod crowd;
mod flows;
pub(crate) mod gated;
mod goals;
mod limit;
mod load;
mod payload;
mod peers;
mod processor;
mod report;
mod seeding;
mod stats;
mod target;
mod work;
mod workload;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;

use crate::cli::Environment;
use crate::deployment::Backends;
use crate::runner::Context;
use args::{BenchArgs, Known, RunningTarget};
use flows::MEGABYTE;
use load::{Plan, Turn};
use payload::Payloads;
use peers::Launcher;
use report::{Figures, Report};
use target::{Category, Target};
use work::Work;
use workload::Workload;

/// Measures what the arguments say; whether every operation succeeded.
pub(crate) async fn run(args: &BenchArgs, environment: &Environment) -> Result<bool> {
    if args.list {
        for workload in Workload::value_variants() {
            println!("{:<20} {}", workload.name(), workload.description());
        }
        return Ok(true);
    }
    println!("open files: {}", raise_descriptor_limit());
    let (targets, missing) = start(args, environment).await?;
    ensure!(!targets.is_empty(), "there is nothing to measure: {}", missing.join("; "));
    let report = Report::begin(args, &targets, missing);
    let largest = if args.to_measure().iter().all(|workload| workload.is_small()) { 10 } else { 100 };
    let mut bench = Bench { args, targets, payloads: Payloads::new(largest * MEGABYTE), report, errors: 0 };
    for workload in args.to_measure() {
        bench.measure(workload).await.with_context(|| workload.name())?;
    }
    if let Some(file) = &args.json {
        std::fs::write(file, bench.report.json()?).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    if bench.errors > 0 {
        println!("FAILED: {} operations did not succeed, so the figures are worth nothing", bench.errors);
    }
    Ok(bench.errors == 0)
}

/// The scenario: every way of using a registry works for a moment, on a server of its own.
pub(crate) async fn smoke(context: &Context) -> Result<()> {
    let server = context.start_server("").await?;
    let name = Known::Bonded.name();
    let running: RunningTarget = format!("{name}={},pid={}", server.url(), server.pid()?).parse()?;
    let mut target = Target::running(&running);
    let payloads = Payloads::new(10 * MEGABYTE);
    let limits = Limits { time: Duration::from_millis(50), connections: 2, bytes_max: u64::MAX };
    for workload in Workload::value_variants().iter().copied().filter(|workload| workload.is_small()) {
        let mut work = prepare(workload, &mut target, &payloads).await.with_context(|| workload.name())?;
        let turn = round(workload, limits, &mut target, &mut work, &payloads).await.with_context(|| workload.name())?;
        ensure!(turn.errors == 0, "{}: {}", workload.name(), turn.first_error.unwrap_or_default());
        ensure!(turn.operations > 0, "{} did nothing", workload.name());
    }
    ensure!(target.peak_bytes().is_some(), "the memory of the server is not known");
    Ok(())
}

/// Servers and clients need a descriptor for each connection; servers inherit our limit.
fn raise_descriptor_limit() -> String {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // What cannot be raised is what there is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.map_or_else(|| "no limit".to_owned(), |limit| format!("at most {limit}"))
}

/// Starts what is to be started; also gives what is missing, in words.
async fn start(args: &BenchArgs, environment: &Environment) -> Result<(Vec<Target>, Vec<String>)> {
    let backends = if args.topology { Some(Backends::start()?) } else { None };
    let mut targets: Vec<Target> = args.targets.iter().map(Target::running).collect();
    let mut missing = Vec::new();
    for known in args.to_start() {
        match Launcher::new(known, args, environment, backends.clone()) {
            Ok(launcher) => targets.push(Target::start(launcher).await.with_context(|| known.name())?),
            Err(error) => missing.push(format!("{:<16} left out: {error:#}", known.name())),
        }
    }
    if !args.topology && !targets.iter().any(is_reference) {
        missing.push("Without olareg v0.2.2, which is the fastest peer, no ratio is proven.".to_owned());
    }
    Ok((targets, missing))
}

/// Whether it is the peer by which ratios are proven.
fn is_reference(target: &Target) -> bool {
    target.known == Some(Known::Olareg) && target.version.trim_start_matches('v') == "0.2.2"
}

/// The size of a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long operations begin.
    pub(crate) time: Duration,
    /// Connections at once.
    pub(crate) connections: usize,
    /// Most bytes that a registry may have taken before a round of pushes.
    pub(crate) bytes_max: u64,
}

/// A run in progress.
struct Bench<'a> {
    args: &'a BenchArgs,
    targets: Vec<Target>,
    payloads: Arc<Payloads>,
    report: Report,
    errors: u64,
}

impl Bench<'_> {
    async fn measure(&mut self, workload: Workload) -> Result<()> {
        let mut all = Vec::new();
        let mut works = Vec::new();
        for target in &mut self.targets {
            let mut figures = Figures::new(target);
            let prepared = prepare(workload, target, &self.payloads).await;
            target.reset_peak();
            works.push(prepared.map_err(|error| figures.left_out = Some(format!("{error:#}"))).ok());
            all.push(figures);
        }
        let limits = self.args.limits()?;
        for _ in 0..self.args.rounds {
            for (at, target) in self.targets.iter_mut().enumerate() {
                let (Some(Some(work)), Some(figures)) = (works.get_mut(at), all.get_mut(at)) else { continue };
                if figures.left_out.is_some() {
                    continue;
                }
                match round(workload, limits, target, work, &self.payloads).await {
                    Ok(turn) => figures.turns.push(turn),
                    Err(error) => figures.left_out = Some(format!("{error:#}")),
                }
                figures.peak_bytes = figures.peak_bytes.max(target.peak_bytes());
            }
        }
        self.errors += all.iter().map(Figures::errors).sum::<u64>();
        // A peer may lack what we have; what we lack ourselves is a failure.
        let is_lacking = |figures: &&Figures| figures.category == Category::Own && figures.turns.is_empty();
        self.errors += all.iter().filter(is_lacking).count() as u64;
        self.report.add(workload, &all);
        Ok(())
    }
}

/// Seeds a target and checks what it answers; an error says why it takes no part.
async fn prepare(workload: Workload, target: &mut Target, payloads: &Payloads) -> Result<Work> {
    match target.known {
        Some(Known::WriteHash) => {
            let push = workload.push().filter(|_| workload.seeds().is_empty());
            return push.map(Work::Write).context("it only takes pushes");
        }
        Some(Known::Nginx) => ensure!(workload.push().is_none(), "it only gives files"),
        _ => {}
    }
    for seed in workload.seeds() {
        target.seed(*seed, payloads).await?;
    }
    let seeds: Vec<_> = workload.seeds().iter().map(|seed| target.seeded(*seed)).collect();
    let work = Work::new(workload, target.authority()?, &seeds)?;
    work.check(target.authority()?).await?;
    Ok(work)
}

/// The turn of one target in one round; an error says why it can have no more of them.
async fn round(
    workload: Workload,
    limits: Limits,
    target: &mut Target,
    work: &mut Work,
    payloads: &Payloads,
) -> Result<Turn> {
    let mut is_new = work::is_new_each_round(workload);
    if target.pushed() > limits.bytes_max && workload.push().is_some() {
        ensure!(target.restart_empty().await?, "it has taken as many bytes as it may");
        is_new = true;
    }
    if is_new {
        *work = prepare(workload, target, payloads).await?;
    }
    // What others have written is on the disk before this one is measured.
    tokio::task::block_in_place(rustix::fs::sync);
    if let (Work::Rush(_), Some(data)) = (&*work, target.data()) {
        cold::forget(data)?;
    }
    let Limits { connections, time, .. } = limits;
    let plan = Plan { connections, time, operations_max: None, buffer_bytes: client::BUFFER_BYTES };
    let turn = tokio::task::block_in_place(|| work.turn(plan, target, payloads))?;
    if workload.push().is_some() {
        target.count_pushed(turn.bytes);
    }
    Ok(turn)
}
