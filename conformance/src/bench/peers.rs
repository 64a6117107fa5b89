//! How known registries are started: with empty folders or buckets, on loopback, without logs, with deletes allowed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use conformance::servers::free_port;
use tempfile::TempDir;

use super::args::{BenchArgs, Known};
use crate::cli::Environment;
use crate::deployment::{Backends, SharedStores, Stores};
use crate::server::Server;

/// Starts one kind of registry, as often as it is asked to.
pub(crate) struct Launcher {
    known: Known,
    program: PathBuf,
    environment: Environment,
    /// Where folders are made.
    folder: PathBuf,
    /// Where everybody's bytes go, with --topology.
    backends: Option<Arc<Backends>>,
    nodes: u8,
}

/// A registry that runs, until the value is dropped.
pub(crate) struct Life {
    /// `host:port` of each node.
    pub(crate) authorities: Vec<String>,
    /// Its processes.
    pub(crate) pids: Vec<u32>,
    /// Where its bytes end up.
    pub(crate) data: Option<PathBuf>,
    _processes: Processes,
}

enum Processes {
    /// Somebody else's.
    Foreign,
    /// None, only a folder.
    Folder { _folder: TempDir },
    /// A process and its folder, which goes after it.
    One { _process: Running, _folder: TempDir },
    /// Nodes of Bonded.
    Nodes { _servers: Vec<Server> },
}

impl Life {
    /// A registry that somebody else started.
    pub(crate) fn foreign(authority: &str, pid: Option<u32>) -> Self {
        let (authorities, pids) = (vec![authority.to_owned()], pid.into_iter().collect());
        Self { authorities, pids, data: None, _processes: Processes::Foreign }
    }
}

impl Launcher {
    /// For a known registry; an error says why it cannot be started here.
    pub(crate) fn new(
        known: Known,
        args: &BenchArgs,
        environment: &Environment,
        backends: Option<Arc<Backends>>,
    ) -> Result<Self> {
        let program = match known {
            Known::Bonded | Known::BondedRelaxed => args.server.clone().map_or_else(Server::default_binary, Ok)?,
            Known::WriteHash => PathBuf::new(),
            _ => {
                let found = args.program(known.name()).cloned().or_else(|| environment.find(known.name()));
                found.context("it is not installed")?
            }
        };
        if backends.is_some() && !known.can_use_s3() {
            bail!("it is not measured on S3");
        }
        let folder = args.folder.clone().unwrap_or_else(std::env::temp_dir);
        let environment = environment.clone();
        Ok(Self { known, program, environment, folder, backends, nodes: args.nodes })
    }

    /// Which registry it starts.
    pub(crate) fn known(&self) -> Known {
        self.known
    }

    /// What the program says about its version.
    pub(crate) fn version(&self) -> String {
        let arguments: &[&str] = match self.known {
            Known::Olareg => &["version"],
            Known::Nginx => &["-v"],
            Known::WriteHash => return "in this program".to_owned(),
            _ => &["--version"],
        };
        let output = self.command().args(arguments).stdin(Stdio::null()).output();
        let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        version_in(&String::from_utf8_lossy(&text))
    }

    /// Starts it with nothing stored.
    pub(crate) async fn launch(&self) -> Result<Life> {
        match (&self.backends, self.known) {
            (Some(backends), Known::Bonded | Known::BondedRelaxed) => self.launch_nodes(backends).await,
            (None, Known::WriteHash) => self.launch_nothing(),
            _ => self.launch_program().await,
        }
    }

    fn launch_nothing(&self) -> Result<Life> {
        let folder = self.new_folder()?;
        let data = Some(folder.path().to_owned());
        let processes = Processes::Folder { _folder: folder };
        Ok(Life { authorities: Vec::new(), pids: Vec::new(), data, _processes: processes })
    }

    async fn launch_nodes(&self, backends: &Arc<Backends>) -> Result<Life> {
        let stores = SharedStores::create(backends)?;
        let mut servers = Vec::new();
        for _ in 0..self.nodes {
            let stores = Stores::Shared(stores.clone());
            servers.push(Server::start_on(&self.program, &self.environment, &self.bonded(), stores).await?);
        }
        let authority = |server: &Server| server.url().trim_start_matches("http://").to_owned();
        let authorities = servers.iter().map(authority).collect();
        let pids = servers.iter().map(Server::pid).collect::<Result<_>>()?;
        let data = Some(stores.bucket_folder());
        Ok(Life { authorities, pids, data, _processes: Processes::Nodes { _servers: servers } })
    }

    async fn launch_program(&self) -> Result<Life> {
        let folder = self.new_folder()?;
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
        let port = free_port()?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut command = self.command();
        command.args(self.arguments(folder.path(), port)?).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("{} could not be started", self.program.display()))?;
        let mut process = Running(child);
        wait_until_ready(&mut process, port, folder.path()).await?;
        let pids = processes_of(process.0.id());
        let authorities = vec![format!("127.0.0.1:{port}")];
        let processes = Processes::One { _process: process, _folder: folder };
        Ok(Life { authorities, pids, data: Some(data), _processes: processes })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for name in &self.environment.server_variables {
            command.env_remove(name);
        }
        command
    }

    fn new_folder(&self) -> Result<TempDir> {
        let folder = tempfile::Builder::new().prefix("bonded-bench-").tempdir_in(&self.folder);
        folder.with_context(|| format!("no folder in {}", self.folder.display()))
    }

    /// Writes the configuration into the folder and gives the arguments.
    fn arguments(&self, folder: &Path, port: u16) -> Result<Vec<String>> {
        let data = folder.join("data").display().to_string();
        let config = folder.join("config").display().to_string();
        let (text, arguments) = match self.known {
            Known::Bonded | Known::BondedRelaxed => {
                (self.bonded(), format!("serve --listen 127.0.0.1:{port} --data {data} --config {config}"))
            }
            Known::Olareg => (
                String::new(),
                format!("serve --addr 127.0.0.1 --port {port} --dir {data} --api-delete --api-blob-delete -v error"),
            ),
            Known::Distribution | Known::DockerRegistry => (self.distribution(&data, port)?, format!("serve {config}")),
            Known::Zot => (self.zot(&data, port)?, format!("serve {config}")),
            Known::Nginx => (nginx(folder, &data, port), format!("-c {config} -e {}", folder.join("errors").display())),
            Known::WriteHash => bail!("there is nothing to start"),
        };
        std::fs::write(&config, text)?;
        Ok(arguments.split(' ').map(str::to_owned).collect())
    }

    /// The default configuration, but for a log of errors only and room for the 10,000 connections of one workload and
    /// those that are just being closed.
    fn bonded(&self) -> String {
        let durability = if self.known == Known::BondedRelaxed { "relaxed" } else { "strict" };
        format!("durability = \"{durability}\"\nlog.level = \"error\"\nlimits.connections_max = 12000\n")
    }

    fn distribution(&self, data: &str, port: u16) -> Result<String> {
        let mut text = "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage:\n".to_owned();
        match &self.backends {
            None => writeln!(text, "  filesystem: {{rootdirectory: {data}}}")?,
            Some(backends) => {
                let s3 = &backends.s3;
                let bucket = s3.create_any_bucket("distribution")?;
                let (access, secret, region) = (s3.access_key(), s3.secret_key(), s3.region());
                let endpoint = s3.endpoint();
                writeln!(
                    text,
                    "  s3: {{accesskey: {access}, secretkey: {secret}, region: {region}, regionendpoint: \
                     '{endpoint}', forcepathstyle: true, secure: false, bucket: {bucket}}}\n  redirect: {{disable: true}}"
                )?;
            }
        }
        text.push_str("  delete: {enabled: true}\n  cache: {blobdescriptor: inmemory}\n");
        writeln!(text, "http: {{addr: '127.0.0.1:{port}', secret: bench}}")?;
        Ok(text)
    }

    fn zot(&self, data: &str, port: u16) -> Result<String> {
        let mut storage = serde_json::json!({ "rootDirectory": data });
        if let Some(backends) = &self.backends {
            let s3 = &backends.s3;
            storage["dedupe"] = false.into();
            storage["storageDriver"] = serde_json::json!({
                "name": "s3", "rootdirectory": "/zot", "bucket": s3.create_any_bucket("zot")?,
                "region": s3.region(), "regionendpoint": s3.endpoint(), "forcepathstyle": true, "secure": false,
                "skipverify": false, "accesskey": s3.access_key(), "secretkey": s3.secret_key(),
            });
        }
        let config = serde_json::json!({
            "distSpecVersion": "1.1.1", "storage": storage, "log": { "level": "error" },
            "http": { "address": "127.0.0.1", "port": port.to_string() },
        });
        Ok(config.to_string())
    }
}

/// Files as they are, by sendfile.
fn nginx(folder: &Path, data: &str, port: u16) -> String {
    let folder = folder.display();
    // Started by root, its workers could not read our folders as another user.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "{user} daemon off; worker_processes auto; pid {folder}/pid; worker_rlimit_nofile 65536;\n\
         events {{ worker_connections 16384; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;\n\
         default_type application/octet-stream; client_body_temp_path {folder}/body;\n\
         server {{ listen 127.0.0.1:{port} backlog=4096; root {data}; location = /v2/ {{ return 200; }} }} }}\n"
    )
}

/// A process that ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // SIGTERM first: a server with processes of its own ends them too.
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let begin = Instant::now();
        while begin.elapsed() < STOP_MAX {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn wait_until_ready(process: &mut Running, port: u16, folder: &Path) -> Result<()> {
    let begin = Instant::now();
    let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    loop {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return Ok(());
        }
        if let Some(status) = process.0.try_wait()? {
            bail!("it ended with {status} at its start: {}", log());
        }
        if begin.elapsed() > START_MAX {
            bail!("it does not listen: {}", log());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A process and its children (those of nginx do the work).
fn processes_of(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    [pid].into_iter().chain(children.split_whitespace().filter_map(|child| child.parse().ok())).collect()
}

/// The first word that is `v` and a number in what a program says about itself, else the first number with a dot.
fn version_in(text: &str) -> String {
    let words = || text.split(|letter: char| letter.is_whitespace() || "/\",".contains(letter));
    let is_number = |word: &str| {
        let has_form = word.starts_with(|letter: char| letter.is_ascii_digit()) && word.contains('.');
        has_form && !word.contains(':')
    };
    let tagged = words().find(|word| word.strip_prefix('v').is_some_and(is_number));
    tagged.or_else(|| words().find(|word| is_number(word))).unwrap_or("unknown").to_owned()
}

const START_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(version_in("nginx version: nginx/1.22.1\n"), "1.22.1");
        assert_eq!(version_in("VCSTag:     v0.2.2\nGoVer: go1.26.8"), "v0.2.2");
        assert_eq!(version_in("docker-registry github.com/docker/distribution 2.8.2+ds1"), "2.8.2+ds1");
        assert_eq!(version_in("distribution github.com/distribution/distribution/v3 v3.1.1+unknown"), "v3.1.1+unknown");
        assert_eq!(version_in("bonded 0.1.0 (main)"), "0.1.0");
        let zot = r#"{"time":"2026-11-21T11:44:05.17Z","distribution-spec":"1.1.1","commit":"v2.1.20"}"#;
        assert_eq!(version_in(zot), "v2.1.20");
        assert_eq!(version_in("nothing"), "unknown");
    }
}
