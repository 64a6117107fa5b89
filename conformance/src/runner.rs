//! Runs the registered scenarios one after the other against one registry.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::LocalBoxFuture;
use tokio::time::{Duration, Instant, timeout};

use crate::bench;
use crate::cli::{Environment, RunArgs};
use crate::content::Random;
use crate::deployment::{Backends, Deployment, Setup};
use crate::report::{Outcome, Report, not_run};
use crate::server::Server;
use crate::wire::Wire;
use crate::{clients, faults, scenarios};

/// Longest time for one scenario.
const SCENARIO_MAX: Duration = Duration::from_mins(5);

/// The configuration of the server that is started: what the strict default forbids is allowed or forbidden in
/// repositories with telling names only.
const CONFIG: &str = r#"
sparse = ["sparse/**"]
immutable_tags = ["locked/**:v*"]
"#;

/// What every scenario gets.
pub(crate) struct Context {
    /// A client of the registry under test.
    pub(crate) wire: Wire,
    /// Random choices.
    pub(crate) random: Random,
    /// The environment.
    pub(crate) environment: Environment,
    require_clients: bool,
    notes: RefCell<Vec<String>>,
    /// How often the kill scenario kills.
    pub(crate) rounds: usize,
    setup: Setup,
    deployment: Option<Deployment>,
    binary: Option<PathBuf>,
    faults_binary: Option<PathBuf>,
    /// Whether that binary was asked for.
    is_faults_named: bool,
}

impl Context {
    /// A repository name that no other scenario uses.
    pub(crate) fn repo(&self, name: &str) -> String {
        format!("conformance/{}/{name}", self.random.word())
    }

    /// Adds figures to the line of the scenario that runs.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.notes.borrow_mut().push(text.into());
    }

    /// Where a program of a real client is.
    pub(crate) fn tool(&self, program: &str) -> Result<PathBuf> {
        match self.environment.find(program) {
            Some(path) => Ok(path),
            None if self.require_clients => bail!("{program} is not installed"),
            None => Err(not_run(format!("{program} is not installed"))),
        }
    }

    /// The first node of the registry that this program started, which has [`CONFIG`].
    pub(crate) fn own_server(&self) -> Result<&Server> {
        let deployment = self.deployment.as_ref().map(Deployment::first);
        deployment.ok_or_else(|| not_run("needs a server that this program starts"))
    }

    /// `host:port` of one node, without a proxy before it where we know the way.
    pub(crate) fn node_authority(&self) -> String {
        let url = self.deployment.as_ref().map(|deployment| deployment.first().url());
        url.map_or_else(|| self.wire.authority().to_owned(), |url| url.replacen("http://", "", 1))
    }

    /// Starts another server with empty stores of the kind that is driven.
    pub(crate) async fn start_server(&self, config: &str) -> Result<Server> {
        Server::start_on(self.binary()?, &self.environment, config, self.setup.stores()?).await
    }

    /// Starts a server that can be made to kill itself, with empty stores of the kind that is driven.
    pub(crate) async fn start_faulty_server(&self, config: &str) -> Result<Server> {
        Server::start_on(self.faults_binary()?, &self.environment, config, self.setup.stores()?).await
    }

    /// The binary that has the feature `faults`; without one what needs it is not run, unless one was named.
    pub(crate) fn faults_binary(&self) -> Result<&Path> {
        self.binary()?;
        match &self.faults_binary {
            Some(path) if path.is_file() => Ok(path),
            Some(path) if self.is_faults_named => {
                bail!("there is no {}: build it with the feature `faults`", path.display())
            }
            _ => Err(not_run("needs a server binary with the feature `faults`")),
        }
    }

    /// Starts another registry, with as many nodes as the one that is driven.
    pub(crate) async fn start_registry(&self, config: &str) -> Result<Deployment> {
        Deployment::start(&self.setup, self.binary()?, &self.environment, config).await
    }

    /// Whether the registry is one with a folder.
    pub(crate) fn has_folder(&self) -> bool {
        matches!(self.setup, Setup::Single)
    }

    /// The binary of which a scenario may start a server of its own.
    pub(crate) fn binary(&self) -> Result<&PathBuf> {
        self.binary.as_ref().ok_or_else(|| not_run("needs a server that this program starts"))
    }
}

type Run = Box<dyn for<'a> Fn(&'a Context) -> LocalBoxFuture<'a, Result<()>>>;

/// A check with a name.
pub(crate) struct Scenario {
    /// The heading it stands under.
    pub(crate) group: &'static str,
    /// Its name in the group.
    pub(crate) name: String,
    run: Run,
}

/// Makes a scenario of an async function.
pub(crate) fn scenario<F>(group: &'static str, name: impl Into<String>, run: F) -> Scenario
where
    F: AsyncFn(&Context) -> Result<()> + 'static,
{
    let run = Rc::new(run);
    let run = erase(move |context| {
        let run = Rc::clone(&run);
        Box::pin(async move { run(context).await })
    });
    Scenario { group, name: name.into(), run }
}

fn erase<F>(run: F) -> Run
where
    F: for<'a> Fn(&'a Context) -> LocalBoxFuture<'a, Result<()>> + 'static,
{
    Box::new(run)
}

impl Scenario {
    /// "group / name", which `--filter` looks into.
    pub(crate) fn title(&self) -> String {
        format!("{} / {}", self.group, self.name)
    }
}

/// Runs what the arguments ask for; whether nothing failed.
pub(crate) async fn run(args: &RunArgs, environment: Environment) -> Result<bool> {
    let mut all = scenarios::all();
    scenarios::check_groups(&all)?;
    all.extend(clients::selected(&args.clients)?);
    all.extend(faults::all(args.topology));
    all.push(scenario("bench", "smoke", bench::smoke));
    all.retain(|scenario| args.filter.as_ref().is_none_or(|text| scenario.title().contains(text)));
    if args.list {
        for scenario in &all {
            println!("{}", scenario.title());
        }
        return Ok(true);
    }
    ensure!(!all.is_empty(), "no scenario matches the filter");
    let context = prepare(args, environment).await?;
    let mut report = Report::default();
    for scenario in all {
        let begin = Instant::now();
        let outcome = match timeout(SCENARIO_MAX, (scenario.run)(&context)).await {
            Ok(result) => Outcome::from(result),
            Err(_) => Outcome::Failed(format!("not finished after {} s", SCENARIO_MAX.as_secs())),
        };
        let notes = context.notes.take().join("; ");
        report.add(scenario.group, &scenario.name, outcome, begin.elapsed(), &notes);
    }
    let passed = report.close();
    finish(context, passed).await?;
    Ok(passed)
}

async fn prepare(args: &RunArgs, environment: Environment) -> Result<Context> {
    let seed = args.seed.unwrap_or_else(Random::any_seed);
    let setup = if args.topology { Setup::Topology(Backends::start()?, args.nodes.into()) } else { Setup::Single };
    let (deployment, binary, url) = if let Some(url) = &args.url {
        (None, None, url.clone())
    } else {
        let binary = args.server.clone().map_or_else(Server::default_binary, Ok)?;
        let deployment = Deployment::start(&setup, &binary, &environment, CONFIG).await?;
        let url = deployment.url();
        (Some(deployment), Some(binary), url)
    };
    let kind = if args.topology { ", nodes on Postgres and S3 behind a proxy" } else { "" };
    println!("registry {url}{kind}, seed {seed}\n");
    let wire = Wire::new(&url).context("the HTTP client could not be made")?;
    let random = Random::new(seed);
    let require_clients = args.require_clients || environment.ci;
    let faults_binary = args.faults_server.clone().or_else(|| Some(binary.as_ref()?.with_file_name("bonded-faults")));
    Ok(Context {
        wire,
        random,
        environment,
        require_clients,
        notes: RefCell::default(),
        rounds: args.rounds,
        setup,
        deployment,
        binary,
        faults_binary,
        is_faults_named: args.faults_server.is_some(),
    })
}

async fn finish(context: Context, passed: bool) -> Result<()> {
    if let Some(mut deployment) = context.deployment {
        if let Some(requests) = deployment.requests() {
            println!("requests by node: {requests:?}");
        }
        if !passed {
            eprintln!("\nthe last lines of the server's log:\n{}", deployment.log_tail());
        }
        deployment.stop().await?;
    }
    Ok(())
}
