//! The command line, and the only place that reads the environment.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use conformance::servers::Programs;

use crate::bench::args::BenchArgs;

/// Drives a registry with wire-level scenarios and real clients.
#[derive(Parser)]
#[command(name = "conformance", args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Runs the scenarios (the default).
    Run(RunArgs),
    /// Measures the memory of the server under many large uploads at once.
    Memory(MemoryArgs),
    /// Lets nodes, Postgres and S3 fail in every way while clients push, pull and delete, and checks what was promised.
    Chaos(ChaosArgs),
    /// Measures registries side by side.
    Bench(Box<BenchArgs>),
    /// Measures what it costs the server to know who asks.
    Authorized(AuthorizedArgs),
    /// Measures what signature policies cost: pulls of what is judged already, first judgements, and judgements among junk.
    Gated(GatedArgs),
    /// Starts Postgres, an S3 server, nodes and a proxy before them, and keeps them until Ctrl-C.
    Topology(TopologyArgs),
}

/// Which server, which scenarios.
#[derive(Args, Clone)]
pub(crate) struct RunArgs {
    /// Run only scenarios whose "group / name" contains this text.
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// Print the scenarios and run none.
    #[arg(long)]
    pub(crate) list: bool,
    /// Use the registry that runs at this address instead of starting one.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The server binary [default: `bonded` beside this program].
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    pub(crate) server: Option<PathBuf>,
    /// The server binary with the feature `faults` [default: `bonded-faults` beside this program].
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    pub(crate) faults_server: Option<PathBuf>,
    /// Drive nodes on Postgres and S3, behind a proxy that sends each request to the next, instead of one with a folder.
    #[arg(long, conflicts_with = "url")]
    pub(crate) topology: bool,
    /// How many nodes, with --topology.
    #[arg(long, value_name = "N", default_value_t = 2, requires = "topology", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) nodes: u8,
    /// Which real clients: all, none, or names with commas between.
    #[arg(long, value_name = "NAMES", default_value = "all")]
    pub(crate) clients: String,
    /// A client that is not installed is a failure (also with CI=true).
    #[arg(long)]
    pub(crate) require_clients: bool,
    /// How often the kill scenario kills the server.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Seed of all random choices; printed by each run.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

/// The size of the memory measurement and its bounds.
#[derive(Args, Clone)]
pub(crate) struct MemoryArgs {
    /// The server binary [default: `bonded` beside this program].
    #[arg(long, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,
    /// Measure a node on Postgres and S3 instead of one with a folder.
    #[arg(long)]
    pub(crate) topology: bool,
    /// Uploads at once.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) uploads: usize,
    /// Size of each upload in MB (10^6 bytes).
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) size_mb: u64,
    /// Largest peak of the resident memory in MB.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) peak_mb: u64,
    /// Largest resident memory in MB of the idle server, before the uploads and after them.
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub(crate) idle_mb: u64,
}

/// How much to ask, and what it may cost.
#[derive(Args, Clone)]
pub(crate) struct AuthorizedArgs {
    /// The server binary [default: `bonded` beside this program].
    #[arg(long, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,
    /// Requests a round.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(crate) requests: u32,
    /// How many rounds; in each, both servers have their turn.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) rounds: u32,
    /// Connections at once.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) connections: u32,
    /// How much more processor time a request may take, in percent.
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    pub(crate) percent_max: f64,
}

/// Which server, how often.
#[derive(Args, Clone)]
pub(crate) struct GatedArgs {
    /// The server binary [default: `bonded` beside this program].
    #[arg(long, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,
    /// Requests a round.
    #[arg(long, value_name = "N", default_value_t = 40_000)]
    pub(crate) requests: u32,
    /// How many rounds; in each, both servers have their turn.
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub(crate) rounds: u32,
    /// Connections at once.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) connections: u32,
    /// Signatures that are nobody's, of each of two images.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) junk: u32,
}

/// What to start.
#[derive(Args, Clone)]
pub(crate) struct TopologyArgs {
    /// The server binary [default: `bonded` beside this program].
    #[arg(long, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) nodes: u8,
    /// Further lines of the nodes' configuration, such as `sparse = ["mirror/**"]`.
    #[arg(long, value_name = "TOML", default_value = "")]
    pub(crate) config: String,
}

/// How long, and how much of it.
#[derive(Args, Clone)]
pub(crate) struct ChaosArgs {
    /// The server binary [default: `bonded` beside this program].
    #[arg(long, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,
    /// How long it goes on; what is checked afterwards takes another minute.
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    pub(crate) minutes: f64,
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) nodes: u8,
    /// How many clients with repositories of their own.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) workers: u8,
    /// One node with a folder instead, which is killed over and over.
    #[arg(long)]
    pub(crate) folder: bool,
    /// Seed of all random choices; printed by each run.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

/// What the environment says.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    /// `CI=true`.
    pub(crate) ci: bool,
    programs: Programs,
    /// Names of variables that would configure the server and are hidden from it.
    pub(crate) server_variables: Vec<String>,
}

impl Environment {
    /// Reads it, once.
    pub(crate) fn read() -> Self {
        let server_variables = std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .filter(|name| name.starts_with("BONDED_"))
            .collect();
        let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        Self { ci, programs: Programs::from_environment(), server_variables }
    }

    /// Where a program is.
    pub(crate) fn find(&self, program: &str) -> Option<PathBuf> {
        self.programs.find(program)
    }
}
