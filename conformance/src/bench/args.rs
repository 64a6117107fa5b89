//! The command line of `conformance bench`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, ensure};
use clap::{Args, ValueEnum};

use super::Limits;
use super::workload::Workload;

/// What to measure, for how long.
#[derive(Args, Clone)]
pub(crate) struct BenchArgs {
    /// A registry that runs already, as NAME=URL[,pid=PID]; its memory is shown if its process is named.
    #[arg(long = "target", value_name = "TARGET")]
    pub(crate) targets: Vec<RunningTarget>,
    /// Registries to start with empty folders [default: all that are installed, unless --target is given].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) start: Vec<Known>,
    /// Where the program of a registry to start is, as NAME=PATH.
    #[arg(long = "program", value_name = "PROGRAM")]
    pub(crate) programs: Vec<NamedProgram>,
    /// The server binary [default: `bonded` beside this program].
    #[arg(long, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,
    /// Start the registries on Postgres (Bonded's facts) and one S3 server (everybody's bytes) instead of folders.
    #[arg(long)]
    pub(crate) topology: bool,
    /// How many nodes of Bonded, with --topology; connections are spread over them.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "topology", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) nodes: u8,
    /// Length of a round of one target.
    #[arg(long, value_name = "N", default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// How many rounds; in each, every target has its turn.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rounds: u16,
    /// Connections at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connections: u16,
    /// Only these workloads; may be repeated [default: all].
    #[arg(long = "workload", value_name = "NAME", value_delimiter = ',')]
    pub(crate) workloads: Vec<Workload>,
    /// Print the workloads and measure none.
    #[arg(long)]
    pub(crate) list: bool,
    /// Where the registries that are started keep their bytes [default: the folder for temporary files].
    #[arg(long, value_name = "PATH")]
    pub(crate) folder: Option<PathBuf>,
    /// Bytes (in 10^9) pushed to a registry after which it starts again with an empty folder, or gets no more rounds if
    /// it was not started here.
    #[arg(long, value_name = "N", default_value_t = 4.0)]
    pub(crate) bytes_max_gb: f64,
    /// Write all figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl BenchArgs {
    /// The registries to start.
    pub(crate) fn to_start(&self) -> Vec<Known> {
        if !self.start.is_empty() {
            return self.start.clone();
        }
        if !self.targets.is_empty() {
            return Vec::new();
        }
        Known::value_variants().iter().copied().filter(|known| !self.topology || known.can_use_s3()).collect()
    }

    /// The workloads to run.
    pub(crate) fn to_measure(&self) -> Vec<Workload> {
        if self.workloads.is_empty() { Workload::value_variants().to_vec() } else { self.workloads.clone() }
    }

    /// The size of a round.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
    pub(crate) fn limits(&self) -> Result<Limits> {
        let time = Duration::try_from_secs_f64(self.seconds).context("--seconds is not a length of time")?;
        let connections = usize::from(self.connections);
        Ok(Limits { time, connections, bytes_max: (self.bytes_max_gb * 1e9) as u64 })
    }

    /// The path that was given for a program.
    pub(crate) fn program(&self, name: &str) -> Option<&PathBuf> {
        self.programs.iter().find(|program| program.name == name).map(|program| &program.path)
    }
}

/// Registries that this program knows how to start, and nginx and a plain writer, which show what the machine can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Known {
    /// This registry with the default configuration.
    Bonded,
    /// This registry with `durability = "relaxed"`.
    BondedRelaxed,
    /// olareg v0.2.2.
    Olareg,
    /// distribution 3.
    Distribution,
    /// distribution 2 as Debian has it.
    DockerRegistry,
    /// zot.
    Zot,
    /// nginx, which serves the same files with sendfile: the limit for pulls.
    Nginx,
    /// Writing and hashing the same bytes in this program: the limit for pushes.
    WriteHash,
}

impl Known {
    /// Its name on the command line and in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bonded => "bonded",
            Self::BondedRelaxed => "bonded-relaxed",
            Self::Olareg => "olareg",
            Self::Distribution => "distribution",
            Self::DockerRegistry => "docker-registry",
            Self::Zot => "zot",
            Self::Nginx => "nginx",
            Self::WriteHash => "write-hash",
        }
    }

    /// Whether it can be started on an S3 server.
    pub(crate) fn can_use_s3(self) -> bool {
        matches!(self, Self::Bonded | Self::Distribution | Self::Zot)
    }
}

/// A registry that somebody else started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunningTarget {
    /// How the report calls it.
    pub(crate) name: String,
    /// `host:port`.
    pub(crate) authority: String,
    /// Its process, if that is known.
    pub(crate) pid: Option<u32>,
}

impl FromStr for RunningTarget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, rest) = text.split_once('=').context("a target is NAME=URL[,pid=PID]")?;
        let (url, pid) = match rest.split_once(",pid=") {
            Some((url, pid)) => (url, Some(pid.parse().context("the process id is no number")?)),
            None => (rest, None),
        };
        let authority = url.strip_prefix("http://").context("only http:// addresses are measured")?;
        let authority = authority.trim_end_matches('/');
        ensure!(!name.is_empty() && !authority.is_empty(), "a target is NAME=URL[,pid=PID]");
        ensure!(!authority.contains(['/', ',']), "{authority} is not HOST:PORT");
        let authority = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Self { name: name.to_owned(), authority, pid })
    }
}

/// Where a program is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedProgram {
    name: String,
    path: PathBuf,
}

impl FromStr for NamedProgram {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, path) = text.split_once('=').context("a program is NAME=PATH")?;
        Ok(Self { name: name.to_owned(), path: PathBuf::from(path) })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn parse(arguments: &[&str]) -> BenchArgs {
        Command::try_parse_from(["bench"].iter().chain(arguments)).unwrap().args
    }

    #[test]
    fn a_target_has_a_name_an_address_and_maybe_a_process() {
        let target: RunningTarget = "mine=http://127.0.0.1:5000/,pid=17".parse().unwrap();
        let expected = RunningTarget { name: "mine".into(), authority: "127.0.0.1:5000".into(), pid: Some(17) };
        assert_eq!(target, expected);
        assert_eq!("a=http://h".parse::<RunningTarget>().unwrap().authority, "h:80");
        for wrong in ["http://127.0.0.1:5000", "a=https://h:1", "a=http://h:1,pid=x", "a=http://h:1/v2", "=http://h:1"]
        {
            assert!(wrong.parse::<RunningTarget>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn everything_is_started_unless_something_is_named() {
        assert_eq!(parse(&[]).to_start(), Known::value_variants());
        assert_eq!(parse(&["--start", "bonded,olareg"]).to_start(), [Known::Bonded, Known::Olareg]);
        assert_eq!(parse(&["--target", "a=http://h:1"]).to_start(), []);
        assert_eq!(parse(&["--topology"]).to_start(), [Known::Bonded, Known::Distribution, Known::Zot]);
    }

    #[test]
    fn names_on_the_command_line_are_those_of_the_report() {
        for known in Known::value_variants() {
            assert_eq!(known.to_possible_value().unwrap().get_name(), known.name());
        }
    }
}
