//! A private Postgres cluster, made with the installed programs.
//!
//! It listens on loopback only and trusts whoever connects there. As root, which Postgres refuses, it runs as another user.

use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use super::process::{Launch, Process};
use super::programs::{Programs, User, free_port, user_instead_of_root};
use crate::random::Random;

/// What differs between one cluster and another.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Whether a commit is on the disk before it is answered. Without it tests are faster; with it a killed server
    /// comes back with everything it acknowledged.
    pub fsync: bool,
    /// `max_connections`.
    pub connections_max: u16,
    /// More settings, as `name=value`.
    pub settings: Vec<String>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { fsync: false, connections_max: 300, settings: Vec::new() }
    }
}

/// How a running cluster is ended before it is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Transactions are rolled back and connections closed in order (SIGINT).
    Fast,
    /// Everything is dropped, and the start recovers from the log, as after a power cut (SIGQUIT).
    Immediate,
}

/// A Postgres server for tests.
#[derive(Debug)]
pub struct PostgresCluster {
    bin: PathBuf,
    /// The address without a database: `postgres://user@host:port`, and what stands after `?`.
    base: String,
    query: String,
    own: Option<Own>,
}

/// A cluster that we started.
#[derive(Debug)]
struct Own {
    launch: Launch,
    port: u16,
    process: Mutex<Option<Process>>,
    /// Dropped last, after the process.
    _folder: TempDir,
}

impl PostgresCluster {
    /// Makes and starts a cluster with these options; takes about two seconds.
    pub fn start(options: &PostgresOptions) -> Result<Self> {
        let bin = Programs::from_environment().postgres()?;
        let user = user_instead_of_root()?;
        let folder = tempfile::Builder::new().prefix("bonded-postgres-").tempdir()?;
        if let Some(user) = user {
            chown(folder.path(), Some(user.uid), Some(user.gid))?;
        }
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700))?;
        let data = folder.path().join("data");
        init(&bin, user, &data)?;
        let port = free_port()?;
        let launch = Launch {
            program: bin.join("postgres"),
            arguments: arguments(&data, port, options),
            folder: folder.path().to_owned(),
            user,
            last_signal: "QUIT",
        };
        let process = launch_and_wait(&launch, &bin, port)?;
        let own = Own { launch, port, process: Mutex::new(Some(process)), _folder: folder };
        let base = format!("postgres://{SUPERUSER}@127.0.0.1:{port}");
        Ok(Self { bin, base, query: String::new(), own: Some(own) })
    }

    /// Uses a server that runs elsewhere; its user has to be allowed to create databases.
    pub fn at(url: &str) -> Result<Self> {
        let (rest, query) = url.split_once('?').map_or((url, String::new()), |(rest, q)| (rest, format!("?{q}")));
        let (scheme, place) = rest.split_once("://").context("the address of the database has no scheme")?;
        ensure!(matches!(scheme, "postgres" | "postgresql"), "{scheme} is not a Postgres address");
        let place = place.split_once('/').map_or(place, |(place, _)| place);
        let bin = Programs::from_environment().postgres()?;
        Ok(Self { bin, base: format!("{scheme}://{place}"), query, own: None })
    }

    /// The one cluster of this process, started by whoever asks first: the server at `$DATABASE_URL` if that is set, else
    /// a private one without fsync.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<PostgresCluster, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Self::open_shared().map_err(|error| format!("{error:#}")));
        shared.as_ref().map_err(|error| anyhow::anyhow!("the shared Postgres server could not be had: {error}"))
    }

    fn open_shared() -> Result<Self> {
        match std::env::var_os("DATABASE_URL").filter(|url| !url.is_empty()) {
            Some(url) => Self::at(url.to_str().context("DATABASE_URL is not text")?),
            None => Self::start(&PostgresOptions::default()),
        }
    }

    /// The address of a database on this server.
    pub fn url(&self, database: &str) -> String {
        format!("{}/{database}{}", self.base, self.query)
    }

    /// `host:port`, for a proxy in front.
    pub fn authority(&self) -> &str {
        let place = self.base.split_once("://").map_or(self.base.as_str(), |(_, place)| place);
        place.rsplit_once('@').map_or(place, |(_, authority)| authority)
    }

    /// The address of a database as it is seen through a proxy at `authority`.
    pub fn url_through(&self, authority: &str, database: &str) -> String {
        self.url(database).replacen(self.authority(), authority, 1)
    }

    /// Creates a database, as a copy of `template` if there is one (to which nobody may be connected), and gives its
    /// address.
    pub fn create_database(&self, name: &str, template: Option<&str>) -> Result<String> {
        let mut command = self.program("createdb");
        command.arg(format!("--maintenance-db={}", self.url("postgres")));
        if let Some(template) = template {
            command.arg(format!("--template={template}"));
        }
        run(command.arg(name))?;
        Ok(self.url(name))
    }

    /// Creates a database under a name that begins with `prefix` and is not taken.
    pub fn create_any_database(&self, prefix: &str, template: Option<&str>) -> Result<String> {
        let word = Random::new(Random::any_seed()).word();
        self.create_database(&format!("{prefix}_{word}"), template)
    }

    /// Drops a database and the connections to it.
    pub fn drop_database(&self, name: &str) -> Result<()> {
        let mut command = self.program("dropdb");
        command.arg(format!("--maintenance-db={}", self.url("postgres")));
        run(command.args(["--if-exists", "--force", name])).map(drop)
    }

    /// Runs statements with psql; gives the rows, unaligned.
    pub fn sql(&self, database: &str, statements: &str) -> Result<String> {
        let mut command = self.program("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statements, &self.url(database)]);
        run(&mut command)
    }

    /// Ends the server and starts it again on the same port and data; waits until it answers.
    pub fn restart(&self, mode: Restart) -> Result<()> {
        let own = self.own.as_ref().context("a server that runs elsewhere cannot be restarted")?;
        let mut process = own.process.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = process.take() {
            running.end(if mode == Restart::Fast { "INT" } else { "QUIT" })?;
        }
        *process = Some(launch_and_wait(&own.launch, &self.bin, own.port)?);
        Ok(())
    }

    /// Ends the server in order; [`Self::restart`] starts it again.
    pub fn stop(&self) -> Result<()> {
        let own = self.own.as_ref().context("a server that runs elsewhere cannot be stopped")?;
        let process = own.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        process.map_or(Ok(()), |process| process.end("INT").map(drop))
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.env("PGCONNECT_TIMEOUT", "10");
        command
    }
}

fn init(bin: &Path, user: Option<User>, data: &Path) -> Result<()> {
    let mut command = Command::new(bin.join("initdb"));
    command.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]);
    command.arg(format!("--username={SUPERUSER}")).arg("--pgdata").arg(data).current_dir("/");
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    run(&mut command).map(drop)
}

fn arguments(data: &Path, port: u16, options: &PostgresOptions) -> Vec<String> {
    let safe = if options.fsync { "on" } else { "off" };
    let mut settings = vec![
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        format!("port={port}"),
        format!("max_connections={}", options.connections_max),
        "shared_buffers=64MB".to_owned(),
        format!("fsync={safe}"),
        format!("synchronous_commit={safe}"),
        format!("full_page_writes={safe}"),
    ];
    settings.extend(options.settings.iter().cloned());
    let mut arguments = vec!["-D".to_owned(), data.display().to_string()];
    for setting in settings {
        arguments.extend(["-c".to_owned(), setting]);
    }
    arguments
}

fn launch_and_wait(launch: &Launch, bin: &Path, port: u16) -> Result<Process> {
    let mut process = Process::start(launch)?;
    process.wait_until(|| {
        let open = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        open && is_ready(bin, port)
    })?;
    Ok(process)
}

fn is_ready(bin: &Path, port: u16) -> bool {
    let mut command = Command::new(bin.join("pg_isready"));
    command.args(["-q", "-h", "127.0.0.1", "-U", SUPERUSER, "-p", &port.to_string()]);
    command.status().is_ok_and(|status| status.success())
}

fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{program} could not be started"))?;
    if !output.status.success() {
        bail!("{program} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

const SUPERUSER: &str = "postgres";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_keeps_its_databases_over_restarts_and_goes_with_its_folder() {
        let cluster = PostgresCluster::start(&PostgresOptions { fsync: true, ..PostgresOptions::default() }).unwrap();
        cluster.create_database("first", None).unwrap();
        cluster.sql("first", "create table t (a int); insert into t values (7)").unwrap();
        cluster.restart(Restart::Immediate).unwrap();
        cluster.create_database("second", Some("first")).unwrap();
        cluster.restart(Restart::Fast).unwrap();
        assert_eq!(cluster.sql("second", "select a from t").unwrap(), "7");
        let folder = cluster.own.as_ref().unwrap().launch.folder.clone();
        drop(cluster);
        assert!(!folder.exists());
    }

    #[test]
    fn a_url_is_taken_apart_at_its_database() {
        let cluster = PostgresCluster::at("postgres://u:p@db.example:5433/app?sslmode=require").unwrap();
        assert_eq!(cluster.url("x"), "postgres://u:p@db.example:5433/x?sslmode=require");
        assert_eq!(cluster.authority(), "db.example:5433");
        assert_eq!(cluster.url_through("127.0.0.1:9", "x"), "postgres://u:p@127.0.0.1:9/x?sslmode=require");
        assert!(PostgresCluster::at("mysql://x").is_err());
    }
}
