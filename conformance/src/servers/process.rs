//! A server process that never outlives us.
//!
//! A small shell stands between. It holds the reading end of a pipe whose writing end nobody has but this process: when
//! the pipe ends, because the value was dropped or because we were killed, it stops the server and removes its folder.
//! Lines written into the pipe are names of signals, passed on to the server.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::programs::User;

/// What runs where, as whom, and how it is asked to end.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    /// The server's own folder, which goes when the server is no longer wanted.
    pub(super) folder: PathBuf,
    pub(super) user: Option<User>,
    /// The signal that ends the server at once and leaves nothing running.
    pub(super) last_signal: &'static str,
}

/// A running server with its supervisor.
#[derive(Debug)]
pub(super) struct Process {
    supervisor: Child,
    /// Present until the server is told to end for good.
    pipe: Option<ChildStdin>,
    log: PathBuf,
}

/// The arguments are: folder, last signal, program, arguments of the program.
const SUPERVISOR: &str = r#"
folder="$1" last="$2"
shift 2
# A job in the background would get an empty input instead of ours.
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
(
  while read -r signal; do kill -s "$signal" "$server"; done
  : >"$folder/.unwanted"
  kill -s "$last" "$server"
) <&3 &
watcher=$!
exec 3<&-
wait "$server"
status=$?
kill "$watcher" 2>/dev/null
if [ -e "$folder/.unwanted" ]; then rm -rf "$folder"; fi
exit "$status"
"#;

impl Process {
    /// Starts the server; what it prints goes to `server.log` in its folder.
    pub(super) fn start(launch: &Launch) -> Result<Self> {
        let log = launch.folder.join("server.log");
        let output = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SUPERVISOR, "supervisor"]).arg(&launch.folder).arg(launch.last_signal);
        command.arg(&launch.program).args(&launch.arguments).current_dir(&launch.folder);
        command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
        // Ctrl-C in a terminal is for us; the server ends when we say so.
        command.process_group(0);
        if let Some(user) = launch.user {
            command.uid(user.uid).gid(user.gid);
        }
        let mut supervisor =
            command.spawn().with_context(|| format!("{} could not be started", launch.program.display()))?;
        let pipe = supervisor.stdin.take();
        Ok(Self { supervisor, pipe, log })
    }

    /// Waits until `ready` says so; fails when the server ends before.
    pub(super) fn wait_until(&mut self, ready: impl Fn() -> bool) -> Result<()> {
        let begin = Instant::now();
        while !ready() {
            if let Some(status) = self.supervisor.try_wait()? {
                bail!("the server ended with {status} at its start: {}", tail(&self.log));
            }
            if begin.elapsed() > START_MAX {
                bail!("the server does not answer: {}", tail(&self.log));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Sends a signal, by its name without SIG, to the server.
    pub(super) fn signal(&mut self, name: &str) -> Result<()> {
        let pipe = self.pipe.as_mut().context("the server has ended")?;
        writeln!(pipe, "{name}").context("the server has ended")
    }

    /// Sends a signal and waits for the end; its folder stays.
    pub(super) fn end(mut self, signal: &str) -> Result<ExitStatus> {
        // A server that has ended by itself is as good.
        let _ = self.signal(signal);
        let status = self.wait();
        if status.is_ok() {
            // Only now nobody is left whom the end of the pipe would make remove the folder.
            self.pipe = None;
        }
        status
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.supervisor.try_wait()? {
                return Ok(status);
            }
            if begin.elapsed() > STOP_MAX {
                bail!("the server did not end within {} s: {}", STOP_MAX.as_secs(), tail(&self.log));
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.pipe.take().is_some() {
            // The folder is removed by whoever is later, the supervisor or the owner of the folder.
            let _ = self.wait();
        }
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

const START_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
const LOG_TAIL_LINES: usize = 20;
