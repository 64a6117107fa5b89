//! A server under test: its process, its data folder, its memory.
//!
//! The process dies with the value, and the data folder goes with it.

use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use conformance::servers::free_port;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Duration, Instant, sleep};

use crate::cli::Environment;
use crate::deployment::Stores;

/// Longest time from start to the first connection.
const START_MAX: Duration = Duration::from_secs(30);
/// Longest time from SIGTERM to the end of the process.
const STOP_MAX: Duration = Duration::from_secs(20);

/// A running server.
pub(crate) struct Server {
    binary: PathBuf,
    hidden: Vec<String>,
    folder: TempDir,
    stores: Stores,
    port: u16,
    /// Where the next life of the process ends by itself.
    fault_point: Option<String>,
    child: Child,
    lives: Arc<AtomicU64>,
}

impl Server {
    /// Starts `binary` on a free loopback port on these stores, with this configuration (TOML) beside what leads there.
    pub(crate) async fn start_on(
        binary: &Path,
        environment: &Environment,
        config: &str,
        stores: Stores,
    ) -> Result<Self> {
        ensure!(binary.is_file(), "there is no server binary at {}; build it first", binary.display());
        let folder = tempfile::Builder::new().prefix("bonded-conformance-").tempdir()?;
        let config = match &stores {
            Stores::Folder => config.to_owned(),
            Stores::Shared(shared) => shared.config(folder.path(), config)?,
        };
        std::fs::write(folder.path().join(CONFIG), config)?;
        let port = free_port()?;
        let hidden = environment.server_variables.clone();
        let child = spawn(binary, &hidden, folder.path(), port, None)?;
        let (binary, lives) = (binary.to_owned(), Arc::default());
        let mut server = Self { binary, hidden, folder, stores, port, fault_point: None, child, lives };
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// The binary beside this program, where cargo puts both.
    pub(crate) fn default_binary() -> Result<PathBuf> {
        let own = std::env::current_exe()?;
        Ok(own.parent().context("this program stands in no folder")?.join("bonded"))
    }

    /// `http://127.0.0.1:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join(DATA)
    }

    /// The folder in which the bytes of blobs end up, and nothing of the database, whose log grows with each commit.
    pub(crate) fn bytes_folder(&self) -> PathBuf {
        match &self.stores {
            Stores::Folder => self.data().join("blobs"),
            Stores::Shared(stores) => stores.bucket_folder(),
        }
    }

    /// How often the process was started again, to be read at any time.
    pub(crate) fn lives(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lives)
    }

    /// What the server works on.
    pub(crate) fn stores(&self) -> &Stores {
        &self.stores
    }

    /// The configuration file.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.folder.path().join(CONFIG)
    }

    /// The process id.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// Ends the process as a power cut would (SIGKILL).
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("the server could not be killed")
    }

    /// Asks the process to end (SIGTERM) and waits for it.
    pub(crate) async fn stop(&mut self) -> Result<ExitStatus> {
        terminate(&mut self.child).await
    }

    /// Starts the process again on the same stores and port.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        let point = self.fault_point.as_deref();
        self.child = spawn(&self.binary, &self.hidden, self.folder.path(), self.port, point)?;
        self.lives.fetch_add(1, Ordering::Relaxed);
        self.wait_until_ready().await
    }

    /// The same on another port, when the old one may have found another user meanwhile.
    pub(crate) async fn restart_elsewhere(&mut self) -> Result<()> {
        self.port = free_port()?;
        self.restart().await
    }

    /// Where (`name:nth`) the process kills itself after the next [`restart`](Self::restart), if it was built for that.
    pub(crate) fn set_fault_point(&mut self, point: Option<String>) {
        self.fault_point = point;
    }

    /// Whether the process dies of SIGKILL within this time; any other end is an error.
    pub(crate) async fn was_killed_within(&mut self, time: Duration) -> Result<bool> {
        let Ok(status) = tokio::time::timeout(time, self.child.wait()).await else { return Ok(false) };
        let status = status?;
        ensure!(status.signal() == Some(SIGKILL), "the server ended with {status}: {}", self.log_tail());
        Ok(true)
    }

    /// The files that are objects or parts of unfinished ones.
    pub(crate) async fn objects(&self) -> Result<Vec<PathBuf>> {
        let folder = match &self.stores {
            Stores::Folder => self.data().join("blobs"),
            Stores::Shared(stores) => stores.bucket_folder(),
        };
        tokio::task::spawn_blocking(move || {
            let mut found = Vec::new();
            files(&folder, &mut found)?;
            Ok(found)
        })
        .await?
    }

    /// Runs `fsck --rehash` on the stores; fails with its findings.
    pub(crate) async fn fsck(&self) -> Result<()> {
        self.command(&["fsck", "--rehash"], "").await.map(drop)
    }

    /// Runs a command of the binary on the stores, with this on its standard input, and gives what it printed; fails with
    /// all of that when the command does.
    pub(crate) async fn command(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(&self.binary);
        for name in &self.hidden {
            command.env_remove(name);
        }
        command.args(arguments).args(["--data", DATA, "--config", CONFIG]).current_dir(self.folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        let output = child.wait_with_output().await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let text = [output.stdout, output.stderr].concat();
        bail!("{} ended with {}: {}", arguments.join(" "), output.status, String::from_utf8_lossy(&text));
    }

    /// Resident memory in kB now and at its highest (`VmRSS` and `VmHWM` of proc(5)).
    pub(crate) fn memory(&self) -> Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).with_context(|| format!("no {name}"))
        };
        Ok(Memory { now_kb: field("VmRSS:")?, peak_kb: field("VmHWM:")? })
    }

    /// What the server printed, over all its lives.
    pub(crate) fn log_file(&self) -> PathBuf {
        self.folder.path().join(LOG)
    }

    /// The end of what the server printed.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status} at its start: {}", self.log_tail());
            }
            let Err(refused) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await else { return Ok(()) };
            ensure!(begin.elapsed() < START_MAX, "the server does not listen ({refused}): {}", self.log_tail());
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What a process holds in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) now_kb: u64,
    /// Resident at most.
    pub(crate) peak_kb: u64,
}

/// Asks a process to end (SIGTERM), waits, and kills it when it takes too long.
pub(crate) async fn terminate(child: &mut Child) -> Result<ExitStatus> {
    if let Some(pid) = child.id() {
        Command::new("/bin/sh").args(["-c", "kill -TERM \"$0\"", &pid.to_string()]).status().await?;
    }
    if let Ok(status) = tokio::time::timeout(STOP_MAX, child.wait()).await {
        return Ok(status?);
    }
    child.kill().await?;
    bail!("the process did not end within {} s of SIGTERM", STOP_MAX.as_secs());
}

/// The files below a folder. What disappears while they are gathered is not there.
fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, found)?;
        } else if path.exists() {
            found.push(path);
        }
    }
    Ok(())
}

fn spawn(binary: &Path, hidden: &[String], folder: &Path, port: u16, fault_point: Option<&str>) -> Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(folder.join(LOG))?;
    let mut command = Command::new(binary);
    for name in hidden {
        command.env_remove(name);
    }
    command
        .envs(fault_point.map(|point| ("FAULT_POINT", point)))
        .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data", DATA, "--config", CONFIG])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true);
    command.spawn().with_context(|| format!("{} could not be started", binary.display()))
}

/// Names in the folder of a server, which is its working directory.
const DATA: &str = "data";
const CONFIG: &str = "bonded.toml";
const SIGKILL: i32 = 9;
const LOG: &str = "server.log";
const LOG_TAIL_LINES: usize = 20;
