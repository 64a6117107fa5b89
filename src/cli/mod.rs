//! The command line: one file a verb. It reads arguments and environment, calls the layers below, and prints.
//!
//! Exit codes: 0 for success; 1 when what was asked for failed or found something; 2 when it could not begin: usage,
//! configuration, a folder or a port that cannot be used. Every refusal is one sentence on standard error.

mod audit;
mod backup;
mod certificate;
mod config;
mod du;
mod fsck;
mod gc;
mod namespace;
mod output;
mod policy;
mod progress;
mod publisher;
mod quota;
mod reference;
mod repo;
mod robot;
mod serve;
mod store;
mod team;
mod token;
mod user;
mod verify;
mod verify_bundle;
mod webhook;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::app::{App, AppBuilder, AppError};
use crate::auth::Auth;
use crate::config::{Config, Loaded, Sources};
use crate::hooks::Hooks;
use crate::registry::{Registry, RegistryError};
use crate::telemetry;

pub use reference::{Page, pages};

/// Version of the package, and the commit when the build was told.
static VERSION: LazyLock<String> = LazyLock::new(|| match option_env!("GIT_COMMIT") {
    Some(commit) if !commit.is_empty() => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
    _ => env!("CARGO_PKG_VERSION").to_owned(),
});

/// An OCI registry where nothing unproven can be pulled.
#[derive(Debug, Parser)]
#[command(name = "bonded", version = VERSION.as_str(), propagate_version = false)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serves the registry until it is told to stop.
    Serve(serve::ServeArgs),
    /// Shows or checks the configuration.
    #[command(subcommand)]
    Config(config::ConfigVerb),
    /// Checks that facts and bytes agree; prints one line for each finding.
    ///
    /// Works beside a running server. Ends with 0 when nothing was found, 1 when something was, 2 when the data folder
    /// cannot be read.
    Fsck(fsck::FsckArgs),
    /// Gives space back at once, or says what would go; beside running servers.
    Gc(gc::GcArgs),
    /// Shows what each repository takes: in all, shared with others, and what would come back if it went.
    Du(du::DuArgs),
    /// Lists or removes whole repositories, beside a running server if there is one.
    #[command(subcommand)]
    Repo(repo::RepoVerb),
    /// Makes, checks and restores backups.
    #[command(subcommand)]
    Backup(backup::BackupVerb),
    /// Moves everything to other stores, or takes over those of another registry.
    #[command(subcommand)]
    Store(store::StoreVerb),
    /// Makes, changes and ends accounts of people, beside a running server if there is one.
    ///
    /// The first account closes a registry that was open to everybody on this machine.
    #[command(subcommand)]
    User(user::UserVerb),
    /// Makes and ends accounts of machines, which have tokens and no password.
    #[command(subcommand)]
    Robot(robot::RobotVerb),
    /// Makes teams, and says who is in them.
    #[command(subcommand)]
    Team(team::TeamVerb),
    /// Makes namespaces, and says who may do what in them.
    #[command(subcommand, name = "ns")]
    Namespace(namespace::NamespaceVerb),
    /// Says whose jobs may publish without a secret of this registry: by tokens of GitHub Actions, GitLab, Kubernetes or
    /// any other OIDC issuer.
    #[command(subcommand)]
    Publisher(publisher::PublisherVerb),
    /// Makes and ends API tokens.
    #[command(subcommand)]
    Token(token::TokenVerb),
    /// Shows, verifies and exports the record of what happened, beside a running server if there is one.
    #[command(subcommand)]
    Audit(audit::AuditVerb),
    /// Makes and ends webhooks, and looks after what is sent to them.
    #[command(subcommand)]
    Webhook(webhook::WebhookVerb),
    /// Reads signature policies: whether they can be used, and what they ask for where.
    #[command(subcommand)]
    Policy(policy::PolicyVerb),
    /// Verifies the signatures of an artifact in a registry.
    Verify(verify::VerifyArgs),
    /// Checks the signature of a file: a Sigstore bundle, as `cosign sign-blob --bundle` writes it. Needs no server.
    ///
    /// Ends with 0 when the file is signed by whom it should be, 1 when it is not or cannot be read, 2 for wrong arguments.
    VerifyBundle(verify_bundle::VerifyBundleArgs),
    /// Writes the reference pages.
    #[command(hide = true)]
    Reference(reference::ReferenceArgs),
    /// Lists the points at which a fault test can kill the server.
    #[cfg(feature = "faults")]
    #[command(hide = true)]
    Points,
}

/// Where to read the configuration from.
#[derive(Clone, Debug, Default, Args)]
struct ConfigArgs {
    /// Configuration file (TOML). `BONDED_*` variables override it, flags override both.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The configuration, and which data folder.
#[derive(Clone, Debug, Default, Args)]
struct DataArgs {
    /// Data folder [default: ./bonded-data].
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Reads the process's arguments and environment and does what they say.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.verb {
        Verb::Serve(args) => serve::run(&args),
        Verb::Config(verb) => config::run(&verb),
        Verb::Fsck(args) => fsck::run(&args),
        Verb::Gc(args) => gc::run(&args),
        Verb::Du(args) => du::run(&args),
        Verb::Repo(verb) => repo::run(&verb),
        Verb::Backup(verb) => backup::run(&verb),
        Verb::Store(verb) => store::run(&verb),
        Verb::User(verb) => user::run(verb),
        Verb::Robot(verb) => robot::run(&verb),
        Verb::Team(verb) => team::run(&verb),
        Verb::Namespace(verb) => namespace::run(&verb),
        Verb::Publisher(verb) => publisher::run(&verb),
        Verb::Token(verb) => token::run(&verb),
        Verb::Audit(verb) => audit::run(&verb),
        Verb::Webhook(verb) => webhook::run(&verb),
        Verb::Policy(verb) => policy::run(&verb),
        Verb::Verify(args) => verify::run(&args),
        Verb::VerifyBundle(args) => verify_bundle::run(&args),
        Verb::Reference(args) => reference::run(&args),
        #[cfg(feature = "faults")]
        Verb::Points => Ok(points()),
    };
    ended.unwrap_or_else(|failure| {
        eprint(&failure.sentence);
        ExitCode::from(failure.code)
    })
}

/// Why a verb ended without success.
#[derive(Debug)]
struct Failure {
    code: u8,
    sentence: String,
}

impl Failure {
    /// It could not begin.
    fn usage(why: impl Display) -> Self {
        Self { code: 2, sentence: why.to_string() }
    }

    /// It began, and failed.
    fn failed(why: impl Display) -> Self {
        Self { code: 1, sentence: why.to_string() }
    }
}

impl ConfigArgs {
    fn load(&self) -> Result<Loaded, Failure> {
        load(self, Vec::new())
    }
}

impl DataArgs {
    fn load(&self) -> Result<Loaded, Failure> {
        load(&self.config, self.data.iter().map(|data| ("--data", "data", data.clone())).collect())
    }
}

fn load(args: &ConfigArgs, flags: Vec<(&'static str, &'static str, String)>) -> Result<Loaded, Failure> {
    let environment = std::env::vars_os().collect();
    Loaded::read(&Sources { file: args.config.clone(), environment, flags }).map_err(Failure::usage)
}

/// A variable of the environment that is no key of the configuration.
fn variable(name: &str) -> Option<OsString> {
    std::env::vars_os().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value)
}

/// Works on the configured stores, beside servers that may be running.
fn with_registry(
    config: Config,
    work: impl AsyncFnOnce(&Registry) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    runtime()?.block_on(async {
        let app = AppBuilder::new(config).open_beside().await.map_err(Failure::usage)?;
        work(app.registry()).await.map(|()| ExitCode::SUCCESS)
    })
}

/// Works on the accounts of the configured stores, beside servers that may be running.
fn with_auth(config: Config, work: impl AsyncFnOnce(&Auth) -> Result<(), Failure>) -> Result<ExitCode, Failure> {
    with_app(AppBuilder::new(config).open_beside(), async |app| work(app.auth()).await)
}

/// The same, and makes the stores where nothing was ever served: a server beyond loopback starts only with an account.
fn with_first_auth(config: Config, work: impl AsyncFnOnce(&Auth) -> Result<(), Failure>) -> Result<ExitCode, Failure> {
    let opened = async {
        match AppBuilder::new(config.clone()).open_beside().await {
            Err(error) if error.is_absent() => AppBuilder::new(config).open().await,
            opened => opened,
        }
    };
    with_app(opened, async |app| {
        app.check_first_account().await.map_err(Failure::usage)?;
        work(app.auth()).await
    })
}

/// Works with what is opened, and closes it whatever came of that.
fn with_app(
    opened: impl Future<Output = Result<App, AppError>>,
    work: impl AsyncFnOnce(&App) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    runtime()?.block_on(async {
        let app = opened.await.map_err(Failure::usage)?;
        let done = work(&app).await;
        app.close().await;
        done.map(|()| ExitCode::SUCCESS)
    })
}

/// Works on the webhooks of the configured stores, beside servers that may be running.
fn with_hooks(config: Config, work: impl AsyncFnOnce(&Hooks) -> Result<(), Failure>) -> Result<ExitCode, Failure> {
    with_app(AppBuilder::new(config).open_beside(), async |app| work(app.hooks()).await)
}

/// An argument that is parsed with a sentence of its own when it is wrong.
fn parsed<T: std::str::FromStr<Err: Display>>(what: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error| Failure::usage(format!("`{text}` is not {what}: {error}")))
}

fn failed(error: &RegistryError) -> Failure {
    Failure::failed(telemetry::chain(error))
}

/// A runtime whose threads, and so its memory, are bounded.
fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("bonded")
        .build()
        .map_err(|error| Failure::usage(format!("the runtime cannot be started: {error}")))
}

/// Most threads for work that blocks on the disk; each may hold a buffer, and a disk serves no more at once.
const BLOCKING_THREADS_MAX: usize = 32;

/// One line for each point: its name, who passes it, what its call separates.
#[cfg(feature = "faults")]
fn points() -> ExitCode {
    use crate::faults::{Moment, POINTS};

    for point in POINTS {
        for moment in Moment::ALL {
            print(format_args!("{}\t{}\t{}\n", point.name(moment), point.reach.as_str(), point.separates));
        }
    }
    ExitCode::SUCCESS
}

/// Prints to standard output; whoever closed it does not want to know.
fn print(text: impl Display) {
    let mut out = std::io::stdout().lock();
    drop(write!(out, "{text}").and_then(|()| out.flush()));
}

fn eprint(sentence: impl Display) {
    drop(writeln!(std::io::stderr().lock(), "bonded: {sentence}"));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_version_begins_with_that_of_the_package() {
        assert!(VERSION.starts_with(env!("CARGO_PKG_VERSION")));
    }
}
